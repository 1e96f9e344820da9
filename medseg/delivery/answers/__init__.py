"""Answers as files: segment cases, write labels and maps, and remember what is finished."""

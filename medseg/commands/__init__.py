"""The verbs, for the command line and for Python: each takes options, returns a result, and never prints."""

"""Layouts of data sets: folders as they lie, turned into cases. One module a layout."""

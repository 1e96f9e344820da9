"""Layouts that tools and published data sets define, one a file."""

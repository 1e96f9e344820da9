"""Outputs for users: answers as files, DICOM objects, pages, and the record of what made them."""

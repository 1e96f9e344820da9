"""`medseg dicom`: an existing label file as DICOM objects."""

"""Files in and out: formats, values of label files, layouts of data sets, DICOM."""

"""Labels as DICOM objects: SEG, RTSTRUCT, structured report."""

"""RTSTRUCT and DICOM SEG as label maps."""

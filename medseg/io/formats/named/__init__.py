"""Names and colours of values inside label files: what a segment is, and how NIfTI and NRRD hold it."""

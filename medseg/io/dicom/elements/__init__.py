"""Single DICOM files: where they lie, reading them, and values of their elements."""

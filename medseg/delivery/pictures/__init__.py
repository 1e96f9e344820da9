"""Pictures of scans with the outlines of structures: for pages, for files beside answers, while a network trains."""

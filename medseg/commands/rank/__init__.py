"""`medseg rank`: which scans to annotate next."""

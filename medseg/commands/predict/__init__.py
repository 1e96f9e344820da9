"""`medseg predict`: scans in, labels on their own grids out."""

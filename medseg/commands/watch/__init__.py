"""`medseg watch`: studies are segmented as they arrive in a folder."""

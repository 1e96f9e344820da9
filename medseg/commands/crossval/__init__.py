"""`medseg crossval`: every fold trained, all out-of-fold answers scored together."""

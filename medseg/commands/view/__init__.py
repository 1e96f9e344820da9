"""`medseg view`: look at a scan and answers in a browser."""

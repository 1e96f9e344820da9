"""`medseg doctor`: what this machine and this installation can do."""

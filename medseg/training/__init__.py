"""Training: data, step, losses, length of a run, and the loop."""

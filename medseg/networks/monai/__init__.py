"""MONAI's networks: what the plan fills, their coarser answers, and their rows of the table."""

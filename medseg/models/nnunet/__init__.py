"""nnU-Net v2's plans, checkpoints and model folders, read and written."""

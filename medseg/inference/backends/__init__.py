"""What computes a network: torch, OpenVINO, or the way that measured fastest on a GPU."""

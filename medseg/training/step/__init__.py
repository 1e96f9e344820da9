"""One step: forward, loss, backward, optimizer; on one device or several."""

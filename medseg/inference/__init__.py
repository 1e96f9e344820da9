"""From a scan to logits: tiles, backends, memory, and the predictor that holds them together."""

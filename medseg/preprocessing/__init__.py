"""Between a scan's own grid and the network's, in both directions: resampling, normalization, cache."""

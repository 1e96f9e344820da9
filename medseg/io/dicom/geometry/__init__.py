"""How the slices of a series lie in space, and resampling of those that are not a regular grid."""

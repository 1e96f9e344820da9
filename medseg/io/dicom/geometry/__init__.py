"""The positions of a series' slices in space, and resampling of those that are not a regular grid."""

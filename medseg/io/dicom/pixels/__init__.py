"""The voxels of a series."""

"""Batches of patches: which, where, how augmented."""

"""Losses by name, one a module, and what all have in common."""

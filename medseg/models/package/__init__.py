"""A trained model as one safe file."""

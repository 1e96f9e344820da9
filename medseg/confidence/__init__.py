"""Estimates of how far an answer can be trusted, from arrays: calibrated probabilities, predicted scores, and flags."""

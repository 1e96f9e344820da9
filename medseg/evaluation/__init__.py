"""Scores: overlap, surface distances, lesions, and their statistics over cases."""

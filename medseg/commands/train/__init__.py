"""`medseg train`: from a plan to a trained and scored fold."""

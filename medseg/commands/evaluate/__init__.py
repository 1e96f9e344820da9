"""`medseg evaluate`: predictions against references."""

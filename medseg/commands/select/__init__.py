"""`medseg select`: choose among trained models, and what is done to their answers, by out-of-fold answers."""

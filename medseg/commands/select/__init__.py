"""`medseg select`: choose models and postprocessing by the scores of out-of-fold answers."""

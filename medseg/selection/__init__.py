"""The selection among a plan's trained models, with the postprocessing of their answers: `selection.yaml`."""

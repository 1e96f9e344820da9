"""What was selected of a plan's trained models, and how their answers are treated: `selection.yaml`."""

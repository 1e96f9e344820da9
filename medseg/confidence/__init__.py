"""How far an answer can be trusted: calibrated probabilities, predicted scores, and named flags; arrays and numbers."""

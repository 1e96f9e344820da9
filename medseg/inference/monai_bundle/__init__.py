"""A trained model as a MONAI bundle: a network as a program, and MONAI's own transforms around it."""

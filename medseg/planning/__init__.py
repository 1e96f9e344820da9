"""From the files of a data set to a plan: fingerprint, nnU-Net's planning rules, folds."""

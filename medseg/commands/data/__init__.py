"""Verbs about a data set before training: check, plan, labelme, series."""

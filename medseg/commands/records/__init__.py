"""Verbs that read what a run or a prediction left: report, verify."""

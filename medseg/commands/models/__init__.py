"""Verbs about trained models: package, import-nnunet."""

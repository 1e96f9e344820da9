"""Verbs about networks and trained models: package, export, import-nnunet, networks."""

"""Output that all verbs share: progress, tables, notes, hints and records."""

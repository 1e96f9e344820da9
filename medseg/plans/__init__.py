"""The plan: its schema, its file, what is wrong with one in words, and how two differ."""

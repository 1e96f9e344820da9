"""manifest.json: what made an answer, a score or a model, from what, and the hashes of both."""

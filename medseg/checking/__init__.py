"""Find errors and oddities in a data set: one module per rule, each applied to the facts of one pass over the files."""

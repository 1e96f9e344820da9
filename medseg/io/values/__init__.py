"""The meaning of values in label files: maps, colours, soft edges, outlines, overlaps."""

"""What the values in label files mean: maps, colours, soft edges, outlines, overlaps."""

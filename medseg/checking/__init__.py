"""What is wrong, or looks wrong, in a data set: one rule a module, each on what one pass over the files found."""

"""A data set as the user describes it: options for its files, labels and segment names, and finding it with them."""

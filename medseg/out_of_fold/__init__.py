"""One pass over the cases of a cross-validation: probabilities of the folds that never saw them."""

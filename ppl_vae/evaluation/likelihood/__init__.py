"""log p(x): by importance sampling, by annealing, and of hidden pixels."""

"""Kernels of Markov chains on the log-densities of a pair, in NumPyro."""

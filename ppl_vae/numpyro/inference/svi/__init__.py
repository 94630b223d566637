"""Stochastic variational inference, step by step, in NumPyro."""

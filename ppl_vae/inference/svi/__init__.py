"""Stochastic variational inference, step by step, in Pyro."""

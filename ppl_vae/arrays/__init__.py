"""Arithmetic on arrays, written once for NumPy, torch and JAX."""

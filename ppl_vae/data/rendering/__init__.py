"""Rendering of images like those of dSprites: shapes, and a renderer on NumPy, torch or JAX."""

"""dSprites drawn: shapes, and a renderer on NumPy, torch or JAX."""

"""The NumPyro mirror: the same names at the same paths, over flax nnx and optax."""

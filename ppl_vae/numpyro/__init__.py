"""The NumPyro mirror: the same names at the same paths, over flax nnx and optax."""

from ..runtime import extras

extras.check_installed("numpyro")

"""The NumPyro mirror: the same names at the same paths, over flax nnx and optax."""

from ..runtime.extras import check_installed

check_installed("numpyro")

"""The NumPyro mirror: the same names at the same paths, over flax nnx and optax."""

from ..runtime.extras import check_installed as _check_installed

_check_installed("numpyro")

"""The codes of a quantised latent, in flax."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from ...arrays import quantisation


class Codebook(nnx.Module):
    """K learned vectors of E numbers, ``vectors`` (K, E), which posterior and prior share.

    Args:
        start: their initial values (K, E), which are copied; (L, K, E) for L stages of a residual quantiser.

    Raises:
        ValueError: values that are not (K, E) or (L, K, E), K >= 2, or not finite.

    >>> Codebook(np.zeros((8, 4)))().shape
    (8, 4)
    """

    def __init__(self, start: np.ndarray) -> None:
        start = quantisation.check_codebook(start)
        self.vectors = nnx.Param(jnp.asarray(start, jnp.result_type(float)))

    def array(self) -> np.ndarray:
        """Copy the codes, (K, E) or (L, K, E)."""
        return np.array(self.vectors[...])

    def set(self, vectors: np.ndarray) -> None:
        """Replace the codes by others of that shape."""
        vectors = quantisation.check_codebook(vectors)
        self.vectors[...] = jnp.asarray(vectors, self.vectors[...].dtype)

    def __call__(self) -> Array:
        """Return the codes (K, E) or (L, K, E)."""
        return self.vectors[...]

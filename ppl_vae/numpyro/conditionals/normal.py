"""Normal conditionals in NumPyro: posteriors and likelihoods from a net's outputs."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from jax.nn import softplus

from ...arrays.net_outputs import check_halves
from ..nets.layers import written_net

SCALE_FLOOR = 1e-3


class DiagNormal(nnx.Module):
    """h -> N(loc(h), diag scale(h)^2), ``scale = softplus(raw) + floor``.

    ``net`` maps (..., H) to (..., 2 D): the means, then the raw scales. Event shape (D,).

    >>> from ppl_vae.numpyro import nets
    >>> DiagNormal(nets.MLP((5, 8), np.random.default_rng(0)))(jnp.zeros((3, 5))).event_shape
    (4,)
    """

    any_width: ClassVar[bool] = True
    """Whether the event is as wide as the net says, and so can be that of one step."""

    def __init__(self, net: nnx.Module, *, floor: float = SCALE_FLOOR) -> None:
        self.net = net
        self.floor = floor

    def __call__(self, h: Array) -> dist.Distribution:
        """Map h (..., H) to a distribution over (D,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Array) -> dist.Distribution:
        """Make the distribution over (D,) of the net's outputs (..., W)."""
        check_halves("DiagNormal", out, "means")
        loc, raw = jnp.split(out, 2, -1)
        return dist.Normal(loc, softplus(raw) + self.floor).to_event(1)

    def as_steps(self) -> list[dict[str, Any]]:
        """E[x | h] written down, for ``explorer``."""
        return [*written_net(self.net), {"op": "first", "parts": 2}]


class FullNormal(nnx.Module):
    """h -> N(loc(h), L(h) L(h)^T) with a lower-triangular L whose diagonal is ``softplus(raw) + floor``.

    ``net`` maps (..., H) to (..., D + D (D + 1) / 2): the means, then the triangle row by row. Event shape (D,).

    >>> from ppl_vae.numpyro import nets
    >>> FullNormal(nets.MLP((5, 2 + 3), np.random.default_rng(0)), 2)(jnp.zeros((3, 5))).event_shape
    (2,)
    """

    def __init__(self, net: nnx.Module, dim: int, *, floor: float = SCALE_FLOOR) -> None:
        self.net = net
        self.dim = dim
        self.floor = floor

    def __call__(self, h: Array) -> dist.Distribution:
        """Map h (..., H) to a distribution over (D,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Array) -> dist.Distribution:
        """Make the distribution over (D,) of the net's outputs (..., W)."""
        rows, columns = np.tril_indices(self.dim)
        if out.shape[-1] != self.dim + len(rows):
            raise ValueError(
                f"FullNormal: the net should return {self.dim} means and {len(rows)} entries of the triangle, "
                f"{self.dim + len(rows)} in all; got {out.shape[-1]}."
            )
        loc, raw = out[..., : self.dim], out[..., self.dim :]
        tril = jnp.zeros((*raw.shape[:-1], self.dim, self.dim), raw.dtype).at[..., rows, columns].set(raw)
        diagonal = softplus(jnp.diagonal(tril, axis1=-2, axis2=-1)) + self.floor
        return dist.MultivariateNormal(
            loc, scale_tril=jnp.tril(tril, -1) + diagonal[..., None] * jnp.eye(self.dim, dtype=raw.dtype)
        )


class Normal(nnx.Module):
    """h -> independent N(loc(h), scale^2) pixels, with one scale for all, fixed or learned. Event shape (P,).

    ``net`` maps (..., H) to the means (..., P). A learned scale is ``softplus(raw) + floor``, started at ``scale``;
    with ``columns``, P, each column has its own.

    Raises:
        ValueError: a scale that is not above the floor, or scales of columns that are not learned.

    >>> from ppl_vae.numpyro import nets
    >>> Normal(nets.MLP((2, 6), np.random.default_rng(0)), scale=0.5)(jnp.zeros((3, 2))).base_dist.scale.mean().item()
    0.5
    """

    any_width: ClassVar[bool] = True
    """Whether the event is as wide as the net says, and so can be that of one step."""

    def __init__(
        self,
        net: nnx.Module,
        *,
        scale: float = 1.0,
        learned: bool = False,
        columns: int | None = None,
        floor: float = SCALE_FLOOR,
    ) -> None:
        if not scale > (floor if learned else 0.0):
            raise ValueError(f"Normal: 'scale' should be above {floor if learned else 0.0}; got {scale}.")
        if columns is not None and not learned:
            raise ValueError(
                f"Normal: 'columns' is for learned scales; got {columns}: set learned=True, or leave it out."
            )
        self.net = net
        self.floor = floor
        self.learned = learned
        self.scale = scale
        if learned:
            start = np.log(np.expm1(scale - floor))
            self.raw = nnx.Param(jnp.asarray(np.full(columns, start) if columns else start))

    def __call__(self, h: Array) -> dist.Distribution:
        """Map h (..., H) to a distribution over (P,)."""
        scale = softplus(self.raw[...]) + self.floor if self.learned else self.scale
        return dist.Normal(self.net(h), scale).to_event(1)

    def as_steps(self) -> list[dict[str, Any]]:
        """E[x | h] written down, for ``explorer``."""
        return written_net(self.net)

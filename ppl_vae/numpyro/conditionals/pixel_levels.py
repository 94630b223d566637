"""Likelihoods of pixels that take finitely many levels, in NumPyro."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from jax.nn import softplus

from ...arrays.net_outputs import check_halves
from .. import distributions
from .normal import SCALE_FLOOR


class DiscretisedLogistic(nnx.Module):
    """h -> independent pixels of ``levels`` levels, each a logistic cut into bins. Event shape (P,).

    ``net`` maps (..., H) to (..., 2 P): the locations around 1/2, then the raw scales,
    ``scale = softplus(raw - 2.25) + floor``, about 0.1 for a net that returns 0. Data are k / (levels - 1).

    >>> import numpy as np
    >>> from ppl_vae.numpyro import nets
    >>> DiscretisedLogistic(nets.MLP((2, 12), np.random.default_rng(0)))(jnp.zeros((3, 2))).event_shape
    (6,)
    """

    any_width: ClassVar[bool] = True
    """Whether the event is as wide as the net says, and so can be that of one step."""

    def __init__(self, net: nnx.Module, *, levels: int = 256, floor: float = SCALE_FLOOR) -> None:
        if levels < 2:
            raise ValueError(f"DiscretisedLogistic: 'levels' should be at least 2; got {levels}.")
        self.net = net
        self.levels = levels
        self.floor = floor

    def __call__(self, h: Array) -> dist.Distribution:
        """Map h (..., H) to a distribution over (P,)."""
        return self.distribution(self.net(h))

    def distribution(self, out: Array) -> dist.Distribution:
        """Make the distribution over (P,) of the net's outputs (..., W)."""
        check_halves("DiscretisedLogistic", out, "locations")
        loc, raw = jnp.split(out, 2, -1)
        return distributions.DiscretisedLogistic(0.5 + loc, softplus(raw - 2.25) + self.floor, self.levels).to_event(1)


class CategoricalLevels(nnx.Module):
    """h -> independent pixels with a probability for each of ``levels`` levels. Event shape (P,).

    ``net`` maps (..., H) to logits (..., P levels). Data are k / (levels - 1).

    >>> import numpy as np
    >>> from ppl_vae.numpyro import nets
    >>> CategoricalLevels(nets.MLP((2, 6 * 4), np.random.default_rng(0)), 4)(jnp.zeros((3, 2))).event_shape
    (6,)
    """

    any_width: ClassVar[bool] = True
    """Whether the event is as wide as the net says, and so can be that of one step."""

    def __init__(self, net: nnx.Module, levels: int = 256) -> None:
        self.net = net
        self.levels = levels

    def __call__(self, h: Array) -> dist.Distribution:
        """Map h (..., H) to a distribution over (P,)."""
        out = self.net(h)
        return distributions.CategoricalLevels(out.reshape(*out.shape[:-1], -1, self.levels)).to_event(1)

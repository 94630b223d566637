"""Likelihoods of counts, in NumPyro."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from jax.nn import sigmoid

from ....arrays.net_outputs import check_halves
from ....data.tables.kinds import MOST_CONCENTRATION
from ... import distributions
from ...nets.layers import Constant

ZEROS = -2.0
"""Logit of the share of further zeros where the net returns 0."""


class Poisson(nnx.Module):
    """h -> independent Poisson counts, of rates ``exp(centre + net(h))``. Event shape (P,).

    ``net`` maps (..., H) to (..., P). With ``zero_inflated`` it maps to (..., 2 P), and the second half are logits of
    the probability that a cell is 0 whatever its rate: P(0) = g + (1 - g) exp(-rate). Zero-Inflated Poisson Regression,
    Lambert, 1992.

    Args:
        net: the decoder.
        centre: logarithms of the rates where the net returns 0, (P,).
        zero_inflated: whether there are further zeros.

    >>> from ppl_vae.numpyro import nets
    >>> Poisson(nets.MLP((2, 6), np.random.default_rng(0)), np.zeros(6))(jnp.zeros((3, 2))).mean[0, :2].tolist()
    [1.0, 1.0]
    """

    def __init__(self, net: nnx.Module, centre: np.ndarray, *, zero_inflated: bool = False) -> None:
        self.net = net
        self.zero_inflated = zero_inflated
        self.centre = Constant(jnp.array(centre, dtype=float))

    def __call__(self, h: Array) -> dist.Distribution:
        """Map h (..., H) to a distribution over (P,)."""
        out, gate = parts_of(self, h)
        counts = distributions.Poisson(jnp.exp(self.centre[...] + out))
        return (counts if gate is None else dist.ZeroInflatedDistribution(counts, gate_logits=gate)).to_event(1)


class NegativeBinomial(nnx.Module):
    """h -> independent negative binomial counts, of means ``exp(centre + net(h))``. Event shape (P,).

    The variance is mean + mean^2 / r, with one learned concentration r for each column, at most 1000: beyond it is
    nearly a Poisson. ``net`` and ``zero_inflated`` are as those of ``Poisson``.

    Args:
        net: the decoder.
        centre: logarithms of the means where the net returns 0, (P,).
        concentration: where those of the columns start, (P,).
        zero_inflated: whether there are further zeros.

    >>> from ppl_vae.numpyro import nets
    >>> net = nets.MLP((2, 6), np.random.default_rng(0))
    >>> round(float(NegativeBinomial(net, np.zeros(6), np.full(6, 0.5))(jnp.zeros((3, 2))).variance[0, 0]), 4)
    3.0
    """

    def __init__(
        self, net: nnx.Module, centre: np.ndarray, concentration: np.ndarray, *, zero_inflated: bool = False
    ) -> None:
        self.net = net
        self.zero_inflated = zero_inflated
        self.centre = Constant(jnp.array(centre, dtype=float))
        self.raw = nnx.Param(jnp.array(np.log(concentration / (MOST_CONCENTRATION - concentration)), dtype=float))

    def __call__(self, h: Array) -> dist.Distribution:
        """Map h (..., H) to a distribution over (P,)."""
        out, gate = parts_of(self, h)
        concentration = MOST_CONCENTRATION * sigmoid(self.raw[...])
        counts = distributions.NegativeBinomial(concentration, self.centre[...] + out - jnp.log(concentration))
        return (counts if gate is None else dist.ZeroInflatedDistribution(counts, gate_logits=gate)).to_event(1)


def parts_of(likelihood: Any, h: Array) -> tuple[Array, Array | None]:
    """Return the net's outputs (..., P), and the logits of further zeros where there are some."""
    out = likelihood.net(h)
    if not likelihood.zero_inflated:
        return out, None
    check_halves(type(likelihood).__name__, out, "logarithms of means")
    out, gate = jnp.split(out, 2, -1)
    return out, gate + ZEROS

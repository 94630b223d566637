"""Likelihoods of counts, in Pyro."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ... import distributions
from ...arrays.net_outputs import check_halves
from ...data.tables.kinds import MOST_CONCENTRATION

ZEROS = -2.0
"""Logit of the share of further zeros where the net returns 0."""


class Poisson(nn.Module):
    """h -> independent Poisson counts, of rates ``exp(centre + net(h))``. Event shape (P,).

    ``net`` maps (..., H) to (..., P). With ``zero_inflated`` it maps to (..., 2 P), and the second half are logits of
    the probability that a cell is 0 whatever its rate: P(0) = g + (1 - g) exp(-rate). Zero-Inflated Poisson Regression,
    Lambert, 1992.

    Args:
        net: the decoder.
        centre: logarithms of the rates where the net returns 0, (P,).
        zero_inflated: whether there are further zeros.

    >>> from ppl_vae import nets
    >>> Poisson(nets.MLP((2, 6), np.random.default_rng(0)), np.zeros(6))(torch.zeros(3, 2)).mean[0, :2]
    tensor([1., 1.], grad_fn=<SliceBackward0>)
    """

    def __init__(self, net: nn.Module, centre: np.ndarray, *, zero_inflated: bool = False) -> None:
        super().__init__()
        self.net = net
        self.zero_inflated = zero_inflated
        self.centre = nn.Buffer(torch.tensor(centre, dtype=torch.get_default_dtype()))

    def forward(self, h: Tensor) -> dist.Distribution:
        """Map h (..., H) to a distribution over (P,)."""
        out, gate = parts_of(self, h)
        rate = (self.centre + out).exp()
        return inflated_by(gate, distributions.Poisson(rate))


class NegativeBinomial(nn.Module):
    """h -> independent negative binomial counts, of means ``exp(centre + net(h))``. Event shape (P,).

    The variance is mean + mean^2 / r, with one learned concentration r for each column, at most 1000: beyond it is
    nearly a Poisson. ``net`` and ``zero_inflated`` are as those of ``Poisson``.

    Args:
        net: the decoder.
        centre: logarithms of the means where the net returns 0, (P,).
        concentration: where those of the columns start, (P,).
        zero_inflated: whether there are further zeros.

    >>> from ppl_vae import nets
    >>> net = nets.MLP((2, 6), np.random.default_rng(0))
    >>> NegativeBinomial(net, np.zeros(6), np.full(6, 0.5))(torch.zeros(3, 2)).variance[0, 0].item()
    3.0
    """

    def __init__(
        self, net: nn.Module, centre: np.ndarray, concentration: np.ndarray, *, zero_inflated: bool = False
    ) -> None:
        super().__init__()
        self.net = net
        self.zero_inflated = zero_inflated
        self.centre = nn.Buffer(torch.tensor(centre, dtype=torch.get_default_dtype()))
        start = np.log(concentration / (MOST_CONCENTRATION - concentration))
        self.raw = nn.Parameter(torch.tensor(start, dtype=torch.get_default_dtype()))

    def forward(self, h: Tensor) -> dist.Distribution:
        """Map h (..., H) to a distribution over (P,)."""
        out, gate = parts_of(self, h)
        concentration = MOST_CONCENTRATION * torch.sigmoid(self.raw)
        logits = self.centre + out - concentration.log()
        return inflated_by(gate, distributions.NegativeBinomial(concentration, logits=logits))


def parts_of(likelihood: Any, h: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the net's outputs (..., P), and the logits of further zeros where there are some."""
    out = likelihood.net(h)
    if not likelihood.zero_inflated:
        return out, None
    check_halves(type(likelihood).__name__, out, "logarithms of means")
    out, gate = out.chunk(2, -1)
    return out, gate + ZEROS


def inflated_by(gate: Tensor | None, counts: Any) -> dist.Distribution:
    """Return the counts of (P,), with further zeros where there are logits of them."""
    return (counts if gate is None else dist.ZeroInflatedDistribution(counts, gate_logits=gate)).to_event(1)

"""Priors of one entry after the other, over binary images, bits and codes, in Pyro."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..distributions import AutoregressiveBernoulli, AutoregressiveCategorical


class Autoregressive(nn.Module):
    """p(x) = prod_i p(x_i | x_<i), with logits from a net that is autoregressive. Event shape (D,).

    Bernoulli where the net returns a logit for each entry, categorical where it returns C. It is a density of whole
    images, for ``FullyVisible``; a prior of discrete latents; and one of the numbers of codes, as the ``inner`` of a
    ``CodePrior``. MADE: Masked Autoencoder for Distribution Estimation, Germain, Gregor, Murray and Larochelle, 2015.

    Args:
        net: such as ``nets.MADE``, which says the ``order`` of the entries and C, ``num_categories``, or None.

    >>> import numpy as np
    >>> from ppl_vae import nets
    >>> Autoregressive(nets.MADE(4, (8,), np.random.default_rng(0)))().event_shape
    torch.Size([4])
    >>> Autoregressive(nets.MADE(4, (8,), np.random.default_rng(0), num_categories=5))().num_values
    5
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self) -> AutoregressiveBernoulli | AutoregressiveCategorical:
        """Return the distribution over (D,)."""
        nothing = next(self.net.parameters()).new_zeros(0)
        if self.net.num_categories is None:
            return AutoregressiveBernoulli(self.net, self.net.order, values=nothing)
        return AutoregressiveCategorical(self.net, self.net.order, self.net.num_categories, device=nothing.device)

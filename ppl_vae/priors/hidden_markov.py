"""Hidden Markov models, in Pyro: sequences from states that are summed out."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .. import distributions


class HiddenMarkov(nn.Module):
    """p(x_1:T) = sum over s_1:T of p(s_1) prod_t p(s_t | s_{t-1}) p(x_t | s_t), for ``models.FullyVisible``.

    Event shape (T P,). With the guide ``Empty`` the ELBO is log p(x), which is exact, and so is its gradient. *A
    Tutorial on Hidden Markov Models*, Rabiner, 1989.

    Args:
        num_states: C.
        emission: a conditional that maps states, one-hot (C, C), to p(x_t | s_t), event shape (P,), such as
            ``conditionals.Bernoulli(nets.MLP((C, P), rng))``, or ``DiagNormal`` of 2 P outputs.
        length: T.
        rng: of the transition's start, near an equal chance of every state.

    >>> from ppl_vae import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> HiddenMarkov(4, conditionals.Bernoulli(nets.MLP((4, 3), rng)), 7, rng)().event_shape
    torch.Size([21])
    """

    def __init__(self, num_states: int, emission: nn.Module, length: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.emission = emission
        self.length = length
        self.initial = nn.Parameter(torch.zeros(num_states))
        start = 0.1 * rng.standard_normal((num_states, num_states))
        self.transition = nn.Parameter(torch.tensor(start, dtype=torch.get_default_dtype()))

    def forward(self) -> distributions.HiddenMarkov:
        """Return the distribution over sequences (T P,)."""
        emission = self.emission(torch.eye(len(self.initial)).to(self.initial))
        return distributions.HiddenMarkov(self.initial, self.transition, emission, self.length)

"""VAE of x given side information, in Pyro."""

from __future__ import annotations

from typing import ClassVar

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from ..conditionals.masking import joined, lasting, observed_only


class ConditionalVAE(PyroModule):
    """z ~ p(z | c);  x | z, c ~ p(x | z, c), where c (B, G) is side information, the keyword ``given``.

    Sites: ``z`` (D,), ``x`` (P,). Plate: ``data`` at dim -1. Its guide is ``Amortised``, whose net sees x and c.
    Learning Structured Output Representation using Deep Conditional Generative Models, Sohn, Lee and Yan, 2015.

    Args:
        prior: a module that maps c (B, G) to p(z | c), event shape (D,); ``Unconditional(prior)`` for a p(z).
        likelihood: a module that maps z and c, concatenated (..., D + G), to p(x | z, c), event shape (P,).

    Raises:
        ValueError: called without ``given``.

    >>> import numpy as np, torch
    >>> from ppl_vae import conditionals, nets
    >>> from ppl_vae.models import StandardNormal, Unconditional
    >>> likelihood = conditionals.Bernoulli(nets.MLP((2 + 3, 5), np.random.default_rng(0)))
    >>> ConditionalVAE(Unconditional(StandardNormal(2)), likelihood)(given=torch.eye(3)).shape
    torch.Size([3, 5])
    """

    takes_given: ClassVar[bool] = True

    def __init__(self, prior: nn.Module, likelihood: nn.Module) -> None:
        super().__init__()
        self.prior = prior
        self.likelihood = likelihood

    def forward(self, x: Tensor | None = None, *, given: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw an image for each row of ``given`` (B, G)."""
        if given is None:
            raise ValueError("A ConditionalVAE needs side information for each datum: pass given= of shape (N, G)")
        with pyro.plate("data", len(given), dim=-1):
            z = pyro.sample("z", lasting(self.prior(given), mask))
            return pyro.sample("x", observed_only(self.likelihood(joined(z, given)), mask), obs=x)

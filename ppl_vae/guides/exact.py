"""Guides that are the exact posterior and have nothing to train."""

from __future__ import annotations

from typing import ClassVar

import pyro
from pyro.nn import PyroModule
from torch import Tensor

from ..models.images import Completion


class Empty(PyroModule):
    """Guide without latents, of ``models.FullyVisible``: the ELBO is log p(x).

    >>> import torch
    >>> Empty()(torch.zeros(3, 5))
    """

    is_empty: ClassVar[bool] = True

    def forward(self, x: Tensor) -> None:
        """Draw nothing."""


class ExactCompletion(PyroModule):
    """z ~ p(z | x), the exact posterior of the hidden pixels: the ELBO is log p(x) for every draw.

    Site: ``z`` (H,). Plate: ``data`` at dim -1.

    Args:
        model: the completion whose posterior it is, shared and not copied: of a mixture, or of an autoregressive model
            whose order has the observed pixels before the hidden ones.

    >>> import numpy as np, torch
    >>> from ppl_vae import models
    >>> images = models.MixtureOfBernoullis(10, np.eye(4), np.random.default_rng(0))
    >>> guide = ExactCompletion(models.Completion(images, np.array([True, True, True, False])))
    >>> guide(torch.zeros(5, 1)).shape
    torch.Size([5, 3])
    """

    def __init__(self, model: Completion) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Draw z (..., B, H) for x (B, S)."""
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z", self.model.exact(x))

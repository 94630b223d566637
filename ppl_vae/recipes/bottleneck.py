"""Pairs of the information bottleneck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backends


def bottleneck(
    num_inputs: int,
    num_classes: int,
    rng: np.random.Generator,
    *,
    latent_dim: int = 8,
    hidden: Sequence[int] = (100,),
    backend: str = "pyro",
) -> tuple[Any, Any]:
    """Make the pair of a deep variational information bottleneck for classes: (model, guide).

    r(z) is N(0, I), p(y | z) linear in z, q(z | x) a perceptron. Train it by ``objectives.TraceMeanFieldELBO(beta=)``
    with ``given=`` classes (N, 1). Deep Variational Information Bottleneck, Alemi et al., 2017.

    Args:
        num_inputs: P, the columns of x.
        num_classes: C, of y.
        rng: the generator of the initial weights.
        latent_dim: D, the dimension of z.
        hidden: units of the encoder's hidden layers.
        backend: "pyro" or "numpyro".

    Raises:
        ValueError: fewer than two classes.

    >>> model, guide = bottleneck(64, 10, np.random.default_rng(0))
    >>> model(size=3).shape
    torch.Size([3, 1])
    """
    if num_classes < 2:
        raise ValueError(f"'num_classes', those of y, should be at least 2; got {num_classes}.")
    b = backends.load(backend)
    posterior = b.conditionals.DiagNormal(b.nets.MLP((num_inputs, *hidden, 2 * latent_dim), rng))
    classes = b.conditionals.Categorical(b.nets.MLP((latent_dim, num_classes), rng), num_classes)
    model = b.models.InformationBottleneck(b.priors.StandardNormal(latent_dim), classes, num_classes)
    return model, b.guides.Amortised(posterior, reads=0)

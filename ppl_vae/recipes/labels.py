"""Pairs for data of which few have a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backends


def semi_supervised(
    num_pixels: int,
    num_classes: int,
    rng: np.random.Generator,
    *,
    latent_dim: int = 10,
    hidden: Sequence[int] = (100,),
    auxiliary_dim: int = 0,
    backend: str = "pyro",
) -> tuple[Any, Any]:
    """Make the pair of a semi-supervised VAE of binary data, the model M2: (model, guide).

    p(y) is uniform, p(z) standard normal, pixels Bernoulli; all nets are perceptrons. With ``auxiliary_dim`` it is the
    auxiliary deep generative model. Train it by ``objectives.Labelled(objective, weight=)`` with ``given=`` labels (N,
    1), -1 where they are not known; ``fit.encode(x, given=-np.ones((len(x), 1)))[:, 0]`` is the class.

    Args:
        num_pixels: P.
        num_classes: C.
        rng: the generator of the initial weights.
        latent_dim: D, the dimension of z.
        hidden: units of the hidden layers of each net.
        auxiliary_dim: A, the dimension of the auxiliary variable; 0 for none.
        backend: "pyro" or "numpyro".

    Raises:
        ValueError: fewer than two classes.

    >>> model, guide = semi_supervised(64, 10, np.random.default_rng(0))
    >>> model(size=3).shape
    torch.Size([3, 64])
    """
    if num_classes < 2:
        raise ValueError(f"'num_classes' should be at least 2; got {num_classes}.")
    b = backends.load(backend)
    given, models, guides = b.conditionals, b.models, b.guides

    def net(inp: int, out: int) -> Any:
        return b.nets.MLP((inp, *hidden, out), rng)

    def normal(inp: int, dim: int) -> Any:
        return given.DiagNormal(net(inp, 2 * dim))

    labels, prior = models.UniformCategorical(1, num_classes), models.StandardNormal(latent_dim)
    likelihood = given.Bernoulli(net(latent_dim + num_classes, num_pixels))
    seen = num_pixels + auxiliary_dim
    of_model, of_guide = None, None
    if auxiliary_dim:
        of_model = normal(latent_dim + num_classes + num_pixels, auxiliary_dim)
        of_guide = normal(num_pixels, auxiliary_dim)
    classifier = given.Categorical(net(seen, num_classes), num_classes)
    posterior = normal(seen + num_classes, latent_dim)
    return (
        models.SemiSupervisedVAE(labels, prior, likelihood, of_model),
        guides.SemiSupervised(classifier, posterior, of_guide),
    )

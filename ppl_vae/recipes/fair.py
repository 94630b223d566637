"""Pairs whose codes are to leave out what side information says of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backends, init

PRIORS = ("standard", "vampprior")
"""Names of the priors of ``fair``."""


def fair(
    num_pixels: int,
    num_classes: int,
    rng: np.random.Generator,
    *,
    columns: int = 1,
    latent_dim: int = 16,
    hidden: Sequence[int] = (100,),
    prior: str = "standard",
    num_pseudo_inputs: int = 100,
    images: np.ndarray | None = None,
    given: np.ndarray | None = None,
    backend: str = "pyro",
) -> tuple[Any, Any]:
    """Make the pair of a variational fair auto-encoder of data in [0, 1]: (model, guide).

    p(x | z, s) is Bernoulli, p(y | z) linear in z, the other nets are perceptrons. Train it with ``given=
    np.column_stack([s, y])``, the label -1 where it is not known, by ``objectives.GroupMMD(objectives.Labelled(
    objectives.TraceELBO(), weight=), strength=, columns=)``.

    Args:
        num_pixels: P.
        num_classes: C, of the label y.
        rng: the generator of the initial weights.
        columns: of ``given`` before the label, the side information s.
        latent_dim: D, the dimension of z.
        hidden: units of the hidden layers of encoder and decoder.
        prior: 'standard', N(0, I), or 'vampprior', whose pseudo-inputs are rows of ``images`` at first, and have the
            side information of these for good: p(z) = 1/K sum_k q(z | u_k, s_k).
        num_pseudo_inputs: K.
        images: training data (N, P) of a VampPrior.
        given: their side information, (N, columns) or with the label after it.
        backend: "pyro" or "numpyro".

    Raises:
        ValueError: fewer than two classes, no column, another prior, or a VampPrior without data or with others.

    >>> model, guide = fair(64, 2, np.random.default_rng(0))
    >>> model.prior().event_shape
    torch.Size([16])
    """
    if num_classes < 2 or columns < 1:
        raise ValueError(
            f"'num_classes' should be at least 2, and 'columns' at least 1; got {num_classes} and {columns}."
        )
    if prior not in PRIORS:
        raise ValueError(f"'prior' should be one of {', '.join(PRIORS)}; got {prior!r}.")
    b = backends.load(backend)
    sizes = (num_pixels + columns, *hidden, 2 * latent_dim)
    posterior = b.conditionals.DiagNormal(b.nets.MLP(sizes, rng))
    if prior == "standard":
        p_z = b.priors.StandardNormal(latent_dim)
    else:
        x, s = (np.empty((0, 0)) if rows is None else np.asarray(rows) for rows in (images, given))
        if not len(x) == len(s) > 0 or x.shape[1:] != (num_pixels,) or s.ndim != 2 or s.shape[1] < columns:
            raise ValueError(
                "The prior 'vampprior' starts at training data and their side information: pass images= and given=, a "
                f"row for each datum, (N, {num_pixels}) and (N, {columns}) or wider; got {x.shape} and "
                f"{s.shape}."
            )
        rows = init.random_images(rng, np.column_stack([x, s[:, :columns]]), num_pseudo_inputs)
        p_z = b.priors.VampPrior(posterior, rows[:, :num_pixels], given=rows[:, num_pixels:])
    likelihood = b.conditionals.Bernoulli(b.nets.MLP((latent_dim + columns, *hidden[::-1], num_pixels), rng))
    classifier = b.conditionals.Categorical(b.nets.MLP((latent_dim, num_classes), rng), num_classes)
    return b.models.FairVAE(p_z, likelihood, classifier, num_classes), b.guides.Amortised(posterior, reads=columns)

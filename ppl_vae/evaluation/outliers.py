"""Outlier scores: images unlike the training data, by a fit's bounds on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Unpack, get_args

import numpy as np
import pandas as pd

from ..pairs.inputs import Input
from ..pairs.side_inputs import Side
from ..results.fit import Fit
from .likelihood.importance_sampling import elbo, log_likelihood

Score = Literal["elbo", "log_p", "rate"]
SCORES: tuple[Score, ...] = get_args(Score)


def outlier_scores(
    fit: Fit, x: Input, score: Score = "elbo", *, num_particles: int = 100, seed: int = 0, **side: Unpack[Side]
) -> np.ndarray:
    """A score of each row of x (N, P), (N,), in nats: the larger, the less it looks like the training data.

    'elbo' is -ELBO(x); 'log_p' is -log p(x) by importance sampling; 'rate' is KL(q(z | x) || p(z)) alone, which does
    not know the pixels' own noise. A low likelihood is no proof: simple images, such as empty ones, may score below the
    training data. Do Deep Generative Models Know What They Don't Know?, Nalisnick, Matsukawa, Teh, Gorur and
    Lakshminarayanan, 2019.

    Raises:
        ValueError: an unknown score, no draws, or data that do not fit.

    >>> from ppl_vae import inference, recipes
    >>> pair = inference.Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
    >>> outlier_scores(Fit.untrained(pair, np.eye(6)), np.eye(6)).shape
    (6,)
    """
    if score not in SCORES:
        raise ValueError(f"'score' should be one of {', '.join(SCORES)}; got {score!r}.")
    if score == "log_p":
        return -log_likelihood(fit, x, num_particles, seed=seed, **side).values
    parts = elbo(fit, x, num_particles, seed=seed, **side)
    return -parts.values if score == "elbo" else parts.kl


def outlier_auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """The probability that an outlier scores above an inlier, ties half: the area under the ROC curve.

    1 tells them apart, 1/2 is chance, and below 1/2 the outliers look more likely.

    Args:
        inside: scores of data like those of the training, (N,).
        outside: scores of others, (M,).

    Raises:
        ValueError: scores that are not vectors of finite numbers.

    >>> outlier_auc(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.875
    """
    from sklearn.metrics import roc_auc_score

    for name, scores in (("inside", inside), ("outside", outside)):
        if np.ndim(scores) != 1 or not len(scores) or not np.isfinite(scores).all():
            raise ValueError(f"{name!r} should be finite scores of shape (N,), N >= 1; got shape {np.shape(scores)}.")
    labels = np.repeat([0, 1], [len(inside), len(outside)])
    return float(roc_auc_score(labels, np.concatenate([inside, outside])))


def outlier_table(
    fit: Fit,
    inside: Input,
    others: Mapping[str, Input],
    *,
    scores: tuple[Score, ...] = SCORES,
    num_particles: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """Tabulate how well each score tells sets of other images, (M, P), from images like those of the training, (N, P).

    Returns:
        A row for each set and score: ``images``, ``score``, ``mean`` of the score, nats; ``mean_inside``, that of the
        images it is compared with; ``auc``.

    Raises:
        ValueError: nothing to compare, or as ``outlier_scores`` does.
    """
    if not others:
        raise ValueError("'others' is empty: give at least one set of images, by name.")
    inside = fit.checked(inside)
    others = {name: fit.checked(images) for name, images in others.items()}
    rows = []
    for score in scores:
        own = outlier_scores(fit, inside, score, num_particles=num_particles, seed=seed)
        for name, images in others.items():
            theirs = outlier_scores(fit, images, score, num_particles=num_particles, seed=seed)
            rows.append((name, score, theirs.mean(), own.mean(), outlier_auc(own, theirs)))
    return pd.DataFrame(rows, columns=["images", "score", "mean", "mean_inside", "auc"])

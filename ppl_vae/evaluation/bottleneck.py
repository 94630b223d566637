"""The information bottleneck: its closed form for Gaussians, and what a trained one says of y given x."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import scipy.linalg

from ..errors import UnsuitableObjective
from ..pairs.chunks import sample_in_chunks
from ..pairs.inputs import CheckedData, Input
from ..pairs.side_inputs import Side, check_names, take_rows
from ..results.fit import Fit


@dataclass(frozen=True, eq=False)
class GaussianBottleneck:
    """The best codes t = A x + noise, noise ~ N(0, I), of x that is jointly Gaussian with y; informations in nats."""

    projection: np.ndarray
    """A, (K, P): a row for each direction that is worth its rate"""
    of_x: float
    """I(X; T)"""
    of_y: float
    """I(T; Y)"""
    critical: np.ndarray
    """weights of the rate at which directions come in, from the largest, (P,): squared canonical correlations"""


def gaussian_bottleneck(cov_x: Any, cov_xy: Any, cov_y: Any, beta: float) -> GaussianBottleneck:
    """Maximise I(T; Y) - ``beta`` I(X; T) over all codes T of x, for jointly Gaussian x (P,) and y (Y,).

    A direction of x has a place in the code where its squared correlation with y exceeds ``beta``; at 1 and above none
    has. Information Bottleneck for Gaussian Variables, Chechik, Globerson, Tishby and Weiss, 2005, whose beta is one
    over this one, so that it is that of ``TraceELBO(beta=)``.

    Args:
        cov_x: Cov[x], (P, P).
        cov_xy: Cov[x, y], (P, Y).
        cov_y: Cov[y], (Y, Y).
        beta: weight of the rate, above 0.

    Raises:
        ValueError: a weight that is not above 0, covariances of other shapes, or that are none, or y that x tells
            without error, of which there is no end.

    >>> found = gaussian_bottleneck([[1.0]], [[0.8]], [[1.0]], 0.2)
    >>> round(found.of_x, 3), round(found.of_y, 3), round(float(found.critical[0]), 2)
    (0.981, 0.399, 0.64)
    """
    x, xy, y = (np.asarray(a, float) for a in (cov_x, cov_xy, cov_y))
    sizes = x.shape[:1] + y.shape[:1]
    if not beta > 0:
        raise ValueError(f"'beta', the weight of the rate, should be above 0; got {beta!r}.")
    if xy.shape != sizes or x.shape != 2 * sizes[:1] or y.shape != 2 * sizes[1:]:
        raise ValueError(f"Covariances should be (P, P), (P, Y) and (Y, Y); got {x.shape}, {xy.shape} and {y.shape}.")
    for name, cov in (("x", x), ("y", y)):
        sds = np.sqrt(np.clip(np.diag(cov), 0, None))
        correlations = cov / np.outer(sds, sds) if np.isfinite(cov).all() and sds.all() else -np.eye(len(cov))
        if np.abs(correlations - correlations.T).max() > 1e-8 or np.linalg.eigvalsh(correlations).min() < 1e-12:
            raise ValueError(
                f"The covariance of {name} should be finite, symmetric and positive definite, and is not: take np.cov "
                "of more rows than columns, of which none is constant or a sum of others."
            )
    if not np.isfinite(xy).all():
        raise ValueError("Cov[x, y] should be finite: take rows without NaN.")
    told, v = scipy.linalg.eigh(xy @ np.linalg.solve(y, xy.T), x)  # v.T x v = 1, so that a code v x has variance 1
    if told.max() > 1 + 1e-8:
        raise ValueError(
            f"No x and y have these covariances, by which a squared correlation is {told.max():.3g}: take all three "
            "from the same rows, np.cov of x and y side by side."
        )
    if told.max() >= 1 - 1e-12:
        raise ValueError(
            "A direction of y is told by x without error, and its information has no end: give y noise of its own."
        )
    order = np.argsort(told)[::-1]
    told, v = np.clip(told[order], 0, None), v[:, order]
    kept = told > beta
    rho = told[kept]
    gain = (rho / beta - 1) / (1 - rho)  # the variance of the signal in a code whose noise has variance 1
    of_x = 0.5 * np.log1p(gain).sum()
    of_y = of_x - 0.5 * np.log(rho / beta).sum()
    return GaussianBottleneck(np.sqrt(gain)[:, None] * v[:, kept].T, float(of_x), float(of_y), told)


def predictive(fit: Fit, x: Input, num_particles: int = 100, *, seed: int = 0, **side: Unpack[Side]) -> np.ndarray:
    """Estimate log p(y | x) = log E[p(y | z)] over z ~ q(z | x), (N,), of a bottleneck, for the y that ``given`` says.

    Of classes, try each of them in turn: ``given=np.full((len(x), 1), c)``. The model observes y and no x, and the
    guide reads x and no y.

    Args:
        fit: of ``models.InformationBottleneck``.
        x: data (N, P).
        num_particles: draws of z for each; the logarithm of their mean is below log p(y | x) in expectation.
        seed: of the draws.
        side: ``given``, the y.

    Raises:
        UnsuitableObjective: a model that observes x, or a guide that reads y: what it says would be no prediction.

    >>> from ppl_vae import inference, recipes
    >>> pair = inference.Pair(*recipes.bottleneck(4, 3, np.random.default_rng(0), latent_dim=2, hidden=(5,)))
    >>> x, y = np.eye(4), np.zeros((4, 1))
    >>> fit = Fit.untrained(pair, x, given=y)
    >>> each = [predictive(fit, x, given=y + c) for c in range(3)]
    >>> bool(np.allclose(np.exp(each).sum(0), 1.0))
    True
    """
    check_names(side)
    observed = [math.prod(site.event_shape) for site in fit.sites.observed]
    whole = sum(observed) == fit.pair.dim != fit.pair.given_dim
    if not fit.pair.given_dim or whole or any(site.label for site in fit.sites.observed):
        raise UnsuitableObjective(
            "The predictive log p(y | x) is that of a model which observes y, 'given', and no x; this one observes "
            "x: use evaluation.log_likelihood, log p(x), or a models.InformationBottleneck."
        )
    data = fit.checked(x, **side)
    _check_blind(fit, data)
    log_lik = sample_in_chunks(fit.pair, data.x, num_particles, seed, side=data.arrays)[1].log_lik
    return np.logaddexp.reduce(log_lik, 0) - np.log(num_particles)


def _check_blind(fit: Fit, data: CheckedData[Any]) -> None:
    """Refuse a guide whose draws are others where y is another one."""
    rows, y = data.x[:2], data.arrays["given"][:2]
    other = y[::-1] if (y != y[:1]).any() else np.where(y == 0, 1, 0) if (y == np.round(y)).all() else y / 2
    sides = ({**take_rows(data.arrays, slice(2)), "given": np.ascontiguousarray(each, y.dtype)} for each in (y, other))
    draws, others = (sample_in_chunks(fit.pair, rows, 1, 0, side=each)[0] for each in sides)
    if not all(np.allclose(values, others[name]) for name, values in draws.items()):
        raise UnsuitableObjective(
            "The predictive log p(y | x) takes z from q(z | x), and this guide reads y, 'given', too, which would be "
            "told what it is to predict: train a guide that does not, such as guides.Amortised(posterior, reads=0)."
        )

"""f-divergences: closed forms in the log-ratio, their variational bounds, and estimates by quadrature and by samples.

D_f(p || q) = E_q f(u), u = p / q, for a convex f with f(1) = 0. All is written in the log-ratio c = log u, in which
nothing overflows that need not; the same text runs on NumPy, torch and JAX.

f-GAN: Training Generative Neural Samplers using Variational Divergence Minimization, Nowozin, Cseke and Tomioka, 2016;
Information, Divergence and Risk for Binary Experiments, Reid and Williamson, 2011.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays import ops
from ..arrays.ops import Array

Function = Callable[[Array], Array]

OWN_ODDS = ("class_weight", "priors", "class_prior")
"""Settings of scikit-learn's classifiers by which their odds are others than those of the rows."""


@dataclass(frozen=True)
class FDivergence:
    """An f-divergence as functions of the log-ratio c = log p(x) - log q(x).

    As the risk of a classifier with output c: the loss of a draw from p is ``-witness(c)``, of one from q
    ``conjugate(c)``; the smallest risk is -D_f(p || q), at the true log-ratio.

    Args:
        name: for tables.
        of_q: f(e^c), whose mean under q is the divergence.
        of_p: f(e^c) e^-c, whose mean under p is the same where q is 0 nowhere that p is not.
        witness: f'(e^c), the best function T of the variational bound E_p T - E_q f*(T).
        conjugate: f*(f'(e^c)), with the convex conjugate f*.
    """

    name: str
    of_q: Function = field(repr=False)
    of_p: Function = field(repr=False)
    witness: Function = field(repr=False)
    conjugate: Function = field(repr=False)


def from_generator(name: str, f: Function, derivative: Function) -> FDivergence:
    """Make an f-divergence from f and f' as functions of u = p / q; f* follows from f*(f'(u)) = u f'(u) - f(u).

    >>> import numpy as np
    >>> own = from_generator("Pearson", lambda u: (u - 1) ** 2, lambda u: 2 * (u - 1))
    >>> bool(np.isclose(own.conjugate(0.3), FAMILIES["pearson"].conjugate(0.3)))
    True
    """

    def conjugate(c: Array) -> Array:
        u = ops.exp(c)
        return u * derivative(u) - f(u)

    return FDivergence(
        name,
        lambda c: f(ops.exp(c)),
        lambda c: f(ops.exp(c)) * ops.exp(-c),
        lambda c: derivative(ops.exp(c)),
        conjugate,
    )


def _times_exp(factor: Function, c: Array) -> Array:
    """factor(c) e^c, which is 0 at c = -inf: e^c is 0 long before the factor, of order c, is infinite."""
    return factor(ops.clip_below(c, -1e4)) * ops.exp(c)


def _sign(c: Array) -> Array:
    return 1.0 * (c > 0) - 1.0 * (c < 0)


LOG_2 = math.log(2.0)
FAMILIES: dict[str, FDivergence] = {
    "kl": FDivergence("KL(p || q)", lambda c: _times_exp(lambda c: c, c), lambda c: c, lambda c: c + 1.0, ops.exp),
    "reverse kl": FDivergence(
        "KL(q || p)", lambda c: -c, lambda c: _times_exp(lambda c: c, -c), lambda c: -ops.exp(-c), lambda c: c - 1.0
    ),
    "jensen-shannon": FDivergence(
        "Jensen-Shannon",
        lambda c: (_times_exp(lambda c: LOG_2 - ops.softplus(-c), c) + LOG_2 - ops.softplus(c)) / 2,
        lambda c: (LOG_2 - ops.softplus(-c) + _times_exp(lambda c: LOG_2 - ops.softplus(-c), -c)) / 2,
        lambda c: (LOG_2 - ops.softplus(-c)) / 2,
        lambda c: (ops.softplus(c) - LOG_2) / 2,
    ),
    "total variation": FDivergence(
        "total variation",
        lambda c: abs(ops.expm1(c)) / 2,
        lambda c: abs(ops.expm1(-c)) / 2,
        lambda c: _sign(c) / 2,
        lambda c: _sign(c) / 2,
    ),
    "squared hellinger": FDivergence(
        "squared Hellinger",
        lambda c: ops.expm1(c / 2) ** 2 / 2,
        lambda c: ops.expm1(-c / 2) ** 2 / 2,
        lambda c: -ops.expm1(-c / 2) / 2,
        lambda c: ops.expm1(c / 2) / 2,
    ),
    "pearson": FDivergence(
        "Pearson",
        lambda c: ops.expm1(c) ** 2,
        lambda c: -ops.expm1(c) * ops.expm1(-c),
        lambda c: 2 * ops.expm1(c),
        lambda c: ops.expm1(2 * c),
    ),
}
"""Name -> divergence. Jensen-Shannon is (KL(p || m) + KL(q || m)) / 2, m = (p + q) / 2, at most log 2; total variation
and squared Hellinger, 1 - E_q sqrt(u), are at most 1; Pearson is E_q (u - 1)^2."""


def by_quadrature(divergence: FDivergence, log_p: Array, log_q: Array, cell: Array) -> Array:
    """D_f(p || q) from log-densities on a grid, (M,), with cells of that size; -inf where there is no mass.

    >>> import numpy as np
    >>> x = np.arange(-12, 12, 0.01)
    >>> float(round(by_quadrature(FAMILIES["kl"], -((x - 1) ** 2) / 2 - 0.9189385, -(x**2) / 2 - 0.9189385, 0.01), 6))
    0.5
    """
    nowhere = ops.maximum(log_p, log_q) == -math.inf
    c = ops.where(nowhere, ops.zeros_like(log_q), log_p) - ops.where(nowhere, ops.zeros_like(log_q), log_q)
    # Each part of the line by the measure under which its integrand is bounded.
    by_q, by_p = ops.clip(c, -math.inf, 0.0), ops.clip(c, 0.0, math.inf)
    weight = ops.exp(ops.where(c < 0, log_q, log_p))
    values = ops.where(c < 0, divergence.of_q(by_q), divergence.of_p(by_p))
    return (weight * ops.where(weight == 0, ops.zeros_like(weight), values) * cell).sum()


def by_samples(divergence: FDivergence, c_of_p: Array, c_of_q: Array) -> Array:
    """D_f(p || q) from log-ratios at draws from p and from q, (N,) and (M,): each draw where its integrand is bounded.

    E_q [f(u); u < 1] + E_p [f(u) / u; u >= 1], unbiased at the true log-ratio.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=200_000)
    >>> found = by_samples(FAMILIES["jensen-shannon"], x + 0.5, x - 0.5)  # log-ratios of N(1, 1) and N(0, 1)
    >>> float(found.round(2))
    0.11
    """
    below = ops.where(c_of_q < 0, divergence.of_q(ops.clip(c_of_q, -math.inf, 0.0)), ops.zeros_like(c_of_q))
    above = ops.where(c_of_p < 0, ops.zeros_like(c_of_p), divergence.of_p(ops.clip(c_of_p, 0.0, math.inf)))
    return below.mean() + above.mean()


def dual_bound(divergence: FDivergence, c_of_p: Array, c_of_q: Array) -> Array:
    """E_p T - E_q f*(T) at T = f'(e^c), from any c at draws from p and from q, (N,) and (M,): at most D_f in the mean.

    Equal to it where c is the log-ratio. Estimating Divergence Functionals and the Likelihood Ratio by Convex Risk
    Minimization, Nguyen, Wainwright and Jordan, 2010.

    >>> import numpy as np
    >>> float(dual_bound(FAMILIES["kl"], np.zeros(3), np.zeros(3)))
    0.0
    """
    return divergence.witness(c_of_p).mean() - divergence.conjugate(c_of_q).mean()


def learned_log_ratio(x: np.ndarray, y: np.ndarray, classifier: Any = None, seed: int = 0) -> Callable[[Any], Any]:
    """Learn c = log p - log q from samples of both, (N, D) and (M, D): a classifier's log-odds, less log(N / M).

    Judge it by draws that it has not seen: ``dual_bound(divergence, c(x_held), c(y_held))``. Learning in Implicit
    Generative Models, Mohamed and Lakshminarayanan, 2016.

    Args:
        x: a sample of p.
        y: a sample of q.
        classifier: a classifier of scikit-learn with ``predict_log_proba``, of which a copy is trained; by default a
            net of 64 tanh units on standardised columns.
        seed: of the default net.

    Returns:
        The function c, rows (N, D) -> (N,), infinite where the classifier is certain, as a forest may be.

    Raises:
        ValueError: samples of other dimensions, or of one row, or a classifier that weighs the classes, or
            has a prior of its own.

    >>> rng = np.random.default_rng(0)
    >>> c = learned_log_ratio(rng.normal(size=(500, 1)) + 1, rng.normal(size=(500, 1)))
    >>> bool(c(np.array([[2.0]]))[0] > c(np.array([[-1.0]]))[0])
    True
    """
    if np.ndim(x) != 2 or np.shape(x)[1:] != np.shape(y)[1:] or min(len(x), len(y)) < 2:
        raise ValueError(
            "A log-ratio is learned from two samples of at least 2 rows of the same dimension, (N, D) and (M, D); got "
            f"{np.shape(x)} and {np.shape(y)}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("A log-ratio is learned from finite samples; got NaN or infinite numbers: drop those rows.")
    if classifier is None:
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        options = {"alpha": 1e-2, "learning_rate_init": 1e-2, "max_iter": 5000, "random_state": seed}
        net = MLPClassifier((64,), activation="tanh", **options)
        classifier = make_pipeline(StandardScaler(), net)
    from sklearn.base import clone

    # A copy: what one object learns later, or has learnt from rows that it is judged by, is another function's.
    learner: Any = clone(classifier, safe=False)
    settings = learner.get_params() if hasattr(learner, "get_params") else {}
    own_odds = any(
        value is False if name.endswith("fit_prior") else name.endswith(OWN_ODDS) and value is not None
        for name, value in settings.items()
    )
    if own_odds:
        raise ValueError(
            "A classifier with class weights or a prior of its own has other odds than the rows it learns from: set "
            "class_weight=None, priors=None, class_prior=None and fit_prior=True, which are scikit-learn's defaults."
        )
    learner.fit(np.concatenate([x, y]), np.repeat([1, 0], [len(x), len(y)]))
    prior = math.log(len(x) / len(y))

    def log_ratio(rows: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            log_q, log_p = learner.predict_log_proba(rows).T
        return log_p - log_q - prior

    return log_ratio


def by_learned_ratio(
    divergence: FDivergence, x: np.ndarray, y: np.ndarray, *, classifier: Any = None, seed: int = 0
) -> float:
    """D_f(p || q) from samples of p and q alone, (N, D) and (M, D): the variational bound at a learned log-ratio.

    Each half of the rows, at random, is judged by what the other half has taught: the mean is at most D_f, by what the
    classifier misses, and falls below 0 where it learns the rows by heart: then give one that is regularised more. Its
    null is ``permutation_test(partial(by_learned_ratio, f), x, y)``.

    Args:
        divergence: which one.
        x: a sample of p.
        y: a sample of q.
        classifier: as in ``learned_log_ratio``.
        seed: of the halves and of the default classifier.

    Raises:
        ValueError: as ``learned_log_ratio`` does, samples of less than 4 rows, or a classifier so certain of rows that
            the bound is not finite.

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(2000, 1)) + 1, rng.normal(size=(2000, 1))
    >>> 0.4 < by_learned_ratio(FAMILIES["kl"], x, y) < 0.6  # it is 1/2
    True
    """
    if min(len(x), len(y)) < 4:
        raise ValueError(
            "A divergence by a learned ratio needs at least 4 rows of each sample, half of them to learn from; got "
            f"{len(x)} and {len(y)}."
        )
    rng = np.random.default_rng(seed)
    ways = [np.array_split(rng.permutation(len(a)), 2) for a in (x, y)]
    found = []
    for learn, judge in ((0, 1), (1, 0)):
        c = learned_log_ratio(x[ways[0][learn]], y[ways[1][learn]], classifier, seed)
        with np.errstate(all="ignore"):
            found.append(float(dual_bound(divergence, c(x[ways[0][judge]]), c(y[ways[1][judge]]))))
    if not np.isfinite(found).all():
        raise ValueError(
            f"{divergence.name}: the learned log-ratios are infinite, or so large that the bound is: the classifier is "
            "too certain; give one whose probabilities stay within, such as classifier="
            "sklearn.linear_model.LogisticRegression(C=0.1)."
        )
    return (found[0] + found[1]) / 2

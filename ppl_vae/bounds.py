"""Variational bounds as pure functions of log-densities; the same text runs on NumPy, torch and JAX.

``K`` particles, ``B`` data points: every bound maps ``Terms`` of shape (K, B) to (B,), in nats.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .ops import Array, logsumexp


class Terms(NamedTuple):
    """The log-densities of ``K`` draws from the guide for each of ``B`` data points, in nats, summed over sites.

    ``scale`` is the plate or handler scale that all sites share (1 unless a program subsamples): it multiplies a bound
    from outside and never enters a logsumexp.
    """

    log_lik: Array
    """log p(x | z), (K, B)"""
    log_prior: Array
    """log p(z), (K, B)"""
    log_guide: Array
    """log q(z | x), (K, B)"""
    scale: Any = 1.0

    @property
    def log_weights(self) -> Array:
        """Log w = log p(x, z) - log q(z | x), (K, B)."""
        return self.log_lik + self.log_prior - self.log_guide


def elbo(terms: Terms, *, beta: Any = 1.0) -> Array:
    """(1/K) sum_k [log p(x | z_k) + beta (log p(z_k) - log q(z_k | x))], (B,).

    A lower bound of log p(x) for beta = 1 (Auto-Encoding Variational Bayes, Kingma and Welling, 2014); for other values
    it is an objective (beta-VAE, Higgins et al., 2017).

    >>> import numpy as np
    >>> one = np.ones((3, 2))
    >>> elbo(Terms(-one, -2 * one, -4 * one)), elbo(Terms(-one, -2 * one, -4 * one), beta=0.5)
    (array([1., 1.]), array([0., 0.]))
    """
    return (terms.log_lik + beta * (terms.log_prior - terms.log_guide)).mean(0)


def iwae(terms: Terms) -> Array:
    """Log (1/K) sum_k w_k, (B,): a lower bound of log p(x) in expectation, and its estimate by importance sampling.

    Importance Weighted Autoencoders, Burda, Grosse and Salakhutdinov, 2016.

    >>> import numpy as np
    >>> w = np.log(np.array([[1.0], [3.0]]))
    >>> np.exp(iwae(Terms(w, 0 * w, 0 * w))).round(6)
    array([2.])
    """
    log_w = terms.log_weights
    return logsumexp(log_w, 0) - math.log(log_w.shape[0])

"""Variational bounds as pure functions of log-densities; the same text runs on NumPy, torch and JAX.

``K`` particles, ``B`` data points: every bound maps ``Terms`` of shape (K, B) to (B,), in nats.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .ops import Array, clip_below, logsumexp


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


def renyi(terms: Terms, *, alpha: float) -> Array:
    """1 / (1 - alpha) log (1/K) sum_k w_k^(1 - alpha), (B,), for alpha != 1.

    The IWAE at alpha = 0, the ELBO as alpha tends to 1. In expectation: for 0 <= alpha < 1 a lower bound of log p(x),
    non-decreasing in K; for alpha > 1 a lower bound, non-increasing in K; for alpha < 0 no bound.
    Renyi Divergence Variational Inference, Li and Turner, 2016.

    >>> import numpy as np
    >>> w = np.log(np.array([[1.0], [3.0]]))
    >>> bool(np.isclose(renyi(Terms(w, 0 * w, 0 * w), alpha=0.0), iwae(Terms(w, 0 * w, 0 * w)))[0])
    True
    """
    log_w = (1.0 - alpha) * terms.log_weights
    return (logsumexp(log_w, 0) - math.log(log_w.shape[0])) / (1.0 - alpha)


def miwae(terms: Terms, *, num_groups: int) -> Array:
    """The mean over ``num_groups`` of the IWAE bound of each group's particles, (B,); K = groups x particles.

    Tighter Variational Bounds are Not Necessarily Better, Rainforth et al., 2018.

    >>> import numpy as np
    >>> w = np.log(np.array([[1.0], [3.0]]))
    >>> bool(miwae(Terms(w, 0 * w, 0 * w), num_groups=2)[0] == elbo(Terms(w, 0 * w, 0 * w))[0])
    True
    """
    log_w = terms.log_weights.reshape(num_groups, -1, terms.log_lik.shape[1])
    return (logsumexp(log_w, 1) - math.log(log_w.shape[1])).mean(0)


def ciwae(terms: Terms, *, weight: float) -> Array:
    """weight ELBO + (1 - weight) IWAE on the same draws, (B,) (Rainforth et al., 2018).

    >>> import numpy as np
    >>> w = np.log(np.array([[1.0], [3.0]]))
    >>> float(ciwae(Terms(w, 0 * w, 0 * w), weight=0.0)[0]) == float(iwae(Terms(w, 0 * w, 0 * w))[0])
    True
    """
    return weight * elbo(terms) + (1.0 - weight) * iwae(terms)


def rate(terms: Terms) -> Array:
    """(1/K) sum_k [log q(z_k | x) - log p(z_k)], (B,): the sampled KL term."""
    return (terms.log_guide - terms.log_prior).mean(0)


def capacity(terms: Terms, *, target: Any, strength: float) -> Array:
    """log p(x | z) - strength |mean KL over the batch - target|, (B,).

    Understanding disentangling in beta-VAE, Burgess et al., 2018. Not a sum over data: the KL is a batch mean.

    >>> import numpy as np
    >>> one = np.ones((1, 2))
    >>> capacity(Terms(-one, -2 * one, 0 * one), target=2.0, strength=10.0)
    array([-1., -1.])
    """
    return terms.log_lik.mean(0) - strength * abs(rate(terms).mean() - target)


def free_bits(terms: Terms, *, floor: float, over_batch: bool) -> Array:
    """log p(x | z) - max(KL, floor), (B,), with the KL of each datum, or its mean over the batch.

    Improved Variational Inference with Inverse Autoregressive Flow, Kingma et al., 2016, with all latents as one group.

    >>> import numpy as np
    >>> terms = Terms(np.zeros((1, 2)), np.zeros((1, 2)), np.array([[0.0, 3.0]]))
    >>> free_bits(terms, floor=2.0, over_batch=False), free_bits(terms, floor=2.0, over_batch=True)
    (array([-2., -3.]), array([-2., -2.]))
    """
    kl = rate(terms)
    if over_batch:
        kl = kl.mean() + 0 * kl
    return terms.log_lik.mean(0) - clip_below(kl, floor)

"""Variational bounds as pure functions of log-densities; the same text runs on NumPy, torch and JAX.

``K`` particles, ``B`` data points: every bound maps ``Terms`` of shape (K, B) to (B,), in nats.
"""

from __future__ import annotations

import math
from typing import Any

from .arrays.discrete import where_possible
from .arrays.ops import Array, clip_below, exp, logsumexp, softmax, softplus, sort, stop_gradient, with_diagonal
from .arrays.quantisation import entropy_penalty
from .pairs.terms import Terms


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


def learned_kl(terms: Terms, log_ratio: Array, *, beta: Any = 1.0) -> Array:
    """(1/K) sum_k [log p(x | z_k) - beta c_k], (B,), where c (K, B) estimates log q(z_k | x) - log p(z_k).

    Adversarial Variational Bayes, Mescheder, Nowozin and Geiger, 2017. No bound: it is as good as c.

    >>> import numpy as np
    >>> one = np.ones((3, 2))
    >>> learned_kl(Terms(-one, 0 * one, 0 * one), 2 * one)
    array([-3., -3.])
    """
    return (terms.log_lik - beta * log_ratio).mean(0)


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


def quantile_of(log_w: Array, quantile: float) -> Array:
    """The quantile of each datum's log-weights (K, B), between neighbours where it is between two: (B,).

    >>> import numpy as np
    >>> quantile_of(np.array([[3.0], [1.0], [2.0]]), 0.75)
    array([2.5])
    """
    ordered, place = sort(log_w, 0), quantile * (log_w.shape[0] - 1)
    low = min(int(place), log_w.shape[0] - 2) if log_w.shape[0] > 1 else 0
    between = place - low
    return (1 - between) * ordered[low] + between * ordered[low + 1] if between else ordered[low]


def rejection(terms: Terms, threshold: Array) -> Array:
    """The ELBO of draws that a rejection step keeps, (B,): draw k with probability a_k = 1 / (1 + exp(T - log w_k)).

    sum_k v_k (log w_k - log a_k) + log (1/K) sum_k a_k with v_k = a_k / sum a, and a T for each datum, (B,), such as
    ``quantile_of`` its log w. By Jensen's inequality it is never above the IWAE of the same draws, whatever T, which it
    tends to where a_k is small and so proportional to w_k; it is the ELBO where all a_k are alike. As K grows it tends
    to the bound of Variational Rejection Sampling, Grover et al., 2018, whose normaliser the same draws estimate.

    >>> import numpy as np
    >>> w = np.log(np.array([[1.0], [3.0]]))
    >>> terms = Terms(w, 0 * w, 0 * w)
    >>> elbo(terms).round(3), rejection(terms, quantile_of(w, 0.5)).round(3), iwae(terms).round(3)
    (array([0.549]), array([0.66]), array([0.693]))
    """
    log_w = terms.log_weights
    log_a, gain = -softplus(threshold - log_w), threshold + softplus(log_w - threshold)  # gain = log w - log a
    return (softmax(log_a, 0) * gain).sum(0) + logsumexp(log_a, 0) - math.log(log_w.shape[0])


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


def scored(value: Array, surrogate: Array) -> Array:
    """Return the value, with the surrogate's gradient added to its own."""
    return value + surrogate - stop_gradient(surrogate)


def reinforce(terms: Terms, *, baseline: Array = 0.0, leave_one_out: bool = False) -> Array:
    """The ELBO, (B,), whose gradient scores the draws that carry none: (1/K) sum_k (f_k - b_k) d log q(z_k | x).

    f = log w; b_k is ``baseline``, a number or one for each datum (B,), or with ``leave_one_out`` the mean of the other
    draws' f (RLOO). Each datum's score sees its own f only. Neural Variational Inference and Learning in Belief
    Networks, Mnih and Gregor, 2014; Buy 4 REINFORCE Samples, Get a Baseline for Free!, Kool, van Hoof and Welling,
    2019.

    >>> import numpy as np
    >>> f = np.array([[1.0], [3.0]])
    >>> reinforce(Terms(f, 0 * f, 0 * f, log_score=0 * f), leave_one_out=True)
    array([2.])
    """
    f = terms.log_weights
    signal = stop_gradient(f)
    if leave_one_out:
        draws = f.shape[0]
        baseline = (signal.sum(0) - signal) / (draws - 1)
    return scored(f.mean(0), ((signal - stop_gradient(baseline)) * terms.log_score).mean(0))


def vimco(terms: Terms) -> Array:
    """The IWAE bound, (B,), with the score-function gradient of VIMCO: a baseline of its own for each draw.

    The signal of draw k is L - L_{-k}, where L_{-k} has w_k replaced by the geometric mean of the others. Unbiased for
    the gradient of the IWAE bound. Variational Inference for Monte Carlo Objectives, Mnih and Rezende, 2016.

    >>> import numpy as np
    >>> w = np.log(np.array([[1.0], [3.0]]))
    >>> float(vimco(Terms(w, 0 * w, 0 * w, log_score=0 * w))[0]) == float(iwae(Terms(w, 0 * w, 0 * w))[0])
    True
    """
    log_w = terms.log_weights
    fixed, draws = stop_gradient(log_w), log_w.shape[0]
    others = (fixed.sum(0) - fixed) / (draws - 1)
    replaced = logsumexp_without(fixed, others)
    signal = logsumexp(fixed, 0) - replaced
    return scored(iwae(terms), (signal * terms.log_score).sum(0))


def logsumexp_without(log_w: Array, instead: Array) -> Array:
    """log sum_j w_j with w_k replaced by exp(instead_k), for each k: (K, B), (K, B) -> (K, B).

    >>> import numpy as np
    >>> w = np.log(np.array([[1.0], [3.0]]))
    >>> np.exp(logsumexp_without(w, 0 * w)).round(6).tolist()
    [[4.0], [2.0]]
    """
    return logsumexp(with_diagonal(log_w, instead), 1)


def wake_wake(terms: Terms) -> Array:
    """The IWAE bound, (B,), with the two wake-phase gradients of reweighted wake-sleep.

    The model follows the IWAE's gradient; the guide follows sum_k w~_k d log q(z_k | x), with normalised weights w~,
    and so descends KL(p(z | x) || q(z | x)), with a bias of order 1/K. The draws carry no gradient. Reweighted
    Wake-Sleep, Bornschein and Bengio, 2015; Revisiting Reweighted Wake-Sleep, Le et al., 2020.

    >>> import numpy as np
    >>> w = np.log(np.array([[1.0], [3.0]]))
    >>> float(wake_wake(Terms(w, 0 * w, 0 * w))[0]) == float(iwae(Terms(w, 0 * w, 0 * w))[0])
    True
    """
    fixed = terms._replace(log_guide=stop_gradient(terms.log_guide))
    weights = stop_gradient(softmax(fixed.log_weights, 0))
    return scored(iwae(fixed), (weights * terms.log_guide).sum(0))


def filter_wake(terms: Terms) -> Array:
    """log of a particle filter's estimate of p(x), (B,), whose draws carry no gradient: that of the model.

    The guide follows sum_t sum_k w~_tk d log q(z_tk | z_{t-1}, x_1:t), with the normalised weights of each step, and so
    descends the sum over t of KL(p(z_1:t | x_1:t) || q), with a bias of order 1/K. Neural Adaptive Sequential Monte
    Carlo, Gu, Ghahramani and Turner, 2015.

    >>> import numpy as np
    >>> w = np.log(np.array([[1.0], [3.0]]))
    >>> np.exp(filter_wake(Terms(w, 0 * w, 0 * w, log_score=0 * w))).round(6)
    array([2.])
    """
    return scored(iwae(terms), terms.log_score.sum(0))


def wake_sleep(terms: Terms) -> Array:
    """The IWAE bound, (B,), whose gradient is the wake phase's for the model and the sleep phase's for the guide.

    The guide ascends log q(z~ | x~) for latents and data drawn from the model, and so descends KL(p(z | x) || q(z | x))
    on average over the model's own data. The Wake-Sleep Algorithm for Unsupervised Neural Networks, Hinton et al.,
    1995; Reweighted Wake-Sleep, Bornschein and Bengio, 2015.

    >>> import numpy as np
    >>> w = np.log(np.array([[1.0], [3.0]]))
    >>> float(wake_sleep(Terms(w, 0 * w, 0 * w, log_sleep=0 * w[0]))[0]) == float(iwae(Terms(w, 0 * w, 0 * w))[0])
    True
    """
    fixed = terms._replace(log_guide=stop_gradient(terms.log_guide))
    return scored(iwae(fixed), terms.log_sleep)


def moved(terms: Terms) -> Array:
    """The ELBO, (B,), whose gradient takes the model to draws that chains moved, z'_k, and the guide to its own, z_k.

    The surrogate log p(x, z') - log p(x, z), which has no gradient to draws, takes the model's gradient at z away and
    gives it that at z'. Learning Deep Latent Gaussian Models with Markov Chain Monte Carlo, Hoffman, 2017.

    >>> import numpy as np
    >>> one = np.ones((3, 2))
    >>> moved(Terms(-one, -2 * one, -4 * one, gain=one))
    array([1., 1.])
    """
    return scored(elbo(terms), terms.gain.mean(0))


def enumerated(terms: Terms, *, num_particles: int = 1) -> Array:
    """sum_y q(y | x) [log p(x, y, z) - log q(y, z | x)] over all values of y, (B,): the ELBO, exact in y.

    The terms hold every value of y ``num_particles`` times, each with draws of z of its own, if there is any;
    ``log_score`` is log q(y | x), and None where there is nothing but y.

    >>> import numpy as np
    >>> q = np.log(np.array([[0.25], [0.75]]))
    >>> enumerated(Terms(0 * q + 2.0, q, q, log_score=q))
    array([2.])
    """
    log_q = terms.log_guide if terms.log_score is None else terms.log_score
    return (exp(log_q) * where_possible(log_q, terms.log_weights)).sum(0) / num_particles


def vq(terms: Terms, *, codebook: Any, commitment: Any, entropy: float = 0.0, temperature: float = 1.0) -> Array:
    """log p(x | z) + log p(z) at the nearest codes, (B,): the exact ELBO of a q(z | x) that is one value.

    In the gradient ``codebook`` |sg(e) - c|^2 + ``commitment`` |e - sg(c)|^2 is taken off, with the encoder's vectors e
    and their codes c (``Latents.encoded``, ``codes``), and ``entropy`` times ``quantisation.entropy_penalty`` of the
    batch. Neural Discrete Representation Learning, van den Oord, Vinyals and Kavukcuoglu, 2017.

    >>> import numpy as np
    >>> from .pairs.terms import Latents
    >>> one, latents = np.ones((1, 2)), Latents(z=None, encoded=np.zeros((1, 2, 3, 4)), codes=np.ones((1, 2, 3, 4)))
    >>> vq(Terms(-one, -2 * one, 0 * one, latents=latents), codebook=1.0, commitment=0.25)
    array([-3., -3.])
    """
    assert terms.latents is not None
    encoded, codes = terms.latents.encoded, terms.latents.codes
    losses = codebook * (stop_gradient(encoded) - codes) ** 2 + commitment * (encoded - stop_gradient(codes)) ** 2
    losses = losses.sum((-2, -1)).mean(0)
    if entropy:
        losses = losses + entropy * entropy_penalty(encoded, terms.latents.codebook, temperature)
    return scored(elbo(terms), -losses)


def prior_alone(terms: Terms) -> Array:
    """The ELBO (B,), whose gradient is that of log p(z) at draws that are as they are.

    >>> import numpy as np
    >>> one = np.ones((3, 2))
    >>> prior_alone(Terms(-one, -2 * one, -4 * one))
    array([1., 1.])
    """
    return (stop_gradient(terms.log_lik - terms.log_guide) + terms.log_prior).mean(0)

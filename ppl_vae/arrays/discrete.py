"""Bits and categories as functions of standard noise: hard draws, relaxed ones, and the noise behind a draw.

A draw is a function of logits l and uniform noise u: bits 1[l + logit(u) > 0], or the category with the largest
l_c - log(-log u_c), a one-hot row. A temperature t makes the step soft, sigmoid(. / t) or softmax(. / t), which has a
gradient. The same text runs on NumPy, torch and JAX.

The Concrete Distribution, Maddison, Mnih and Teh, 2017; Categorical Reparameterization with Gumbel-Softmax, Jang, Gu
and Poole, 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .. import kinds
from . import ops
from .ops import Array

EDGE = 1e-7
"""The distance of uniform noise from 0 and 1, where its logarithms are infinite."""
IMPOSSIBLE = -1e6
"""The smallest logit: its probability is exactly 0, and 0 times it is 0, where -inf is NaN."""


def open_interval(uniform: Array) -> Array:
    """Keep uniform noise away from 0 and 1.

    >>> import numpy as np
    >>> bool((open_interval(np.array([0.0, 1.0])) == np.array([EDGE, 1 - EDGE])).all())
    True
    """
    return ops.clip(uniform, EDGE, 1.0 - EDGE)


def logit(uniform: Array) -> Array:
    """log u - log(1 - u) of numbers inside (0, 1)."""
    return ops.log(uniform) - ops.log(1.0 - uniform)


@dataclass(frozen=True)
class Bits:
    """Independent bits of ``logits`` (..., D); draws have the same shape.

    >>> import numpy as np
    >>> bits = Bits(np.zeros((1, 2)))
    >>> bits.hard(bits.perturbed(np.array([[0.2, 0.9]])))
    array([[0., 1.]])
    """

    logits: Array

    def perturbed(self, uniform: Array) -> Array:
        """Logits and logistic noise, l + logit(u), (..., D)."""
        return self.logits + logit(open_interval(uniform))

    def hard(self, perturbed: Array) -> Array:
        """The bits 1[. > 0], (..., D); no gradient."""
        return ops.cast(perturbed > 0, perturbed)

    def soft(self, perturbed: Array, temperature: Any) -> Array:
        """sigmoid(. / t), (..., D)."""
        return ops.sigmoid(perturbed / temperature)

    def given(self, uniform: Array, hard: Array) -> Array:
        """Perturbed logits as they are where they give the draw ``hard``, (..., D), differentiable in the logits."""
        noise = logit(open_interval(uniform))
        above, below = ops.softplus(noise + ops.softplus(self.logits)), ops.softplus(noise + ops.softplus(-self.logits))
        return ops.where(hard > 0.5, above, -below)

    def log_prob(self, hard: Array) -> Array:
        """log q of each bit, (..., D)."""
        return hard * self.logits - ops.softplus(self.logits)

    def mean(self) -> Array:
        """The probabilities, (..., D)."""
        return ops.sigmoid(self.logits)


@dataclass(frozen=True)
class Categories:
    """Independent categorical variables of ``logits`` (..., D, C); a draw is a one-hot row each, (..., D, C).

    >>> import numpy as np
    >>> rows = Categories(np.zeros((1, 1, 3)))
    >>> rows.hard(rows.perturbed(np.array([[[0.2, 0.9, 0.5]]])))
    array([[[0., 1., 0.]]])
    """

    logits: Array

    @property
    def log_probabilities(self) -> Array:
        """log q of each category, (..., D, C)."""
        return self.logits - ops.logsumexp(self.logits, -1)[..., None]

    def perturbed(self, uniform: Array) -> Array:
        """Log-probabilities and Gumbel noise, log q_c - log(-log u_c), (..., D, C)."""
        return self.log_probabilities - ops.log(-ops.log(open_interval(uniform)))

    def hard(self, perturbed: Array) -> Array:
        """One-hot rows of the largest entries, (..., D, C); no gradient."""
        return ops.one_hot_of_largest(perturbed)

    def soft(self, perturbed: Array, temperature: Any) -> Array:
        """softmax(. / t), (..., D, C)."""
        return ops.softmax(perturbed / temperature, -1)

    def given(self, uniform: Array, hard: Array) -> Array:
        """Perturbed logits as they are where they give the draw ``hard``, (..., D, C), differentiable in the logits."""
        log_time = ops.log(-ops.log(open_interval(uniform)))  # exponential times: the first to come is the draw
        first = (hard * log_time).sum(-1)[..., None]
        later = log_time - self.log_probabilities
        later = first + ops.softplus(later - first)
        return -ops.where(hard > 0.5, first, later)

    def log_prob(self, hard: Array) -> Array:
        """log q of each variable's category, (..., D)."""
        return (hard * self.log_probabilities).sum(-1)

    def mean(self) -> Array:
        """The probabilities, (..., D, C)."""
        return ops.softmax(self.logits, -1)


def variables(logits: Array, dims: int) -> Bits | Categories:
    """Bits or categories, by the number of dimensions that a draw of the pair has: that of the logits, or one fewer.

    A category may be impossible, of logit -inf.

    >>> import numpy as np
    >>> type(variables(np.zeros((5, 3)), 2)).__name__, type(variables(np.zeros((5, 3, 4)), 2)).__name__
    ('Bits', 'Categories')
    """
    return Bits(logits) if logits.ndim == dims else Categories(ops.clip_below(logits, IMPOSSIBLE))


def where_possible(log_q: Array, values: Array) -> Array:
    """``values`` where q is above 0, and 0 without a gradient where it is 0: what adds q times them is a number.

    >>> import numpy as np
    >>> where_possible(np.array([0.0, -np.inf]), np.array([2.0, np.inf])).tolist()
    [2.0, 0.0]
    """
    return ops.where(ops.exp(log_q) == 0, 0.0, values)


def kl(log_q: Array, log_p: Array, axis: int) -> Array:
    """KL(q || p) by the log-probabilities of every value, along ``axis``; values may be impossible.

    >>> import numpy as np
    >>> half, no = np.log(0.5), -np.inf
    >>> with np.errstate(invalid="ignore"):
    ...     kl(np.array([[half, half, no]] * 2), np.array([[half, half, no], [half, no, half]]), -1).tolist()
    [0.0, inf]
    """
    return (ops.exp(log_q) * where_possible(log_q, log_q - log_p)).sum(axis)


def concrete_draw(logits: Array, uniform: Array, temperature: float) -> Array:
    """Draw from the Concrete distribution, as log-ratios u_c = log x_c - log x_C: (..., D, C) -> (..., D, C - 1).

    x = softmax((logits + Gumbel noise) / t). At any temperature u is finite, where x is 0 or 1 in its last digit.

    >>> import numpy as np
    >>> concrete_draw(np.zeros((1, 2)), np.array([[0.5, 0.5]]), 0.05)
    array([[0.]])
    """
    perturbed = (logits - ops.log(-ops.log(open_interval(uniform)))) / temperature
    return perturbed[..., :-1] - perturbed[..., -1:]


def concrete_log_density(ratios: Array, logits: Array, temperature: float) -> Array:
    """The log-density of log-ratios u of the Concrete distribution: (..., D, C - 1), (..., D, C) -> (..., D).

    log (C - 1)! + (C - 1) log t + sum_c s_c - C log sum_c exp s_c with s_c = logits_c - t u_c and u_C = 0. The Concrete
    Distribution, Maddison, Mnih and Teh, 2017, whose density of log x is the same number.

    >>> import numpy as np
    >>> concrete_log_density(np.zeros((1, 1)), np.zeros((1, 2)), 1.0).round(4)  # logistic: 1/4
    array([-1.3863])
    """
    categories = logits.shape[-1]
    scores = logits - temperature * ops.with_zero(ratios)
    constant = math.lgamma(categories) + (categories - 1) * math.log(temperature)
    return constant + scores.sum(-1) - categories * ops.logsumexp(scores, -1)


def simplex(ratios: Array) -> Array:
    """The point x of the simplex with log-ratios u_c = log x_c - log x_C: (..., C - 1) -> (..., C).

    >>> import numpy as np
    >>> simplex(np.zeros((1, 3)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    return ops.softmax(ops.with_zero(ratios), -1)


def check_relaxed(name: str, num_categories: int, temperature: float) -> None:
    """Refuse one category, or a temperature that is not above 0.

    Raises:
        ValueError: names the class and says what fits.
    """
    if not kinds.fits("positive", temperature):
        raise ValueError(f"{name}: 'temperature' should be {kinds.EXPECTED['positive']}; got {temperature!r}.")
    if not kinds.fits("count", num_categories) or num_categories < 2:
        raise ValueError(f"{name}: 'num_categories' should be an integer of at least 2; got {num_categories!r}.")

"""Sequences as flat rows, on torch, JAX and NumPy: steps, and which of them a mask leaves.

A path of T steps of D numbers is a row of T D numbers, step after step, as an image is a row of its pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import UnsuitableObjective
from . import ops
from .loops import repeated
from .ops import Array


def steps(rows: Array, length: int) -> Array:
    """Split rows (..., T D) into their T steps, (..., T, D).

    Raises:
        ValueError: a width that T does not divide.

    >>> import numpy as np
    >>> steps(np.arange(6), 3).tolist()
    [[0, 1], [2, 3], [4, 5]]
    """
    if rows.shape[-1] % length:
        raise ValueError(
            f"Rows of {length} steps should have a multiple of {length} numbers, all of a step side by side; got rows "
            f"of {rows.shape[-1]}: give the number of steps that the data have."
        )
    return rows.reshape(*rows.shape[:-1], length, rows.shape[-1] // length)


def num_steps(distribution: Any) -> int:
    """T of a distribution of paths, its ``steps``; 0 of others, such as a flow, whose ``steps`` are no number."""
    length = getattr(distribution, "steps", 0)
    return length if isinstance(length, int) else 0


def joined_steps(path: Array) -> Array:
    """Join the steps (..., T, D) of a path to a row, (..., T D)."""
    return path.reshape(*path.shape[:-2], path.shape[-2] * path.shape[-1])


def beside(z: Array, context: Array) -> Array:
    """Put h (..., H) beside z (..., D), whose leading dimensions it may lack: (..., D + H).

    >>> import numpy as np
    >>> beside(np.zeros((5, 3, 2)), np.ones((3, 4))).shape
    (5, 3, 6)
    """
    return ops.concatenate([z, ops.broadcast_to(context, (*z.shape[:-1], context.shape[-1]))], -1)


def lasts(mask: Array, length: int) -> Array:
    """Find the steps at which a sequence still lasts: something of that step or of a later one is seen.

    A gap inside a sequence lasts; what follows the last number that is seen does not.

    Args:
        mask: true where seen, (..., T P).
        length: T.

    >>> import numpy as np
    >>> lasts(np.array([1, 0, 0, 0, 0, 1, 0, 0]) > 0, 4).tolist()
    [True, True, True, False]
    """
    seen = 1 * steps(mask, length).any(-1)
    before = seen.cumsum(-1) - seen
    return before < seen.sum(-1)[..., None]


def check_direction(name: str, net: Any, *, backward: bool) -> None:
    """Refuse a recurrent net that reads the other way than a posterior of that name needs.

    Raises:
        ValueError: it does, and says so by its attribute ``backward``.
    """
    if getattr(net, "backward", backward) != backward:
        other = "Filtering" if backward else "Smoothing"
        raise ValueError(
            f"{name}: the net should read x {'backwards' if backward else 'forwards'}; got a {type(net).__name__} that "
            f"reads it the other way: make it with backward={backward}, or use conditionals.{other}."
        )


def continuation(p: Any, method: str = "continued") -> Callable[..., Any]:
    """Return a method of a distribution over sequences, by which a forecast goes on, or states are known.

    Raises:
        UnsuitableObjective: it has none.
    """
    found: Callable[..., Any] | None = getattr(p, method, None)
    if found is None:
        raise UnsuitableObjective(
            f"What follows a sequence, and its states, are known of priors.Markov under models.VAE and of "
            f"priors.HiddenMarkov under models.FullyVisible, by a method {method!r}; got a {type(p).__name__}: use one "
            "of these."
        )
    return found


def check_independent(emission: Any) -> None:
    """Refuse a distribution of a step from which single numbers cannot be left out.

    Raises:
        UnsuitableObjective: its numbers are not independent.
    """
    if getattr(emission, "reinterpreted_batch_ndims", 0) != 1:
        raise UnsuitableObjective(
            f"A mask needs an emission of independent numbers, from which hidden ones drop out; got "
            f"{type(emission).__name__}: use conditionals.DiagNormal or Bernoulli, or leave mask= out."
        )


def forward(initial: Array, transition: Array, emitted: Array) -> Array:
    """Compute log p(x_1:T), (...), of states that are summed out, by the forward algorithm.

    Args:
        initial: log p(s_1), (..., C).
        transition: log p(s_t | s_{t-1}), a row for each s_{t-1}, (C, C).
        emitted: log p(x_t | s_t), (..., T, C).

    >>> import numpy as np
    >>> half = np.log(np.full((2, 2), 0.5))
    >>> forward(half[0], half, np.log(np.full((3, 2), 0.1))).round(4)  # log 0.1^3
    np.float64(-6.9078)
    """

    def step(i: Any, before: Array) -> Array:
        return ops.logsumexp(before[..., :, None] + transition, -2) + emitted[..., i + 1, :]

    return ops.logsumexp(repeated(step, emitted.shape[-2] - 1, initial + emitted[..., 0, :]), -1)


def state_probabilities(initial: Array, transition: Array, emitted: Array) -> Array:
    """Compute p(s_t | x_1:T), (..., T, C): the gradient of log p(x_1:T) with respect to log p(x_t | s_t)."""
    return ops.gradient(lambda e: forward(initial, transition, e).sum(), emitted)


def moved_states(initial: Array, transition: Array, length: int) -> Array:
    """Compute p(s_t) of T steps, (..., T, C)."""
    log_p = [initial]
    for _ in range(1, length):
        log_p.append(ops.logsumexp(log_p[-1][..., :, None] + transition, -2))
    return ops.exp(ops.concatenate([p[..., None, :] for p in log_p], -2))


def at_ends(path: Array, on: Array | None) -> Array:
    """Return the last step of each path (..., T, D) that is ``on`` (..., T): (..., D); the very last one by default.

    >>> import numpy as np
    >>> at_ends(np.arange(6.0).reshape(3, 2), np.array([True, True, False]))
    array([2., 3.])
    """
    if on is None:
        return path[..., -1, :]
    before = 1 * on
    after = before.cumsum(-1) == before.sum(-1)[..., None]
    last = on & after
    return ops.where(last[..., None], path, 0 * ops.stop_gradient(path)).sum(-2)


def loc_and_scale(p: Any) -> tuple[Array, Array]:
    """Return means and standard deviations of independent normals.

    Raises:
        UnsuitableObjective: a distribution of another kind.
    """
    base: Any = getattr(p, "base_dist", None)
    if getattr(p, "reinterpreted_batch_ndims", 0) != 1 or not hasattr(base, "loc") or not hasattr(base, "scale"):
        raise UnsuitableObjective(
            f"The steps of models.Recurrent should be independent normals, given their states; got a "
            f"{type(p).__name__}: use conditionals.DiagNormal."
        )
    return base.loc, base.scale


def normal_form(z: Array, numbers: Array) -> Array:
    """Compute a function of z (..., D) in the form of a normal log-likelihood, a z - |L z|^2 / 2 + c: (...).

    Args:
        z: a state.
        numbers: a (D,), the rows of L - I / 10 (D, D), and c, side by side, (..., D + D^2 + 1).

    >>> import numpy as np
    >>> normal_form(np.array([2.0]), np.array([3.0, 0.9, 1.0]))
    np.float64(5.0)
    """
    dim = z.shape[-1]
    rows = numbers[..., dim:-1].reshape(*numbers.shape[:-1], dim, dim)
    turned = 0.1 * z + (rows * z[..., None, :]).sum(-1)
    return (numbers[..., :dim] * z).sum(-1) - 0.5 * (turned**2).sum(-1) + numbers[..., -1]


def told_apart(right: Array, wrong: Array, on: Array | None) -> Array:
    """Compute the log-probability with which a log-ratio tells pairs from strangers, (B,), the sum over steps.

    Args:
        right: log-ratios of a state and the data that follow it, (B, T - 1), of t = 1, ..., T - 1.
        wrong: the same of another sequence's state.
        on: whether the sequence lasts, (B, T); None for always.

    >>> import numpy as np
    >>> told_apart(np.zeros((1, 2)), np.zeros((1, 2)), None).round(3)  # 4 log 1/2
    array([-2.773])
    """
    each = -ops.softplus(-right) - ops.softplus(wrong)
    return (each if on is None else ops.where(on[..., 1:], each, ops.zeros_like(each))).sum(-1)

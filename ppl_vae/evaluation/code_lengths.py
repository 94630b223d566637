"""Code lengths of data given a neighbour: what an associative compression network is trained for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np

from .. import backends
from ..errors import UnsuitableObjective
from ..objectives.prior import GivenNeighbour
from ..pairs.chunks import sample_in_chunks
from ..pairs.inputs import Input
from ..pairs.side_inputs import Side, check_names
from ..results import Fit

ROWS = 1000
"""Data whose distances to all others are held at a time."""


@dataclass(frozen=True, eq=False)
class CodeLengths:
    """Nats that each of N data takes where its neighbour is known, estimated by K draws."""

    values: np.ndarray = field(repr=False)
    """E[log q(z | x) - log p(z | c) - log p(x | z)], (N,)"""
    neighbours: np.ndarray = field(repr=False)
    """the rows of the training data whose code is c, (N,)"""
    naming: float
    """log of how many data there are to choose from: what it takes to name one of them"""

    @property
    def mean(self) -> float:
        """The mean over data, without the naming."""
        return float(self.values.mean())

    @property
    def bound(self) -> float:
        """A lower bound of the mean log p(x), where the prior is the mean of p(z | c) over all training data."""
        return -self.mean - self.naming


def code_lengths(
    fit: Fit, x: Input, train: Input, num_particles: int = 10, *, seed: int = 0, **side: Unpack[Side]
) -> CodeLengths:
    """Nats of x (N, P) given the code of the nearest training datum, of a fit by ``objectives.ACN``.

    Codes are means of q(z | x). Where x are the training data, a datum is not its own neighbour; there the number is of
    no code, as of two data that are each other's neighbours one has to come first.

    Args:
        fit: of ``ACN``.
        x: data.
        train: the training data.
        num_particles: K, draws per datum.
        seed: of the draws.
        side: side inputs of x, and of the training data where those are x.

    Raises:
        UnsuitableObjective: a fit by another objective.
    """
    check_names(side)
    prior = prior_of(fit, "code_lengths")
    data, others = fit.checked(x, **side), fit.checked(train)
    codes, table = fit.encode(data), fit.encode(others)
    same = codes.shape == table.shape and np.array_equal(codes, table)
    neighbours = np.concatenate(
        [_nearest(codes[i : i + ROWS], table, i if same else None) for i in range(0, len(codes), ROWS)]
    )
    values, terms = sample_in_chunks(fit.pair, data.x, num_particles, seed, side=data.arrays)
    (z,) = values.values()
    log_prior = prior(z, table[neighbours])
    lengths = -(terms.log_lik + log_prior - terms.log_guide).mean(0)
    return CodeLengths(lengths, neighbours, math.log(len(table) - same))


def over_neighbours(fit: Fit, train: Input) -> Fit:
    """Make a fit of the same pair whose p(z) is the mean of p(z | c) over the codes c of the training data.

    Of it every number is one of log p(x), ``evaluate`` and ``generate`` too; its density holds a number for each
    training datum and draw. A fit that is saved keeps p(z | c), from which this one is made again.

    Args:
        fit: of ``ACN``.
        train: the training data.

    Raises:
        UnsuitableObjective: a fit by another objective.
    """
    prior = prior_of(fit, "over_neighbours")
    loc, log_scale = prior.moments(fit.encode(fit.checked(train)))
    priors: Any = backends.load(fit.backend).priors
    return fit.with_prior(priors.MixtureOfNormals(loc, np.exp(log_scale)))


def prior_of(fit: Fit, what: str) -> GivenNeighbour:
    """Find the prior of a code given another that a fit has.

    Raises:
        UnsuitableObjective: a fit by another objective.
    """
    if not isinstance(fit.critic, GivenNeighbour):
        raise UnsuitableObjective(
            f"{what} reads the prior of a code given another, which a fit by ACN has: train by objectives.ACN()."
        )
    return fit.critic


def _nearest(codes: np.ndarray, table: np.ndarray, first: int | None) -> np.ndarray:
    """The rows of a table nearest to codes (B, D), which are its own from row ``first`` on, if any."""
    distance = (table**2).sum(-1) - 2 * codes @ table.T
    if first is not None:
        own = np.arange(len(codes))
        distance[own, first + own] = np.inf
    return distance.argmin(-1)

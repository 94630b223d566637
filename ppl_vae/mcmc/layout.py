"""The position of a chain: a datum's latents as flat vectors, without constraints where they are continuous.

The backends translate between these and the values of the sites; what moves them is in ``kernels``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from ..arrays.ops import Array
from ..errors import UnsuitableObjective


class Position(NamedTuple):
    """The latents of K chains for each of B data points."""

    u: Array
    """of the continuous sites side by side, each through the bijection of its support: real, (K, B, D)"""
    codes: Array
    """of the discrete sites side by side, the number of each entry's value: integers, (K, B, E)"""


@dataclass(frozen=True)
class Latent:
    """A latent site of a model, as a chain sees it."""

    name: str
    distribution: str
    event_shape: tuple[int, ...]
    width: int | None
    """The number of real numbers that describe a value; None where the site is discrete."""
    num_values: int | None
    """The number of values of each entry of a discrete site, where they are 0, 1, ..., num_values - 1."""
    is_categorical: bool = False
    """Whether programs take these values as integers, the names of categories, and not as floating numbers."""
    is_mixture: bool = False
    """Whether its distribution is a mixture whose components can be weighted anew, for each datum."""

    @property
    def size(self) -> int:
        """The number of its columns in the position."""
        return math.prod(self.event_shape) if self.width is None else self.width


@dataclass(frozen=True)
class Layout:
    """The latent sites of a model in its order, and where each stands in a position."""

    sites: tuple[Latent, ...]

    @property
    def continuous(self) -> tuple[Latent, ...]:
        """The sites in ``Position.u``."""
        return tuple(site for site in self.sites if site.width is not None)

    @property
    def discrete(self) -> tuple[Latent, ...]:
        """The sites in ``Position.codes``."""
        return tuple(site for site in self.sites if site.width is None)

    @property
    def width(self) -> int:
        """D, how many real numbers a position has."""
        return sum(site.size for site in self.continuous)

    @property
    def num_values(self) -> tuple[int, ...]:
        """The number of values that each of the E discrete entries can take."""
        return tuple(site.num_values or 0 for site in self.discrete for _ in range(site.size))

    def columns(self, position: Position) -> dict[str, Array]:
        """The columns of each site, (K, B, size)."""
        found = {}
        for sites, flat in ((self.continuous, position.u), (self.discrete, position.codes)):
            start = 0
            for site in sites:
                found[site.name] = flat[..., start : start + site.size]
                start += site.size
        return found

    def check_continuous(self, what: str) -> None:
        """Refuse discrete sites, on which no gradient can move.

        Raises:
            UnsuitableObjective: names the site.
        """
        for site in self.discrete:
            raise UnsuitableObjective(
                f"{what} moves along gradients, and the site {site.name!r} ({site.distribution}) is discrete: use "
                "evaluation.ais, whose chains change discrete sites by Gibbs sampling, or, exactly, "
                "evaluation.exact_log_likelihood."
            )

    def check_finite(self, what: str) -> None:
        """Refuse discrete sites whose values cannot be gone through.

        Raises:
            UnsuitableObjective: names the site.
        """
        for site in self.discrete:
            if site.num_values is None:
                raise UnsuitableObjective(
                    f"{what} changes discrete sites by Gibbs sampling, which needs finitely many values; the site "
                    f"{site.name!r} ({site.distribution}) has no such list: use Bernoulli or Categorical."
                )

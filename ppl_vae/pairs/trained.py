"""The interface of a trained pair, whatever trained it."""

from __future__ import annotations

from typing import Protocol, Unpack

from .inputs import CheckedData, Input, X
from .pair import Pair
from .side_inputs import Side


class Trained(Protocol):
    """A trained pair with the record of its training, as ``results.Fit`` is one."""

    @property
    def pair(self) -> Pair:
        """The pair, with the parameters that were trained."""

    @property
    def backend(self) -> str:
        """``pyro`` or ``numpyro``."""

    def checked(
        self, x: X | CheckedData[X], *, located: bool = True, likely: bool = True, **side: Unpack[Side]
    ) -> CheckedData[X]:
        """Check data (N, P) with their side inputs."""

    def refine(self, x: Input, *, seed: int = 0, **side: Unpack[Side]) -> Trained:
        """Local inference: the best q(z) of the guide's family for each row of x (N, P)."""

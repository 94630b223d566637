"""The interface of a trained pair, whatever trained it."""

from __future__ import annotations

from typing import Any, Protocol, Unpack

import numpy as np

from .inputs import CheckedData, Input, X
from .pair import Pair
from .side_inputs import Side, take_rows
from .trials import DRAWS, ROWS, require_draws


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


def checked_for_chains(fit: Trained, x: X | CheckedData[X], **options: Any) -> CheckedData[X]:
    """Check data and a pair for chains, which run side by side as several draws of each datum do.

    Args:
        fit: what an inference returned.
        x: data (N, P), or checked data.
        options: as of ``fit.checked``.

    Raises:
        ValueError: as ``fit.checked``; or a pair that does not take several draws at once.
    """
    data, first = fit.checked(x, **options), slice(ROWS)
    require_draws(fit.pair, np.asarray(data.x[first]), DRAWS, 0, take_rows(data.arrays, first))
    return data

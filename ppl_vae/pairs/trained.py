"""What a trained pair can be asked, whatever trained it."""

from __future__ import annotations

from typing import Protocol, Unpack

import numpy as np

from ..data.streams import Data
from .inputs import X
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
        self, x: X, *, located: bool = True, likely: bool = True, **side: Unpack[Side]
    ) -> tuple[X, dict[str, np.ndarray]]:
        """The data as the pair takes them, (N, P), and the arrays beside them."""

    def refine(self, x: Data, *, seed: int = 0, **side: Unpack[Side]) -> Trained:
        """Local inference: the best q(z) of the guide's family for each row of x (N, P)."""

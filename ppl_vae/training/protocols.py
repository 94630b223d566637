"""What a training on either backend can be asked, and what a callback is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from ..pairs.pair import Pair
from ..results.fit import Fit

Callback = Callable[[int, Mapping[str, float], Fit], None]


class Run(Protocol):
    """A training in progress on one backend: the only thing that the loop below knows of it."""

    @property
    def pair(self) -> Pair:
        """The pair in training."""

    @property
    def optimiser(self) -> str:
        """What the optimiser is and holds, for comparison with a checkpoint's."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the players, means over the last epoch."""

    @property
    def critic(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """The critic as a function of codes, (..., D) -> (...), where there is one."""

    def compilation_seconds(self) -> float:
        """What went into compiling programs, or recording them, since some fixed moment."""

    def weights_are_finite(self) -> bool:
        """Whether no weight is NaN or infinite."""

    def epoch(self, epoch: int, order: np.ndarray) -> np.ndarray:
        """One pass over the data in that order; the loss per datum of each step, in nats."""

    def state(self) -> dict[str, np.ndarray]:
        """Weights and optimiser state, by name."""

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what ``state`` gave."""


class Replicas(Protocol):
    """Several trainings of equal structure as one program."""

    def load(self) -> None:
        """Read the state of each training, which may have been put back from a checkpoint."""

    def epoch(self, epochs: Sequence[int], orders: Sequence[np.ndarray], active: Sequence[bool]) -> list[np.ndarray]:
        """One pass over the data for each; the losses of each. Those that are not active stay as they are."""

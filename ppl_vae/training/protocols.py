"""Interfaces of trainings on either backend, and of callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from ..pairs.pair import Pair
from ..results.fit import Fit

Callback = Callable[[int, Mapping[str, float], Fit], None]


class Run(Protocol):
    """A training in progress on one backend, as ``loop.Loop`` sees it."""

    @property
    def pair(self) -> Pair:
        """The pair in training."""

    @property
    def optimiser(self) -> str:
        """Description of the optimiser and its settings, for comparison with a checkpoint's."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the players, means over the last epoch."""

    @property
    def critic(self) -> Callable[..., np.ndarray] | None:
        """The critic's logits as a function of codes, (..., D) -> (...), or of x and codes; None without a critic."""

    def compilation_seconds(self) -> float:
        """Seconds of compiling or recording programs since some fixed moment."""

    def weights_are_finite(self) -> bool:
        """Whether no weight is NaN or infinite."""

    def epoch(self, epoch: int, order: np.ndarray) -> np.ndarray:
        """Pass over the data once in that order; return the loss per datum of each step, in nats."""

    def acceptance(self, x: np.ndarray, side: Mapping[str, np.ndarray], seed: int) -> float:
        """Return the mean probability that the transitions of the objective's chains are accepted on data x (B, P)."""

    def losses(self, x: np.ndarray, side: Mapping[str, np.ndarray], seeds: Sequence[int], precision: str) -> np.ndarray:
        """Compute the loss per datum of a batch at the end of all schedules, without a step, by the draws of each seed.

        Products have that precision; the losses are (S,).
        """

    def averaged(self) -> dict[str, np.ndarray]:
        """The pair's weights by name, averaged over the steps where the settings ask for that."""

    def take_weights(self) -> None:
        """Go on from the pair's weights as they are; the optimiser's state stays."""

    def state(self) -> dict[str, np.ndarray]:
        """Return weights and optimiser state as arrays by name."""

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned."""


class Replicas(Protocol):
    """Several trainings of equal structure as one program."""

    def load(self) -> None:
        """Read the state of each training, which may have been loaded from a checkpoint."""

    def epoch(self, epochs: Sequence[int], orders: Sequence[np.ndarray], active: Sequence[bool]) -> list[np.ndarray]:
        """Pass over the data once in each training; return the losses of each. Inactive trainings stay as they are."""

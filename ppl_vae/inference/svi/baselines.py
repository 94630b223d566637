"""A baseline in training, in Pyro: its numbers on the device, and an Adam of its own for what it learns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ...baselines import RunningAverage, State
from ...runtime.storage import below
from .trainable import Learned


class RunningBaseline:
    """The state of a baseline that follows a training.

    Args:
        settings: which baseline.
        dim: P, the width of the data.
        rng: of its net's first weights.
        device: where it lives.
    """

    def __init__(self, settings: RunningAverage, dim: int, rng: np.random.Generator, device: torch.device) -> None:
        self.settings = settings
        start, dtype = settings.start(dim, rng), torch.get_default_dtype()
        self.tracked = {name: torch.tensor(a, dtype=dtype, device=device) for name, a in start.tracked.items()}
        self.learned = Learned(start.learned, device, lr=getattr(settings, "learning_rate", 0.0))

    def predict(self, x: Tensor) -> Tensor:
        """The signal that x (B, P) are expected to have, (B,), without gradients."""
        with torch.no_grad():
            return self.settings.predict(State(self.tracked, self.learned.values), x)

    def learn(self, x: Tensor, signal: Tensor) -> None:
        """Take the signals (B,) that x (B, P) turned out to have."""
        self.learned.descend(self.settings.loss(State(self.tracked, self.learned.values), x, signal).mean())
        self.tracked = self.settings.track(self.tracked, signal)

    def state(self) -> dict[str, np.ndarray]:
        """Every number, by name."""
        return {f"tracked/{name}": value.cpu().numpy() for name, value in self.tracked.items()} | self.learned.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what ``state`` gave."""
        for name, value in below("tracked/", state).items():
            self.tracked[name] = torch.from_numpy(np.array(value)).to(self.tracked[name])
        self.learned.load_state(state)

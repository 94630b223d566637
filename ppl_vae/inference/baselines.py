"""A baseline in training, in Pyro: its numbers on the device, and an Adam of its own for what it learns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..baselines import Neural, RunningAverage, State
from ..storage import below
from .slots import load_slots, slots


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
        self.learned = {name: torch.tensor(a, dtype=dtype, device=device) for name, a in start.learned.items()}
        for value in self.learned.values():
            value.requires_grad_()
        weights = list(self.learned.values())
        self.optim: torch.optim.Optimizer | None = None
        if isinstance(settings, Neural):
            self.optim = torch.optim.Adam(weights, lr=settings.learning_rate, fused=True)

    def predict(self, x: Tensor) -> Tensor:
        """The signal that x (B, P) are expected to have, (B,), without gradients."""
        with torch.no_grad():
            return self.settings.predict(State(self.tracked, self.learned), x)

    def learn(self, x: Tensor, signal: Tensor) -> None:
        """Take the signals (B,) that x (B, P) turned out to have."""
        if self.optim is not None:
            loss = self.settings.loss(State(self.tracked, self.learned), x, signal).mean()
            grads = torch.autograd.grad(loss, list(self.learned.values()))
            for value, grad in zip(self.learned.values(), grads, strict=True):
                value.grad = grad
            self.optim.step()
        self.tracked = self.settings.track(self.tracked, signal)

    def state(self) -> dict[str, np.ndarray]:
        """Every number, by name."""
        values = {f"tracked/{name}": value.cpu().numpy() for name, value in self.tracked.items()}
        values |= {f"learned/{name}": value.detach().cpu().numpy().copy() for name, value in self.learned.items()}
        if self.optim is not None:
            values |= {f"optim/{name}": value for name, value in slots(self.optim, list(self.learned)).items()}
        return values

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what ``state`` gave."""
        for name, value in below("tracked/", state).items():
            self.tracked[name] = torch.from_numpy(np.array(value)).to(self.tracked[name])
        with torch.no_grad():
            for name, value in below("learned/", state).items():
                self.learned[name].copy_(torch.from_numpy(np.array(value)))
        if self.optim is not None:
            load_slots(self.optim, list(self.learned), below("optim/", state))

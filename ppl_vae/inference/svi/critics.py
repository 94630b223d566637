"""A critic in training, in Pyro: its weights on the device with an Adam of their own, and the codes it looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...critics import Critic
from ..terms import run_guide, sites_of
from .trainable import Learned


class RunningCritic:
    """The state of a critic in a training.

    Args:
        settings: its net and optimiser.
        dim: D, the number of latents.
        rng: of its first weights.
        device: where it lives.
    """

    def __init__(self, settings: Critic, dim: int, rng: np.random.Generator, device: torch.device) -> None:
        self.settings = settings
        self.learned = Learned(settings.start(dim, rng), device, lr=settings.learning_rate, betas=settings.betas)
        self.outcomes: list[Tensor] = []

    def logits(self, z: Tensor) -> Tensor:
        """c(z), (..., D) -> (...), with a gradient to z alone."""
        return self.settings.logits(self.learned.fixed, z)

    def learn(self, codes: Tensor, others: Tensor) -> None:
        """A step of telling codes from others, (..., D) each."""
        dim = codes.shape[-1]
        loss, accuracy = self.settings.loss(
            self.learned.values, codes.detach().reshape(-1, dim), others.detach().reshape(-1, dim)
        )
        self.learned.descend(loss)
        self.outcomes.append(torch.stack([loss.detach(), accuracy]))

    def measured(self) -> np.ndarray:
        """The mean loss and accuracy since it was last asked, (2,)."""
        outcomes, self.outcomes = torch.stack(self.outcomes), []
        return outcomes.mean(0).cpu().numpy()

    def state(self) -> dict[str, np.ndarray]:
        """Every number, by name."""
        return self.learned.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what ``state`` gave."""
        self.learned.load_state(state)


def permuted_codes(
    guide: Any, x: Tensor, side: dict[str, Tensor], num_particles: int, max_plate_nesting: int = 1
) -> Tensor:
    """Codes of x, each dimension shuffled over the batch for itself, (K, B, D): draws from prod_d q(z_d)."""
    with torch.no_grad():
        q = run_guide(guide, (x,), side, num_particles, max_plate_nesting)
        z = next(iter(sites_of(q, observed=False).values()))["value"].reshape(num_particles, len(x), -1)
        return z.gather(1, torch.rand_like(z).argsort(1))


def trained(
    settings: Critic, samples: Sequence[np.ndarray], batches: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """A critic of two samples, (N, D) each, after steps on those of their rows, (S, B) each.

    Returns:
        its logits as a function of arrays, and its loss and accuracy at each step, (S, 2).
    """
    cpu, dtype = torch.device("cpu"), torch.get_default_dtype()
    running = RunningCritic(settings, samples[0].shape[1], rng, cpu)
    codes, others = (torch.as_tensor(a, dtype=dtype) for a in samples)
    for ours, theirs in zip(*(torch.from_numpy(rows) for rows in batches), strict=True):
        running.learn(codes[ours], others[theirs])
    told = torch.stack(running.outcomes).numpy()
    return lambda z: running.logits(torch.as_tensor(z, dtype=dtype)).numpy(), told

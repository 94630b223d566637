"""Players in training, in Pyro: their numbers on the device, and an Adam of their own for what they learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...critics import Critic
from ...pairs.terms import Latents, Terms
from ...players import Loss, Player, Sizes, State, Values, View
from ...runtime.storage import below
from ..terms import run_guide, sites_of
from .trainable import Learned


class RunningPlayer:
    """A player with its state in a training.

    Args:
        player: its settings and arithmetic.
        sizes: the widths of its inputs.
        rng: of its first weights.
        device: where it lives.
    """

    def __init__(self, player: Player, sizes: Sizes, rng: np.random.Generator, device: torch.device) -> None:
        self.player = player
        start, dtype = player.init(sizes, rng), torch.get_default_dtype()
        self.tracked: Values = {name: torch.tensor(a, dtype=dtype, device=device) for name, a in start.tracked.items()}
        self.learned = Learned(start.learned, device, lr=player.learning_rate, betas=player.betas)
        self.history: list[Tensor] = []
        """its metrics at each step since they were last asked for"""

    @property
    def fixed(self) -> State:
        """The present state, to which no gradient flows."""
        return State(self.tracked, self.learned.fixed)

    def output(self, view: View) -> Tensor:
        """What the bound reads of a batch."""
        return self.player.output(self.fixed, view)

    def step(self, view: View) -> None:
        """Take a step on a batch, free of gradients, and note the metrics."""
        state, metrics = self.player.step(State(self.tracked, self.learned.values), view, self._descend)
        self.tracked = state.tracked
        if self.player.metrics:
            self.history.append(torch.stack([torch.as_tensor(value).detach() for value in metrics]))

    def _descend(self, loss: Loss, values: Values) -> tuple[Values, tuple[Tensor, ...]]:
        value, others = loss(values)
        self.learned.descend(value)
        return self.learned.values, (value, *others)

    def metrics(self) -> dict[str, float]:
        """The mean of each metric since they were last asked for, by name."""
        if not self.player.metrics:
            return {}
        history, self.history = torch.stack(self.history), []
        return dict(zip(self.player.metrics, history.mean(0).tolist(), strict=True))

    def state(self) -> dict[str, np.ndarray]:
        """Every number, by name."""
        return {f"tracked/{name}": value.cpu().numpy() for name, value in self.tracked.items()} | self.learned.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what ``state`` gave."""
        for name, value in below("tracked/", state).items():
            self.tracked[name] = torch.from_numpy(np.array(value)).to(self.tracked[name])
        self.learned.load_state(state)


def view_of(x: Tensor, terms: Terms) -> View:
    """The view that an output reads: a gradient flows through the latents."""
    return View(x, terms.log_weights.detach().mean(0), terms.latents)


def detached(view: View, others: Tensor | None) -> View:
    """The view that a step reads, free of gradients, with the codes to tell the guide's from."""
    latents = view.latents and Latents(*(None if a is None else a.detach() for a in view.latents))
    return view._replace(latents=latents, others=None if others is None else others.detach())


def permuted_codes(
    guide: Any, x: Tensor, side: dict[str, Tensor], num_particles: int, max_plate_nesting: int = 1
) -> Tensor:
    """Codes of x, each dimension shuffled over the batch for itself, (K, B, D): draws from prod_d q(z_d)."""
    with torch.no_grad():
        q = run_guide(guide, (x,), side, num_particles, max_plate_nesting)
        z = next(iter(sites_of(q, observed=False).values()))["value"].reshape(num_particles, len(x), -1)
        return z.gather(1, torch.rand_like(z).argsort(1))


def train_on_samples(
    critic: Critic, samples: Sequence[np.ndarray], batches: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Train a critic of two samples, (N, D) each, by steps on those of their rows, (S, B) each.

    Returns:
        its logits as a function of arrays, and its loss and accuracy at each step, (S, 2).
    """
    cpu, dtype = torch.device("cpu"), torch.get_default_dtype()
    running = RunningPlayer(critic, Sizes(0, samples[0].shape[1]), rng, cpu)
    codes, others = (torch.as_tensor(a, dtype=dtype) for a in samples)
    nothing = torch.zeros((), dtype=dtype)
    for ours, theirs in zip(*(torch.from_numpy(rows) for rows in batches), strict=True):
        running.step(View(nothing, nothing, Latents(codes[ours]), others[theirs]))
    history = torch.stack(running.history).numpy()
    return lambda z: critic.logits(running.fixed.learned, torch.as_tensor(z, dtype=dtype)).numpy(), history

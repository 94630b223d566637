"""Players in training, in Pyro: their state on the device, and an Adam of their own for the weights that they learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...critics import Critic
from ...pairs.terms import Latents, Terms
from ...players import Loss, Noise, Player, Sizes, State, Values, View
from ...runtime.storage import below
from ..traces import run_guide, sites_of
from .record import Record
from .trainable import Learned


class RunningPlayer:
    """A player with its state in a training.

    Args:
        player: its settings and arithmetic.
        sizes: the widths of its inputs.
        rng: of its first weights.
        device: the device of its state.
    """

    def __init__(self, player: Player, sizes: Sizes, rng: np.random.Generator, device: torch.device) -> None:
        self.player = player
        start, dtype = player.init(sizes, rng), torch.get_default_dtype()
        self.tracked: Values = {name: torch.tensor(a, dtype=dtype, device=device) for name, a in start.tracked.items()}
        self.learned = Learned(start.learned, device, lr=player.learning_rate, betas=player.betas)
        self.history = Record()
        """its metrics at each step since ``metrics`` was last called"""

    @property
    def fixed(self) -> State:
        """The present state, detached: no gradient flows to it."""
        return State(self.tracked, self.learned.fixed)

    def output(self, view: View) -> Tensor:
        """Compute the player's output for a batch, which the bound takes."""
        return self.player.output(State(self.tracked, self.learned.fixed), view)

    def step(self, view: View) -> None:
        """Take a step on a detached batch, and record the metrics."""
        state, metrics = self.player.step(State(self.tracked, self.learned.values), view, self._descend)
        self.tracked = state.tracked
        self.learned.replace(state.learned)
        if self.player.metrics:
            if len(metrics) != len(self.player.metrics):
                raise ValueError(
                    f"{self.player.name}: 'metrics' names {self.player.metrics}, 'loss' returned {len(metrics)}."
                )
            self.history.append(torch.stack([torch.as_tensor(value).detach() for value in metrics]))

    def _descend(self, loss: Loss, values: Values) -> tuple[Values, tuple[Tensor, ...]]:
        value, others = loss(values)
        self.learned.descend(value)
        return self.learned.values, (value, *others)

    def set_codes(self, codebook: Any) -> None:
        """Put the codes that the player makes, if it moves them, in the place of the pair's."""
        if self.player.moves_codes:
            with torch.no_grad():
                codebook.vectors.copy_(self.player.codebook(self.fixed).reshape(codebook.vectors.shape))

    def metrics(self) -> dict[str, float]:
        """Return the mean of each metric since the last call, by name."""
        if not self.player.metrics:
            return {}
        history, self.history = self.history, Record()
        return dict(zip(self.player.metrics, history.rows().mean(0).tolist(), strict=True))

    def state(self) -> dict[str, np.ndarray]:
        """Return every number as arrays by name."""
        return {f"tracked/{name}": value.cpu().numpy() for name, value in self.tracked.items()} | self.learned.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned."""
        for name, value in below("tracked/", state).items():
            self.tracked[name] = torch.from_numpy(np.array(value)).to(self.tracked[name])
        self.learned.load_state(state)


def view_of(x: Tensor, terms: Terms, rows: Tensor | None = None, *, noisy: bool = False) -> View:
    """Make the view of a batch for ``output``: a gradient flows through the latents."""
    noise = Noise(torch.randn_like(torch.stack([x, x])), torch.rand_like(x[:, :1])) if noisy else None
    log_w = terms.log_weights.detach()
    return View(x, log_w.mean(0), terms.latents, noise=noise, rows=rows, log_weights=log_w)


def loss_of(
    objective: Any,
    terms: Terms,
    x: Tensor,
    rows: Tensor,
    players: Sequence[RunningPlayer],
    states: Sequence[State],
) -> tuple[Tensor, View]:
    """Compute the loss of a batch against players in these states, summed over data, and the view of it."""
    view = view_of(x, terms, rows, noisy=any(running.player.noisy for running in players))
    outputs = (running.player.output(state, view) for running, state in zip(players, states, strict=True))
    return -(terms.scale * objective.bound(terms, *outputs)).sum(), view


def detached(view: View, others: Tensor | None) -> View:
    """Make the view of a batch for a step: detached, with the codes from which the guide's are to be distinguished."""
    return view._replace(latents=_detached(view.latents), others=_detached(others))


def _detached(values: Any) -> Any:
    """Detach the tensors of a named tuple or a dictionary, and of those inside it."""
    if isinstance(values, dict):
        return {name: _detached(value) for name, value in values.items()}
    if isinstance(values, tuple):
        return type(values)(*map(_detached, values))
    return values.detach() if isinstance(values, Tensor) else values


def permuted_codes(
    guide: Any, x: Tensor, side: dict[str, Tensor], num_particles: int, max_plate_nesting: int = 1
) -> Tensor:
    """Draw codes of x, and shuffle each dimension over the batch independently, (K, B, D): draws from prod_d q(z_d)."""
    with torch.no_grad():
        q = run_guide(guide, (x,), side, num_particles, max_plate_nesting)
        z = next(iter(sites_of(q, observed=False).values()))["value"].reshape(num_particles, len(x), -1)
        return z.gather(1, torch.rand_like(z).argsort(1))


def train_on_samples(
    critic: Critic, samples: Sequence[np.ndarray], batches: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Train a critic to distinguish two samples, (N, D) each; step s takes the rows ``batches[i][s]`` (B,) of sample i.

    Returns:
        The critic's logits as a function of arrays, and its loss and accuracy at each step, (S, 2).
    """
    cpu, dtype = torch.device("cpu"), torch.get_default_dtype()
    running = RunningPlayer(critic, Sizes(0, samples[0].shape[1]), rng, cpu)
    codes, others = (torch.as_tensor(a, dtype=dtype) for a in samples)
    nothing = torch.zeros((), dtype=dtype)
    for ours, theirs in zip(*(torch.from_numpy(rows) for rows in batches), strict=True):
        running.step(View(nothing, nothing, Latents(codes[ours]), others[theirs]))
    history = running.history.rows().numpy()
    return lambda z: critic.logits(running.fixed.learned, torch.as_tensor(z, dtype=dtype)).numpy(), history

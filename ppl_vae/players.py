"""Players: nets and numbers that learn together with the pair, such as a baseline, a critic or a discriminator.

A player is written once for both backends, as settings and arithmetic on arrays. Its state and its optimiser belong to
the training: they are in the checkpoint, its metrics are in the history, and a resumed training goes on with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from .arrays.ops import Array
from .pairs.sites import Sites
from .pairs.terms import Latents

Values = dict[str, Array]
"""Arrays by name."""


class State(NamedTuple):
    """State of a player: numbers that follow the training, and weights that descend its loss."""

    tracked: Values
    learned: Values


class Sizes(NamedTuple):
    """Widths of a player's inputs: P of the data, D of the codes, logits of the latents, the codebook's shape, and N.

    D is 0 if the codes are no single vector. A bit has one logit, a categorical variable of C categories has C; latents
    of other kinds have none. Codes that are learned have a codebook (L, K, E). N are the training data.
    """

    data: int
    codes: int
    logits: int = 0
    codebook: tuple[int, ...] = ()
    rows: int = 0


def sizes_of(dim: int, sites: Sites | None, rows: int) -> Sizes:
    """Widths of the inputs that N = ``rows`` data of P = ``dim`` and the latents of these sites give to a player."""
    if sites is None:
        return Sizes(dim, 0, rows=rows)
    return Sizes(dim, sites.code_dim, sites.num_logits, sites.codebook, rows)


class Noise(NamedTuple):
    """Noise beside a batch, for a player that asks for it."""

    normal: Array
    """standard normal, (2, B, P)"""
    uniform: Array
    """in [0, 1), (B, 1)"""


class View(NamedTuple):
    """View of a batch by a player in one step; ``B`` data, ``K`` draws."""

    x: Array
    """the data, (B, P)"""
    signal: Array
    """the mean log-weight of each datum's draws, (B,), free of gradients"""
    latents: Latents | None = None
    """what the objective's request asked of the latents: ``latents.z`` are the codes, (K, B, D)"""
    others: Array | None = None
    """codes to tell the guide's from, (K, B, D); known to ``loss`` only"""
    noise: Noise | None = None
    """for a ``noisy`` player"""
    rows: Array | None = None
    """positions of the data in the training set, (B,)"""
    log_weights: Array | None = None
    """of each draw, (K, B), free of gradients"""


Loss = Callable[[Values], tuple[Array, tuple[Array, ...]]]
Descend = Callable[[Loss, Values], tuple[Values, tuple[Array, ...]]]
"""Step of the player's optimiser down a loss: returns the new weights, and the loss with its other metrics."""


class Player:
    """Player that is trained together with the pair.

    A subclass is a frozen dataclass of settings. It defines ``init``, ``output``, ``loss`` and, where numbers follow
    the training without a gradient, ``track``. An objective that has players names them in its ``players``, and its
    ``bound`` takes their outputs after the terms, in that order.

    ``name`` is the prefix of its names in a checkpoint. ``sees`` names its inputs: with ``codes`` or ``both`` the pair
    needs a single vector of latents. ``metrics`` are the names of its loss, and of the other numbers that ``loss``
    returns, in the history. With ``moves_codes`` its ``codebook`` replaces the pair's after each step.
    ``learning_rate`` and ``betas`` are those of its own Adam. A ``fresh`` one takes ``steps`` steps before each of the
    pair, on rows of the data and draws of the model that nothing else uses; the others one step after it, on its batch.
    A ``noisy`` one is given noise of its own.
    """

    name: ClassVar[str] = "player"
    sees: ClassVar[Literal["data", "codes", "both"]] = "data"
    metrics: ClassVar[tuple[str, ...]] = ()
    moves_codes: ClassVar[bool] = False
    steps: Any = 1
    learning_rate: Any = 0.0
    betas: Any = (0.9, 0.999)

    @property
    def fresh(self) -> bool:
        """Whether it takes ``steps`` steps before each of the pair, on rows and draws of its own."""
        return False

    @property
    def noisy(self) -> bool:
        """Whether it needs noise beside a batch."""
        return False

    def playing(self, objective: Any) -> Player:
        """Return the player with what it needs to know of the objective."""
        return self

    def check(self, num_data: int, batch_size: int) -> None:
        """Refuse batches, or an objective, that do not fit it.

        Raises:
            ValueError: says what fits.
        """

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return the state before the first batch."""
        raise NotImplementedError(f"{type(self).__name__} should define init(sizes, rng), its first state.")

    def output(self, state: State, view: View) -> Array:
        """Return the input of the bound; its gradient flows through ``view.latents`` to the pair, not to the state."""
        raise NotImplementedError(f"{type(self).__name__} should define output(state, view), for the bound.")

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return the scalar loss of the learned weights, and further metrics."""
        raise NotImplementedError(f"{type(self).__name__} should define loss(state, view), for its weights.")

    def track(self, tracked: Values, view: View) -> Values:
        """Update the tracked numbers by a batch."""
        return tracked

    def codebook(self, state: State) -> Array:
        """Return the codes (L, K, E) that take the place of the pair's after its step, where it moves codes."""
        raise NotImplementedError(f"{type(self).__name__} should define codebook(state), the codes that it moves.")

    def step(self, state: State, view: View, descend: Descend) -> tuple[State, tuple[Array, ...]]:
        """Take a step: return the new state, and the loss with its other metrics."""
        learned, metrics = descend(lambda values: self.loss(state._replace(learned=values), view), state.learned)
        return State(self.track(state.tracked, view), learned), metrics

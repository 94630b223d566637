"""A gradient step in NumPyro, and an epoch of them as one compiled scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import NamedSharding

from .... import schedules
from ....players import Player
from ....schedules import Schedule
from ....training.rowwise_adam import REPEATS
from ..objectives import TermsObjective
from ..pair import Structure, Tree
from ..parts import merge
from ..sites import NUMPYRO
from .local import Local, ascend, stepped, take
from .players import RunningPlayer, advance, permuted_codes, view_of, with_codes
from .products import products
from .streaming import Batches

StepResult = tuple[Array, Array | None]
"""The loss, and the players' metrics in one array, if there are players."""


OTHERS = 2**30 + 3
"""Number folded into a key for the codes of another batch; splitting a key never uses it."""
FRESH, NOISE = 2**30 + 5, 2**30 + 6
"""The same for the steps of fresh players, and for the noise of players that ask for some."""


@dataclass(frozen=True)
class Step:
    """The static part of a gradient step; equal steps share one compiled program."""

    structure: Structure
    objective: Any
    optim: optax.GradientTransformation
    factor: float | Schedule
    local: Local
    padded: bool
    """whether a shorter batch is filled up with rows of weight 0, at positions after the last datum"""
    rows: NamedSharding | None = None
    """how rows are shared out over devices, where there are several"""
    players: tuple[Player, ...] = ()
    average: float | None = None
    """the weight of the past in the mean of the weights, if there is one"""
    codebook: tuple[Any, ...] = ()
    """the path of the codes among the modules' parameters, where a player moves them"""
    precision: str = "full"
    """of products, see ``products``"""

    def products(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function whose products have the precision of the step."""
        return products(self.precision, function)

    def shared(self, tree: Tree) -> Tree:
        """Share the rows of a tree's arrays out over the devices."""
        return tree if self.rows is None else jax.lax.with_sharding_constraint(tree, self.rows)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the players' metrics, and of the norm of the pair's gradient where the objective tells it."""
        norm = ("gradient_norm",) if self.tells_gradient else ()
        return (*(name for player in self.players for name in player.metrics), *norm)

    @property
    def tells_gradient(self) -> bool:
        """Whether the history has the norm of the pair's gradient."""
        return bool(getattr(self.objective, "tells_gradient", False))

    @property
    def permutes(self) -> bool:
        """Whether the players read shuffled codes of another batch."""
        return getattr(self.objective, "against", None) == "permuted"

    @property
    def redraws(self) -> bool:
        """Whether the players read another batch of the data."""
        return self.permutes or any(player.fresh for player in self.players)


class Carry(NamedTuple):
    """The state that a step reads and writes."""

    trained: Tree
    optim: Any
    tables: Tree
    moments: Tree
    """Adam's moments of the tables' rows; none under an inner loop, whose moments end with it"""
    players: tuple[RunningPlayer, ...] = ()
    average: Tree = None
    """the mean of the weights, where it is asked for"""


class Constants(NamedTuple):
    """Constants of a training: what no step changes."""

    frozen: Tree
    """the parameters that are not trained"""
    fixed: Tree
    """the pair's constants"""
    weight: Array | None = None
    """weight of the objective, an input of the program, so that one program serves every strength"""


@partial(jax.jit, static_argnames="step")
def scan_steps(
    step: Step,
    carry: Carry,
    constants: Constants,
    data: Data,
    batches: Batches,
) -> tuple[Carry, StepResult]:
    """Scan gradient steps over batches; return the losses per datum, (S,)."""
    return jax.lax.scan(lambda carry, batch: gradient_step(step, carry, constants, data, *batch), carry, batches)


def gradient_step(
    step: Step,
    carry: Carry,
    constants: Constants,
    data: Data,
    index: Array,
    rows: Array,
    key: Array,
    epoch: Array,
) -> tuple[Carry, StepResult]:
    x, side, _ = data
    index, rows = step.shared((index, rows))
    beside = step.shared({"index": index, **{name: a[index] for name, a in side.items()}})
    batch = Batch(step.shared(x[rows]), beside, epoch, rows < len(x))
    factor, tables, moments = schedules.value(step.factor, epoch), carry.tables, carry.moments
    zero = jax.tree.map(jnp.zeros_like, take(tables, index))
    if step.local.steps:
        key, noise = jax.random.split(key)
        before = partial(_loss, step, constants, carry.trained, tables)
        bound = partial(_repeated_bound, step, constants, carry.trained, tables)
        climbs = partial(
            ascend,
            step.local,
            lambda rows, key: before(rows, batch, key, ())[0] * len(index),
            lambda rows, key: bound(rows, batch, key),
        )
        offsets = step.products(climbs)(zero, noise)
        tables = jax.tree.map(lambda t, o: t.at[index].add(o), tables, offsets)
    plays = partial(_fresh_steps, step, constants, carry, data, key, len(index))
    ahead = {p.name: step.products(partial(plays, i))() for i, p in _fresh(step)}
    carry = carry._replace(
        players=tuple(ahead[p.name][0] if p.fresh else s for p, s in zip(step.players, carry.players, strict=True))
    )
    both = jax.value_and_grad(partial(_loss, step, constants), argnums=(0, 2), has_aux=True)
    (value, view), (grads, row_grads) = step.products(both)(carry.trained, tables, zero, batch, key, carry.players)
    updates, optim = step.optim.update(grads, carry.optim, carry.trained)
    trained = jax.tree.map(lambda p, u: p + factor * u, carry.trained, updates)
    if moments is not None:
        # The loss is a mean over the batch; a row's own gradient does not fall with the batch.
        count = _weights(batch).sum() if step.padded else len(index)
        row_grads = jax.tree.map(lambda g: g * count, row_grads)
        tables, moments = stepped(tables, moments, row_grads, index, step.local.learning_rate * factor)
    players: list[RunningPlayer] = []
    metrics: list[Array] = []
    if step.permutes:
        view = view._replace(others=step.products(partial(_permuted, step, constants, carry, data, key, len(index)))())
    for player, state in zip(step.players, carry.players, strict=True):
        state, found = ahead[player.name] if player.fresh else step.products(partial(advance, player, state, view))()
        players.append(state)
        if player.metrics and len(found) != len(player.metrics):
            raise ValueError(f"{player.name}: 'metrics' names {player.metrics}, 'loss' returned {len(found)}.")
        metrics += found if player.metrics else ()
        if player.moves_codes:
            trained = with_codes(trained, step.codebook, player.codebook(state.known))
    if step.tells_gradient:
        metrics.append(jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(grads))))
    average, past = carry.average, step.average
    if past is not None:
        average = jax.tree.map(lambda m, w: past * m + (1 - past) * w, average, trained)
    carry = Carry(trained, optim, step.shared(tables), step.shared(moments), tuple(players), average)
    return carry, (value, jnp.stack(metrics) if metrics else None)


def _another(data: Data, key: Array, size: int) -> tuple[Array, dict[str, Array]]:
    """Draw another batch of the data in memory, with its side inputs."""
    x, side, places = data
    assert places is not None
    rows = jax.random.randint(key, (size,), 0, len(places))
    index = places[rows]
    return x[rows], {"index": index, **{name: a[index] for name, a in side.items()}}


def _fresh(step: Step) -> list[tuple[int, Player]]:
    """The players that step before the pair, with their places."""
    return [(place, player) for place, player in enumerate(step.players) if player.fresh]


def _fresh_steps(
    step: Step, constants: Constants, carry: Carry, data: Data, key: Array, size: int, place: int
) -> tuple[RunningPlayer, tuple[Array, ...]]:
    """Take a player's steps, each on rows of the data and draws of the model of its own; the metrics are means."""
    player = step.players[place]

    def one(state: RunningPlayer, key: Array) -> tuple[RunningPlayer, tuple[Array, ...]]:
        row_key, draw_key, noise_key = jax.random.split(key, 3)
        x, beside = _another(data, row_key, size)
        none = jax.tree.map(jnp.zeros_like, take(carry.tables, beside["index"]))
        model, guide = _programs(step, constants, carry.trained, carry.tables, none)
        terms = step.objective.log_terms(model, guide, x, key=draw_key, **beside)
        view = view_of(x, terms, beside["index"], noise_key if player.noisy else None)
        others = None if terms.latents is None else terms.latents.prior
        if step.permutes:
            others = _permuted(step, constants, carry, data, key, size)
        return advance(player, state, jax.lax.stop_gradient(view._replace(others=others)))

    keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, FRESH), place), player.steps)
    if player.steps == 1:
        return one(carry.players[place], keys[0])
    state, metrics = jax.lax.scan(one, carry.players[place], keys)
    return state, tuple(values.mean() for values in metrics)


def _permuted(step: Step, constants: Constants, carry: Carry, data: Data, key: Array, size: int) -> Array:
    """Draw shuffled codes of another batch of the data in memory."""
    row_key, code_key = jax.random.split(jax.random.fold_in(key, OTHERS))
    x, beside = _another(data, row_key, size)
    index = beside["index"]
    none = jax.tree.map(jnp.zeros_like, take(carry.tables, index))
    _, guide = _programs(step, constants, carry.trained, carry.tables, none)
    nesting = step.objective.max_plate_nesting
    return permuted_codes(guide, x, beside, step.objective.num_draws, code_key, nesting)


class Data(NamedTuple):
    """The data in memory (R, P), and the side inputs of all data (N, ...)."""

    x: Array
    side: dict[str, Array]
    places: Array | None
    """positions in the data set of the rows in memory, if a player needs another batch of them"""


class Batch(NamedTuple):
    """Data (B, P), their side inputs, among which are their positions, and the epochs elapsed."""

    x: Array
    side: dict[str, Array]
    epoch: Array
    real: Array
    """false for a row that only fills the batch, (B,)"""


def _programs(step: Step, constants: Constants, trained: Tree, tables: Tree, offsets: Tree) -> tuple[Any, Any]:
    params = {**merge(trained, constants.frozen), "tables": tables, "offsets": offsets}
    return step.structure.programs(params, constants.fixed)


def _objective(step: Step, constants: Constants, epoch: Array) -> Any:
    """Make the objective at that epoch, with its weight."""
    objective = step.objective.at(epoch)
    return objective if constants.weight is None else objective.with_weight(constants.weight)


def _loss(
    step: Step,
    constants: Constants,
    trained: Tree,
    tables: Tree,
    offsets: Tree,
    batch: Batch,
    key: Array,
    players: tuple[RunningPlayer, ...],
) -> tuple[Array, Any]:
    """Compute the loss per datum, and the detached view of the batch for the players' steps."""
    model, guide = _programs(step, constants, trained, tables, offsets)
    if not isinstance(step.objective, TermsObjective):
        with NUMPYRO:
            return step.objective.loss(key, {}, model, guide, batch.x, **batch.side) / len(batch.x), None
    objective = _objective(step, constants, batch.epoch)
    terms = objective.log_terms(model, guide, batch.x, key=key, **batch.side)
    view, outputs = None, []
    if players:
        noise = jax.random.fold_in(key, NOISE) if any(player.noisy for player in step.players) else None
        view = view_of(batch.x, terms, batch.side["index"], noise)
        outputs = [p.output(state.known, view) for p, state in zip(step.players, players, strict=True)]
    bounds = terms.scale * objective.bound(terms, *outputs)
    value = -jnp.average(bounds, weights=_weights(batch)) if step.padded else -bounds.mean()
    if view is not None and view.latents is not None:
        view = view._replace(others=view.latents.prior)
    return value, jax.lax.stop_gradient(view)


@partial(jax.jit, static_argnames="step")
def loss_of(
    step: Step,
    trained: Tree,
    tables: Tree,
    players: tuple[RunningPlayer, ...],
    constants: Constants,
    batch: Batch,
    key: Array,
) -> Array:
    """Compute the loss per datum of a batch, without a step."""
    zero = jax.tree.map(jnp.zeros_like, take(tables, batch.side["index"]))
    loss = step.products(lambda: _loss(step, constants, trained, tables, zero, batch, key, players)[0])
    value: Array = loss()
    return value


def _weights(batch: Batch) -> Array:
    """1 for a datum, 0 for a row that only fills the batch, (B,)."""
    return jnp.where(batch.real, 1.0, 0.0)


def _repeated_bound(
    step: Step, constants: Constants, trained: Tree, tables: Tree, offsets: Tree, batch: Batch, key: Array
) -> Array:
    """Average the bound over repeated draws, (B,)."""
    offsets = jax.tree.map(lambda o: jnp.tile(o, (REPEATS, 1)), offsets)
    model, guide = _programs(step, constants, trained, tables, offsets)
    x, side = jax.tree.map(lambda a: jnp.concatenate([a] * REPEATS), (batch.x, batch.side))
    objective = _objective(step, constants, batch.epoch)
    terms = objective.log_terms(model, guide, x, key=key, **side)
    return objective.bound(terms).reshape(REPEATS, -1).mean(0)

"""A training in progress, in NumPyro."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache, partial
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from .... import seeds
from ....data import Stream
from ....objectives.base import Objective, WeightedObjective
from ....pairs.codebooks import quantiser_of
from ....pairs.failures import told
from ....players import sizes_of
from ....runtime.storage import below
from ....training.checks import check_dreams, check_moved, prepare
from ....training.data import TrainingData
from ....training.svi import BaseSVI
from ..checks.trials import observed
from ..objectives import TermsObjective
from ..pair import Pair, Tree, filled, named
from ..parts import merge, split
from .compilation import compilation_seconds, keep_compiled
from .local import Local, fresh
from .players import init, path_of, restored, saved
from .step import Batch, Carry, Constants, Data, Step, loss_of, scan_steps
from .streaming import Batches, streamed


class NumPyroRun:
    """A training in progress: parameters and optimiser state as values, an epoch of gradient steps as one program."""

    def __init__(self, settings: BaseSVI, pair: Pair, data: TrainingData, seed: int) -> None:
        keep_compiled()
        self.settings, self.pair, self.seed, self.dynamic = settings, pair, seed, data.dynamic
        self.count = len(data.train)
        prepare(settings, pair, data, seed)
        check_dreams(settings, data, partial(observed, pair))
        trained, self.frozen = split(pair, settings)
        check_moved(settings, bool(jax.tree.leaves((trained, pair.params["tables"]))))
        optim = _optimiser(settings, trained)
        local = Local(settings.local_steps, settings.local_learning_rate, settings.local_tolerance)
        objective, self.weight = _apart(settings.loss, len(data.train))
        factor, padded = settings.learning_rate_factor, self._padded(data)
        self.step = Step(pair.structure, objective, optim, factor, local, padded, players=settings.players)
        self.step = replace(self.step, average=getattr(settings, "average", None), precision=settings.precision)
        if any(player.moves_codes for player in settings.players):
            self.step = replace(self.step, codebook=path_of(pair, quantiser_of(pair).codebook.vectors))
        self.metrics: dict[str, float] = {}
        self.train = data.train if isinstance(data.train, Stream) else pair.array(data.train)
        self.side = pair.arrays(data.side)
        tables, sizes = pair.params["tables"], sizes_of(pair.dim, pair.sites, self.count)
        moments = None if settings.local_steps else fresh(tables)
        players = tuple(init(player, sizes, seeds.generator(seed, player.name)) for player in self.step.players)
        average = None if self.step.average is None else trained
        carry = Carry(trained, optim.init(trained), tables, moments, players, average)
        self.carry = jax.device_put(carry, pair.device)

    @property
    def critic(self) -> Callable[..., np.ndarray] | None:
        """The critic's logits as a function of arrays, of codes (..., D), or x and codes, -> (...); else None.

        Or the prior that learned beside the pair.
        """
        for player, state in zip(self.step.players, self.carry.players, strict=True):
            alone = getattr(player, "alone", None)
            if alone is not None:
                return alone({name: np.asarray(weight) for name, weight in state.known.learned.items()})
            read = getattr(player, "read", None)
            if read is not None:
                return lambda *a: np.asarray(read(state.known, *map(self.pair.array, a)))
        return None

    def _padded(self, data: TrainingData) -> bool:
        """Whether the last batch of an epoch is shorter and may be filled with rows of weight 0.

        It may where the loss is a plain sum over data, with no scale, player or inner loop; otherwise a second program
        is compiled for it.
        """
        sites, loss = self.pair.sites, self.settings.loss
        shorter = (self.settings.epoch_size or len(data.train)) % self.settings.batch_size > 0
        separate = isinstance(loss, TermsObjective) and loss.per_datum and not loss.players
        unscaled = sites is not None and not sites.scaled
        return shorter and separate and not self.settings.local_steps and unscaled

    @property
    def optimiser(self) -> str:
        """Description of the optimiser: of a custom one the names in its state, as optax does not show settings."""
        if self.settings.optim is None:
            return f"adam({self.settings.learning_rate})"
        return ", ".join(sorted({name.rsplit("/", 1)[0] for name in named("optim", self.carry.optim)}))

    def compilation_seconds(self) -> float:
        """Seconds of compilation in this process so far."""
        return compilation_seconds()

    def weights_are_finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        return bool(_finite(self.pair.params))

    def epoch(self, epoch: int, order: np.ndarray) -> np.ndarray:
        """Pass over the data once in that order; return the loss per datum of each step, in nats."""
        losses, outcomes = [], []
        with closing(self._blocks(epoch, order)) as blocks:
            for x, batches in blocks:
                self.carry, (values, told) = scan_steps(
                    self.step, self.carry, self.constants, Data(x, self.side, self.places(batches)), batches
                )
                losses.append(np.asarray(values, np.float64))
                outcomes.append(told)
        self.settle()
        self.measure(outcomes)
        return np.concatenate(losses)

    def acceptance(self, x: np.ndarray, side: Mapping[str, np.ndarray], seed: int) -> float:
        """Return the mean probability that the transitions of the objective's chains are accepted on data x (B, P)."""
        pair, key = self.pair, jax.random.key(seed)
        data = pair.array(x), pair.arrays(side)
        return float(_acceptance(self.step.objective, pair.structure, pair.params, pair.constants, key, *data))

    def losses(self, x: np.ndarray, side: Mapping[str, np.ndarray], seeds: Sequence[int], precision: str) -> np.ndarray:
        """Compute the loss per datum of a batch at the end of all schedules, without a step, by the draws of each seed.

        Products have that precision; the losses are (S,).
        """
        pair, weight = self.pair, self.constants.weight
        trained, frozen = split(pair, self.settings)
        constants = Constants(frozen, pair.constants, weight)
        values = trained, pair.params["tables"], self.carry.players, constants
        epoch = jnp.asarray(self.settings.epochs, jnp.result_type(float))
        batch = Batch(pair.array(x), pair.arrays(side), epoch, jnp.ones(len(x), bool))
        placed = jax.device_put((*values, batch), pair.device)
        step = replace(self.step, rows=None, precision=precision)
        return np.array([float(loss_of(step, *placed, jax.random.key(seed))) for seed in seeds])

    def places(self, batches: Batches) -> Array | None:
        """Positions in the data set of the rows in memory, for a player that needs another batch of them."""
        if not self.step.redraws:
            return None
        return batches.positions.reshape(-1) if isinstance(self.train, Stream) else jnp.arange(self.count)

    def measure(self, outcomes: Sequence[Array | None]) -> None:
        """Record the players' metrics, means over an epoch, from those of its steps, (S, M) for each part."""
        if self.step.metrics:
            means = np.concatenate([np.asarray(metrics) for metrics in outcomes]).mean(0)
            self.metrics = dict(zip(self.step.metrics, means.tolist(), strict=True))

    def _blocks(self, epoch: int, order: np.ndarray) -> Generator[tuple[Array, Batches]]:
        """Yield the data in memory with their batches: all of the data, or one block of a stream after the other."""
        drawn, parts = self.plan(epoch, order)
        if isinstance(self.train, Stream):
            yield from streamed(self.train, parts, self.pair, drawn)
        else:
            x = self.train if drawn is None else binarised(drawn, self.train)
            yield from ((x, batches) for batches in parts)

    def plan(self, epoch: int, order: np.ndarray) -> tuple[Array | None, list[Batches]]:
        """Plan an epoch: the key that draws 'dynamic' images, if they are such, and the batches.

        Batches of full size come first; a shorter last one is separate, unless it is filled up.
        """
        size, key = self.settings.batch_size, jax.random.key(seeds.derive(self.seed, "train", epoch))
        if self.step.padded:
            order = np.concatenate([order, np.full(-len(order) % size, self.count)])
        whole = len(order) // size
        parts = [order[: whole * size].reshape(whole, size), order[whole * size :][None]]
        total = whole + bool(parts[1].size)
        drawn = jax.random.fold_in(key, total) if self.dynamic else None
        planned = []
        for first, part in ((0, parts[0]), (whole, parts[1])):
            if part.size:
                epochs = epoch + np.arange(first, first + len(part)) / total
                keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(first, first + len(part)))
                index = jnp.asarray(part)
                planned.append(Batches(index, index, keys, jnp.asarray(epochs)))
        return drawn, planned

    @property
    def constants(self) -> Constants:
        """Constants of a training: what no step changes."""
        weight = None if self.weight is None else jnp.asarray(self.weight, jnp.result_type(float))
        return Constants(self.frozen, self.pair.constants, weight)

    def settle(self) -> None:
        """Write the present parameters to the pair."""
        self.pair.params = {**merge(self.carry.trained, self.frozen), "tables": self.carry.tables}

    def averaged(self) -> dict[str, np.ndarray]:
        """Return the pair's weights by name, averaged over the steps where the settings ask for that."""
        average = self.carry.trained if self.carry.average is None else self.carry.average
        params = {**merge(average, self.frozen), "tables": self.carry.tables}
        return self.pair.state() | named("params", params)

    def take_weights(self) -> None:
        """Go on from the pair's weights as they are; the optimiser's state stays."""
        trained, self.frozen = split(self.pair, self.settings)
        self.carry = self.carry._replace(trained=trained, tables=self.pair.params["tables"])

    def state(self) -> dict[str, np.ndarray]:
        """Return weights, optimiser state and all else that the next step depends on, by name."""
        weights = {f"weights/{name}": value for name, value in self.pair.state().items()}
        return weights | {name: a for prefix, tree in self._rest().items() for name, a in named(prefix, tree).items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned."""
        self.pair.load_state(below("weights/", state))
        trained, self.frozen = split(self.pair, self.settings)
        rest = {p: filled(p, tree, state, self.pair.device) for p, tree in self._rest().items()}
        players = tuple(restored(rest[player.name]) for player in self.step.players)
        tables, average = self.pair.params["tables"], rest.get("average")
        self.carry = Carry(trained, rest["optim"], tables, rest["local"], players, average)

    def _rest(self) -> dict[str, Tree]:
        """All that the next step depends on except the weights, under a checkpoint's names."""
        carry = self.carry
        players = zip(self.step.players, carry.players, strict=True)
        rest = {"optim": carry.optim, "local": carry.moments}
        rest |= {} if carry.average is None else {"average": carry.average}
        return {**rest, **{player.name: saved(state) for player, state in players}}


def _apart(loss: Any, num_data: int) -> tuple[Any, float | None]:
    """Split an objective into one of neutral weight that knows the number of data, and its weight if a number."""
    objective = loss.of_data(num_data) if isinstance(loss, Objective) else loss
    if not isinstance(objective, WeightedObjective):
        return objective, None
    weight = getattr(objective, objective.weight_field)
    return (objective.with_weight(objective.neutral), float(weight)) if isinstance(weight, Real) else (objective, None)


@jax.jit
def _finite(params: Tree) -> Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


@jax.jit
def binarised(key: Array, x: Array) -> Array:
    return jax.random.bernoulli(key, x).astype(x.dtype)


def _optimiser(settings: BaseSVI, trained: Tree) -> optax.GradientTransformation:
    """The optimiser of a training, after a step of it on shapes alone.

    Raises:
        TypeError: it is no optax transformation of gradients and parameters alone.
    """
    optim = settings.optim
    if optim is None:
        return _adam(settings.learning_rate, settings.clip_norm)
    try:
        updates = jax.eval_shape(lambda p: optim.update(p, optim.init(p), p)[0], trained)
        structures: list[Any] = [jax.tree.structure(tree) for tree in (updates, trained)]
        fits = bool(structures[0] == structures[1])
        reason = "its updates are not of their shapes"
    except Exception as error:  # whatever an optimiser of one's own raises
        fits, reason = False, told(error)
    if not fits:
        kind = f"{type(optim).__module__}.{type(optim).__qualname__}"
        raise TypeError(
            "SVI: 'optim' should be an optax transformation, such as optax.adam(1e-3), that makes updates from "
            f"gradients and parameters alone; got a {kind} ({reason}). Use optax in place of numpyro.optim, and "
            "learning_rate_factor=schedules.Exponential(1.0, 0.01, over=50) in place of reduce_on_plateau."
        )
    return _clipped(optim, settings.clip_norm)


@lru_cache
def _adam(learning_rate: float, clip_norm: float | None) -> optax.GradientTransformation:
    return _clipped(optax.adam(learning_rate), clip_norm)


def _clipped(optim: optax.GradientTransformation, clip_norm: float | None) -> optax.GradientTransformation:
    return optim if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), optim)


@partial(jax.jit, static_argnums=(0, 1))
def _acceptance(
    objective: Any, structure: Any, params: Tree, constants: Tree, key: Array, x: Array, side: dict[str, Array]
) -> Array:
    model, guide = structure.programs(params, constants)
    return objective.log_terms(model, guide, x, key=key, **side).accepted.mean()

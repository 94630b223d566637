"""Stochastic variational inference in NumPyro: an epoch is one compiled scan, the data stay on the device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache, partial
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.infer.elbo
import optax
from jax import Array
from jax.sharding import NamedSharding

from ... import schedules, seeds
from ...baselines import RunningAverage
from ...critics import OUTCOMES, Critic
from ...data import Stream
from ...loop import TrainingData
from ...objective import Objective, WeightedObjective
from ...rows import REPEATS
from ...schedules import Schedule
from ...storage import below
from ...training import ADVERSARIAL, BaseSVI
from .baselines import RunningBaseline, learnt, started
from .compilation import compilation_seconds, keep_compiled
from .critic import RunningCritic, permuted_codes
from .critic import learnt as critic_learnt
from .critic import started as critic_started
from .local import Local, climbed, fresh, stepped, taken
from .objectives import FactorVAE, TermsObjective, TraceELBO
from .pair import Pair, Structure, Tree, filled, joined, named
from .streamed import Batches, streamed

Told = tuple[Array, Array | None]
"""The loss, and the critic's loss and accuracy, where there is one."""
OTHERS = 2**30 + 3
"""What sets the key of another batch's codes apart from those that a key is split into."""


@dataclass(frozen=True)
class SVI(BaseSVI):
    __doc__ = BaseSVI.__doc__

    objective_class = numpyro.infer.elbo.ELBO

    loss: Any = field(default_factory=TraceELBO)

    def optimiser_steps(self) -> list[float] | None:
        """Where three steps of a custom ``optim`` lead from (0.1, 0.2, 0.3): what it does, where it cannot say it."""
        if self.optim is None:
            return None
        p = jnp.array([0.1, 0.2, 0.3], jnp.float32)
        try:
            state = self.optim.init(p)
            for step in range(3):
                updates, state = self.optim.update(jnp.array([1.0, -0.5, 0.2 * step], p.dtype), state, p)
                p = p + updates
        except (TypeError, AttributeError, ValueError):
            return None
        return [round(float(value), 6) for value in p]

    def start(
        self, model: Any, guide: Any, data: TrainingData, *, seed: int, device: str | None, parallel: bool = False
    ) -> NumPyroRun:
        """A training of a copy of the pair, before its first step."""
        if parallel:
            from .mesh import MeshRun, devices_of  # these are runs, too

            devices = devices_of(device, self.batch_size)
            return MeshRun(self, Pair(model, guide, device), data, seed, devices)
        return NumPyroRun(self, Pair(model, guide, device), data, seed)

    def replicas(self, runs: Sequence[NumPyroRun]) -> Together | None:
        """The trainings as one program, if their pairs are of one structure."""
        alike = all(run.step == runs[0].step for run in runs)
        return Together(runs) if alike and not isinstance(runs[0].train, Stream) else None


@dataclass(frozen=True)
class Adversarial(SVI):
    __doc__ = ADVERSARIAL

    loss: Any = field(default_factory=FactorVAE)
    critic: Critic = field(default_factory=Critic)


@lru_cache
def _adam(learning_rate: float, clip_norm: float | None) -> optax.GradientTransformation:
    return _clipped(optax.adam(learning_rate), clip_norm)


def _clipped(optim: optax.GradientTransformation, clip_norm: float | None) -> optax.GradientTransformation:
    return optim if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), optim)


@dataclass(frozen=True)
class Step:
    """What is static of a gradient step; equal steps share one compiled program."""

    structure: Structure
    objective: Any
    optim: optax.GradientTransformation
    factor: float | Schedule
    local: Local
    padded: bool
    """whether a shorter batch is one of full size with rows of no weight, at positions after the last datum"""
    rows: NamedSharding | None = None
    """how rows are shared out over devices, where there are several"""
    critic: Critic | None = None

    def shared(self, tree: Tree) -> Tree:
        """The tree with the rows of its arrays shared out over the devices."""
        return tree if self.rows is None else jax.lax.with_sharding_constraint(tree, self.rows)

    @property
    def baseline(self) -> RunningAverage | None:
        """A baseline whose state the training carries."""
        return getattr(self.objective, "running_baseline", None)


class Carry(NamedTuple):
    """What a step reads and writes."""

    trained: Tree
    optim: Any
    tables: Tree
    moments: Tree
    """of the tables' rows; none under an inner loop, which forgets its own at its end"""
    baseline: RunningBaseline | None
    critic: RunningCritic | None = None


class Constants(NamedTuple):
    """What no step changes."""

    frozen: Tree
    """the parameters that are not trained"""
    fixed: Tree
    """the pair's constants"""
    weight: Array | None = None
    """of the objective: a number to the program, so that one serves every strength"""


class NumPyroRun:
    """A training in progress: parameters and optimiser state as values, an epoch of gradient steps as one program."""

    def __init__(self, settings: SVI, pair: Pair, data: TrainingData, seed: int) -> None:
        keep_compiled()
        self.settings, self.pair, self.seed, self.dynamic = settings, pair, seed, data.dynamic
        self.count = len(data.train)
        settings.prepare(pair, data, seed)
        if settings.optim is None:
            optim = _adam(settings.learning_rate, settings.clip_norm)
        elif hasattr(settings.optim, "init") and hasattr(settings.optim, "update"):
            optim = _clipped(settings.optim, settings.clip_norm)
        else:
            raise TypeError(
                f"SVI: 'optim' should be an optax transformation, such as optax.adam(1e-3); got {settings.optim!r}."
            )
        local = Local(settings.local_steps, settings.local_learning_rate, settings.local_tolerance)
        objective, self.weight = _apart(settings.loss, len(data.train))
        factor, padded = settings.learning_rate_factor, self._padded(data)
        critic = settings.critic_settings
        self.step = Step(pair.structure, objective, optim, factor, local, padded, critic=critic)
        self.measured: dict[str, float] = {}
        self.train = data.train if isinstance(data.train, Stream) else pair.array(data.train)
        self.side = pair.arrays(data.side)
        trained, self.frozen = pair.split(model=not settings.freeze_model)
        tables, baseline = pair.params["tables"], None
        if self.step.baseline is not None:
            baseline = started(self.step.baseline, pair.dim, seeds.generator(seed, "baseline"))
        moments = None if settings.local_steps else fresh(tables)
        judge = None
        if critic is not None and pair.sites is not None:
            (dim,) = pair.sites.latent[0].event_shape
            judge = critic_started(critic, dim, seeds.generator(seed, "critic"))
        carry = Carry(trained, optim.init(trained), tables, moments, baseline, judge)
        self.carry = jax.device_put(carry, pair.device)

    @property
    def critic_logits(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """The critic as a function of arrays, (..., D) -> (...)."""
        if self.step.critic is None or self.carry.critic is None:
            return None
        critic, net = self.step.critic, self.carry.critic.learned
        return lambda z: np.asarray(critic.logits(net, self.pair.array(z)))

    def _padded(self, data: TrainingData) -> bool:
        """Whether the last batch of an epoch is shorter, and rows of no weight may fill it.

        They may in a sum over data that nothing else is scaled by or learns from; others compile a second program.
        """
        sites, loss = self.pair.sites, self.settings.loss
        shorter = (self.settings.epoch_size or len(data.train)) % self.settings.batch_size > 0
        separate = isinstance(loss, TermsObjective) and loss.per_datum and loss.running_baseline is None
        return shorter and separate and not self.settings.local_steps and sites is not None and not sites.scaled

    @property
    def optimiser(self) -> str:
        """What the optimiser is and holds; optax keeps its numbers to itself, so only its state is told."""
        if self.settings.optim is None:
            return f"adam({self.settings.learning_rate})"
        return ", ".join(sorted({name.rsplit("/", 1)[0] for name in named("optim", self.carry.optim)}))

    def compilation_seconds(self) -> float:
        """Of this process so far."""
        return compilation_seconds()

    def weights_are_finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        return bool(_finite(self.pair.params))

    def epoch(self, epoch: int, order: np.ndarray) -> np.ndarray:
        """One pass over the data in that order; the loss per datum of each step, in nats."""
        losses, outcomes = [], []
        with closing(self._blocks(epoch, order)) as blocks:
            for x, batches in blocks:
                self.carry, (values, told) = _steps(
                    self.step, self.carry, self.constants, Data(x, self.side, self._places(batches)), batches
                )
                losses.append(np.asarray(values, np.float64))
                outcomes.append(told)
        self.settle()
        self.measure(outcomes)
        return np.concatenate(losses)

    def _places(self, batches: Batches) -> Array | None:
        """Where the rows in memory stand in the data set, for who draws another batch of them."""
        if self.step.critic is None:
            return None
        return batches.positions.reshape(-1) if isinstance(self.train, Stream) else jnp.arange(self.count)

    def measure(self, outcomes: Sequence[Array | None]) -> None:
        """Keep the means of what the steps of an epoch told of the critic, (S, 2) each."""
        if self.step.critic is not None:
            means = np.concatenate([np.asarray(told) for told in outcomes]).mean(0)
            self.measured = dict(zip(OUTCOMES, means.tolist(), strict=True))

    def _blocks(self, epoch: int, order: np.ndarray) -> Generator[tuple[Array, Batches]]:
        """What is in memory, and the batches of it: all of the data, or block after block of a stream."""
        drawn, parts = self.plan(epoch, order)
        if isinstance(self.train, Stream):
            yield from streamed(self.train, parts, self.pair, drawn)
        else:
            x = self.train if drawn is None else _binarised(drawn, self.train)
            yield from ((x, batches) for batches in parts)

    def plan(self, epoch: int, order: np.ndarray) -> tuple[Array | None, list[Batches]]:
        """The key by which the data are drawn, if they are to be, and the batches of an epoch.

        These are those of full size, and the shorter last one where that is apart.
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
        """What no step changes."""
        weight = None if self.weight is None else jnp.asarray(self.weight, jnp.result_type(float))
        return Constants(self.frozen, self.pair.constants, weight)

    def settle(self) -> None:
        """Give the pair the parameters of the present state."""
        self.pair.params = {**joined(self.carry.trained, self.frozen), "tables": self.carry.tables}

    def state(self) -> dict[str, np.ndarray]:
        """Weights, optimiser state and whatever else the next step depends on, by name."""
        weights = {f"weights/{name}": value for name, value in self.pair.state().items()}
        return weights | {name: a for prefix, tree in self._rest().items() for name, a in named(prefix, tree).items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what ``state`` gave."""
        self.pair.load_state(below("weights/", state))
        trained, self.frozen = self.pair.split(model=not self.settings.freeze_model)
        rest = {p: filled(p, tree, state, self.pair.device) for p, tree in self._rest().items()}
        self.carry = Carry(
            trained, rest["optim"], self.pair.params["tables"], rest["local"], rest["baseline"], rest["critic"]
        )

    def _rest(self) -> dict[str, Tree]:
        """What the next step depends on beside the weights, as a checkpoint names it."""
        carry = self.carry
        return {"optim": carry.optim, "local": carry.moments, "baseline": carry.baseline, "critic": carry.critic}


class Together:
    """Trainings of equal structure as one program: the data are shared, everything else has a row for each.

    On an accelerator the program is vmapped, which fills it; on a CPU it does one training after the other, because
    products of stacked matrices take several times as long there as one product after the other.
    """

    def __init__(self, runs: Sequence[NumPyroRun]) -> None:
        self.runs = runs
        self.vmapped = runs[0].pair.device.platform != "cpu"
        for run in runs[1:]:
            run.train, run.side = runs[0].train, runs[0].side
        self.load()

    def load(self) -> None:
        """Read the state of each training."""
        self.carry = _stacked([run.carry for run in self.runs])
        self.constants = _stacked([run.constants for run in self.runs])

    def epoch(self, epochs: Sequence[int], orders: Sequence[np.ndarray], active: Sequence[bool]) -> list[np.ndarray]:
        """One pass over the data for each; the losses of each. Those that are not active stay as they are."""
        first = self.runs[0]
        planned = [run.plan(epoch, order) for run, epoch, order in zip(self.runs, epochs, orders, strict=True)]
        x = jnp.stack([_binarised(drawn, first.train) for drawn, _ in planned]) if first.dynamic else first.train
        losses, outcomes = [], []
        for parts in zip(*(parts for _, parts in planned), strict=True):
            memory: Any = x
            data = Data(memory, first.side, first._places(parts[0]))
            self.carry, (values, told) = _many_steps(
                first.step, first.dynamic, self.vmapped, self.carry, self.constants, data, _stacked(parts)
            )
            losses.append(np.asarray(values, np.float64))
            outcomes.append(told)
        for number, (run, goes_on) in enumerate(zip(self.runs, active, strict=True)):
            if goes_on:
                run.carry = jax.tree.map(lambda leaf, number=number: leaf[number], self.carry)
                run.settle()
                run.measure([None if told is None else told[number] for told in outcomes])
        return list(np.concatenate(losses, 1))


def _apart(loss: Any, num_data: int) -> tuple[Any, float | None]:
    """The objective at its neutral weight, told the number of data, and the weight that it has, if that is a number."""
    objective = loss.of_data(num_data) if isinstance(loss, Objective) else loss
    if not isinstance(objective, WeightedObjective):
        return objective, None
    weight = getattr(objective, objective.weight_field)
    return (objective.with_weight(objective.neutral), float(weight)) if isinstance(weight, Real) else (objective, None)


def _stacked(trees: Sequence[Tree]) -> Tree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnames=("step", "dynamic", "vmapped"))
def _many_steps(
    step: Step,
    dynamic: bool,
    vmapped: bool,
    carry: Carry,
    constants: Constants,
    data: Data,
    batches: Batches,
) -> tuple[Carry, Told]:
    """``_steps`` for several trainings (R, ...); the losses, (R, S)."""

    def one(carry: Carry, constants: Constants, own: Array | None, batches: Batches) -> tuple[Carry, Told]:
        return _steps(step, carry, constants, data if own is None else data._replace(x=own), batches)

    replicas = (carry, constants, data.x if dynamic else None, batches)
    return jax.vmap(one)(*replicas) if vmapped else jax.lax.map(lambda replica: one(*replica), replicas)


@jax.jit
def _finite(params: Tree) -> Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


@jax.jit
def _binarised(key: Array, x: Array) -> Array:
    return jax.random.bernoulli(key, x).astype(x.dtype)


@partial(jax.jit, static_argnames="step")
def _steps(
    step: Step,
    carry: Carry,
    constants: Constants,
    data: Data,
    batches: Batches,
) -> tuple[Carry, Told]:
    """A scan of gradient steps over batches; the losses per datum, (S,)."""
    return jax.lax.scan(lambda carry, batch: _one(step, carry, constants, data, *batch), carry, batches)


def _one(
    step: Step,
    carry: Carry,
    constants: Constants,
    data: Data,
    index: Array,
    rows: Array,
    key: Array,
    epoch: Array,
) -> tuple[Carry, Told]:
    x, side, _ = data
    index, rows = step.shared((index, rows))
    beside = step.shared({"index": index, **{name: a[index] for name, a in side.items()}})
    batch = Batch(step.shared(x[rows]), beside, epoch, rows < len(x))
    factor, tables, moments, baseline = schedules.value(step.factor, epoch), carry.tables, carry.moments, carry.baseline
    zero = jax.tree.map(jnp.zeros_like, taken(tables, index))
    if step.local.steps:
        key, noise = jax.random.split(key)
        before = partial(_loss, step, constants, carry.trained, tables)
        bound = partial(_repeated_bound, step, constants, carry.trained, tables)
        offsets = climbed(
            step.local,
            lambda rows, key: before(rows, batch, key, None)[0] * len(index),
            lambda rows, key: bound(rows, batch, key),
            zero,
            noise,
        )
        tables = jax.tree.map(lambda t, o: t.at[index].add(o), tables, offsets)
    predicted = None
    if step.baseline is not None and baseline is not None:
        predicted = step.baseline.predict(baseline.known, batch.x)
    if step.critic is not None and carry.critic is not None:
        predicted = partial(step.critic.logits, carry.critic.learned)
    both = jax.value_and_grad(partial(_loss, step, constants), argnums=(0, 2), has_aux=True)
    (value, signal), (grads, row_grads) = both(carry.trained, tables, zero, batch, key, predicted)
    updates, optim = step.optim.update(grads, carry.optim, carry.trained)
    trained = jax.tree.map(lambda p, u: p + factor * u, carry.trained, updates)
    if moments is not None:
        # The loss is a mean over the batch; a row's own gradient does not fall with the batch.
        count = _weights(batch).sum() if step.padded else len(index)
        row_grads = jax.tree.map(lambda g: g * count, row_grads)
        tables, moments = stepped(tables, moments, row_grads, index, step.local.learning_rate * factor)
    if step.baseline is not None and baseline is not None:
        baseline = learnt(step.baseline, baseline, batch.x, signal)
    critic, told = carry.critic, None
    if step.critic is not None and critic is not None:
        others = signal.prior
        if step.objective.against == "permuted":
            others = _permuted(step, constants, carry, data, key, len(index))
        critic, told = critic_learnt(step.critic, critic, signal.z, others)
    return Carry(trained, optim, step.shared(tables), step.shared(moments), baseline, critic), (value, told)


def _permuted(step: Step, constants: Constants, carry: Carry, data: Data, key: Array, size: int) -> Array:
    """Shuffled codes of another batch, drawn from the data in memory."""
    x, side, places = data
    assert places is not None
    row_key, code_key = jax.random.split(jax.random.fold_in(key, OTHERS))
    rows = jax.random.randint(row_key, (size,), 0, len(places))
    index = places[rows]
    beside = {"index": index, **{name: a[index] for name, a in side.items()}}
    none = jax.tree.map(jnp.zeros_like, taken(carry.tables, index))
    _, guide = _programs(step, constants, carry.trained, carry.tables, none)
    nesting = step.objective.max_plate_nesting
    return permuted_codes(guide, x[rows], beside, step.objective.num_draws, code_key, nesting)


class Data(NamedTuple):
    """What is in memory (R, P), and what is beside all of the data (N, ...)."""

    x: Array
    side: dict[str, Array]
    places: Array | None
    """of the first rows in memory in the data set, where a critic needs another batch of them"""


class Batch(NamedTuple):
    """Data (B, P), what is beside them, their positions first of all, and the epochs elapsed."""

    x: Array
    side: dict[str, Array]
    epoch: Array
    real: Array
    """false where a row only fills the batch, (B,)"""


def _programs(step: Step, constants: Constants, trained: Tree, tables: Tree, offsets: Tree) -> tuple[Any, Any]:
    params = {**joined(trained, constants.frozen), "tables": tables, "offsets": offsets}
    return step.structure.programs(params, constants.fixed)


def _objective(step: Step, constants: Constants, epoch: Array) -> Any:
    """The objective at that epoch, with its weight."""
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
    predicted: Any,
) -> tuple[Array, Any]:
    """The loss per datum, and what a baseline was to predict, or the latents that a critic is to learn from.

    ``predicted`` is what the baseline says, or the critic as a function of codes.
    """
    model, guide = _programs(step, constants, trained, tables, offsets)
    if not isinstance(step.objective, TermsObjective):
        return step.objective.loss(key, {}, model, guide, batch.x, **batch.side) / len(batch.x), None
    objective = _objective(step, constants, batch.epoch)
    terms = objective.log_terms(model, guide, batch.x, key=key, **batch.side)
    beside = [] if predicted is None else [predicted(terms.latents.z) if step.critic else predicted]
    bounds = terms.scale * objective.bound(terms, *beside)
    value = -jnp.average(bounds, weights=_weights(batch)) if step.padded else -bounds.mean()
    return value, jax.lax.stop_gradient(terms.latents if step.critic else terms.log_weights.mean(0))


def _weights(batch: Batch) -> Array:
    """1 for a datum, 0 for a row that only fills the batch, (B,)."""
    return jnp.where(batch.real, 1.0, 0.0)


def _repeated_bound(
    step: Step, constants: Constants, trained: Tree, tables: Tree, offsets: Tree, batch: Batch, key: Array
) -> Array:
    """The mean of the bound over repeats, (B,)."""
    offsets = jax.tree.map(lambda o: jnp.tile(o, (REPEATS, 1)), offsets)
    model, guide = _programs(step, constants, trained, tables, offsets)
    x, side = jax.tree.map(lambda a: jnp.concatenate([a] * REPEATS), (batch.x, batch.side))
    objective = _objective(step, constants, batch.epoch)
    terms = objective.log_terms(model, guide, x, key=key, **side)
    return objective.bound(terms).reshape(REPEATS, -1).mean(0)

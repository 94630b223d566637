"""The training loop, written once: epochs, early stopping, checkpoints, progress. The backends supply the steps."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from tqdm.auto import tqdm

from . import checkpoints, storage
from .chunks import CHUNK_VARIABLE, chunk, sample_in_chunks
from .data import Split
from .locks import only_writer
from .memory import PeakMemory
from .objective import Objective, UnsuitableObjective, check_stock
from .out_of_memory import explained
from .results import Fit, Pair, as_batch, checked, digest, probe
from .schedules import Schedule
from .seeds import derive, generator
from .side import Arrays, informed, part, shown

Callback = Callable[[int, Mapping[str, float], Fit], None]
Recipe = Callable[[np.random.Generator], tuple[Any, Any]]


class NotFiniteLoss(FloatingPointError):
    """The loss or a weight became NaN or infinite; the message names the step and the last good checkpoint."""


@dataclass(frozen=True)
class TrainingData:
    """What a training reads: (N, P) arrays, and whether the training part is binarised afresh in each epoch.

    ``side`` and ``valid_side`` hold what there is beside them: ``given`` (N, G) and ``mask`` (N, P).
    """

    train: np.ndarray
    valid: np.ndarray | None
    dynamic: bool
    record: dict[str, Any] = field(default_factory=dict)
    side: Arrays = field(default_factory=dict)
    valid_side: Arrays = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        data: Split | np.ndarray,
        valid: np.ndarray | None = None,
        *,
        given: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        valid_given: np.ndarray | None = None,
        valid_mask: np.ndarray | None = None,
    ) -> TrainingData:
        """Read a split, or check plain arrays; and what is beside them.

        Raises:
            ValueError: arrays that are not (N, P), are empty, or hold NaN or infinite values where they were seen;
                side information or masks that do not fit them.
        """
        split = data if isinstance(data, Split) else None
        if split is not None and valid is not None:
            raise ValueError("'valid' goes with an array; a Split brings its own validation part.")
        train, side = shown(data if split is None else split.train, mask, "data")
        if mask is not None and not side["mask"].any():
            raise ValueError("The mask hides every pixel, so that there is nothing to learn from: true is seen.")
        train = as_batch(train, "data")
        side |= informed(given, len(train))
        if valid is None and split is None and (valid_given is not None or valid_mask is not None):
            raise ValueError("'valid_given' and 'valid_mask' go with validation data: pass valid=, too.")
        valid, valid_side = shown(valid if split is None else split.valid, valid_mask, "valid")
        if valid is not None:
            valid = as_batch(valid, "valid", train.shape[1])
            valid_side |= informed(valid_given, len(valid), "valid_given")
            if ("given" in side) != ("given" in valid_side):
                raise ValueError(
                    "Side information goes with the training data and with the validation data, or with neither: pass "
                    "both given= and valid_given=."
                )
        record = {} if split is None else split.to_dict()
        record = {"sizes": {"train": len(train)}, "fingerprint": digest(train, valid), **record, "train": digest(train)}
        if side:
            record["side"] = digest(*side.values())
        if side or valid_side:
            record["fingerprint"] = digest(*side.values(), *valid_side.values()) + record["fingerprint"]
        dynamic = split is not None and split.binarisation == "dynamic"
        return cls(train, valid, dynamic, record, side, valid_side)


class Run(Protocol):
    """A training in progress on one backend: the only thing that the loop below knows of it."""

    @property
    def pair(self) -> Pair:
        """The pair in training."""

    @property
    def optimiser(self) -> str:
        """What the optimiser is and holds, for comparison with a checkpoint's."""

    def weights_are_finite(self) -> bool:
        """Whether no weight is NaN or infinite."""

    def epoch(self, epoch: int, order: np.ndarray) -> np.ndarray:
        """One pass over the data in that order; the loss per datum of each step, in nats."""

    def state(self) -> dict[str, np.ndarray]:
        """Weights and optimiser state, by name."""

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what ``state`` gave."""


class Replicas(Protocol):
    """Several trainings of equal structure as one program."""

    def load(self) -> None:
        """Read the state of each training, which may have been put back from a checkpoint."""

    def epoch(self, epochs: Sequence[int], orders: Sequence[np.ndarray], active: Sequence[bool]) -> list[np.ndarray]:
        """One pass over the data for each; the losses of each. Those that are not active stay as they are."""


@dataclass(frozen=True)
class BaseSVI:
    """Stochastic variational inference: mini-batches, an optimiser, early stopping and checkpoints.

    One frozen set of settings; ``fit`` trains a copy of the pair that it is given and leaves its inputs alone.

    Args:
        loss: the objective, ours or a stock one of the backend; ``TraceELBO(beta=schedules.Linear(0.0, 1.0, over=20))``
            for KL warm-up.
        optim: on Pyro a factory that takes the parameters, such as ``partial(torch.optim.Adam, lr=1e-3)``; on NumPyro
            an optax transformation. By default Adam at ``learning_rate``.
        learning_rate: of the default Adam.
        learning_rate_factor: a number or schedule that multiplies the learning rate; not within an inner loop.
        epochs: how many passes over the data at most.
        batch_size: data points per step; the last batch of an epoch may be shorter.
        clip_norm: the largest norm of the whole gradient, rows of single data points apart; or None.
        patience: stop when the validation ELBO has not risen for so many epochs after warm-up, and restore the best
            weights; None trains to the end.
        validation_particles: draws per datum of the validation ELBO.
        checkpoint_every: epochs between two checkpoints.
        check_stock: whether stock objectives that are known to be wrong on a pair are refused.
        local_steps: of a per-datapoint guide: at most so many steps on a batch's variational parameters, the model left
            as it is, before each step of the model (the classical inner loop). At 0 both move together, in one step.
        local_learning_rate: of Adam on the parameters of single data points, which count their own steps.
        local_tolerance: the inner loop ends when thirty steps gain less than this every ten, nats per datum.
        freeze_model: train the guide only; what it shares with the model stays too.
    """

    objective_class: ClassVar[type] = object

    loss: Any = None
    optim: Any = None
    learning_rate: float = 1e-3
    learning_rate_factor: float | Schedule = 1.0
    epochs: int = 100
    batch_size: int = 100
    clip_norm: float | None = None
    patience: int | None = None
    validation_particles: int = 1
    checkpoint_every: int = 1
    check_stock: bool = True
    local_steps: int = 0
    local_learning_rate: float = 0.1
    local_tolerance: float = 0.01
    freeze_model: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validation_particles", "checkpoint_every"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise ValueError(f"SVI: {name!r} should be an integer of at least 1; got {value!r}.")
        if isinstance(self.local_steps, bool) or not isinstance(self.local_steps, Integral) or self.local_steps < 0:
            raise ValueError(f"SVI: 'local_steps' should be an integer of at least 0; got {self.local_steps!r}.")
        for name in ("learning_rate", "clip_norm", "patience", "local_learning_rate", "local_tolerance"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float | np.number) and 0 < value < np.inf):
                raise ValueError(f"SVI: {name!r} should be a positive number; got {value!r}.")
        if not isinstance(self.loss, self.objective_class):
            raise TypeError(
                f"SVI: 'loss' should be an objective such as TraceELBO(), of {self.objective_class.__module__} "
                f"or of the ppl_vae package that this SVI comes from; got {self.loss!r}."
            )

    def optimiser_steps(self) -> list[float] | None:
        """Where three steps of a custom ``optim`` lead from (0.1, 0.2, 0.3): what it does, where it cannot say it."""
        return None

    def start(
        self,
        model: Any,
        guide: Any,
        data: TrainingData,
        *,
        seed: int,
        device: str | None,
    ) -> Run:
        """A training of a copy of the pair, before its first step; each backend's own."""
        raise NotImplementedError("Use the SVI of ppl_vae.inference or ppl_vae.numpyro.inference.")

    def fit(
        self,
        model: Any,
        guide: Any,
        data: Split | np.ndarray,
        *,
        valid: np.ndarray | None = None,
        given: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        valid_given: np.ndarray | None = None,
        valid_mask: np.ndarray | None = None,
        seed: int = 0,
        device: str | None = None,
        callback: Callback | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        progress: bool | None = None,
        description: str = "",
    ) -> Fit:
        """Train a copy of the pair on (N, P) data; the same seed gives the same numbers.

        Args:
            model: a generative program, of ours or any of the backend's with the data in a plate at dim -1.
            guide: its guide.
            data: a ``Split`` (its training part, its validation part, its rule of binarisation) or an array (N, P).
            valid: validation data, where ``data`` is an array.
            given: side information (N, G), for a pair that is conditional on it.
            mask: true where a pixel was seen, (N, P); the others, NaN or whatever they hold, are not read.
            valid_given: of the validation data.
            valid_mask: of the validation data, which are seen whole without it.
            seed: of the order of the data and of every draw.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``; by default the CPU on Pyro and JAX's default on NumPyro.
            callback: called after each epoch with (epoch, metrics, fit so far); it observes, whatever it samples.
            checkpoint: a file that the training writes to, and goes on from with ``resume``.
            resume: go on from ``checkpoint`` if it is there; the end is that of an uninterrupted run.
            progress: a progress bar; by default on a terminal only.
            description: what the progress bar is called.

        Raises:
            ValueError: data, settings or a checkpoint that do not fit; the message says what to do.
            UnsuitableObjective: an objective that is wrong for the pair.
            NotFiniteLoss: the loss became NaN or infinite.
            OutOfMemory: the message names the settings to lower.
            InUse: another training writes to ``checkpoint``.
        """
        beside = {"given": given, "mask": mask, "valid_given": valid_given, "valid_mask": valid_mask}
        loaded = TrainingData.of(data, valid, **beside)
        loop = self._loop(model, guide, loaded, seed, device, Path(checkpoint) if checkpoint else None)
        with loop.alone():
            loop.train(resume, callback, progress, description)
        return loop.fit()

    def _loop(
        self, model: Any, guide: Any, data: TrainingData, seed: int, device: str | None, checkpoint: Path | None
    ) -> _Loop:
        """A training before its first step."""
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(f"'seed' should be an integer of at least 0; got {seed!r}.")
        if self.batch_size > len(data.train):
            raise ValueError(
                f"'batch_size' is {self.batch_size}, but there are only {len(data.train)} data points: lower it."
            )
        if self.patience is not None and data.valid is None:
            raise ValueError("Early stopping needs validation data: pass a Split or valid=, or set patience=None.")
        size = {"'batch_size'": self.batch_size, "the number of data points": len(data.train)}
        with explained("before the first step", size):
            run = self.start(model, guide, data, seed=seed, device=device)
        if self.patience is not None and run.pair.num_rows is not None:
            raise ValueError(
                "Early stopping needs a guide that serves validation data, and a per-datapoint guide does not: set "
                "patience=None, and judge it by fit.refine(valid)."
            )
        return _Loop(self, run, seed, data, checkpoint)

    def prepare(self, pair: Pair, data: TrainingData, seed: int) -> None:
        """Run the pair once; refuse an objective that is wrong for it, and data that are wrong for its likelihood."""
        if pair.num_rows is not None and pair.num_rows != len(data.train):
            raise ValueError(
                f"The per-datapoint guide was made for {pair.num_rows} data points; there are {len(data.train)}: make "
                "its rows for these, nets.Rows(init.standard_rows(len(data), ...))."
            )
        conditional, given = getattr(pair.model, "takes_given", None), "given" in data.side
        if conditional is not None and conditional != given:
            raise ValueError(
                f"{type(pair.model).__name__} is conditional on side information: pass it, given= of shape (N, G)."
                if conditional
                else f"{type(pair.model).__name__} has no use for side information ('given'): use ConditionalVAE, as "
                "recipes.conditional_vae makes it, or leave it out."
            )
        first = slice(self.batch_size)
        sites = pair.prepare(data.train[first], derive(seed, "prepare"), part(data.side, first))
        if isinstance(self.loss, Objective):
            self.loss.check(sites)
        elif self.check_stock:
            check_stock(self.loss, sites, pair.backend)
        for name, x in (("data", data.train), ("valid", data.valid)):
            if x is not None:
                checked(pair, x, name)
        if pair.num_rows is not None and getattr(self.loss, "dreams", False):
            raise UnsuitableObjective(
                f"{type(self.loss).__name__} trains the guide on images that the model dreams, and a dream has no row "
                "of a per-datapoint guide: use WakeWake, or another guide."
            )
        if type(pair.guide).__name__ == "SemiAmortised" and pair.guide.model is not pair.model:
            raise ValueError(
                f"The guide ({type(pair.guide).__name__}) refines under a model of its own, not under the one that is "
                "trained: give it the very module."
            )
        if self.local_steps and not getattr(self.loss, "per_datum", True):
            raise UnsuitableObjective(
                f"{type(self.loss).__name__} is no sum over data, so no datum has a bound of its own to climb: leave "
                "local_steps at 0, or use another objective."
            )
        if self.local_steps and pair.num_rows is None:
            raise ValueError("'local_steps' is for per-datapoint guides, and this pair has none: leave it at 0.")
        if self.local_steps and not isinstance(self.loss, Objective):
            raise ValueError(
                f"'local_steps' needs a bound for each datum, which the stock {type(self.loss).__name__} does not "
                "give: use an objective of ppl_vae."
            )
        if self.local_steps and getattr(self.loss, "running_baseline", None):
            raise ValueError(
                "An inner loop ('local_steps') has no use for a baseline that follows the training: use "
                "baselines.LeaveOneOut(), or local_steps=0."
            )
        if not pair.num_parameters:
            raise ValueError("The pair has no parameter to train.")

    def fit_seeds(
        self,
        recipe: Recipe,
        data: Split | np.ndarray,
        *,
        seeds: Sequence[int],
        device: str | None = None,
        callback: Callback | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        progress: bool | None = None,
        description: str = "",
        **beside: Any,
    ) -> list[Fit]:
        """One fit per seed, each with weights, pseudo-inputs and data order of its own, drawn from its seed.

        On Pyro one after the other; on NumPyro as one program, vmapped where there is an accelerator to fill. There a
        fit is that of ``fit(seed=...)`` but for rounding, which grows as training goes on; a seed's ``seconds`` are its
        share of the whole, and one that has stopped early is carried along until all have.

        Args:
            recipe: ``recipe(rng) -> (model, guide)``, as every recipe is.
            data: as in ``fit``.
            seeds: one per fit, all different.
            device: as in ``fit``.
            callback: as in ``fit``; ``fit.settings["seed"]`` says whose epoch it is.
            checkpoint: a folder, for a checkpoint of each seed.
            resume: go on from the checkpoints that are there.
            progress: as in ``fit``.
            description: as in ``fit``.
            beside: ``valid``, ``given``, ``mask``, ``valid_given`` and ``valid_mask`` of ``fit``.

        Raises:
            ValueError: no seed, or one twice; and what ``fit`` raises.
        """
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"fit_seeds: 'seeds' should be different integers, at least one; got {list(seeds)}.")
        loaded, loops = TrainingData.of(data, **beside), []
        for seed in seeds:
            path = Path(checkpoint) / f"seed-{seed}.checkpoint" if checkpoint else None
            loops.append(self._loop(*recipe(generator(seed, "weights")), loaded, seed, device, path))
        with ExitStack() as locks:
            for loop in loops:
                locks.enter_context(loop.alone())
            together = self.replicas([loop.run for loop in loops]) if len(loops) > 1 else None
            if together is None:
                for loop in loops:
                    loop.train(resume, callback, progress, f"{description} seed {loop.seed}".strip())
            else:
                _train_together(loops, together, resume, callback, progress, description)
        return [loop.fit() for loop in loops]

    def replicas(self, runs: Sequence[Any]) -> Replicas | None:
        """The trainings as one program, where the backend can make one of them."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Every setting, JSON-able, and whether the loss is a bound."""
        settings = {f.name: getattr(self, f.name) for f in fields(self)}
        settings["is_bound"] = getattr(self.loss, "is_bound", None)
        if self.optim is not None:
            settings["optim"] = f"{describe(self.optim)}, steps to {self.optimiser_steps()}"
        return {name: v if isinstance(v, int | float | None) else describe(v) for name, v in settings.items()}


def describe(value: Any) -> str:
    """A setting in words that are the same in every process: no memory addresses.

    >>> describe(Schedule), describe(np.sin)
    ('Schedule', 'sin')
    """
    if isinstance(value, functools.partial):
        options = ", ".join(f"{name}={describe(v)}" for name, v in sorted(value.keywords.items()))
        return f"{describe(value.func)}({options})"
    if is_dataclass(value) and not isinstance(value, type):
        return repr(value)
    if hasattr(value, "__name__"):
        return str(value.__name__)
    plain = {n: v for n, v in sorted(getattr(value, "__dict__", {}).items()) if isinstance(v, int | float | str | None)}
    text = repr(value) if isinstance(value, int | float | str | None) else type(value).__name__
    return f"{text}({', '.join(f'{n}={v}' for n, v in plain.items())})" if plain else text


@dataclass
class _Best:
    value: float = -np.inf
    epoch: int = -1
    weights: dict[str, np.ndarray] | None = None


class _Loop:
    def __init__(self, settings: BaseSVI, run: Run, seed: int, data: TrainingData, checkpoint: Path | None) -> None:
        self.settings, self.run, self.seed, self.data, self.checkpoint = settings, run, seed, data, checkpoint
        self.history: dict[str, list[float]] = {}
        self.best = _Best()
        self.stopped = False
        self.next_epoch = 0
        self.memory = PeakMemory(getattr(run.pair, "device", None))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A block in which no other training writes to the checkpoint."""
        with only_writer(self.checkpoint) if self.checkpoint else nullcontext():
            yield

    def begin(self, resume: bool) -> None:
        """Remove what a killed training left, and go on from its checkpoint."""
        if self.checkpoint:
            storage.remove_parts(self.checkpoint)
        if resume and self.checkpoint and self.checkpoint.exists():
            self._load()

    def train(self, resume: bool, callback: Callback | None, progress: bool | None, description: str) -> None:
        self.begin(resume)
        with _bar(self.next_epoch, self.settings.epochs, description, progress) as bar:
            while not self.finished:
                epoch, began = self.next_epoch, time.perf_counter()
                self.memory.restart()
                with explained(f"in epoch {epoch}", self.to_lower(), self.kept()):
                    losses = self.run.epoch(epoch, self.order(epoch))
                metrics = self.after(epoch, losses, began)
                bar.set_postfix({k: f"{metrics[k]:.2f}" for k in ("loss", "valid_elbo") if k in metrics}, refresh=False)
                bar.update()
                if callback:
                    callback(epoch, metrics, self.fit())
        self.end()

    def end(self) -> None:
        """Put back the best weights."""
        if self.settings.patience and self.best.weights is not None:
            self.run.pair.load_state(self.best.weights)

    def order(self, epoch: int) -> np.ndarray:
        """The order of the data in an epoch, (N,)."""
        return generator(self.seed, "order", epoch).permutation(len(self.data.train))

    def after(self, epoch: int, losses: np.ndarray, began: float) -> dict[str, float]:
        """What an epoch came to, entered in the history; early stopping and the checkpoint.

        The seconds are those since ``began``.
        """
        if np.isfinite(losses).all() and not self.run.weights_are_finite():
            self._fail("a weight became NaN or infinite", epoch, len(losses) - 1)
        if not np.isfinite(losses).all():
            self._fail(f"the loss became {losses[~np.isfinite(losses)][0]}", epoch, int(np.argmin(np.isfinite(losses))))
        metrics = {"epoch": float(epoch), "loss": _mean_loss(losses, len(self.data.train), self.settings.batch_size)}
        if self.data.valid is not None and self.run.pair.num_rows is None:
            sizes = {f"the environment variable {CHUNK_VARIABLE}": chunk()}
            with explained(f"in the validation ELBO after epoch {epoch}", sizes, self.kept()):
                metrics["valid_elbo"] = self._valid_elbo(self.data.valid)
            if not np.isfinite(metrics["valid_elbo"]):
                self._fail("the validation ELBO became NaN or infinite", epoch, len(losses) - 1)
        metrics["seconds"] = time.perf_counter() - began
        if epoch == 0 or "memory" in self.history:  # a checkpoint of before it was measured has none
            metrics["memory"] = self.memory.read()
        self.next_epoch = epoch + 1
        for name, value in metrics.items():
            self.history.setdefault(name, []).append(value)
        self._early_stopping(metrics)
        if self.checkpoint and (self.finished or self.next_epoch % self.settings.checkpoint_every == 0):
            self._save()
        return metrics

    def _probe(self) -> float:
        """The ELBO of a few data points with fixed noise: weights alone do not tell one pair from another."""
        return probe(self.run.pair, self.data.train[:8], derive(self.seed, "probe"))

    def _valid_elbo(self, valid: np.ndarray) -> float:
        """The plain sampled ELBO per datum, with noise that never changes."""
        noise = derive(self.seed, "valid")
        particles, side = self.settings.validation_particles, self.data.valid_side
        _, terms = sample_in_chunks(self.run.pair, valid, particles, noise, side=side)
        return float(terms.log_weights.mean())

    @property
    def finished(self) -> bool:
        """Whether there is no epoch left, or the training has stopped."""
        return self.stopped or self.next_epoch == self.settings.epochs

    def _early_stopping(self, metrics: Mapping[str, float]) -> None:
        patience, warm_up = self.settings.patience, getattr(self.settings.loss, "warm_up", 0.0)
        if patience is None:
            return
        if metrics["valid_elbo"] > self.best.value:
            self.best = _Best(metrics["valid_elbo"], self.next_epoch, self.run.pair.state())
        self.stopped = self.next_epoch - max(self.best.epoch, warm_up) >= patience

    def to_lower(self) -> dict[str, Any]:
        """The settings that decide how much memory a step takes."""
        loss, sizes = self.settings.loss, {"'batch_size'": self.settings.batch_size}
        particles, name = getattr(loss, "num_particles", 1), type(loss).__name__
        if particles > 1 and isinstance(loss, Objective):
            sizes[f"'chunk' of {name}"] = loss.chunk or particles
        if particles > 1:
            sizes[f"'num_particles' of {name}"] = particles
        return sizes

    def _good(self) -> str:
        if self.checkpoint and self.checkpoint.exists():
            return f"the last good checkpoint is {self.checkpoint}"
        return "no checkpoint was asked for (checkpoint=)" if self.checkpoint is None else "there is no checkpoint yet"

    def kept(self) -> str:
        """What is left of a training whose memory ran out."""
        good = self._good()
        going_on = ", to go on from with the same settings" if self.next_epoch and self.checkpoint else ""
        return f"{good[0].upper()}{good[1:]}{going_on}."

    def _fail(self, what: str, epoch: int, step: int) -> None:
        good = self._good()
        raise NotFiniteLoss(
            f"Training stopped: {what} in epoch {epoch}, step {step}; {good}. Lower the learning rate, clip the "
            "gradient (clip_norm=), or raise the floor of the scales."
        )

    def _settings(self) -> dict[str, Any]:
        settings = {
            k: v for k, v in self.settings.to_dict().items() if k not in ("epochs", "optim", "checkpoint_every")
        }
        backend = self.run.pair.backend
        steps = self.settings.optimiser_steps()
        settings["optim"] = self.run.optimiser if steps is None else f"{self.run.optimiser}, steps to {steps}"
        return {"backend": backend, **settings, "seed": self.seed, "data": self.data.record["fingerprint"]}

    def _save(self) -> None:
        state = self.run.state()
        arrays = {f"run/{name}": a for name, a in state.items()}
        arrays |= {f"best/{name}": a for name, a in (self.best.weights or {}).items()}
        header = {
            "settings": self._settings(),
            "epochs_done": self.next_epoch,
            "probe": self._probe(),
            "stopped": self.stopped,
            "best": [self.best.value, self.best.epoch],
            "history": self.history,
        }
        assert self.checkpoint is not None
        checkpoints.write(self.checkpoint, arrays, header)

    def _load(self) -> None:
        assert self.checkpoint is not None
        arrays, header = checkpoints.read(self.checkpoint, self._settings())
        if header["epochs_done"] > self.settings.epochs:
            raise ValueError(
                f"The checkpoint {self.checkpoint} has {header['epochs_done']} epochs behind it, more than the "
                f"{self.settings.epochs} asked for: ask for at least as many, or use another file."
            )
        self.run.load_state(storage.below("run/", arrays))
        if not np.isclose(self._probe(), header["probe"], rtol=1e-3):
            raise ValueError(
                f"The checkpoint {self.checkpoint} belongs to another model: its weights fit, but give another ELBO "
                "here. Use the same model and guide (activations, likelihood, ...), another file, or resume=False."
            )
        self.history, self.stopped, self.next_epoch = header["history"], header["stopped"], header["epochs_done"]
        value, epoch = header["best"]
        self.best = _Best(value, epoch, storage.below("best/", arrays) or None)

    def fit(self) -> Fit:
        """The training so far as a fit."""
        history = {name: np.asarray(values) for name, values in self.history.items()}
        settings = {"svi": self.settings.to_dict(), "seed": self.seed, "data": self.data.record}
        return Fit(self.run.pair, history, settings)


def _bar(first: int, last: int, description: str, progress: bool | None) -> tqdm:
    disable = None if progress is None else not progress
    return tqdm(total=last, initial=first, desc=description, unit="epoch", disable=disable)


def _train_together(
    loops: Sequence[_Loop],
    together: Replicas,
    resume: bool,
    callback: Callback | None,
    progress: bool | None,
    description: str,
) -> None:
    """Train all of them at once; each has its own history, early stopping and checkpoint."""
    for loop in loops:
        loop.begin(resume)
    together.load()
    first = loops[0]
    with _bar(min(loop.next_epoch for loop in loops), first.settings.epochs, description, progress) as bar:
        while not all(loop.finished for loop in loops):
            active, began = [loop for loop in loops if not loop.finished], time.perf_counter()
            for loop in active:
                loop.memory.restart()
            with explained(f"in an epoch of {len(loops)} trainings at once", first.to_lower(), first.kept()):
                losses = together.epoch(
                    [loop.next_epoch for loop in loops],
                    [loop.order(loop.next_epoch) for loop in loops],
                    [not loop.finished for loop in loops],
                )
            elapsed = time.perf_counter() - began
            for loop, own in zip(loops, losses, strict=True):
                if not loop.finished:
                    epoch, now = loop.next_epoch, time.perf_counter()
                    metrics = loop.after(epoch, own, now - elapsed / len(active))
                    if callback:
                        callback(epoch, metrics, loop.fit())
            bar.set_postfix({"loss": f"{np.mean([loop.history['loss'][-1] for loop in active]):.2f}"}, refresh=False)
            bar.update()
    for loop in loops:
        loop.end()


def _mean_loss(losses: np.ndarray, count: int, batch_size: int) -> float:
    """Per datum: the last batch may be shorter."""
    sizes = np.full(len(losses), batch_size)
    sizes[-1] = count - batch_size * (len(losses) - 1)
    return float(np.average(losses, weights=sizes))

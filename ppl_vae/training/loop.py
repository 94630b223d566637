"""One training from its first epoch to its last, written once: history, early stopping, checkpoints, progress."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.quantisation import usage
from ..data.streams import Data
from ..errors import LowAcceptance, NotFiniteLoss
from ..objectives.base import Objective
from ..pairs.chunks import elbo_in_chunks, memory_settings
from ..pairs.densities import density_unknown, point_of
from ..pairs.inputs import Requirements
from ..pairs.pair import probe
from ..pairs.side_inputs import take_rows
from ..results.fit import Fit
from ..runtime import storage
from ..runtime.locks import only_writer
from ..runtime.memory import PeakMemory
from ..runtime.out_of_memory import explain_out_of_memory
from ..runtime.progress import progress_bar
from ..seeds import derive, generator
from . import checkpoints, rounding
from .codes import restart_codes
from .data import TrainingData
from .draws import discrepancy
from .protocols import Callback, Run
from .settings import TrainingSettings

VALID_LEVELS = 16
"""The least number of levels of a chain of noise that its validation ELBO is estimated from."""
CHAIN_ROWS, LOW = 100, 0.2
"""The number of data whose chains are watched, and the acceptance below which a warning comes."""


@dataclass
class _Best:
    value: float = -np.inf
    epoch: int = -1
    weights: dict[str, np.ndarray] | None = None


class Loop:
    """One training: its epochs, history, early stopping and checkpoint."""

    def __init__(
        self, settings: TrainingSettings, run: Run, seed: int, data: TrainingData, checkpoint: Path | None
    ) -> None:
        self.settings, self.run, self.seed, self.data, self.checkpoint = settings, run, seed, data, checkpoint
        self.history: dict[str, list[float]] = {}
        self.best = _Best()
        self.stopped = False
        self.next_epoch = 0
        self.memory = PeakMemory(getattr(run.pair, "device", None))
        self.compiled = 0.0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the checkpoint's lock within a block: no other training writes to it."""
        with only_writer(self.checkpoint) if self.checkpoint else nullcontext():
            yield

    def begin(self, resume: bool) -> None:
        """Remove a killed training's unfinished files; with ``resume``, load the checkpoint."""
        if self.checkpoint:
            storage.remove_parts(self.checkpoint)
        if resume and self.checkpoint and self.checkpoint.exists():
            self._load()
        elif self.settings.precision != "full":
            rounding.check_before(self._rounding())

    def train(self, resume: bool, callback: Callback | None, progress: bool | None, description: str) -> None:
        self.begin(resume)
        with progress_bar(
            progress, initial=self.next_epoch, total=self.settings.epochs, desc=description, unit="epoch"
        ) as bar:
            while not self.finished:
                epoch, began = self.next_epoch, time.perf_counter()
                self.restart()
                with explain_out_of_memory(f"in epoch {epoch}", self.to_lower(), self.kept()):
                    if epoch > 0 and getattr(self.settings.loss, "restart_codes", False):
                        restart_codes(self.run, self.data.train, generator(self.seed, "codes", epoch))
                    losses = self.run.epoch(epoch, self.order(epoch))
                metrics = self.after(epoch, losses, began)
                bar.set_postfix({k: f"{metrics[k]:.2f}" for k in ("loss", "valid_elbo") if k in metrics}, refresh=False)
                bar.update()
                if callback:
                    with self.serving():
                        callback(epoch, metrics, self.fit())
        self.end()

    def restart(self) -> None:
        """Begin to measure an epoch's memory and compilation, without those of trainings or callbacks before it."""
        self.memory.restart()
        self.compiled = self.run.compilation_seconds()

    def end(self) -> None:
        """Restore the best weights, under early stopping, or put the averaged ones in the place of the last."""
        if self.settings.patience and self.best.weights is not None:
            self.run.pair.load_state(self.best.weights)
        elif self.averages:
            self.run.pair.load_state(self.run.averaged())

    @property
    def averages(self) -> bool:
        """Whether the fit has averaged weights."""
        return getattr(self.settings, "average", None) is not None

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Put the averaged weights, if there are some, in the place of the present ones within a block."""
        if not self.averages:
            yield
            return
        present = self.run.pair.state()
        self.run.pair.load_state(self.run.averaged())
        try:
            yield
        finally:
            self.run.pair.load_state(present)

    def order(self, epoch: int) -> np.ndarray:
        """Draw the order of the data in an epoch, (N,), or (``epoch_size``,) of them."""
        order = generator(self.seed, "order", epoch).permutation(len(self.data.train))
        return order[: self.settings.epoch_size]

    def after(self, epoch: int, losses: np.ndarray, began: float, together: int = 1) -> dict[str, float]:
        """Finish an epoch: check it, extend the history, stop early, write the checkpoint; return the metrics.

        The seconds are those since ``began``; the seconds of compilation are divided among ``together`` trainings.
        """
        if np.isfinite(losses).all() and not self.run.weights_are_finite():
            self._fail("a weight became NaN or infinite", epoch, len(losses) - 1)
        if not np.isfinite(losses).all():
            self._fail(f"the loss became {losses[~np.isfinite(losses)][0]}", epoch, int(np.argmin(np.isfinite(losses))))
        metrics = {"epoch": float(epoch), "loss": _mean_loss(losses, self.epoch_size, self.settings.batch_size)}
        metrics |= self.run.metrics
        metrics |= self._accepted(epoch) | self._rounded(epoch)
        if self.data.valid is not None and self.run.pair.num_rows is None:
            doing = f"in the validation ELBO after epoch {epoch}"
            with explain_out_of_memory(doing, memory_settings(), self.kept()), self.serving():
                metrics |= self._validated(self.data.valid)
            if not np.isfinite(_criterion(metrics)):
                self._fail("the number of the validation data became NaN or infinite", epoch, len(losses) - 1)
        metrics["seconds"] = time.perf_counter() - began
        compiled = self.run.compilation_seconds() - self.compiled
        metrics |= {"compilation": compiled / together, "memory": self.memory.read()}
        if epoch > 0:  # a checkpoint of before something was measured has none of it
            metrics = {name: value for name, value in metrics.items() if name in self.history}
        self.next_epoch = epoch + 1
        for name, value in metrics.items():
            self.history.setdefault(name, []).append(value)
        self._early_stopping(metrics)
        if self.checkpoint and (self.finished or self.next_epoch % self.settings.checkpoint_every == 0):
            self._save()
        return metrics

    def _probe(self) -> float:
        """The ELBO of a few data points with fixed noise: weights alone do not tell one pair from another."""
        first, grey = slice(8), not Requirements.of(self.run.pair).whole
        x, side = self._first_rows(first, grey=grey), take_rows(self.data.side, first)
        return probe(self.run.pair, x, derive(self.seed, "probe"), side)

    def _first_rows(self, first: slice, *, grey: bool = False) -> np.ndarray:
        """Take rows of the training data; intensities are drawn first, as the model sees them, unless ``grey``."""
        x = np.asarray(self.data.train[first])
        if grey or not self.data.dynamic:
            return x
        return (generator(self.seed, "first rows").random(x.shape) < x).astype(x.dtype)

    def _validated(self, valid: Data) -> dict[str, float]:
        """Compute the plain sampled ELBO per datum and its reconstruction, with the same noise after every epoch.

        Of a guide whose density is known nowhere the reconstruction alone; of one that is a point log p(x, z), by a
        name of its own, as that is no bound.
        Of codes of a codebook also how many are used, and their perplexity. Of a chain of noise it is estimated from at
        least ``VALID_LEVELS`` of its levels, or all of them if they are fewer. An implicit model has no ELBO: of it the
        squared MMD of draws and validation data.
        """
        noise = derive(self.seed, "valid")
        if self.run.pair.sites is not None and self.run.pair.sites.implicit:
            return {"valid_mmd": discrepancy(self.run.pair, valid, noise)}
        particles, side = self.settings.validation_particles, self.data.valid_side
        assert self.run.pair.sites is not None
        particles = max(particles, min(self.run.pair.sites.chain, VALID_LEVELS))
        values, terms = elbo_in_chunks(self.run.pair, valid, particles, noise, side)
        metrics = {"valid_elbo": float(terms.log_weights.mean()), "valid_log_lik": float(terms.log_lik.mean())}
        if density_unknown(self.run.pair.sites):
            del metrics["valid_elbo"]
        if point_of(self.run.pair.sites):
            del metrics["valid_elbo"]
            metrics["valid_log_joint"] = float((terms.log_lik + terms.log_prior).mean())
        for site in self.run.pair.sites.latent:
            if site.codes:
                used, perplexity = usage(values[site.name][0], len(site.codes))
                metrics |= {"codes_used": float(used), "perplexity": perplexity}
        return metrics

    def _accepted(self, epoch: int) -> dict[str, float]:
        """Find how often the objective's chains, if it has some, accept a transition, and warn where that is rare."""
        loss = self.settings.loss
        chain = loss.request.chain if isinstance(loss, Objective) else None
        if chain is None:
            return {}
        first = slice(CHAIN_ROWS)
        x = self._first_rows(first)
        side = {"index": np.arange(len(x)), **take_rows(self.data.side, first)}
        share = self.run.acceptance(x, side, derive(self.seed, "acceptance", epoch))
        if share < LOW and min(self.history.get("acceptance", [1.0])) >= LOW:
            warnings.warn(
                f"{type(loss).__name__}: after epoch {epoch} chains accept {share:.0%} of their transitions, and most "
                f"draws stay where the guide put them: set step_size lower; here {chain.step_size}.",
                LowAcceptance,
                stacklevel=2,
            )
        return {"acceptance": share}

    def _rounding(self) -> float:
        """Measure how far products in bfloat16 move the loss of the first batch, nats per datum."""
        first = slice(self.settings.batch_size)
        x = self._first_rows(first)
        side = {"index": np.arange(len(x)), **take_rows(self.data.side, first)}
        return rounding.error_of(self.run, x, side, derive(self.seed, "rounding"))

    def _rounded(self, epoch: int) -> dict[str, float]:
        """Measure the same after an epoch, and warn where it became too far; nothing in full precision."""
        if self.settings.precision == "full":
            return {}
        error = self._rounding()
        rounding.check_after(error, self.history.get("rounding", []), epoch)
        return {"rounding": error}

    @property
    def epoch_size(self) -> int:
        """Number of data points in an epoch."""
        return self.settings.epoch_size or len(self.data.train)

    @property
    def finished(self) -> bool:
        """Whether there is no epoch left, or the training has stopped."""
        return self.stopped or self.next_epoch == self.settings.epochs

    def _early_stopping(self, metrics: Mapping[str, float]) -> None:
        patience, warm_up = self.settings.patience, getattr(self.settings.loss, "warm_up", 0.0)
        if patience is None:
            return
        if _criterion(metrics) > self.best.value:
            self.best = _Best(_criterion(metrics), self.next_epoch, self.run.averaged())
        self.stopped = self.next_epoch - max(self.best.epoch, warm_up) >= patience

    def to_lower(self) -> dict[str, Any]:
        """Settings to lower where memory runs out, with their values."""
        loss, sizes = self.settings.loss, {"'batch_size'": self.settings.batch_size}
        particles, name = getattr(loss, "num_particles", 1), type(loss).__name__
        if particles > 1 and isinstance(loss, Objective) and loss.request.latents is None:
            sizes[f"'chunk' of {name}"] = loss.chunk or particles
        if particles > 1:
            sizes[f"'num_particles' of {name}"] = particles
        return sizes

    def _good(self) -> str:
        if self.checkpoint and self.checkpoint.exists():
            return f"the last good checkpoint is {self.checkpoint}"
        return "no checkpoint was asked for (checkpoint=)" if self.checkpoint is None else "there is no checkpoint yet"

    def kept(self) -> str:
        """Sentence about the last checkpoint, for an error."""
        good = self._good()
        going_on = ", to go on from with the same settings" if self.next_epoch and self.checkpoint else ""
        return f"{good[0].upper()}{good[1:]}{going_on}."

    def _fail(self, what: str, epoch: int, step: int) -> None:
        good, sites = self._good(), self.run.pair.sites
        if what.startswith("the loss") and epoch == step == 0 and sites is not None:
            told = " and ".join(f"{site.name!r} ({site.distribution})" for site in sites.observed)
            raise NotFiniteLoss(
                f"Training stopped: {what} in epoch 0, step 0, before the first step was taken; {good}. Some data have "
                f"no density at {told}, or the weights start too far off: rescale or round the data to values that the "
                "distribution can have, such as a Beta inside 0 and 1, observe another distribution, start from "
                "smaller weights, or raise the floor of the scales."
            )
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
        if np.isfinite(header["probe"]) and not np.isclose(self._probe(), header["probe"], rtol=1e-3):
            raise ValueError(
                f"The checkpoint {self.checkpoint} belongs to another model: its weights fit, but give another ELBO "
                "here. Use the same model and guide (activations, likelihood, ...), another file, or resume=False."
            )
        self.history, self.stopped, self.next_epoch = header["history"], header["stopped"], header["epochs_done"]
        value, epoch = header["best"]
        self.best = _Best(value, epoch, storage.below("best/", arrays) or None)

    def fit(self) -> Fit:
        """Make a fit of the training so far."""
        history = {name: np.asarray(values) for name, values in self.history.items()}
        settings = {"svi": self.settings.to_dict(), "seed": self.seed, "data": self.data.record}
        return Fit(self.run.pair, history, settings, self.run.critic)


def _criterion(metrics: Mapping[str, float]) -> float:
    """The number of the validation data that early stopping wants to rise."""
    if "valid_mmd" in metrics:
        return -metrics["valid_mmd"]
    return metrics.get("valid_elbo", metrics.get("valid_log_joint", metrics["valid_log_lik"]))


def _mean_loss(losses: np.ndarray, count: int, batch_size: int) -> float:
    """Average the losses per datum over an epoch, whose last batch may be shorter."""
    sizes = np.full(len(losses), batch_size)
    sizes[-1] = count - batch_size * (len(losses) - 1)
    return float(np.average(losses, weights=sizes))

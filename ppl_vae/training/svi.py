"""Stochastic variational inference, written once: the settings of a training, and its fits.

The backends supply the steps, and ``loop`` the epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..critics import Critic
from ..data import Split
from ..data.streams import Data
from ..errors import UnsuitableObjective
from ..kinds import check
from ..objectives.base import WeightedObjective
from ..results.fit import Fit
from ..runtime.out_of_memory import explain_out_of_memory
from ..seeds import generator
from .checks import check_arguments
from .data import TrainingData
from .loop import Loop
from .protocols import Callback, Replicas, Run
from .replicas import train_replicas
from .settings import TrainingSettings

Recipe = Callable[[np.random.Generator], tuple[Any, Any]]


ADVERSARIAL = """SVI with two players: the pair ascends an adversarial objective, and a critic learns at the same time.

    Each step of the pair is followed by one of the critic, or comes after several where it has ``steps`` of its own.
    Its weights and optimiser belong to the checkpoint. The history has its loss (nats) and accuracy, ``critic_loss``
    and ``critic_accuracy``, means over an epoch; ``fit.critic`` is its log-ratio of codes, after the last epoch even
    where ``patience`` went back to better weights of the pair.

    Under ``GAN`` the critic is one of data, of an implicit model: it takes its own number of steps before each of the
    model, and the history has ``critic_gap``. ``patience`` then counts epochs without a fall of ``valid_mmd``, the
    squared MMD of draws and validation data. Takes the settings of ``SVI`` and

    Args:
        critic: its net and optimiser: ``critics.Critic`` of codes, ``discriminators.Discriminator`` of data. By default
            the one that the objective names.
        average: the fit has a running mean of the pair's weights, m <- average m + (1 - average) w after each step, as
            players circle around their equilibrium: 0.999, say. None for the weights of the last step.
    """


def choose_critic(settings: Any) -> None:
    """Give an adversarial training without a critic the one that its objective names, and check its own settings.

    Raises:
        UnsuitableObjective: early stopping by the ELBO of a likelihood that the objective does not train.
    """
    check(settings, {"average": "between"}, "Adversarial", optional=("average",))
    if settings.critic is None:
        usual = getattr(settings.loss, "default_critic", Critic)
        object.__setattr__(settings, "critic", getattr(settings.loss, "make_critic", usual)())
    if settings.patience is not None and not getattr(settings.loss, "trains_likelihood", True):
        raise UnsuitableObjective(
            f"{type(settings.loss).__name__} does not train the likelihood, of which early stopping takes the ELBO: "
            "set patience=None, and judge the draws by evaluation.sample_quality."
        )


@dataclass(frozen=True)
class BaseSVI(TrainingSettings):
    __doc__ = TrainingSettings.__doc__

    def start(
        self,
        model: Any,
        guide: Any,
        data: TrainingData,
        *,
        seed: int,
        device: str | None,
        parallel: bool = False,
    ) -> Run:
        """Start a training of a copy of the pair, on the backend; no step is taken yet."""
        raise NotImplementedError("Use the SVI of ppl_vae.inference or ppl_vae.numpyro.inference.")

    def together(self, loop: Loop, train: Callable[[], Fit]) -> Fit:
        """Call ``train()`` of a training whose batches are shared out; other processes, if any, follow the first."""
        return train()

    def fit(
        self,
        model: Any,
        guide: Any,
        data: Split | Data,
        *,
        valid: Data | None = None,
        given: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        valid_given: np.ndarray | None = None,
        valid_mask: np.ndarray | None = None,
        seed: int = 0,
        device: str | None = None,
        parallel: bool = False,
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
            data: a ``Split`` (its training part, its validation part, its rule of binarisation), an array (N, P), or
                what ``data.stream`` opens, of which a block is in memory while the next one is read.
            valid: validation data, where ``data`` is no split; an array or a stream.
            given: side information (N, G), for a pair that is conditional on it.
            mask: true where a pixel was seen, (N, P); the others, NaN or whatever they hold, are not read.
            valid_given: of the validation data.
            valid_mask: of the validation data, which are seen whole without it.
            seed: of the order of the data and of every draw.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``; by default the CPU on Pyro and JAX's default on NumPyro.
            parallel: share the rows of each batch out: on Pyro over the processes that torchrun or
                ``inference.launch`` started, each of which calls ``fit`` with the same arguments; on
                NumPyro over all devices of this process. The numbers are those of one process but for rounding.
            callback: called after each epoch with (epoch, metrics, fit so far); it observes, whatever it samples. The
                fit learns on: ``copy.deepcopy(fit)`` keeps it as it is.
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
            WorkerLost: another process of a parallel training ended; the message names the checkpoint.
        """
        beside = {"given": given, "mask": mask, "valid_given": valid_given, "valid_mask": valid_mask}
        loaded = TrainingData.of(data, valid, **beside)
        loop = self._loop(model, guide, loaded, seed, device, Path(checkpoint) if checkpoint else None, parallel)

        def train() -> Fit:
            with loop.alone():
                loop.train(resume, callback, progress, description)
            return loop.fit()

        return self.together(loop, train) if parallel else train()

    def _loop(
        self,
        model: Any,
        guide: Any,
        data: TrainingData,
        seed: int,
        device: str | None,
        checkpoint: Path | None,
        parallel: bool = False,
    ) -> Loop:
        """Make the loop of a training, before its first step."""
        check_arguments(self, data, seed)
        if parallel and getattr(self.loss, "restart_codes", False):
            raise ValueError(
                "VQELBO: codes start again in one process alone: train with parallel=False, or with "
                "restart_codes=False."
            )
        seed = int(seed)
        size = {"'batch_size'": self.batch_size, "the number of data points": len(data.train)}
        with explain_out_of_memory("before the first step", size):
            run = self.start(model, guide, data, seed=seed, device=device, parallel=parallel)
        return Loop(self, run, seed, data, checkpoint)

    def fit_seeds(
        self,
        recipe: Recipe,
        data: Split | Data,
        *,
        seeds: Sequence[int],
        strengths: Sequence[float] | None = None,
        device: str | None = None,
        callback: Callback | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        progress: bool | None = None,
        description: str = "",
        **beside: Any,
    ) -> list[Fit]:
        """One fit per seed, each with weights, pseudo-inputs and data order of its own, drawn from its seed.

        On Pyro, and from a stream, one after the other; else on NumPyro as one program, vmapped where there is an
        accelerator to fill. There a fit is that of ``fit(seed=...)`` but for rounding, which grows as training goes on;
        a seed's ``seconds`` are its share of the whole, and one that has stopped early is carried along until all have.

        Args:
            recipe: ``recipe(rng) -> (model, guide)``, as every recipe is.
            data: as in ``fit``.
            seeds: one per fit, all different.
            strengths: values of the objective's weight (``strength``, or ``beta`` of the ELBO): a fit for each strength
                and seed, those of the first strength first. The strength is an input of the compiled program.
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
        seeds = [int(seed) if isinstance(seed, np.integer) else seed for seed in seeds]
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"fit_seeds: 'seeds' should be different integers, at least one; got {seeds}.")
        if "parallel" in beside:
            raise TypeError(
                "fit_seeds: a training of several seeds is not shared out; use fit(..., parallel=True) for each."
            )
        loaded, loops = TrainingData.of(data, **beside), []
        for settings, prefix in self._at_strengths(strengths):
            for seed in seeds:
                path = Path(checkpoint) / f"{prefix}seed-{seed}.checkpoint" if checkpoint else None
                loops.append(settings._loop(*recipe(generator(seed, "weights")), loaded, seed, device, path))
        with ExitStack() as locks:
            for loop in loops:
                locks.enter_context(loop.alone())
            together = self.replicas([loop.run for loop in loops]) if len(loops) > 1 else None
            if together is None:
                for loop in loops:
                    loop.train(resume, callback, progress, f"{description} seed {loop.seed}".strip())
            else:
                train_replicas(loops, together, resume, callback, progress, description)
        return [loop.fit() for loop in loops]

    def _at_strengths(self, strengths: Sequence[float] | None) -> list[tuple[BaseSVI, str]]:
        """The settings at each strength, with a prefix for the names of their checkpoints."""
        if strengths is None:
            return [(self, "")]
        if not isinstance(self.loss, WeightedObjective):
            raise ValueError(
                f"fit_seeds: {type(self.loss).__name__} has no strength to vary: leave 'strengths' at None, or use "
                "TraceELBO (its beta), BetaTCVAE, DIPVAE, FactorVAE, InfoVAE, WAE, WAEGAN or AAE."
            )
        numbers = [float(s) for s in strengths]
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"fit_seeds: 'strengths' should be different numbers, at least one; got {numbers}.")
        names = [repr(s).removesuffix(".0") for s in numbers]
        return [
            (replace(self, loss=self.loss.with_weight(s)), f"strength-{n}-")
            for s, n in zip(numbers, names, strict=True)
        ]

    def replicas(self, runs: Sequence[Any]) -> Replicas | None:
        """Make one program of several trainings; None where the backend cannot."""
        return None

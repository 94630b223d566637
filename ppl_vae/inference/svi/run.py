"""A training in progress, in Pyro."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from ... import schedules, seeds
from ...data import Stream
from ...errors import UnsuitableObjective
from ...objectives.base import Objective
from ...pairs.codebooks import quantiser_of
from ...players import View, sizes_of
from ...runtime.storage import below
from ...training.checks import check_dreams, check_moved, prepare
from ...training.data import TrainingData
from ...training.prefetch import read_ahead, steps_at_once
from ...training.settings import describe
from ...training.svi import BaseSVI
from ..checks.trials import kept, observed, rehearse
from ..objectives import TermsObjective
from ..pair import Pair, forked
from ..parts import moved
from ..traces import quiet
from .cuda_graph import Replayed, replays
from .local import LocalParameters
from .optimiser_state import Rates, load_slots, slots
from .players import RunningPlayer, detached, loss_of, permuted_codes, view_of
from .products import check_device, products
from .record import Record
from .recorded_game import TracedGame
from .recorded_step import NotTraceable, Traced


class PyroRun:
    """A training in progress: torch.optim on the pair's parameters, with a parameter store for stock objectives.

    Parameters of single data points and a baseline's state have optimisers of their own.
    """

    def __init__(
        self, settings: BaseSVI, pair: Pair, data: TrainingData, seed: int, compile: str | bool = False
    ) -> None:
        self.settings, self.pair, self.seed, self.dynamic = settings, pair, seed, data.dynamic
        self.compile = compile
        if torch.is_autocast_enabled(pair.device.type):
            raise ValueError(
                "SVI: inside torch.autocast draws would be of half precision, and weights would be those of the first "
                "step, whose copies it keeps: leave it, set SVI(precision='bfloat16'), or put it around a net, in the "
                "forward of a module that returns net(x).float()."
            )
        check_device(settings.precision, pair.device)
        prepare(settings, pair, data, seed)
        check_dreams(settings, data, partial(observed, pair))
        rehearse(settings, pair, data, seeds.derive(seed, "rehearsal"))
        self.objective = copy.deepcopy(settings.loss)
        if isinstance(self.objective, Objective):
            self.objective = self.objective.of_data(len(data.train))
        self.train = data.train if isinstance(data.train, Stream) else pair.tensor(data.train)
        self.side = pair.tensors(data.side)
        self.local = LocalParameters(pair.tables(), settings)
        self.trained = moved(pair, settings)
        check_moved(settings, bool(self.trained or pair.tables()))
        self.parameters = list(self.trained.values())
        self.average: Any = getattr(settings, "average", None)
        self.averages = {} if self.average is None else {n: p.detach().clone() for n, p in self.trained.items()}
        self.optim = self._optimiser()
        self.rates = Rates(self.optim) if self.optim else None
        self.optimiser = self._described()
        sizes = sizes_of(pair.dim, pair.sites, len(data.train))
        self.players = [
            RunningPlayer(player, sizes, seeds.generator(seed, player.name), pair.device) for player in settings.players
        ]
        self.codebook = quantiser_of(pair).codebook if any(p.moves_codes for p in settings.players) else None
        self.metrics: dict[str, float] = {}
        self.tells_gradient, self.norms = bool(getattr(self.objective, "tells_gradient", False)), Record()
        self.traced = self._traced()
        self.replayed = self._replayed()
        self.validate = True

    def _replayed(self) -> Replayed | None:
        if self.traced is None or self.players or not replays(self.pair.device):
            return None
        ours = self.settings.optim is None
        if self.optim is not None and ours:
            for group in self.optim.param_groups:
                group |= {"capturable": True, "lr": torch.tensor(group["lr"], device=self.pair.device)}
        return Replayed(self.traced, self._update if ours else None, self.pair.device)

    @property
    def critic(self) -> Callable[..., np.ndarray] | None:
        """The critic's logits as a function of arrays, of codes (..., D), or x and codes, -> (...); else None.

        Or the prior that learned beside the pair.
        """
        for running in self.players:
            alone = getattr(running.player, "alone", None)
            if alone is not None:
                return alone({name: weight.cpu().numpy() for name, weight in running.fixed.learned.items()})
            read = getattr(running.player, "read", None)
            if read is not None:
                return lambda *a: read(running.fixed, *map(self.pair.tensor, a)).cpu().numpy()
        return None

    def _traced(self) -> Traced | None:
        if not self.compile:
            return None
        reasons = {
            "a per-datapoint guide has an optimiser for its rows": bool(self.pair.tables()),
            **{f"a {p.player.name} learns on the pair's draws": not p.player.fresh for p in self.players},
            "codes are shuffled for a critic": getattr(self.objective, "against", None) == "permuted",
            "the pair has nets or parameters outside its modules": bool(self.pair.nets)
            or any(name.startswith("store.") for name in self.trained),
            f"{type(self.objective).__name__} has no differentiable_loss": not hasattr(
                self.objective, "differentiable_loss"
            ),
            "draws come in chunks, which are computed twice": getattr(self.objective, "chunk", None) is not None,
        }
        for reason, holds in reasons.items():
            if holds:
                said = f"SVI(compile={self.compile!r}) runs step by step, as with compile=False: {reason}."
                warnings.warn(said, NotTraceable, stacklevel=4)
                return None
        recorded = str(self.compile), self.pair, self.objective, self.parameters, self.settings.precision
        return TracedGame(*recorded, players=self.players) if self.players else Traced(*recorded)

    def _optimiser(self) -> torch.optim.Optimizer | None:
        if not self.parameters:
            return None
        if self.settings.optim is not None:
            try:
                optim = self.settings.optim(self.parameters)
            except (TypeError, AttributeError, ValueError, RuntimeError) as error:
                optim = error
            if not isinstance(optim, torch.optim.Optimizer):
                raise TypeError(
                    "SVI: 'optim' should take the parameters and return a torch optimiser, as "
                    f"partial(torch.optim.Adam, lr=1e-3) does; got {optim!r}."
                )
            if hasattr(optim.step, "_wrapped_by_lr_sched"):
                raise TypeError(
                    f"SVI: a scheduler of torch is around the {type(optim).__name__}, whose state a training that "
                    "resumes would not find: leave it out, and set learning_rate_factor=, such as "
                    "schedules.Exponential(1.0, 0.01, over=50)."
                )
            if any(p.default is p.empty for p in inspect.signature(optim.step).parameters.values()):
                raise TypeError(
                    f"SVI: the steps of {type(optim).__name__} need the loss several times (a closure), and a training "
                    "takes one gradient of each batch: use another one, such as partial(torch.optim.Adam, lr=1e-3)."
                )
            _check_steps(optim, self.pair.device)
            if self.settings.learning_rate_factor != 1.0 and any("lr" not in group for group in optim.param_groups):
                raise TypeError(
                    f"SVI: {type(optim).__name__} has no 'lr' that learning_rate_factor could multiply: leave that at "
                    "1.0, or use another optimiser, such as partial(torch.optim.Adam, lr=1e-3)."
                )
            return optim
        return torch.optim.Adam(self.parameters, lr=self.settings.learning_rate, fused=True)

    def _described(self) -> str:
        """Describe the optimiser and its settings."""
        if self.optim is None:
            return "none"
        options = ", ".join(f"{name}={describe(value)}" for name, value in sorted(self.optim.defaults.items()))
        return f"{type(self.optim).__name__}({options})"

    def compilation_seconds(self) -> float:
        """Seconds of recording or compiling in this training so far."""
        drawn = self.traced.drawn.seconds if isinstance(self.traced, TracedGame) else 0.0
        return drawn + (self.traced.seconds if self.traced else 0.0)

    def weights_are_finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        return all(bool(p.isfinite().all()) for p in self.pair.named_parameters().values())

    def epoch(self, epoch: int, order: np.ndarray) -> np.ndarray:
        """Pass over the data once in that order; return the loss per datum of each step, in nats."""
        losses, count = Record(), -(-len(order) // self.settings.batch_size)
        with (
            closing(self._batches(order)) as batches,
            forked(seeds.derive(self.seed, "train", epoch), self.pair.device),
            self.pair.active(training=True) as (model, guide),
        ):
            if isinstance(self.objective, TermsObjective):
                model, guide = quiet(model), quiet(guide)
            for step, (x, index) in enumerate(batches):
                with pyro.validation_enabled(self.validate):
                    beside = {"index": index, **{name: a.index_select(0, index) for name, a in self.side.items()}}
                    loss = self._step(model, guide, x, beside, epoch + step / count)
                losses.append(loss)
                self.validate = False
        self.metrics = {name: value for player in self.players for name, value in player.metrics().items()}
        if self.tells_gradient:
            norms, self.norms = self.norms, Record()
            self.metrics["gradient_norm"] = float(norms.rows().mean())
        return losses.rows().cpu().numpy().astype(np.float64)

    def acceptance(self, x: np.ndarray, side: Mapping[str, np.ndarray], seed: int) -> float:
        """Return the mean probability that the transitions of the objective's chains are accepted on data x (B, P)."""
        with torch.no_grad(), forked(seed, self.pair.device), self.pair.active() as (model, guide):
            terms = self.objective.log_terms(model, guide, self.pair.tensor(x), **self.pair.tensors(side))
        return float(terms.accepted.mean())

    def losses(self, x: np.ndarray, side: Mapping[str, np.ndarray], seeds: Sequence[int], precision: str) -> np.ndarray:
        """Compute the loss per datum of a batch at the end of all schedules, without a step, by the draws of each seed.

        Products have that precision; the losses are (S,).
        """
        objective, rows, beside = self.objective, self.pair.tensor(x), self.pair.tensors(side)
        if isinstance(objective, TermsObjective):
            objective = objective.at(float(self.settings.epochs))

        def loss(seed: int) -> float:
            with (
                kept(self.pair.buffers()),
                forked(seed, self.pair.device),
                self.pair.active(training=True) as programs,
                products(precision),
            ):
                if self.players:
                    terms = objective.log_terms(*programs, rows, **beside)
                    states = [running.fixed for running in self.players]
                    value = loss_of(objective, terms, rows, beside["index"], self.players, states)[0]
                else:
                    compute = getattr(objective, "differentiable_loss", None) or objective.loss
                    value = compute(*programs, rows, **beside)
            return float(value.detach() if isinstance(value, Tensor) else value) / len(x)

        return np.array([loss(seed) for seed in seeds])

    def _batches(self, order: np.ndarray) -> Generator[tuple[Tensor, Tensor]]:
        """Yield the data of each step, and their positions; 'dynamic' images are drawn afresh."""
        train, size = self.train, self.settings.batch_size
        index = torch.as_tensor(order, device=self.pair.device)
        if isinstance(train, Tensor):
            x = train.bernoulli() if self.dynamic else train
            yield from ((x.index_select(0, part), part) for part in index.split(size))
            return
        rows = steps_at_once(train, size) * size
        parts = [order[first : first + rows] for first in range(0, len(order), rows)]
        with closing(read_ahead(train.__getitem__, parts)) as blocks:
            for block, places in zip(blocks, index.split(rows), strict=True):
                there = torch.from_numpy(block).to(index.device, torch.get_default_dtype())
                for x, part in zip(there.split(size), places.split(size), strict=True):
                    yield x.bernoulli() if self.dynamic else x, part

    def _step(self, model: Any, guide: Any, x: Tensor, side: dict[str, Tensor], epoch: float) -> Tensor:
        factor = schedules.value(self.settings.learning_rate_factor, epoch)
        if self.settings.local_steps:
            with products(self.settings.precision):
                self.local.climb(self.objective.at(epoch), (model, guide), x, side, self._local_noise(side, epoch))
        if self.optim is not None and self.rates is not None:
            self.rates.set(factor)
            self.optim.zero_grad()
        self.local.zero_grad()
        loss = self.replayed(x, side, epoch) if self.replayed else None
        if loss is None:
            loss = self._gradients(model, guide, x, side, epoch)
        elif self.replayed and self.replayed.update:
            return loss
        self._update()
        if self.rates is not None and self.settings.optim is not None:
            self.rates.follow(factor)
        with torch.no_grad():
            for name, average in self.averages.items():
                average.lerp_(self.trained[name], 1 - self.average)
        for running in self.players:
            running.set_codes(self.codebook)
        if not self.settings.local_steps:
            self.local.step(side["index"], factor)
        return loss

    def _update(self) -> None:
        """Take a step of the optimiser down the gradients in ``grad``."""
        if self.tells_gradient:
            grads = [p.grad for p in self.parameters if p.grad is not None]
            self.norms.append(nn.utils.get_total_norm(grads))
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        if self.optim is not None:
            self.optim.step()

    def _gradients(self, model: Any, guide: Any, x: Tensor, side: dict[str, Tensor], epoch: float) -> Tensor:
        """Compute the gradients into ``grad``, by the recorded graph if there is one; return the loss per datum."""
        if self.players:
            self._play(model, guide, len(x), x.device, epoch)
        loss = self.traced(x, side, epoch) if self.traced else None
        if loss is not None:
            return loss
        with products(self.settings.precision):
            return self._loss_and_grads(model, guide, x, side, epoch)

    def _local_noise(self, side: Mapping[str, Tensor], epoch: float) -> int:
        return seeds.derive(self.seed, "local", int(side["index"][0]), int(epoch * 1e6))

    def _loss_and_grads(self, model: Any, guide: Any, x: Tensor, side: dict[str, Tensor], epoch: float) -> Tensor:
        """Compute the gradients into every parameter's ``grad``; return the loss per datum."""
        objective = self.objective
        if isinstance(objective, TermsObjective):
            objective = objective.at(epoch)
        view: View | None = None
        if self.players:
            loss, view = self._loss_with_players(objective, model, guide, x, side)
        elif hasattr(objective, "differentiable_loss"):
            loss = objective.differentiable_loss(model, guide, x, **side) / len(x)
        else:
            loss = objective.loss_and_grads(model, guide, x, **side) / len(x)
            self._check_grads(objective)
            for p in self.pair.named_parameters().values():
                p.grad = None if p.grad is None else p.grad / len(x)
            return torch.as_tensor(loss, device=x.device)
        loss.backward()
        if view is not None:
            for player in (running for running in self.players if not running.player.fresh):
                player.step(view)  # not before: the gradient goes back through the weights as they were
        return loss.detach()

    def _loss_with_players(
        self, objective: Any, model: Any, guide: Any, x: Tensor, side: dict[str, Tensor]
    ) -> tuple[Tensor, View | None]:
        """Compute the loss per datum of an objective with players, and the view of the batch for steps after it."""
        terms = objective.log_terms(model, guide, x, **side)
        states = [running.fixed for running in self.players]
        loss, view = loss_of(objective, terms, x, side["index"], self.players, states)
        others = self._others(objective, guide, terms, x)
        waits = any(not running.player.fresh for running in self.players)
        return loss / len(x), detached(view, others) if waits else None

    def _play(self, model: Any, guide: Any, size: int, device: torch.device, epoch: float) -> None:
        """Let fresh players take the steps that come before the pair's, each on rows and draws of its own."""
        objective: Any = self.objective
        for running in self.players:
            for _ in range(running.player.steps if running.player.fresh else 0):
                rows, beside = self._another(size, device)
                drawn = self.traced.drawn.terms(rows, beside, epoch) if isinstance(self.traced, TracedGame) else None
                with products(self.settings.precision):
                    if drawn is None:
                        with torch.no_grad():
                            drawn = objective.at(epoch).log_terms(model, guide, rows, **beside)
                    view = view_of(rows, drawn, beside["index"], noisy=running.player.noisy)
                    running.step(detached(view, self._others(objective, guide, drawn, rows)))

    def _others(self, objective: Any, guide: Any, terms: Any, x: Tensor) -> Tensor | None:
        """The codes to tell those of a batch from: draws of the prior, or shuffled codes of another batch."""
        if getattr(objective, "against", None) != "permuted":
            return None if terms.latents is None else terms.latents.prior
        rows, beside = self._another(len(x), x.device)
        return permuted_codes(guide, rows, beside, objective.num_draws, objective.max_plate_nesting)

    def _another(self, size: int, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw another batch of the data, with its side inputs."""
        rows = torch.randint(len(self.train), (size,), device=device)
        return self._rows(rows), {"index": rows, **{name: a.index_select(0, rows) for name, a in self.side.items()}}

    def _rows(self, rows: Tensor) -> Tensor:
        """Take rows of the data; 'dynamic' images are drawn afresh."""
        if isinstance(self.train, Tensor):
            x = self.train.index_select(0, rows)
        else:
            x = torch.from_numpy(self.train[rows.cpu().numpy()]).to(rows.device, torch.get_default_dtype())
        return x.bernoulli() if self.dynamic else x

    def _check_grads(self, objective: Any) -> None:
        """Refuse empty gradients: a stock objective reaches only parameters in Pyro's store, none of plain modules."""
        if all(p.grad is None for p in self.pair.named_parameters().values()):
            raise UnsuitableObjective(
                f"{type(objective).__name__} left every gradient empty: its loss_and_grads sees only parameters that "
                "Pyro knows. Make the model and the guide PyroModules, or use an objective of ppl_vae."
            )

    def averaged(self) -> dict[str, np.ndarray]:
        """Return the pair's weights by name, averaged over the steps where the settings ask for that."""
        return self.pair.state() | {name: value.cpu().numpy().copy() for name, value in self.averages.items()}

    def take_weights(self) -> None:
        """Go on from the pair's weights as they are: the steps' own tensors."""

    def state(self) -> dict[str, np.ndarray]:
        """Return weights, optimiser state and all else that the next step depends on, by name."""
        state = {f"weights/{name}": value for name, value in self.pair.state().items()}
        state |= {f"local/{name}": value for name, value in self.local.state().items()}
        if self.optim is not None:
            state |= {f"optim/{name}": value for name, value in slots(self.optim, list(self.trained)).items()}
        if self.rates is not None and self.settings.optim is not None:
            state |= {f"groups/{name}": value for name, value in self.rates.state().items()}
        state |= {f"average/{name}": value.cpu().numpy().copy() for name, value in self.averages.items()}
        for running in self.players:
            state |= {f"{running.player.name}/{name}": value for name, value in running.state().items()}
        return state

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned."""
        self.pair.load_state(below("weights/", state))
        self.local.load_state(below("local/", state))
        if self.optim is not None:
            load_slots(self.optim, list(self.trained), below("optim/", state))
        if self.rates is not None and self.settings.optim is not None:
            self.rates.load_state(below("groups/", state))
        for name, average in self.averages.items():
            average.copy_(torch.from_numpy(np.array(state[f"average/{name}"])))
        for running in self.players:
            running.load_state(below(f"{running.player.name}/", state))


def _check_steps(optim: torch.optim.Optimizer, device: torch.device) -> None:
    """Refuse an optimiser that cannot step down a dense gradient, by a step of another of its kind.

    Raises:
        TypeError: it cannot.
    """
    point = nn.Parameter(torch.ones(2, 2, device=device))
    point.grad = torch.ones_like(point)
    try:
        type(optim)([point], **optim.defaults).step()
    except RuntimeError as error:
        raise TypeError(
            f"SVI: the steps of {type(optim).__name__} fail on the gradients of a training, which are dense ({error}): "
            "use another one, such as partial(torch.optim.Adam, lr=1e-3)."
        ) from error
    except (TypeError, ValueError, AssertionError):  # settings that are no arguments, or of other parameters
        return

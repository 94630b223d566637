"""Data parallel training in Pyro: each process computes on its rows of every batch, and all take the same step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ... import seeds
from ...errors import UnsuitableObjective, WorkerLost
from ...pairs.inputs import digest
from ...results.fit import Fit
from ...training import rowwise_adam
from ...training.data import TrainingData
from ...training.loop import Loop
from ...training.svi import BaseSVI
from ..pair import Pair, forked
from .local import LocalParameters
from .processes import Group, Lost, sendable
from .recorded_step import NotTraceable, Traced
from .run import PyroRun
from .shared_noise import DrawsOfTheWhole


class SpreadRun(PyroRun):
    """A training in which several processes take part. The first leads, the others ``follow``.

    A batch is divided evenly. With a per-datapoint guide a process takes the rows whose parameters it holds, a block of
    the data's: between epochs the first process has the whole tables. One sum over processes gives every process the
    loss and the gradient of the whole batch.
    """

    def __init__(
        self, settings: BaseSVI, pair: Pair, data: TrainingData, seed: int, group: Group, compile: str | bool = False
    ) -> None:
        self.group = group
        self.draws = DrawsOfTheWhole()
        self.index = torch.empty(0, dtype=torch.long)
        """the positions of the whole batch's rows in the data"""
        self.weight = 0.0
        """this process's share of them"""
        self.epochs = 0
        self.waiting = True
        """whether the other processes wait for an instruction"""
        _check_objective(settings.loss)
        super().__init__(settings, pair, data, seed, compile)
        _check_pair(pair, len(data.train), group.size)
        self._check_agreement(data)
        bounds = np.linspace(0, len(data.train), group.size + 1).astype(int)
        self.sizes = np.diff(bounds).tolist()
        self.first, self.last = int(bounds[group.rank]), int(bounds[group.rank + 1])
        self.draws.everywhere = self._draws_outside_sites(data)
        self.local = self._divided(self.local)

    def _check_agreement(self, data: TrainingData) -> None:
        """Compare the arguments of all processes.

        Raises:
            ValueError: the first difference.
        """
        ours = {**self.settings.to_dict(), "seed": self.seed, "data": data.record["fingerprint"]}
        ours["weights"] = digest(*self.pair.state().values())
        first, *others = self.group.all(ours)
        for rank, other in enumerate(others, 1):
            for name in first:
                if other.get(name) != first[name]:
                    raise ValueError(
                        f"The processes were given different trainings: {name!r} is {first[name]!r:.60} in process 0 "
                        f"and {other.get(name)!r:.60} in process {rank}. Give every process the same arguments, and "
                        "draw the first weights from a seed."
                    )

    def _traced(self) -> Traced | None:
        if self.compile:
            said = f"SVI(compile={self.compile!r}) runs step by step, as with compile=False: it is parallel."
            warnings.warn(said, NotTraceable, stacklevel=4)
        return None

    def _draws_outside_sites(self, data: TrainingData) -> bool:
        """Whether the pair draws random numbers outside its sample sites."""
        count = min(self.settings.batch_size, len(self.train))
        x = self.pair.tensor(data.train[:count])
        side = {"index": torch.arange(count, device=x.device), **{n: a[:count] for n, a in self.side.items()}}
        every = torch.arange(count, device=x.device)
        objective = self.objective.at(0.0) if hasattr(self.objective, "at") else self.objective
        with (
            forked(0, self.pair.device),
            self.pair.active(training=True) as (model, guide),
            self.draws.of(every, count),
        ):
            objective.differentiable_loss(model, guide, x, **side)
        return self.draws.mode.outside

    # -- a step ---------------------------------------------------------------------------------------------------

    def _step(self, model: Any, guide: Any, x: Tensor, side: dict[str, Tensor], epoch: float) -> Tensor:
        index = side["index"]
        own = self._own(index)
        self.index, self.weight = index, len(own) / len(x)
        idle = not len(own)  # it draws as the others do, for a row that counts for nothing
        own = own.new_zeros(1) if idle else own
        part = {name: a[own] for name, a in side.items()}
        if idle and self.local.tables:
            part["index"] = torch.full_like(own, self.last)
        with self.draws.of(own, len(x)):
            return super()._step(model, guide, x[own], part, epoch)

    def _own(self, index: Tensor) -> Tensor:
        """Positions within the batch of this process's rows."""
        if self.local.tables:
            return ((index >= self.first) & (index < self.last)).nonzero()[:, 0]
        return torch.arange(len(index), device=index.device).tensor_split(self.group.size)[self.group.rank]

    def _loss_and_grads(self, model: Any, guide: Any, x: Tensor, side: dict[str, Tensor], epoch: float) -> Tensor:
        loss = super()._loss_and_grads(model, guide, x, side, epoch)
        moved = [p for p in self.parameters if p.grad is not None]
        values = [loss.reshape(1), *(p.grad.flatten() for p in moved if p.grad is not None)]
        total = self.group.sum(torch.cat(values) * self.weight)
        mean, *grads = total.split([len(value) for value in values])
        for p, grad in zip(moved, grads, strict=True):
            p.grad = grad.view_as(p).to(p.dtype)
        return mean[0].to(loss.dtype)

    def _local_noise(self, side: Mapping[str, Tensor], epoch: float) -> int:
        return seeds.derive(self.seed, "local", int(self.index[0]), int(epoch * 1e6))

    def _mean(self, values: Tensor) -> Tensor:
        """Mean over the whole batch."""
        return self.group.sum(values.mean() * self.weight)

    # -- the parameters of single data points ---------------------------------------------------------------------

    def _divided(self, local: LocalParameters) -> LocalParameters:
        """Cut tables to this process's rows, and one more that belongs to no datum."""

        def cut(values: Tensor) -> Tensor:
            return torch.cat([values[self.first : self.last], values[self.first : self.first + 1]]).detach().clone()

        tables = {name: nn.Parameter(cut(table)) for name, table in local.tables.items()}
        own = LocalParameters(tables, self.settings, first=self.first, mean=self._mean)
        own.moments = {name: rowwise_adam.Moments(*map(cut, moments)) for name, moments in local.moments.items()}
        return own

    def _whole(self, own: Tensor) -> Tensor:
        """Join the rows of all processes."""
        return self.group.joined(own.detach()[:-1].contiguous(), self.sizes)

    def _put(self, tables: Mapping[str, nn.Parameter], first: int) -> None:
        """Put tables of the data from position ``first`` on into the pair."""
        for name, module in self.pair.row_modules().items():
            module.table, module.first = tables[name], first

    def _put_whole(self) -> None:
        self._put({name: nn.Parameter(self._whole(table)) for name, table in self.local.tables.items()}, 0)

    # -- what all processes do together ---------------------------------------------------------------------------

    def _together(self, name: str, *args: Any) -> Any:
        self.group.told((name, args))
        self.waiting = False
        done = getattr(self, name)(*args)
        self.waiting = True
        return done

    def epoch(self, epoch: int, order: np.ndarray) -> np.ndarray:
        """Pass over the data once in that order; return the loss per datum of each step, in nats."""
        losses: np.ndarray = self._together("_epoch", epoch, order)
        return losses

    def state(self) -> dict[str, np.ndarray]:
        """Return all that the next step depends on, by name, the same for any number of processes."""
        state: dict[str, np.ndarray] = self._together("_state")
        return state

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned."""
        self._together("_load_state", state)

    def follow(self) -> Any:
        """Repeat what the first process does until it ends; return its last message."""
        while True:
            name, args = self.group.told()
            if name == "end":
                return args
            getattr(self, name)(*args)

    def _epoch(self, epoch: int, order: np.ndarray) -> np.ndarray:
        self.epochs = epoch
        self._put(self.local.tables, self.first)
        losses = super().epoch(epoch, order)
        self._put_whole()
        return losses

    def _state(self) -> dict[str, np.ndarray]:
        moments = {
            f"local/{name}/{part}": self._whole(values).cpu().numpy()
            for name, own in self.local.moments.items()
            for part, values in own._asdict().items()
        }
        return super().state() | moments

    def _load_state(self, state: Mapping[str, np.ndarray]) -> None:
        whole = LocalParameters(self.pair.tables(), self.settings)
        self.local = whole
        super().load_state(state)
        self.local = self._divided(whole)


def run_as_leader(loop: Loop, train: Callable[[], Fit]) -> Fit:
    """Call ``train()`` in the first process, with the others doing their share; return the same fit in all of them.

    Raises:
        WorkerLost: another process ended.
        Exception: that of the first process, in every process.
    """
    run = loop.run
    assert isinstance(run, SpreadRun)
    try:
        if run.group.rank:
            return _followed(loop, run)
        try:
            fit = train()
        except BaseException as error:
            if run.waiting:  # else they find the connection broken
                run.group.told(("end", sendable(error)))
            raise
        run.group.told(("end", (loop.history, run.pair.state())))
        return fit
    except Lost as error:
        loop.next_epoch = max(loop.next_epoch, run.epochs)
        raise WorkerLost(
            f"Another process of this training ended; {loop.next_epoch} epochs were done. {loop.kept()} ({error})"
        ) from error


def _followed(loop: Loop, run: SpreadRun) -> Fit:
    end = run.follow()
    if isinstance(end, BaseException):
        raise end
    loop.history, weights = end
    run.pair.load_state(weights)
    return loop.fit()


def _check_objective(objective: Any) -> None:
    """Refuse an objective whose value on a batch is not the sum of its values on the batch's parts.

    Raises:
        UnsuitableObjective: says why.
    """
    name = type(objective).__name__
    reason = ""
    if not getattr(objective, "per_datum", True):
        reason = "is no sum over data"
    elif getattr(objective, "players", ()):
        reason = f"has a player that follows the training ({objective.players[0].name!r})"
    elif not hasattr(objective, "differentiable_loss"):
        reason = "has no differentiable_loss"
    if reason:
        raise UnsuitableObjective(
            f"{name} {reason}, so that a batch cannot be shared out: train in one process, parallel=False, or on "
            "NumPyro, or use another objective."
        )


def _check_pair(pair: Pair, count: int, processes: int) -> None:
    if pair.sites is not None and pair.sites.scaled:
        raise ValueError(
            "A plate or a handler scales the densities, and the scale of a part of a batch is another one: leave it "
            "out, or train in one process, parallel=False."
        )
    if any(isinstance(module, _BatchNorm) for module in (*pair.modules.modules(), *pair.nets)):
        raise ValueError("BatchNorm sees the rows of one process only: use LayerNorm, or train with parallel=False.")
    if count < processes:
        raise ValueError(f"There are {count} data points for {processes} processes: start at most {count}.")

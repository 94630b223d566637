"""Stochastic variational inference in Pyro."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from .. import schedules, seeds
from ..objective import UnsuitableObjective
from ..training import BaseSVI, TrainingData, describe
from .objectives import TermsObjective, TraceELBO
from .pair import Pair, forked


@dataclass(frozen=True)
class SVI(BaseSVI):
    __doc__ = BaseSVI.__doc__

    objective_class = pyro.infer.ELBO

    loss: Any = field(default_factory=TraceELBO)

    def start(self, model: Any, guide: Any, data: TrainingData, *, seed: int, device: str | None) -> PyroRun:
        """A training of a copy of the pair, before its first step."""
        return PyroRun(self, Pair(model, guide, device), data, seed)


class PyroRun:
    """A training in progress: torch.optim on the pair's parameters, stock objectives in a store of their own."""

    def __init__(self, settings: SVI, pair: Pair, data: TrainingData, seed: int) -> None:
        self.settings, self.pair, self.seed, self.dynamic = settings, pair, seed, data.dynamic
        settings.prepare(pair, data, seed)
        self.objective = copy.deepcopy(settings.loss)
        self.train = pair.tensor(data.train)
        self.parameters = list(pair.named_parameters().values())
        self.optim = self._optimiser()
        self.base_rates = [group["lr"] for group in self.optim.param_groups]
        self.validate = True

    def _optimiser(self) -> torch.optim.Optimizer:
        if self.settings.optim is not None:
            try:
                optim = self.settings.optim(self.parameters)
            except (TypeError, AttributeError) as error:
                optim = error
            if not isinstance(optim, torch.optim.Optimizer):
                raise TypeError(
                    "SVI: 'optim' should take the parameters and return a torch optimiser, as "
                    f"partial(torch.optim.Adam, lr=1e-3) does; got {optim!r}."
                )
            return optim
        return torch.optim.Adam(self.parameters, lr=self.settings.learning_rate, fused=True)

    @property
    def optimiser(self) -> str:
        """What the optimiser is and holds."""
        options = ", ".join(f"{name}={describe(value)}" for name, value in sorted(self.optim.defaults.items()))
        return f"{type(self.optim).__name__}({options})"

    def weights_are_finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        return all(bool(p.isfinite().all()) for p in self.parameters)

    def epoch(self, epoch: int, order: np.ndarray) -> np.ndarray:
        """One pass over the data in that order; the loss per datum of each step, in nats."""
        size = self.settings.batch_size
        batches = torch.as_tensor(order, device=self.pair.device).split(size)
        losses = []
        with (
            forked(seeds.derive(self.seed, "train", epoch), self.pair.device),
            self.pair.active(training=True) as (model, guide),
        ):
            x = self.train.bernoulli() if self.dynamic else self.train
            for step, index in enumerate(batches):
                with pyro.validation_enabled(self.validate):
                    loss = self._step(model, guide, x.index_select(0, index), index, epoch + step / len(batches))
                losses.append(loss)
                self.validate = False
        return torch.stack(losses).cpu().numpy().astype(np.float64)

    def _step(self, model: Any, guide: Any, x: Tensor, index: Tensor, epoch: float) -> Tensor:
        factor = schedules.value(self.settings.learning_rate_factor, epoch)
        for group, rate in zip(self.optim.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        self.optim.zero_grad()
        loss = self._loss_and_grads(model, guide, x, index, epoch)
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        self.optim.step()
        return loss

    def _loss_and_grads(self, model: Any, guide: Any, x: Tensor, index: Tensor, epoch: float) -> Tensor:
        """The loss per datum; its gradients stand in every parameter's ``grad``."""
        objective = self.objective
        if isinstance(objective, TermsObjective):
            objective = objective.at(epoch)
        if hasattr(objective, "differentiable_loss"):
            loss = objective.differentiable_loss(model, guide, x, index=index) / len(x)
            loss.backward()
            return loss.detach()
        loss = objective.loss_and_grads(model, guide, x, index=index) / len(x)
        self._check_grads(objective)
        torch._foreach_div_([p.grad for p in self.parameters if p.grad is not None], len(x))
        return torch.as_tensor(loss, device=x.device)

    def _check_grads(self, objective: Any) -> None:
        """A stock objective reaches parameters through Pyro's store; plain modules as programs are not in it."""
        if all(p.grad is None for p in self.parameters):
            raise UnsuitableObjective(
                f"{type(objective).__name__} left every gradient empty: its loss_and_grads sees only parameters that "
                "Pyro knows. Make the model and the guide PyroModules, or use an objective of ppl_vae."
            )

    def state(self) -> dict[str, np.ndarray]:
        """Weights and optimiser state, by name."""
        names = list(self.pair.named_parameters())
        state = {f"weights/{name}": value for name, value in self.pair.state().items()}
        for i, slots in self.optim.state_dict()["state"].items():
            for slot, value in slots.items():
                if value is not None:
                    state[f"optim/{names[i]}/{slot}"] = torch.as_tensor(value).detach().cpu().numpy().copy()
        return state

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what ``state`` gave."""
        self.pair.load_state({n.removeprefix("weights/"): v for n, v in state.items() if n.startswith("weights/")})
        numbers = {name: i for i, name in enumerate(self.pair.named_parameters())}
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("optim/"):
                name, slot = key.removeprefix("optim/").rsplit("/", 1)
                slots.setdefault(numbers[name], {})[slot] = torch.from_numpy(value.copy())
        self.optim.load_state_dict({**self.optim.state_dict(), "state": slots})

"""Stochastic variational inference in Pyro."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import nn

from ...errors import WorkerLost
from ...objectives import FactorVAE, TraceELBO
from ...objectives.base import Objective
from ...players import Player
from ...results.fit import Fit
from ...training.data import TrainingData
from ...training.loop import Loop
from ...training.svi import ADVERSARIAL, BaseSVI, choose_critic
from ..objectives import TermsObjective, adopt
from ..pair import Pair
from .data_parallel import SpreadRun, run_as_leader
from .processes import Group, Lost
from .recorded_step import MODES
from .run import PyroRun


@dataclass(frozen=True)
class SVI(BaseSVI):
    __doc__ = f"""{BaseSVI.__doc__}
        compile: ``"trace"`` records a step once, as a graph of tensor operations (no compiler needed), and runs that;
            ``"inductor"`` compiles it. On CUDA the whole step is then replayed as a CUDA graph, with the optimiser but
            for a custom ``optim``. A step that cannot be recorded runs in Python, after one warning that says why.
    """

    objective_class = pyro.infer.ELBO

    loss: Any = field(default_factory=TraceELBO)
    compile: str | bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compile is not False and self.compile not in MODES:
            raise ValueError(f"SVI: 'compile' should be False, 'trace' or 'inductor'; got {self.compile!r}.")

    def adopt(self, objective: Objective) -> TermsObjective:
        """Make the backend's own ELBO with the settings of a neutral objective."""
        return adopt(objective)

    def optimiser_steps(self) -> list[float] | None:
        """Take three steps of a custom ``optim`` from (0.1, 0.2, 0.3), to recognise settings that it does not show."""
        if self.optim is None:
            return None
        p = nn.Parameter(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
        try:
            optim = self.optim([p])
            for step in range(3):
                p.grad = torch.tensor([1.0, -0.5, 0.2 * step], dtype=torch.float64)
                optim.step()
        except (TypeError, AttributeError, RuntimeError, ValueError):
            return None
        return [round(value, 12) for value in p.tolist()]

    def start(
        self, model: Any, guide: Any, data: TrainingData, *, seed: int, device: str | None, parallel: bool = False
    ) -> PyroRun:
        """Start a training of a copy of the pair; no step is taken yet."""
        if parallel:
            group = Group()
            try:
                return SpreadRun(self, Pair(model, guide, group.device(device)), data, seed, group, self.compile)
            except Lost as error:
                raise WorkerLost(f"Another process ended before the first step of this training. ({error})") from error
        return PyroRun(self, Pair(model, guide, device), data, seed, self.compile)

    def together(self, loop: Loop, train: Callable[[], Fit]) -> Fit:
        """Call ``train()`` in the first process; the others follow it, and return the same fit."""
        return run_as_leader(loop, train)


@dataclass(frozen=True)
class Adversarial(SVI):
    __doc__ = ADVERSARIAL

    loss: Any = field(default_factory=FactorVAE)
    critic: Player | None = None
    average: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        choose_critic(self)

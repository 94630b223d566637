"""Stochastic variational inference in NumPyro."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpyro.infer.elbo

from ....data import Stream
from ....objectives import FactorVAE, TraceELBO
from ....objectives.base import Objective
from ....players import Player
from ....training.data import TrainingData
from ....training.svi import ADVERSARIAL, BaseSVI, choose_critic
from ..objectives import TermsObjective, adopt
from ..pair import Pair
from .data_parallel import MeshRun, devices_of
from .replicas import Replicas
from .run import NumPyroRun


@dataclass(frozen=True)
class SVI(BaseSVI):
    __doc__ = BaseSVI.__doc__

    objective_class = numpyro.infer.elbo.ELBO

    loss: Any = field(default_factory=TraceELBO)

    def adopt(self, objective: Objective) -> TermsObjective:
        """Make the backend's own ELBO with the settings of a neutral objective."""
        return adopt(objective)

    def optimiser_steps(self) -> list[float] | None:
        """Take three steps of a custom ``optim`` from (0.1, 0.2, 0.3), to recognise settings that it does not show."""
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
        """Start a training of a copy of the pair; no step is taken yet."""
        if parallel:
            devices = devices_of(device, self.batch_size)
            return MeshRun(self, Pair(model, guide, device), data, seed, devices)
        return NumPyroRun(self, Pair(model, guide, device), data, seed)

    def replicas(self, runs: Sequence[NumPyroRun]) -> Replicas | None:
        """Make one program of several trainings, if they have one structure and nothing between epochs."""
        alike = all(run.step == runs[0].step for run in runs) and not getattr(self.loss, "restart_codes", False)
        return Replicas(runs) if alike and not isinstance(runs[0].train, Stream) else None


@dataclass(frozen=True)
class Adversarial(SVI):
    __doc__ = ADVERSARIAL

    loss: Any = field(default_factory=FactorVAE)
    critic: Player | None = None
    average: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        choose_critic(self)

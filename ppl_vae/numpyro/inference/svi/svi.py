"""Stochastic variational inference in NumPyro."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.infer.elbo
from jax import Array

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

LATER_TIMES = tuple(2**i for i in range(4, 20))
"""The steps at which a custom optimiser is looked at."""


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

    def later_steps(self) -> list[str]:
        """Take a step of a custom ``optim`` at each of some later times, to recognise schedules by steps alone."""
        return list(_later_steps(self.optim))

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


@lru_cache
def _later_steps(optim: Any) -> tuple[str, ...]:
    """The sizes of an optimiser's steps at ``LATER_TIMES``, to three digits; none of what is no optimiser."""
    p, gradient = jnp.array([0.1, 0.2, 0.3], jnp.float32), jnp.array([1.0, -0.5, 0.2], jnp.float32)
    try:
        start = optim.init(p)
        _, begun = optim.update(gradient, start, p)

        def size(time: Array) -> Array:
            updates, _ = optim.update(gradient, jax.tree.map(partial(_at, time), start, begun), p)
            return jnp.abs(updates).sum()

        sizes = jax.vmap(size)(jnp.array(LATER_TIMES))
    except (TypeError, AttributeError, ValueError):
        return ()
    return tuple(f"{float(s):.3g}" for s in sizes)


def _at(time: Array, before: Array, after: Array) -> Array:
    """An array of an optimiser's state; a count of steps, which a step raised by 1, as it is at another time."""
    counts = before.ndim == 0 and jnp.issubdtype(before.dtype, jnp.integer) and int(after) == int(before) + 1
    return jnp.full_like(after, time) if counts else after


@dataclass(frozen=True)
class Adversarial(SVI):
    __doc__ = ADVERSARIAL

    loss: Any = field(default_factory=FactorVAE)
    critic: Player | None = None
    average: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        choose_critic(self)

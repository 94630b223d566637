"""Stochastic variational inference in NumPyro: an epoch is one compiled scan, the data stay on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.infer.elbo
import optax
from jax import Array

from ... import schedules, seeds
from ...schedules import Schedule
from ...training import BaseSVI, TrainingData
from .objectives import TermsObjective, TraceELBO
from .pair import Pair, Structure, Tree, filled, named


@dataclass(frozen=True)
class SVI(BaseSVI):
    __doc__ = BaseSVI.__doc__

    objective_class = numpyro.infer.elbo.ELBO

    loss: Any = field(default_factory=TraceELBO)

    def start(self, model: Any, guide: Any, data: TrainingData, *, seed: int, device: str | None) -> NumPyroRun:
        """A training of a copy of the pair, before its first step."""
        return NumPyroRun(self, Pair(model, guide, device), data, seed)


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


class NumPyroRun:
    """A training in progress: parameters and optimiser state as values, one compiled program per batch shape."""

    def __init__(self, settings: SVI, pair: Pair, data: TrainingData, seed: int) -> None:
        self.settings, self.pair, self.seed, self.dynamic = settings, pair, seed, data.dynamic
        settings.prepare(pair, data, seed)
        if settings.optim is None:
            optim = _adam(settings.learning_rate, settings.clip_norm)
        elif hasattr(settings.optim, "init") and hasattr(settings.optim, "update"):
            optim = _clipped(settings.optim, settings.clip_norm)
        else:
            raise TypeError(
                f"SVI: 'optim' should be an optax transformation, such as optax.adam(1e-3); got {settings.optim!r}."
            )
        self.step = Step(pair.structure, settings.loss, optim, settings.learning_rate_factor)
        self.train = pair.array(data.train)
        self.optim_state = jax.device_put(optim.init(pair.params), pair.device)

    @property
    def optimiser(self) -> str:
        """What the optimiser is and holds; optax keeps its numbers to itself, so only its state is told."""
        if self.settings.optim is None:
            return f"adam({self.settings.learning_rate})"
        return ", ".join(sorted({name.rsplit("/", 1)[0] for name in named("optim", self.optim_state)}))

    def weights_are_finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        return bool(_finite(self.pair.params))

    def epoch(self, epoch: int, order: np.ndarray) -> np.ndarray:
        """One pass over the data in that order; the loss per datum of each step, in nats."""
        size, key = self.settings.batch_size, jax.random.key(seeds.derive(self.seed, "train", epoch))
        whole = len(order) // size
        parts = [order[: whole * size].reshape(whole, size), order[whole * size :][None]]
        total = whole + bool(parts[1].size)
        x = _binarised(jax.random.fold_in(key, total), self.train) if self.dynamic else self.train
        losses = []
        for first, part in ((0, parts[0]), (whole, parts[1])):
            if part.size:
                epochs = epoch + np.arange(first, first + len(part)) / total
                keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(first, first + len(part)))
                carry = (self.pair.params, self.optim_state)
                batches = (jnp.asarray(part), keys, jnp.asarray(epochs))
                (self.pair.params, self.optim_state), values = _steps(self.step, carry, self.pair.constants, x, batches)
                losses.append(np.asarray(values, np.float64))
        return np.concatenate(losses)

    def state(self) -> dict[str, np.ndarray]:
        """Weights and optimiser state, by name."""
        weights = {f"weights/{name}": value for name, value in self.pair.state().items()}
        return {**weights, **named("optim", self.optim_state)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what ``state`` gave."""
        self.pair.load_state({n.removeprefix("weights/"): v for n, v in state.items() if n.startswith("weights/")})
        self.optim_state = filled("optim", self.optim_state, state, self.pair.device)


@jax.jit
def _finite(params: Tree) -> Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


@jax.jit
def _binarised(key: Array, x: Array) -> Array:
    return jax.random.bernoulli(key, x).astype(x.dtype)


@partial(jax.jit, static_argnames="step")
def _steps(
    step: Step, carry: tuple[Tree, Any], constants: Tree, x: Array, batches: tuple[Array, Array, Array]
) -> tuple[tuple[Tree, Any], Array]:
    """A scan of gradient steps over batches (indices (S, B), keys (S,), epochs (S,)); the losses per datum, (S,)."""

    def one(carry: tuple[Tree, Any], batch: tuple[Array, Array, Array]) -> tuple[tuple[Tree, Any], Array]:
        params, optim_state = carry
        index, key, epoch = batch
        loss, grads = jax.value_and_grad(partial(_loss, step))(params, constants, x[index], index, key, epoch)
        updates, optim_state = step.optim.update(grads, optim_state, params)
        factor = schedules.value(step.factor, epoch)
        params = jax.tree.map(lambda p, u: p + factor * u, params, updates)
        return (params, optim_state), loss

    return jax.lax.scan(one, carry, batches)


def _loss(step: Step, params: Tree, constants: Tree, x: Array, index: Array, key: Array, epoch: Array) -> Array:
    model, guide = step.structure.programs(params, constants)
    objective = step.objective.at(epoch) if isinstance(step.objective, TermsObjective) else step.objective
    return objective.loss(key, {}, model, guide, x, index=index) / len(x)

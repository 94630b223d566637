"""Paths of a model that go on after their last step, in NumPyro."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array
from numpyro import handlers

from ...arrays.sequences import continuation
from ...pairs.side_inputs import NOTHING, Arrays
from .pair import Pair, Structure
from .sites import traced


def continued(pair: Pair, z: np.ndarray, steps: int, seed: int, side: Arrays = NOTHING) -> np.ndarray:
    """Draw z_{T+1}, ..., z_{T+H} of the model's path given z_T (B, D), (B, H D).

    Raises:
        UnsuitableObjective: a prior that does not go on.
    """
    assert pair.sites is not None
    parameters = pair.structure, pair.params, pair.constants
    options = {"name": pair.sites.latent[0].name, "steps": steps}
    return np.asarray(_continued(*parameters, pair.array(z), pair.arrays(side), jax.random.key(seed), **options))


@partial(jax.jit, static_argnames=("structure", "name", "steps"))
def _continued(
    structure: Structure, params: Any, constants: Any, z: Array, side: Any, key: Array, *, name: str, steps: int
) -> Array:
    model, _ = structure.programs(params, constants)
    ours, theirs = jax.random.split(key)
    prior = traced(handlers.seed(model, theirs), size=len(z), **side)[name]["fn"]
    drawn: Array = continuation(prior)(z, steps).sample(ours)
    return drawn

"""Weights and densities of a pair's sites, for a comparison with the same pair on the other library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from ...pairs.keywords import tolerant
from ...pairs.parity import Densities, of_sites
from ...pairs.side_inputs import NOTHING, Arrays
from .pair import Pair
from .sites import base_of, traced
from .traces import NumPyroTrace, split_sites

PREFIX = "params/sites/"
"""Before the names of parameters of plain functions."""


def modules(pair: Pair) -> tuple[str, ...]:
    """Find which of the two programs are modules, in the order of their numbers in the names of weights."""
    programs = (("model", pair.structure.model), ("guide", pair.structure.guide))
    return tuple(name for name, function in programs if function is None)


def _plain(pair: Pair) -> dict[str, jax.Array]:
    """Parameters that are arrays, in their own coordinates; those of modules have no constraints."""
    return {name: value for name, value in pair.params["sites"].items() if isinstance(value, jax.Array)}


def weights(pair: Pair) -> dict[str, np.ndarray]:
    """Parameters and constants of a prepared pair as its programs see them, by name: constrained, (...) each."""
    transforms = pair.structure.transforms
    held = {f"{PREFIX}{name}": np.asarray(transforms[name](value)) for name, value in _plain(pair).items()}
    return {**pair.state(), **held}


def set_weights(pair: Pair, values: Mapping[str, np.ndarray]) -> None:
    """Set what ``weights`` returned, or some of it."""
    state = {**pair.state(), **values}
    for name in _plain(pair):
        if (key := f"{PREFIX}{name}") in values:
            state[key] = np.asarray(pair.structure.transforms[name].inv(pair.array(values[key])))
    pair.load_state(state)


def takes(pair: Pair, name: str, value: np.ndarray) -> bool | None:
    """Say whether the constraint of a parameter of a plain function takes a value; None for other weights."""
    if (own := name.removeprefix(PREFIX)) not in _plain(pair):
        return None
    return bool(pair.structure.transforms[own].codomain(pair.array(value)).all())


def densities(
    pair: Pair, x: np.ndarray, seed: int, side: Arrays = NOTHING, values: Mapping[str, np.ndarray] | None = None
) -> tuple[Densities, Densities]:
    """Run the guide and the model on its draws, or on values that are given: each site's log-density, (model, guide).

    Args:
        pair: prepared.
        x: data (B, P).
        seed: of the draws.
        side: side inputs of x.
        values: latent site -> its value.
    """
    where = pair.arrays({"index": np.arange(len(x)), **side})
    given = {n: jnp.asarray(v) for n, v in (values or {}).items()}
    model, guide = (tolerant(program, needs) for program, needs in zip(pair.programs, (("mask",), ()), strict=True))
    keys = jax.random.split(jax.random.key(seed))
    q = traced(handlers.seed(handlers.substitute(guide, given), keys[0]), pair.array(x), **where)
    p = traced(handlers.seed(handlers.replay(model, q), keys[1]), pair.array(x), **where)
    return _of(p), _of(q)


def _of(trace: NumPyroTrace) -> Densities:
    latent, observed = split_sites(trace)
    found = {name: s for name, s in trace.items() if name in latent or name in observed}
    arrays = {}
    for name, site in found.items():
        own = (site["intermediates"],) if site["intermediates"] else ()
        density = site["fn"].log_prob(site["value"], *own)
        scale = 1.0 if site["scale"] is None else site["scale"]
        arrays[name] = np.asarray(site["value"]), np.asarray(density * scale), site["is_observed"], _dims(site)
    return of_sites(arrays, {name: base_of(s["fn"]) for name, s in found.items()}, np.asarray)


def _dims(site: Any) -> list[int]:
    return [frame.dim for frame in site["cond_indep_stack"]]

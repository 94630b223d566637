"""Trial runs of a pair, in NumPyro: the log-densities of the same values, run in several ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro import handlers

from ....pairs.side_inputs import Arrays
from ....pairs.trials import Trial, others
from ..traces import NumPyroTrace, density_of, run, sites_of


def trial(
    programs: Callable[[], tuple[Any, Any]],
    x: Array,
    side: dict[str, Array],
    key: Array,
    num_draws: int,
    nesting: int,
) -> dict[str, Trial]:
    """Run programs on the same values, all draws at once and each by itself, among the same rows and among others.

    The runs of single draws are one compiled loop.
    """
    p, q = run(*programs(), (x,), side, num_draws, nesting, key)
    together, values, events = _densities(p, q, num_draws), {}, {}
    for name, site in sites_of(q, observed=False).items():
        values[name], events[name] = _draws(site, num_draws), site["fn"].event_dim

    def by_itself(case: tuple[Array, Array, Array]) -> dict[str, Array]:
        number, rows, key = case
        taken = {
            name: jnp.take(value[number], rows, axis=value.ndim - 2 - events[name]) for name, value in values.items()
        }
        model, guide = programs()
        given = handlers.substitute(guide, data=taken)
        beside = {name: a[rows] for name, a in side.items()}
        densities = _densities(*run(model, given, (x[rows],), beside, 1, nesting, key), 1)
        return {name: density[0] for name, density in densities.items()}

    numbers, own = jnp.asarray([*range(num_draws), 0, 0]), jnp.arange(len(x))
    rows = jnp.stack([*[own] * (num_draws + 1), jnp.asarray(others(len(x)))])
    runs = jax.lax.map(by_itself, (numbers, rows, jax.random.split(key, len(numbers))))
    return {
        name: Trial(together[name], run[:num_draws], run[num_draws], run[num_draws + 1])
        for name, run in runs.items()
        if name in together
    }


def observed(pair: Any, x: np.ndarray, side: Arrays) -> dict[str, np.ndarray]:
    """Run a pair once; return what each site observes, of whatever draws."""
    model, guide = pair.structure.programs(pair.params, pair.constants)
    where = pair.arrays({"index": np.arange(len(x)), **side})
    p, _ = run(model, guide, (pair.array(x),), where, 1, 1, jax.random.key(0))
    return {name: np.asarray(site["value"]) for name, site in sites_of(p, observed=True).items()}


def _draws(site: Any, num_draws: int) -> Array:
    """The draws of a site, each with the dimensions that it has in a run of one draw: (K, ...)."""
    value = site["value"]
    if num_draws == 1:
        return value[None]
    plates = [-frame.dim for frame in site["cond_indep_stack"] if frame.name != "num_particles"]
    return value.reshape(num_draws, *value.shape[value.ndim - max(plates, default=0) - site["fn"].event_dim :])


def _densities(p: NumPyroTrace, q: NumPyroTrace, num_draws: int) -> dict[str, Array]:
    """Compute the log-density of every site, (K, B), but of a guide's that is known at its own draws alone."""
    model = {**sites_of(p, observed=False), **sites_of(p, observed=True)}
    densities = {f"{name!r}": density_of(site, num_draws) for name, site in model.items()}
    for name, site in sites_of(q, observed=False).items():
        try:
            densities[f"{name!r} of the guide"] = density_of(site, num_draws)
        except (NotImplementedError, KeyError):  # a flow without an inverse
            continue
    return densities

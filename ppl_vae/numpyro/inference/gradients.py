"""Gradients of an objective at a pair's present parameters, one for each seed, and the owner of each parameter."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from ...baselines import SETTLING
from ...pairs.chunks import windows
from ...pairs.side_inputs import NOTHING, Arrays, placeholder
from ...players import sizes_of
from ...seeds import derive, generator
from .pair import Pair, Structure, Tree, named
from .sites import NUMPYRO
from .svi.players import RunningPlayer, advance, init, view_of
from .traces import run

CHUNK = 2**23
"""Entries of gradients to hold in memory at a time."""


def owners(pair: Pair) -> dict[str, str]:
    """Find the owner of each parameter, by name: ``model``, ``guide``, or ``shared`` where both hold the same variable.

    A module owns the parameters inside it; a plain function those that it touches when it runs (``numpyro.param``,
    ``nnx_module``). The encoder of a VampPrior is shared.

    >>> from ppl_vae import recipes
    >>> settings = {"prior": "vampprior", "latent_dim": 2, "hidden": (4,), "num_pseudo_inputs": 3}
    >>> pair = Pair(*recipes.vae(np.eye(6), backend="numpyro", **settings)(np.random.default_rng(0)))
    >>> sites = pair.prepare(np.eye(6), 0)
    >>> {name.split("/")[3]: owner for name, owner in owners(pair).items() if "posterior" not in name}
    {'likelihood': 'model', 'prior': 'model'}
    >>> {owner for name, owner in owners(pair).items() if "posterior" in name}
    {'shared'}
    """
    leaves, tree = jax.tree.flatten(pair.params)
    numbers = jax.tree.unflatten(tree, [np.asarray(i) for i in range(len(leaves))])
    programs = pair.structure.merged({**numbers, "sites": {}}, pair.constants)
    held: list[set[int]] = []
    for program, names in zip(programs, _touched(pair), strict=True):
        inside = jax.tree.leaves(nnx.state(program, nnx.Param)) if isinstance(program, nnx.Module) else []
        inside += jax.tree.leaves({name: numbers["sites"][name] for name in names})
        held.append({int(number) for number in inside})
    of_model, of_guide = held
    return {
        name: "shared" if int(i) in of_model & of_guide else "model" if int(i) in of_model else "guide"
        for name, i in named("params", numbers).items()
    }


def _touched(pair: Pair) -> list[set[str]]:
    """The names of the ``numpyro.param`` sites of the model and of the guide; nothing is computed."""
    found: list[set[str]] = []

    def look(params: Tree, constants: Tree, x: Array) -> None:
        programs = pair.structure.programs(params, constants)
        for trace in run(*programs, (x,), pair.arrays(placeholder(len(x), 1, pair.given_dim)), 1, 1, jax.random.key(0)):
            found.append({n for n, site in trace.items() if site["type"] == "param" and n in params["sites"]})

    jax.eval_shape(look, pair.params, pair.constants, pair.array(np.zeros((4, pair.dim))))
    return found


def draw_gradients(
    pair: Pair,
    objective: Any,
    x: np.ndarray,
    index: np.ndarray,
    seeds: Sequence[int],
    side: Arrays = NOTHING,
) -> Iterator[tuple[dict[str, np.ndarray], float | None]]:
    """Yield for each seed the gradient of the mean bound, d/d parameters (1/B) sum_b bound_b: the direction of ascent.

    The parameters are the unconstrained ones that are trained, and stay as they are. A baseline that follows a training
    first follows ``SETTLING`` batches at these parameters, and then stays.

    Args:
        pair: a pair that has run on a batch (``fit.pair``).
        objective: of ours, or a stock one of ``numpyro.infer``.
        x: data (N, P).
        index: the rows of each gradient's batch, (R, B).
        seeds: of the draws, (R,).
        side: side inputs of x; the positions that a per-datapoint guide needs are 0, 1, 2, ... by default.

    Yields:
        (gradients by name, (C, ...) each, for C consecutive seeds; seconds per gradient, None for the first, which
        include the compilation).

    >>> from ppl_vae import recipes
    >>> from ppl_vae.numpyro.inference import TraceELBO
    >>> pair = Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,), backend="numpyro")(np.random.default_rng(0)))
    >>> sites = pair.prepare(np.eye(6), 0)
    >>> drawn = draw_gradients(pair, TraceELBO(), np.eye(6), np.array([[0, 1], [4, 5], [2, 0]]), [0, 1, 2])
    >>> sum(len(gradients["params/modules/0/likelihood/net/layers/0/weight/value"]) for gradients, _ in drawn)
    3
    """
    data, repeats = pair.array(x), len(seeds)
    beside = pair.arrays({"index": np.arange(len(x)), **side})
    fixed = (pair.structure, objective, pair.params, pair.constants, (data, beside))
    sizes = sizes_of(pair.dim, pair.sites, len(x))
    named_players = getattr(objective, "players", ())
    players = tuple(init(player, sizes, generator(seeds[0], player.name)) for player in named_players)
    if players:
        order = jnp.asarray(index[np.arange(SETTLING) % repeats])
        players = _settled(*fixed, order, jax.random.key(derive(seeds[0], "settle")), players)
    rows = min(max(1, repeats // 4), max(1, CHUNK // pair.num_parameters))
    for window, seen in windows(repeats, rows):
        batches = (jnp.asarray(index[window]), jnp.asarray(np.asarray(seeds[window], np.uint32)))
        began = time.perf_counter()
        uphill = jax.block_until_ready(_gradients(*fixed, batches, players))
        seconds = (time.perf_counter() - began) / (window.stop - window.start)
        yield {n: a[seen:] for n, a in named("params", uphill).items()}, seconds if window.start else None


@partial(jax.jit, static_argnames=("structure", "objective"))
def _settled(
    structure: Structure,
    objective: Any,
    params: Tree,
    constants: Tree,
    data: tuple[Array, dict[str, Array]],
    order: Array,
    key: Array,
    players: tuple[RunningPlayer, ...],
) -> tuple[RunningPlayer, ...]:
    """Train the objective's players on batches (S, B) at these parameters, and return them."""

    def one(states: tuple[RunningPlayer, ...], step: tuple[Array, Array]) -> tuple[tuple[RunningPlayer, ...], None]:
        x, side = jax.tree.map(lambda a: a[step[0]], data)
        terms = objective.log_terms(*structure.programs(params, constants), x, key=step[1], **side)
        view = view_of(x, terms, side["index"], step[1])
        view = view if terms.latents is None else view._replace(others=terms.latents.prior)
        return tuple(advance(p, state, view)[0] for p, state in zip(objective.players, states, strict=True)), None

    return jax.lax.scan(one, players, (order, jax.random.split(key, len(order))))[0]


@partial(jax.jit, static_argnames=("structure", "objective"))
def _gradients(
    structure: Structure,
    objective: Any,
    params: Tree,
    constants: Tree,
    data: tuple[Array, dict[str, Array]],
    batches: tuple[Array, Array],
    players: tuple[RunningPlayer, ...],
) -> Tree:
    """Compute gradients one after the other, as in training, for the rows (C, B) and seeds (C,) of C batches."""

    def one(batch: tuple[Array, Array]) -> Tree:
        index, seed = batch
        x, side = jax.tree.map(lambda a: a[index], data)
        grads = jax.grad(partial(_loss, structure, objective))(
            params, constants, x, side, jax.random.key(seed), players
        )
        return jax.tree.map(lambda grad: -grad / len(index), grads)

    return jax.lax.map(one, batches)


def _loss(
    structure: Structure,
    objective: Any,
    params: Tree,
    constants: Tree,
    x: Array,
    side: dict[str, Array],
    key: Array,
    players: tuple[RunningPlayer, ...],
) -> Array:
    """The summed loss."""
    model, guide = structure.programs(params, constants)
    if players:
        terms = objective.log_terms(model, guide, x, key=key, **side)
        view = view_of(x, terms, side["index"], key)
        outputs = (player.output(state.known, view) for player, state in zip(objective.players, players, strict=True))
        return -(terms.scale * objective.bound(terms, *outputs)).sum()
    with NUMPYRO:
        return objective.loss(key, {}, model, guide, x, **side)

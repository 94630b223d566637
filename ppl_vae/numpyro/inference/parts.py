"""Parts of a pair's parameters, in NumPyro: what a training moves, and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..nets.tables import Rows

Tree = Any


def rows_of(modules: list[Any]) -> Iterator[tuple[tuple[Any, ...], Rows]]:
    """Find the modules with a row for each data point, with the paths of their tables in the pair's parameters."""
    for path, node in nnx.iter_graph(nnx.List(modules)):
        if isinstance(node, Rows):
            yield (*path, "table"), node


def of_the_prior(function: Any, programs: tuple[Any, Any]) -> set[tuple[Any, ...]]:
    """Paths, in a pair's ``params["modules"]``, of the parameters that the model's prior has for itself.

    Args:
        function: the model, where it is a plain function; such a one has none.
        programs: (model, guide) on the pair's parameters.
    """
    model, guide = programs
    prior = getattr(model, "prior", None)
    if function is not None or not isinstance(prior, nnx.Module):
        return set()
    others = [part for name, part in vars(model).items() if name != "prior" and isinstance(part, nnx.Module)]
    others += [guide] if isinstance(guide, nnx.Module) else []
    shared = {id(node) for part in others for _, node in nnx.iter_graph(part)}
    found = ((path, node) for path, node in nnx.iter_graph(prior) if isinstance(node, nnx.Param))
    return {(0, "prior", *path) for path, node in found if id(node) not in shared}


def split(pair: Any, settings: Any) -> tuple[Tree, Tree]:
    """Split a pair's parameters in two: those that a training with these settings moves, and the rest.

    Under ``freeze_model`` those of the guide alone; what it shares belongs to the model. Tables are in neither part.
    """
    params, flat = pair.params, dict(nnx.to_flat_state(pair.params["modules"]))
    first = pair.structure.model is None  # the model is the graph's first module
    mine, sites = flat, params["sites"]
    if settings.freeze_model:
        mine = {path: v for path, v in flat.items() if not (first and path[0] == 0)}
        sites = {name: v for name, v in sites.items() if name not in pair.of_the_model}
    if getattr(settings.loss, "prior_alone", False):
        own = pair.of_the_prior()
        mine, sites = {path: v for path, v in flat.items() if path in own}, {}
    kept = {name: v for name, v in params["sites"].items() if name not in sites}
    other = {path: v for path, v in flat.items() if path not in mine}
    return (
        {"modules": nnx.from_flat_state(mine), "sites": sites},
        {"modules": nnx.from_flat_state(other), "sites": kept},
    )


def merge(*parts: Tree) -> Tree:
    """Merge the parameters that ``split`` took apart."""
    sites = {name: value for part in parts for name, value in part["sites"].items()}
    return {"modules": nnx.merge_state(*(part["modules"] for part in parts)), "sites": sites}


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def numbers_of(leaf: Any) -> Any:
    """The numbers of an array, also of random keys, as optimisers that add noise keep one."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def of_kind(leaf: Any, numbers: np.ndarray) -> Any:
    """An array like ``leaf`` from what ``numbers_of`` made of one."""
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(numbers), impl=jax.random.key_impl(leaf))
    return np.asarray(numbers, leaf.dtype)

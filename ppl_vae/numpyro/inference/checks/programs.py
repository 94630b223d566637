"""Programs that cannot be a pair, and pairs as plain functions, in NumPyro."""

from __future__ import annotations

from typing import Any

import jax
import numpyro
from flax import nnx

from ....pairs.keywords import tolerant
from ....pairs.programs import check_backend, is_a
from ..traces import NumPyroTrace


def check_programs(model: Any, guide: Any) -> None:
    """Refuse programs that are of another kind, or whose nets hold no parameters.

    Raises:
        ValueError: names the net, and what to use.
    """
    check_backend(model, guide, "numpyro")
    modules = [program for program in (model, guide) if isinstance(program, nnx.Module)]
    for _, node in nnx.iter_graph(nnx.List(modules)):
        for name, value in getattr(node, "__dict__", {}).items():
            if is_a(value, "flax.linen", "Module"):
                raise ValueError(
                    f"The net {name!r} of {type(node).__name__} is of flax.linen ({type(value).__name__}), which holds "
                    "no parameters: use one of flax.nnx, such as nnx.Linear(2, 6, rngs=nnx.Rngs(0)), or of "
                    "ppl_vae.numpyro.nets."
                )


def check_names_apart(*traces: NumPyroTrace) -> None:
    """Refuse a parameter with the name of a site of the other program: NumPyro would put it in that site's place.

    Raises:
        ValueError: names it.
    """
    params, sampled = (
        {name for trace in traces for name, site in trace.items() if site["type"] == kind}
        for kind in ("param", "sample")
    )
    for name in sorted(params & sampled):
        raise ValueError(
            f"The parameter {name!r} has the name of a site of the other program, and NumPyro would take its value for "
            "that site's: rename the parameter."
        )


def as_functions(model: nnx.Module, guide: nnx.Module, name: str = "pair") -> tuple[Any, Any]:
    """Turn a pair into plain functions whose parameters are one ``numpyro.param``, for stock ``numpyro.infer`` objects.

    Two ``nnx_module`` calls would untie an encoder that the model and the guide share; one name for both keeps it tied.
    (In Pyro a ``PyroModule`` is such a function already.)

    >>> import jax, jax.numpy as jnp, numpy as np, numpyro, optax
    >>> from ppl_vae import recipes
    >>> recipe = recipes.vae(np.eye(6), prior="vampprior", latent_dim=2, num_pseudo_inputs=2, backend="numpyro")
    >>> functions = as_functions(*recipe(np.random.default_rng(0)))
    >>> svi = numpyro.infer.SVI(*functions, optax.adam(0.01), numpyro.infer.Trace_ELBO())
    >>> svi.run(jax.random.key(0), 2, jnp.eye(6), progress_bar=False).losses.shape
    (2,)
    """
    graph, params, constants = nnx.split(nnx.List([model, guide]), nnx.Param, ...)  # type: ignore[misc]
    start, needs = nnx.to_pure_dict(params), (("mask",), ())

    def function(number: int) -> Any:
        def program(*args: Any, **kwargs: Any) -> Any:
            state = jax.tree.map(lambda leaf: leaf, params)
            nnx.replace_by_pure_dict(state, numpyro.param(f"{name}$params", start))
            return tolerant(nnx.merge(graph, state, constants)[number], needs[number])(*args, **kwargs)

        return program

    return function(0), function(1)

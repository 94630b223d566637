"""Programs that cannot be a pair, in NumPyro."""

from __future__ import annotations

from typing import Any

from flax import nnx

from ...pairs.programs import check_backend, is_a


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

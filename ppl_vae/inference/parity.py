"""Weights and densities of a pair's sites, for a comparison with the same pair on the other library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import nn
from torch.distributions import biject_to, constraints, transform_to

from ..nets import MADE
from ..pairs.keywords import tolerant
from ..pairs.parity import Densities, of_sites
from ..pairs.side_inputs import NOTHING, Arrays
from ..priors.factorised import StandardNormal
from ..priors.flow import FlowPrior
from .pair import Pair, forked
from .sites import base_of
from .traces import split_sites

WITHOUT_CONSTANTS = (FlowPrior, MADE, StandardNormal)
"""Modules whose buffers, zeros and masks, follow from their sizes: their mirrors hold none."""
PREFIX = "store."
"""Before the names of parameters of plain functions."""


def _transform(constraint: Any) -> Any:
    return biject_to(constraint) if constraint is constraints.real else transform_to(constraint)


def weights(pair: Pair) -> dict[str, np.ndarray]:
    """Parameters and constants of a prepared pair as its programs see them, by name: constrained, (...) each."""
    alone = set(_alone(pair))
    state = {name: value for name, value in pair.state().items() if name not in alone}
    with torch.no_grad(), pair.active():
        store = pyro.get_param_store()
        held = {f"{PREFIX}{n}": store[n].detach().cpu().numpy().copy() for n in pair.lent}
    return {**state, **held}


def _alone(pair: Pair) -> Iterator[str]:
    """Yield the names of constants that NumPyro has no partner for, and needs none."""
    for program, root in (("model", pair.model), ("guide", pair.guide)):
        for path, module in root.named_modules(prefix=program) if isinstance(root, nn.Module) else ():
            if isinstance(module, WITHOUT_CONSTANTS):
                yield from (f"{path}.{name}" for name, _ in module.named_buffers(recurse=False))


def set_weights(pair: Pair, values: Mapping[str, np.ndarray]) -> None:
    """Set what ``weights`` returned, or some of it."""
    state = {**pair.state(), **{name: np.array(value) for name, value in values.items()}}  # JAX's are not writable
    with pair.active():
        store = pyro.get_param_store()
        for name in pair.lent:
            if f"{PREFIX}{name}" in values:
                constraint = store._constraints.get(name, constraints.real)
                inverse = _transform(constraint).inv(pair.tensor(values[f"{PREFIX}{name}"]))
                state[f"{PREFIX}{name}"] = inverse.cpu().numpy()
    pair.load_state(state)


def takes(pair: Pair, name: str, value: np.ndarray) -> bool | None:
    """Say whether the constraint of a parameter of a plain function takes a value; None for other weights."""
    if (own := name.removeprefix(PREFIX)) not in pair.lent:
        return None
    with pair.active():
        constraint = pyro.get_param_store()._constraints.get(own, constraints.real)
    return bool(constraint.check(pair.tensor(value)).all())


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
    where = pair.tensors({"index": np.arange(len(x)), **side})
    given = {n: torch.as_tensor(v, device=pair.device) for n, v in (values or {}).items()}
    model, guide = tolerant(pair.programs[0], ("mask",)), tolerant(pair.programs[1])
    with torch.no_grad(), forked(seed, pair.device), pair.active():
        fixed = poutine.Trace()
        for name, value in given.items():
            fixed.add_node(name, name=name, type="sample", is_observed=False, infer={}, value=value)
        q = poutine.trace(poutine.replay(guide, trace=fixed)).get_trace(pair.tensor(x), **where)
        p = poutine.trace(poutine.replay(model, trace=q)).get_trace(pair.tensor(x), **where)
        for trace in (p, q):
            trace.compute_log_prob()
    return _of(p), _of(q)


def _of(trace: poutine.Trace) -> Densities:
    latent, observed = split_sites(trace)
    found: dict[str, Any] = {name: s for name, s in trace.nodes.items() if name in latent or name in observed}
    arrays = {
        name: (_array(s["value"]), _array(s["log_prob"]), s["is_observed"], _dims(s)) for name, s in found.items()
    }
    return of_sites(arrays, {name: base_of(s["fn"]) for name, s in found.items()}, _array)


def _dims(site: Any) -> list[int]:
    return [frame.dim for frame in site["cond_indep_stack"] if frame.vectorized]


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()

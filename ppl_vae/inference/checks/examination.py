"""Examination of a pair: one run, which tells its sites and their plates."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ...arrays.net_outputs import check_outputs
from ...pairs.failures import check_batch_shape, explained
from ...pairs.implicit import generated_by, match_implicit
from ...pairs.keywords import inner
from ...pairs.programs import misplaced
from ...pairs.sites import Plates, Sites, match
from ..closed_kl import closed_kl
from ..sites import bounds_of, describe
from ..traces import run, split_sites


def examine(model: Any, guide: Any, *args: Any, **kwargs: Any) -> Sites:
    """Run the pair once, and describe its sites.

    Raises:
        ValueError: the pair does not run on this batch, the model and the guide have different latent sites, or a
            site's log-density has a shape that is not the batch's.
    """
    with explained(*args), torch.no_grad():
        p, q = run(model, guide, args, kwargs, 1, 1)
    (latent, observed), (guided, besides) = split_sites(p), split_sites(q)
    plates = {**_plates_of(p), **_plates_of(q)}
    for site in [*latent.values(), *observed.values(), *guided.values()]:
        check_batch_shape(site["name"], tuple(site["fn"].batch_shape), plates[site["name"]])
    for name, site in observed.items():
        check_outputs(name, tuple(site["fn"].event_shape), tuple(site["value"].shape))
    if generates := generated_by(model):
        found: Any = p.nodes.get(generates)
        drawn = None if found is None else tuple(found["value"].shape)
        described = {name: describe(site) for name, site in latent.items()}
        return match_implicit(generates, (drawn, tuple(args[0].shape)), guided, described, observed, plates)
    scaled = any(bool((torch.as_tensor(s["scale"]) != 1).any()) for s in [*latent.values(), *observed.values()])

    @functools.cache
    def with_another() -> tuple[poutine.Trace, poutine.Trace]:
        more = {n: torch.cat([a, a[:1]]) if isinstance(a, Tensor) and a.dim() else a for n, a in kwargs.items()}
        x = torch.cat([args[0], args[0][:1]])
        with explained(x), torch.no_grad():
            return run(model, guide, (x, *args[1:]), more, 1, 1)

    def plates_with_another() -> Plates:
        p, q = with_another()
        return {**_plates_of(p), **_plates_of(q)}

    outside = misplaced(plates, len(args[0]), plates_with_another)
    larger: dict[str, Any] = dict(with_another()[0].nodes) if outside else {}
    all_described = ({n: describe(site, args[0]) for n, site in sites.items()} for sites in (guided, latent, observed))
    both = [n for n in guided if n in latent and guided[n]["fn"].event_shape == latent[n]["fn"].event_shape]
    found = match(
        *all_described,
        sampled_kl=tuple(name for name in both if _samples_kl(guided[name], latent[name])),
        scaled=scaled,
        empty=getattr(inner(guide), "is_empty", False),
        besides=tuple(besides),
        misplaced=outside,
        of_all=tuple(n for n in latent if n in larger and larger[n]["value"].shape == latent[n]["value"].shape),
        plates=plates,
        bounds={name: (bounds_of(guided[name]["fn"]), bounds_of(latent[name]["fn"])) for name in both},
    )
    return replace(found, precision=torch.finfo(args[0].dtype).eps)


def _plates_of(trace: poutine.Trace) -> Plates:
    latent, observed = split_sites(trace)
    return {
        name: {f.dim: (f.name, f.size) for f in site["cond_indep_stack"] if f.vectorized}
        for name, site in {**latent, **observed}.items()
    }


def _samples_kl(guided: Any, latent: Any) -> bool:
    """Whether the KL of a site has no closed form."""
    try:
        return closed_kl(guided, latent) is None
    except Exception:  # of distributions that do not match, which is said of their descriptions
        return False

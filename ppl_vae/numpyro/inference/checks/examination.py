"""Examination of a pair: one run, which tells its sites and their plates."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ....arrays.net_outputs import check_outputs
from ....pairs.failures import check_batch_shape, explained
from ....pairs.implicit import generated_by, match_implicit
from ....pairs.keywords import inner
from ....pairs.programs import misplaced
from ....pairs.sites import Plates, Sites, match
from ..closed_kl import closed_kl
from ..sites import bounds_of, describe
from ..traces import NumPyroTrace, run, split_sites
from .reached import numbers_stay

COMPILED = (
    "A NumPyro program is compiled, for arrays whose values are not known yet: decide by jnp.where(...) where it says "
    "if, and compute with jnp where it says np, float() or .item()."
)
REMEDIES = {jax.errors.JAXTypeError: COMPILED, jax.errors.JAXIndexError: COMPILED}
"""What to do about errors of JAX's own."""


def examine(model: Any, guide: Any, *args: Any, **kwargs: Any) -> Sites:
    """Run the pair once, and describe its sites.

    Raises:
        ValueError: the pair does not run on this batch, a net changes a Python number as it runs, the model and the
            guide have different latent sites, or a site's log-density has a shape that is not the batch's.
    """
    with explained(*args, remedies=REMEDIES), numbers_stay(model, guide):
        p, q = run(model, guide, args, kwargs, 1, 1, jax.random.key(0))
    (latent, observed), (guided, besides) = split_sites(p), split_sites(q)
    plates = {**_plates_of(p), **_plates_of(q)}
    for site in [*latent.values(), *observed.values(), *guided.values()]:
        check_batch_shape(site["name"], tuple(site["fn"].batch_shape), plates[site["name"]])
    for name, site in observed.items():
        check_outputs(name, tuple(site["fn"].event_shape), jnp.shape(site["value"]))
    if generates := generated_by(model):
        drawn = tuple(p[generates]["value"].shape) if generates in p else None
        described = {name: describe(site) for name, site in latent.items()}
        return match_implicit(generates, (drawn, tuple(args[0].shape)), guided, described, observed, plates)
    scales = [site["scale"] for site in [*latent.values(), *observed.values()]]
    scaled = any(scale is not None and not (isinstance(scale, int | float) and scale == 1) for scale in scales)

    @functools.cache
    def with_another() -> tuple[NumPyroTrace, NumPyroTrace]:
        more = {n: jnp.concatenate([a, a[:1]]) if isinstance(a, Array) and a.ndim else a for n, a in kwargs.items()}
        x = jnp.concatenate([args[0], args[0][:1]])
        with explained(x, remedies=REMEDIES):
            return run(model, guide, (x, *args[1:]), more, 1, 1, jax.random.key(0))

    def plates_with_another() -> Plates:
        p, q = with_another()
        return {**_plates_of(p), **_plates_of(q)}

    outside = misplaced(plates, len(args[0]), plates_with_another)
    larger = with_another()[0] if outside else {}
    all_described = ({n: describe(site, args[0]) for n, site in sites.items()} for sites in (guided, latent, observed))
    both = [n for n in guided if n in latent and guided[n]["fn"].event_shape == latent[n]["fn"].event_shape]
    found = match(
        *all_described,
        sampled_kl=tuple(name for name in both if closed_kl(guided[name], latent[name]) is None),
        scaled=scaled,
        subsampled=_subsampled(p) or _subsampled(q),
        empty=getattr(inner(guide), "is_empty", False),
        besides=tuple(besides),
        misplaced=outside,
        of_all=tuple(
            n for n in latent if n in larger and jnp.shape(larger[n]["value"]) == jnp.shape(latent[n]["value"])
        ),
        plates=plates,
        bounds={name: (bounds_of(guided[name]["fn"]), bounds_of(latent[name]["fn"])) for name in both},
    )
    return replace(found, precision=float(jnp.finfo(args[0].dtype).eps))


def _subsampled(trace: NumPyroTrace) -> str:
    """The name of a plate of fewer rows than it counts; nothing where there is none."""
    plates = {name: site["args"] for name, site in trace.items() if site["type"] == "plate"}
    return next((name for name, (size, rows) in plates.items() if rows is not None and size != rows), "")


def _plates_of(trace: NumPyroTrace) -> Plates:
    sites = {name: site for name, site in trace.items() if site["type"] == "sample"}
    return {name: {f.dim: (f.name, f.size) for f in site["cond_indep_stack"]} for name, site in sites.items()}

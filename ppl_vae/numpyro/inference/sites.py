"""Descriptions of traced sites by what their distributions can do, whatever the class is called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro import handlers
from numpyro.distributions import (
    BernoulliLogits,
    BernoulliProbs,
    CategoricalLogits,
    CategoricalProbs,
    Cauchy,
    HalfCauchy,
    Independent,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    constraints,
)

from ...arrays.sequences import num_steps
from ...data.tables.kinds import COUNT
from ...pairs.sites import ANYWHERE, AT_OWN_DRAWS, NOWHERE, Bounds, Site
from ...runtime.threads import process_lock

NUMPYRO = process_lock()
"""Held while a program runs in Python, but not while it runs compiled: all threads share NumPyro's handlers."""
REARRANGING = (Independent, dist.MaskedDistribution, dist.ExpandedDistribution)
"""Wrappers that leave each entry's distribution as it is."""
PARAMETRIC = (Normal, MultivariateNormal)
"""Distributions that hold all that their density depends on as arrays of their own; others may hold functions."""
FINITE = (BernoulliLogits, BernoulliProbs, CategoricalLogits, CategoricalProbs)
"""Distributions over bits and names."""
WITHOUT_MEAN = (CategoricalLogits, CategoricalProbs, Cauchy, HalfCauchy)
LIMITED = (
    constraints.greater_than,
    constraints.less_than,
    constraints.interval,
    constraints.open_interval,
    type(constraints.simplex),
)
"""Constraints that leave out some real numbers."""


def traced(program: Any, *args: Any, **kwargs: Any) -> Any:
    """Trace a program, one thread at a time: its sites by name."""
    with NUMPYRO:
        return handlers.trace(program).get_trace(*args, **kwargs)


def base_of(fn: Any) -> Any:
    """Find the distribution inside wrappers that only rearrange it."""
    while isinstance(fn, REARRANGING):
        fn = fn.base_dist
    return fn


def _inside(fn: Any) -> Iterator[Any]:
    """Yield the distribution and all those that it is made from, by a transform or by a user's own wrapper too."""
    while fn is not None:
        yield fn
        fn = getattr(fn, "base_dist", None)


def _has_mean(fn: Any) -> bool:
    """Whether the mean is known; a distribution's attribute ``has_mean`` decides, if it has one."""
    for part in _inside(fn):
        if hasattr(part, "has_mean"):
            return bool(part.has_mean)
        if isinstance(part, WITHOUT_MEAN):
            return False
    try:
        return fn.mean is not None
    except NotImplementedError:
        return False


def moments_of(site: Any) -> tuple[Array, Array]:
    """Mean and variance of a traced site's distribution, NaN where it does not know them."""
    if site["type"] == "deterministic":
        return site["value"], jnp.zeros_like(site["value"])
    return _known(site["fn"], "mean"), _known(site["fn"], "variance")


def _known(fn: Any, moment: str) -> Array:
    try:
        return getattr(fn, moment)
    except NotImplementedError:
        return jnp.full(fn.shape(), jnp.nan)


def masks_of(site: Any) -> list[Array]:
    """The masks of a site's entries, by handlers and wrappers, each with the dimensions of the site's value."""
    fn, masks = site["fn"], []
    while fn is not None:
        masks.append((getattr(fn, "_mask", None), fn.event_dim))
        fn = getattr(fn, "base_dist", None)
    return [jnp.asarray(m)[(..., *[None] * dims)] for m, dims in masks if m is not None and m is not True]


def _support_of(base: Any) -> Any:
    try:
        return base.support
    except (AttributeError, NotImplementedError):  # a user's own may say nothing
        return None


def _kind_of(support: Any) -> str:
    """The ``Site.support`` of a constraint; a transform's codomain may be wider than what it maps to."""
    if support is None:
        return ""
    if support.is_discrete:
        return "discrete"
    inner = getattr(support, "base_constraint", support)
    return "bounded" if isinstance(inner, LIMITED) else "real" if inner is constraints.real else ""


def bounds_of(fn: Any) -> Bounds:
    """Find the bounds of a distribution's entries; None where they are not known, as of a transform."""
    base = base_of(fn)
    support = _support_of(base)
    support = getattr(support, "base_constraint", support)
    if type(base) is TransformedDistribution or support is None:
        return None
    if support is constraints.boolean:
        return np.zeros(()), np.ones(())
    ends = [getattr(support, name, None) for name in ("lower_bound", "upper_bound")]
    if support is not constraints.real and ends == [None, None]:
        return None
    if any(isinstance(end, jax.core.Tracer) for end in ends):
        return None
    least, largest = (
        np.asarray(other if end is None else end) for end, other in zip(ends, (-np.inf, np.inf), strict=True)
    )
    return least, largest


def _density_of(site: Any) -> str:
    """The ``Site.density`` of a latent site; a distribution's attribute ``density_known`` decides, if it has one.

    Transforms do not say whether they have an inverse, so that those are tried.
    """
    fn = site["fn"]
    for part in _inside(fn):
        if hasattr(part, "density_known"):
            return str(part.density_known)
    if site["is_observed"] or isinstance(base_of(fn), (*PARAMETRIC, *FINITE)):
        return ANYWHERE
    if _knows(fn, site["value"]):
        return ANYWHERE
    return AT_OWN_DRAWS if site["intermediates"] and _knows(fn, site["value"], site["intermediates"]) else NOWHERE


def _knows(fn: Any, *values: Any) -> bool:
    try:
        jax.eval_shape(fn.log_prob, *values)
    except NotImplementedError:
        return False
    except Exception:  # explained where the densities are computed
        return True
    return True


def describe(site: Any, x: Any = None) -> Site:
    """Describe a traced site for objectives and evaluation; ``x`` are the data that the program got."""
    fn, inner = site["fn"], sorted([f.dim for f in site["cond_indep_stack"] if f.dim < -1])
    base = base_of(fn)
    support = _support_of(base)
    of_entry = getattr(support, "base_constraint", support)
    binary = of_entry is constraints.boolean
    categorical = isinstance(base, CategoricalLogits | CategoricalProbs)
    return Site(
        site["name"],
        type(base).__name__.removesuffix("Logits").removesuffix("Probs"),
        (*(fn.batch_shape[dim] for dim in inner), *fn.event_shape),
        reparameterised=bool(fn.has_rsample),
        binary=binary,
        whole=binary and bool(getattr(base, "_validate_args", False)) and site["value"] is x,
        validates=bool(getattr(base, "_validate_args", False)),
        num_values=2 if binary else int(base.probs.shape[-1]) if categorical else getattr(base, "num_values", None),
        levels=getattr(base, "levels", None),
        read_values=getattr(base, "read_values", None),
        columns=(COUNT,) if of_entry is constraints.nonnegative_integer else getattr(base, "columns", ()),
        codes=getattr(base, "codes", ()),
        codebook=getattr(base, "codebook_shape", ()),
        chain=getattr(base, "chain", 0),
        steps=num_steps(base),
        schedule=getattr(base, "schedule", None),
        has_density=not any(isinstance(part, dist.Delta) for part in _inside(fn)),
        density=_density_of(site),
        has_mean=_has_mean(fn),
        is_categorical=categorical,
        has_logits=isinstance(base, BernoulliLogits | BernoulliProbs) or categorical,
        is_normal=isinstance(base, Normal),
        has_normal_marginals=isinstance(base, Normal | MultivariateNormal),
        probabilities_per_entry=getattr(base, "probabilities_per_entry", 1),
        plates=len(inner),
        masked=bool(masks_of(site)),
        label=bool(site["infer"].get("label")),
        components=getattr(fn, "num_components", 0),
        support="" if isinstance(base, TransformedDistribution) and _kind_of(support) == "real" else _kind_of(support),
    )

"""Descriptions of traced sites by what their distributions can do, whatever the class is called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Cauchy,
    HalfCauchy,
    Independent,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    constraints,
)

from ..arrays.sequences import num_steps
from ..data.tables.kinds import COUNT
from ..distributions.normal import Normal as OurNormal
from ..pairs.sites import ANYWHERE, AT_OWN_DRAWS, NOWHERE, Bounds, Site

REARRANGING = (Independent, dist.MaskedDistribution, dist.ExpandedDistribution)
"""Wrappers that leave each entry's distribution as it is."""
PARAMETRIC = (OurNormal, dist.Normal, dist.MultivariateNormal)
"""Distributions that hold all that their density depends on as tensors of their own; others may hold functions."""
FINITE = (Bernoulli, Categorical)
"""Distributions over bits and names."""
WITHOUT_MEAN = (Categorical, Cauchy, HalfCauchy)
LIMITED = (
    constraints.greater_than,
    constraints.greater_than_eq,
    constraints.less_than,
    constraints.interval,
    constraints.half_open_interval,
    type(constraints.simplex),
)
"""Constraints that leave out some real numbers."""


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


def moments_of(site: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance of a traced site's distribution, NaN where it does not know them."""
    return _known(site["fn"], "mean"), _known(site["fn"], "variance")


def _known(fn: Any, moment: str) -> Tensor:
    try:
        return getattr(fn, moment)
    except NotImplementedError:
        return torch.full(fn.shape(), torch.nan)


def masks_of(site: Any) -> list[Tensor]:
    """The masks of a site's entries, by handlers and wrappers, each with the dimensions of the site's value."""
    masks = [(site["mask"], site["fn"].event_dim)]
    masks += [(getattr(fn, "_mask", None), len(fn.event_shape)) for fn in _inside(site["fn"])]  # torch has no event_dim
    return [torch.as_tensor(m)[(..., *[None] * dims)] for m, dims in masks if m is not None and m is not True]


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
    least, largest = (
        torch.as_tensor(other if end is None else end).detach().cpu().numpy()
        for end, other in zip(ends, (-np.inf, np.inf), strict=True)
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
    if _knows(fn, site["value"].detach().clone()):  # another tensor, whose pre-image no transform remembers
        return ANYWHERE
    return AT_OWN_DRAWS if _knows(fn, site["value"]) else NOWHERE


def _knows(fn: Any, value: Tensor) -> bool:
    try:
        fn.log_prob(value)
    except (NotImplementedError, KeyError):
        return False
    except Exception:  # explained where the densities are computed
        return True
    return True


def describe(site: Any, x: Any = None) -> Site:
    """Describe a traced site for objectives and evaluation; ``x`` are the data that the program got."""
    fn, inner = site["fn"], sorted([f.dim for f in site["cond_indep_stack"] if f.vectorized and f.dim < -1])
    base = base_of(fn)
    support = _support_of(base)
    of_entry = getattr(support, "base_constraint", support)
    binary = of_entry is constraints.boolean
    categorical = isinstance(base, Categorical)
    return Site(
        site["name"],
        type(base).__name__.removesuffix("_").removesuffix("Logits"),
        (*(fn.batch_shape[dim] for dim in inner), *fn.event_shape),
        reparameterised=bool(fn.has_rsample),
        binary=binary,
        whole=binary and bool(getattr(base, "_validate_args", False)) and site["value"] is x,
        validates=bool(getattr(base, "_validate_args", False)),
        num_values=2 if binary else base._num_events if categorical else getattr(base, "num_values", None),
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
        has_logits=isinstance(base, Bernoulli | Categorical),
        is_normal=isinstance(base, Normal),
        has_normal_marginals=isinstance(base, Normal | MultivariateNormal),
        probabilities_per_entry=getattr(base, "probabilities_per_entry", 1),
        plates=len(inner),
        masked=bool(masks_of(site)),
        label=bool(site["infer"].get("label")),
        components=getattr(fn, "num_components", 0),
        support="" if isinstance(base, TransformedDistribution) and _kind_of(support) == "real" else _kind_of(support),
    )

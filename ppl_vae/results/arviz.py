"""Draws of a guide as ``arviz.InferenceData``, or as xarray's ``DataTree`` since ArviZ 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..pairs.sites import Sites
from ..pairs.terms import Terms
from ..runtime import arviz
from ..runtime.versions import __version__


def to_inference_data(
    draws: Mapping[str, np.ndarray],
    terms: Terms,
    x: np.ndarray,
    mask: np.ndarray | None,
    sites: Sites,
    settings: Mapping[str, Any],
) -> Any:
    """One chain of K draws, (K, N, ...) by site, with their terms (K, N) and the data x (N, P), NaN where hidden."""
    x = x if mask is None else np.where(mask, x, np.nan)
    lengths = {site.name: site.steps for site in sites.latent}
    posterior = {name: arviz.of_data(name, values, f"{name}_dim", 1, lengths) for name, values in draws.items()}
    observed, of_x = arviz.of_data("x", x, "pixel", 0, {"x": max(lengths.values(), default=0)})
    groups = {
        "posterior": {name: values[None] for name, (values, _) in posterior.items()},
        "log_likelihood": {"x": terms.log_lik[None]},
        "sample_stats": {"log_prior": terms.log_prior[None], "log_guide": terms.log_guide[None]},
        "observed_data": {"x": observed},
    }
    dims = {"x": of_x, "log_prior": ["datum"], "log_guide": ["datum"]}
    dims |= {name: names for name, (_, names) in posterior.items()}
    attrs = {"library": "ppl_vae", "library_version": __version__, "settings": json.dumps(dict(settings))}
    return arviz.inference_data(groups, dims, attrs)

"""Draws of a guide as ``arviz.InferenceData``, or as xarray's ``DataTree`` since ArviZ 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..pairs.terms import Terms
from ..runtime import arviz
from ..runtime.versions import __version__


def to_inference_data(draws: Mapping[str, np.ndarray], terms: Terms, x: np.ndarray, settings: Mapping[str, Any]) -> Any:
    """One chain of K draws, (K, N, ...) by site, with their terms (K, N) and the data x (N, P), NaN where hidden."""
    groups = {
        "posterior": {name: values[None] for name, values in draws.items()},
        "log_likelihood": {"x": terms.log_lik[None]},
        "sample_stats": {"log_prior": terms.log_prior[None], "log_guide": terms.log_guide[None]},
        "observed_data": {"x": x},
    }
    dims = {"x": ["datum", "pixel"], "log_prior": ["datum"], "log_guide": ["datum"]}
    dims |= {name: ["datum", *([f"{name}_dim"] if values.ndim > 2 else [])] for name, values in draws.items()}
    attrs = {"library": "ppl_vae", "library_version": __version__, "settings": json.dumps(dict(settings))}
    return arviz.inference_data(groups, dims, attrs)

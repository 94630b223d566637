"""Summary of a fit in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..pairs.pair import Pair


def summary(pair: Pair, settings: Mapping[str, Any], history: Mapping[str, Any]) -> dict[str, Any]:
    """Return the programs, the objective, the data and the last numbers of a training, those that are known."""
    data, svi = settings.get("data", {}), settings.get("svi", {})
    said: dict[str, Any] = {"backend": pair.backend, "model": _name(pair.model), "guide": _name(pair.guide)}
    if pair.sites is not None:
        said["latents"] = ", ".join(f"{site.name} {site.event_shape}" for site in pair.sites.latent) or "none"
        said["parameters"] = pair.num_parameters
    if svi:
        said["objective"] = str(svi.get("loss", "")).partition("(")[0]
    if sizes := data.get("sizes", {}):
        said["data"] = f"{data.get('name', 'arrays')}, {sizes.get('train', 0):,} rows"
    said["epochs"] = len(history.get("loss", ()))
    said |= {name: float(history[name][-1]) for name in ("loss", "valid_elbo") if len(history.get(name, ()))}
    if len(history.get("seconds", ())):
        said["seconds"] = float(np.sum(history["seconds"]))
    return said


def _name(program: Any) -> str:
    return str(getattr(program, "__name__", type(program).__name__))

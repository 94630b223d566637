"""ArviZ in both of its forms: ``InferenceData`` before 1, and xarray's ``DataTree`` since."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np


def imported() -> Any:
    """The package, without its announcements."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        import arviz
    return arviz


def is_tree() -> bool:
    """Whether this ArviZ keeps draws in a ``DataTree``."""
    return int(version("arviz").partition(".")[0]) >= 1


def inference_data(
    groups: Mapping[str, Mapping[str, np.ndarray]], dims: Mapping[str, Sequence[str]], attrs: Mapping[str, Any]
) -> Any:
    """Groups of arrays (chain, draw, ...) as ``InferenceData``, or as ``DataTree`` since ArviZ 1.

    Args:
        groups: name -> variables; those of ``observed_data`` have neither chain nor draw.
        dims: variable -> the names of its other dimensions.
        attrs: what is noted of all of them.
    """
    given = {group: dict(variables) for group, variables in groups.items()}
    named = {name: list(names) for name, names in dims.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="More chains .* than draws")
        if is_tree():
            told = {group: dict(attrs) for group in (*given, "/")}
            return imported().from_dict(given, dims=named, attrs=told, check_conventions=False)
        return imported().from_dict(**given, dims=named, attrs=dict(attrs))

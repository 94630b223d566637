"""ArviZ in both of its forms: ``InferenceData`` before 1, and xarray's ``DataTree`` since."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeAlias

import numpy as np

Variable: TypeAlias = tuple[np.ndarray, list[str]]
"""Values, and the names of their dimensions beyond chain and draw."""


def imported() -> Any:
    """The package, without its announcements."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        import arviz
    return arviz


def is_tree() -> bool:
    """Whether this ArviZ keeps draws in a ``DataTree``."""
    return int(version("arviz").partition(".")[0]) >= 1


def of_data(name: str, values: np.ndarray, entry: str, before: int, lengths: Mapping[str, int]) -> Variable:
    """Name the dimensions of a variable beyond chain and draw; those of a path are its steps and what is of a step.

    Args:
        name: of the variable.
        values: (..., N), or (..., N, W) with an entry of each datum.
        entry: the name of the last dimension, if there is one.
        before: number of dimensions before that of the data.
        lengths: T of each variable whose entries are steps side by side, by name.
    """
    if values.ndim == before + 1:
        return values, ["datum"]
    length = lengths.get(name)
    if not length or values.shape[-1] % length:
        return values, ["datum", entry]
    return values.reshape(*values.shape[:-1], length, -1), ["datum", "step", entry]


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

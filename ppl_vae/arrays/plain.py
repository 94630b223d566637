"""Settings as plain Python values: a number that NumPy computed is kept as Python's, so that any file can hold it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


def as_python(value: Any) -> Any:
    """Replace NumPy's numbers by Python's, in tuples, lists and mappings too; leave everything else as it is.

    >>> as_python((np.int64(2), {"strength": np.float32(0.5), "whole": [np.array(True)]}, "text"))
    (2, {'strength': 0.5, 'whole': [True]}, 'text')
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim):
        return float(value) if value.dtype.kind == "f" else value.item()
    if type(value) in (tuple, list):
        return type(value)(as_python(entry) for entry in value)
    if isinstance(value, Mapping):
        return {name: as_python(entry) for name, entry in value.items()}
    return value


def keep_python(settings: Any, *tuples: str) -> None:
    """Replace NumPy's numbers in the fields of a dataclass that is being made, and make the fields ``tuples`` such."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name in tuples and isinstance(value, np.ndarray | list | range) and np.ndim(value):
            value = tuple(value)
        object.__setattr__(settings, field.name, as_python(value))

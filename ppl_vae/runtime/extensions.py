"""Extensions: modules outside the package that register components when they are imported."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Iterable
from importlib.metadata import entry_points

GROUP = "ppl_vae.components"
"""The group of entry points by which an installed package names a module that registers, or a function that does."""


def load_registered(names: Iterable[str] = ()) -> None:
    """Import the modules of these names, then what the installed packages declare under ``GROUP``; each once a process.

    An installed package that cannot be loaded is skipped, with a warning that names it.

    Raises:
        ValueError: a module of ``names`` that cannot be imported; the message says why.

    >>> load_registered(["no_such_module"])
    Traceback (most recent call last):
        ...
    ValueError: The module 'no_such_module' cannot be imported: ModuleNotFoundError: No module named 'no_such_module'
    """
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise ValueError(f"The module {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    _load_installed()


@functools.cache
def _load_installed() -> None:
    for entry in entry_points(group=GROUP):
        try:
            loaded = entry.load()
            if callable(loaded):
                loaded()
        except Exception as error:
            package = entry.dist.name if entry.dist else "an installed package"
            text = f"{package}: its components ({entry.value}) cannot be loaded: {type(error).__name__}: {error}"
            warnings.warn(text, stacklevel=3)

"""Backends: the modules of Pyro or of NumPyro in one object, for code that serves both."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

NAMES = ("pyro", "numpyro")


@dataclass(frozen=True)
class Backend:
    """Modules of a backend: nets, conditionals, models, guides, inference, priors and distributions."""

    name: str
    nets: ModuleType
    conditionals: ModuleType
    models: ModuleType
    guides: ModuleType
    inference: ModuleType
    priors: ModuleType
    distributions: ModuleType


def load(name: str) -> Backend:
    """Import the modules of ``pyro`` or ``numpyro``.

    Raises:
        ValueError: an unknown backend; the message lists what there is.

    >>> load("pyro").models.__name__
    'ppl_vae.models'
    """
    if name not in NAMES:
        raise ValueError(f"Unknown backend {name!r}; there are {', '.join(NAMES)}.")
    package = "ppl_vae" if name == "pyro" else "ppl_vae.numpyro"
    parts = ("nets", "conditionals", "models", "guides", "inference", "priors", "distributions")
    return Backend(name, *(importlib.import_module(f"{package}.{part}") for part in parts))

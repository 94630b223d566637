"""Distributions of single entries of a pair's sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

Marginal: TypeAlias = Mapping[str, Any]
"""Independent entries, (B, ...) each: ``loc`` and ``scale`` of normals, or ``log_masses`` (L, B, ...) of the values
that they can take; nothing where they are neither."""


class Marginals(NamedTuple):
    """The entries of a pair's one latent site and of its one observed site."""

    posterior: Marginal
    """q(z | x)"""
    prior: Marginal
    """p(z)"""
    likelihood: Marginal
    """p(x | z)"""
    observed: Any
    """the value that the observed site takes of the data, (B, ...)"""

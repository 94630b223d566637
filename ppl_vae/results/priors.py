"""Fits whose objective has learned a prior beside the pair: the mark that they carry, and a fit without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..pairs.pair import Pair

APART = "prior_apart"
"""The setting of a training whose objective had a prior of its own."""


def mark_prior(pair: Pair, settings: Mapping[str, Any]) -> None:
    """Say in the pair's sites which objective, if any, has left its p(z) as it was."""
    svi = settings.get("svi", {})
    if svi.get(APART) and pair.sites is not None:
        pair.sites = replace(pair.sites, prior_apart=str(svi["loss"]).partition("(")[0])


def of_the_pair(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a fit whose p(z) is the pair's own again."""
    svi = settings.get("svi", {})
    return {**settings, "svi": {name: v for name, v in svi.items() if name != APART}} if APART in svi else settings

"""Parts of a pair's parameters, in Pyro: what a training moves, and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def of_the_prior(parameters: Mapping[str, Tensor], model: Any, guide: Any) -> set[str]:
    """Names, among a pair's parameters, of those that the model's prior has for itself."""
    if not isinstance(prior := getattr(model, "prior", None), nn.Module):
        return set()
    others = [part for name, part in model.named_children() if name != "prior"]
    others += [guide] if isinstance(guide, nn.Module) else []
    shared = {id(p) for part in others for p in part.parameters()}
    held = {id(p) for p in prior.parameters()} - shared
    return {name for name, p in parameters.items() if id(p) in held}


def moved(pair: Any, settings: Any) -> dict[str, Tensor]:
    """Parameters that a training with these settings moves, by name; tables are not among them.

    Under ``freeze_model`` those of the guide alone; what it shares belongs to the model.
    """
    fixed = set(pair.tables()) | (pair.of_the_model() if settings.freeze_model else set())
    if getattr(settings.loss, "prior_alone", False):
        fixed |= set(pair.named_parameters()) - pair.of_the_prior()
    return {name: p for name, p in pair.named_parameters().items() if name not in fixed}

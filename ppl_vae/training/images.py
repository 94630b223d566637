"""Priors that hold the training data, beside data of which a mask hides values."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsuitableObjective
from ..pairs.pair import Pair
from .data import TrainingData


def check_images(pair: Pair, data: TrainingData) -> None:
    """Refuse a prior over training data that are not as the guide sees them.

    Raises:
        UnsuitableObjective: says what to make the pair of.
    """
    prior: Any = getattr(pair.model, "prior", None)
    mask = data.side.get("mask")
    if not hasattr(prior, "images") or mask is None:
        return
    images: np.ndarray = prior.images
    shown = prior.hidden_input
    rows = {
        row.tobytes()
        for row in np.where(mask, np.asarray(data.train), 0 if shown is None else shown).astype(images.dtype)
    }
    count = sum(row.tobytes() not in rows for row in images)
    if count:
        raise UnsuitableObjective(
            f"{type(prior).__name__} holds {count} images that are no training data as mask= shows them, so that it is "
            "no mean of the guide's q(z | x), and may read hidden values: make the pair of the data as the guide sees "
            f"them, np.where(mask, x, {0 if shown is None else 'posterior.net.hidden_input'})."
        )

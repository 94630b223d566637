"""A few images of a training, for a figure of its study."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import numpy as np

from ...pairs.side_inputs import Side
from ...results.fit import Fit

RECONSTRUCTIONS, GENERATIONS = 12, 16
"""The number of images of each kind that a training leaves, for a figure."""


def images_of(fit: Fit, on_test: Fit, originals: np.ndarray, **side: Unpack[Side]) -> dict[str, np.ndarray]:
    """Return originals, their reconstructions and new images, of each kind what the programs can make.

    Args:
        fit: that generates.
        on_test: the same, with a guide for the test data.
        originals: the first test data.
        side: their side inputs.
    """
    mean, given = fit.sites.has_data_means, side.get("given")
    located: Side = {**side, "index": np.arange(len(originals))}
    size = GENERATIONS if given is None else None
    kinds: dict[str, Callable[[], np.ndarray]] = {
        "reconstructions": lambda: on_test.reconstruct(originals, mean=mean, **located),
        "generations": lambda: fit.generate(size, mean=mean, given=given),
    }
    images = {"originals": originals}
    for name, make in kinds.items():
        try:
            images[name] = make()
        except ValueError:  # no latents, several sites, or a model without ``size``: numbers do not need a figure
            continue
    return images

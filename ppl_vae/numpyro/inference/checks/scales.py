"""Programs without the scale that all their sites share, in NumPyro."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from numpyro.primitives import Messenger

from ....pairs.keywords import Tolerant
from ..traces import run, sites_of


class _One(Messenger):
    """A handler under which every site of the program inside has no scale."""

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "sample":
            msg["scale"] = None


class Unscaled(Tolerant):
    """A program whose subsampled plate, or handler, no longer scales its densities, which are then nats per datum."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the program with the keywords that it takes."""
        with _One():
            return super().__call__(*args, **kwargs)


def one_scale(model: Any, guide: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether all sites of a pair have the same number as their scale."""
    p, q = run(model, guide, args, kwargs, 1, 1, jax.random.key(0))
    found = [sites_of(trace, observed=observed) for trace in (p, q) for observed in (False, True)]
    scales = [1.0 if site["scale"] is None else site["scale"] for sites in found for site in sites.values()]
    return all(isinstance(scale, int | float | np.number) and scale == scales[0] for scale in scales)

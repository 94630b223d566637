"""Programs without the scale that all their sites share, in Pyro."""

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine.messenger import Messenger

from ...pairs.keywords import Tolerant
from ..traces import run, sites_of


class _One(Messenger):
    """A handler under which every site of the program inside has the scale 1."""

    def _pyro_sample(self, msg: Any) -> None:
        msg["scale"] = 1.0


class Unscaled(Tolerant):
    """A program whose subsampled plate, or handler, no longer scales its densities, which are then nats per datum."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the program with the keywords that it takes."""
        with _One():
            return super().__call__(*args, **kwargs)


def one_scale(model: Any, guide: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether all sites of a pair have the same number as their scale."""
    with torch.no_grad():
        p, q = run(model, guide, args, kwargs, 1)
    found = [sites_of(trace, observed=observed) for trace in (p, q) for observed in (False, True)]
    scales = [torch.as_tensor(site["scale"]) for sites in found for site in sites.values()]
    return all(scale.numel() == 1 and bool(scale == scales[0]) for scale in scales)

"""Paths of a model that go on after their last step, in Pyro."""

from __future__ import annotations

import numpy as np
import torch
from pyro import poutine

from ..arrays.sequences import continuation
from ..pairs.side_inputs import NOTHING, Arrays
from .pair import Pair, forked


def continued(pair: Pair, z: np.ndarray, steps: int, seed: int, side: Arrays = NOTHING) -> np.ndarray:
    """Draw z_{T+1}, ..., z_{T+H} of the model's path given z_T (B, D), (B, H D).

    Raises:
        UnsuitableObjective: a prior that does not go on.
    """
    assert pair.sites is not None
    with torch.no_grad(), forked(seed, pair.device), pair.active() as (model, _):
        prior = poutine.trace(model).get_trace(size=len(z), **pair.tensors(side)).nodes[pair.sites.latent[0].name]["fn"]
        return continuation(prior)(pair.tensor(z), steps).sample().cpu().numpy()

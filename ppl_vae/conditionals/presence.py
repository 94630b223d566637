"""Conditionals of objects that may be absent, in Pyro."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..distributions import Normal


def if_present(present: Tensor, q: Any, p: Any) -> Any:
    """The distribution q where ``present`` (..., 1) is true, and p elsewhere; both diagonal normals over (D,)."""
    loc, scale = (torch.where(present, getattr(q.base_dist, n), getattr(p.base_dist, n)) for n in ("loc", "scale"))
    return Normal(loc, scale).to_event(1)

"""Guide that finds the objects of an image one after the other."""

from __future__ import annotations

from typing import Any

import numpyro
from flax import nnx
from jax import Array

from ...arrays.windows import Windows
from ..conditionals.masking import visible
from ..conditionals.presence import if_present


class AttendInferRepeat(nnx.Module):
    """count ~ q(count | x);  where_t ~ q(where | rest_t), what_t ~ q(what | rest_t in that window);  p for absent ones.

    rest_0 is x, and rest_{t+1} is rest_t without what its window showed: one net finds each next object in what is
    left. Sites: ``count`` (1,), ``where_0`` (3,), ``what_0`` (D,), ``where_1``, ... Plate: ``data`` at dim -1.
    Eslami et al., 2016, where a recurrent net remembers what was found.

    Args:
        count: a module that maps x (B, P) to q(count | x), event shape (1,).
        where: a module that maps an image (..., P) to the normal q(where | .), event shape (3,).
        what: a module that maps a window's pixels (..., R R) to the normal q(what | .), event shape (D,).
        model: the model, whose priors are the distributions of absent objects; shared and not copied.
        windows: the windows on the images.
    """

    def __init__(self, count: nnx.Module, where: nnx.Module, what: nnx.Module, model: Any, windows: Windows) -> None:
        self.count = count
        self.where = where
        self.what = what
        self.model = model
        self.windows = windows

    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Draw the number of objects (..., B, 1) and the objects of x (B, P); returns the number."""
        rest = visible(x, mask=mask)
        with numpyro.plate("data", len(x), dim=-1):
            count = numpyro.sample("count", self.count(rest))
            for t in range(self.model.most):
                where = numpyro.sample(f"where_{t}", if_present(t < count, self.where(rest), self.model.where()))
                seen = self.what(self.windows.read(rest, where))
                numpyro.sample(f"what_{t}", if_present(t < count, seen, self.model.what()))
                rest = self.windows.wipe(rest, where)
            return count

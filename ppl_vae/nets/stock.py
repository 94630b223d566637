"""Transforms of Pyro, torch and other libraries as steps of a flow, without a counterpart on the other backend."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions.utils import _sum_rightmost as sum_rightmost

from ..arrays import flows


class Stock(nn.Module):
    """A transform of another library as a step, with the weights and the digits that it has there: no parity.

    It is at the mercy of its library: a known pre-image has the gradient of the library's inverse, which may lose
    digits, and a transform without an inverse leaves a flow that knows its density at its own draws alone, as
    ``Site.density`` says. Objectives that ask for more refuse it by name.

    Args:
        module: what has the weights, such as a transform itself, a conditional one, or a lazy one of zuko.
        make: (module, h) -> a transform of torch, given a context h (..., H).
        dim: D.
        context: H.

    Raises:
        ValueError: a transform that is no bijection of vectors (D,) of real numbers.

    >>> from pyro.distributions.transforms import conditional_planar, planar
    >>> Stock(planar(3), lambda transform, h: transform, 3).invertible
    False
    >>> Stock(conditional_planar(3, 2), lambda transform, h: transform.condition(h), 3, context=2).context
    2
    """

    def __init__(self, module: nn.Module, make: Callable[[Any, Tensor], Any], dim: int, context: int = 0) -> None:
        super().__init__()
        self.module, self.make, self.dim, self.context = module, make, dim, context
        with torch.no_grad():
            like = next(iter(module.parameters()), torch.zeros(()))
            x, h = like.new_zeros(1, dim), like.new_zeros(1, context)
            transform = self._transform(h)
            flows.check_transform(type(transform).__name__, transform.bijective and _is_real(transform.codomain))
            y = transform(x)
            flows.check_image(type(transform).__name__, tuple(y.shape), dim)
            self.invertible = _inverts(self._transform(h), y)

    def _transform(self, h: Tensor) -> Any:
        """Make it anew: what its cache keeps is not part of the module."""
        return copy.copy(self.make(copy.copy(self.module), h))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x -> y and the log-determinant."""
        transform = self._transform(h)
        y = transform(x)
        log_det = transform.log_abs_det_jacobian(x, y)
        return y, sum_rightmost(log_det, log_det.dim() - x.dim() + 1)

    def inverse(self, y: Tensor, h: Tensor) -> Tensor:
        """y -> x, as the library inverts it.

        Raises:
            NotImplementedError: names a transform that has no inverse.
        """
        transform = self._transform(h)
        if not self.invertible:
            raise NotImplementedError(flows.no_inverse(type(transform).__name__))
        return transform.inv(y)

    def known(self, y: Tensor, k: Tensor, h: Tensor) -> Tensor:
        """Pre-image k of y, with the gradient of the library's inverse."""
        return flows.at_known(k, self.inverse(y, h))


def _is_real(constraint: Any) -> bool:
    constraint = getattr(constraint, "base_constraint", constraint)
    return constraint is torch.distributions.constraints.real


def _inverts(transform: Any, y: Tensor) -> bool:
    try:
        transform.inv(y.clone())
    except (NotImplementedError, KeyError):
        return False
    return True

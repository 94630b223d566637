"""Tensors outside the pair that a training learns by gradient, in Pyro, with an Adam of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...runtime.storage import below
from .optimiser_state import load_slots, slots


class Learned:
    """Tensors by name, with an optimiser of their own.

    Args:
        start: the first values, by name.
        device: the device of the tensors.
        adam: settings of ``torch.optim.Adam``.
    """

    def __init__(self, start: Mapping[str, np.ndarray], device: torch.device, **adam: Any) -> None:
        dtype = torch.get_default_dtype()
        self.values = {name: torch.tensor(a, dtype=dtype, device=device) for name, a in start.items()}
        for value in self.values.values():
            value.requires_grad_()
        self.optim = torch.optim.Adam(self.values.values(), fused=True, **adam) if self.values else None

    @property
    def fixed(self) -> dict[str, Tensor]:
        """The same tensors, detached: no gradient flows to them."""
        return {name: value.detach() for name, value in self.values.items()}

    def descend(self, loss: Tensor) -> None:
        """Take a step down the gradient of a scalar function of these tensors."""
        if self.optim is not None:
            grads = torch.autograd.grad(loss, list(self.values.values()))
            for value, grad in zip(self.values.values(), grads, strict=True):
                value.grad = grad
            self.optim.step()

    def replace(self, values: Mapping[str, Tensor]) -> None:
        """Take over what a player made of its weights after the step, if it did."""
        with torch.no_grad():
            for name, value in self.values.items():
                if values[name] is not value:
                    value.copy_(values[name])

    def state(self) -> dict[str, np.ndarray]:
        """Return every number as arrays by name."""
        values = {f"learned/{name}": value.detach().cpu().numpy().copy() for name, value in self.values.items()}
        if self.optim is not None:
            values |= {f"optim/{name}": value for name, value in slots(self.optim, list(self.values)).items()}
        return values

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned."""
        with torch.no_grad():
            for name, value in below("learned/", state).items():
                self.values[name].copy_(torch.from_numpy(np.array(value)))
        if self.optim is not None:
            load_slots(self.optim, list(self.values), below("optim/", state))

"""Hamiltonian guides: draws of an encoder that follow the gradient of the model's log p(x, z)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from pyro.poutine.runtime import _DIM_ALLOCATOR
from torch import Tensor, nn

from ..arrays.flows import hamiltonian
from ..conditionals.masking import visible
from ..distributions import Hamiltonian as Path
from ..pairs.keywords import tolerant


class Hamiltonian(PyroModule):
    """z ~ ``distributions.Hamiltonian``: K leapfrog steps on the model's log p(x, z), from z_0 ~ q_0(z | x).

    Step sizes, one for each entry of z, and the inverse temperature are learned; so that of the guide's parameters all
    follow the bound. Sites: ``z`` (D,), over all real numbers. Plate: ``data`` at dim -1. Hamiltonian Variational
    Auto-Encoder, Caterini, Doucet and Sejdinovic, 2018.

    Args:
        start: a module that maps x (B, P) to q_0(z | x), normal: ``DiagNormal`` or ``FullNormal``.
        model: the model that is trained with this guide, shared and not copied; its latent site is ``z``.
        dim: D.
        num_steps: K.
        step_size: where the step sizes start.
        beta: where the inverse temperature of the first momentum starts, in (0, 1]; 1 is no tempering, and stays.

    Raises:
        ValueError: no step, a step size that is not above 0, or an inverse temperature outside (0, 1].

    >>> from ppl_vae import conditionals, models, nets
    >>> rng = np.random.default_rng(0)
    >>> model = models.VAE(models.StandardNormal(4), conditionals.Bernoulli(nets.MLP((4, 5), rng)))
    >>> guide = Hamiltonian(conditionals.DiagNormal(nets.MLP((5, 8), rng)), model, 4, num_steps=3)
    >>> guide(torch.zeros(3, 5)).shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        start: nn.Module,
        model: nn.Module,
        dim: int,
        *,
        num_steps: int = 5,
        step_size: float = 0.05,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        self.start, self.model, self.dim = start, model, dim
        self.num_steps, self.step_size, self.beta = num_steps, step_size, beta
        hamiltonian.check_settings(self)
        self.log_step = nn.Parameter(torch.full((dim,), np.log(step_size)))
        if beta < 1:
            self.logit_beta = nn.Parameter(torch.tensor(np.log(beta / (1 - beta)), dtype=self.log_step.dtype))

    @property
    def refines_under(self) -> Any:
        """Model whose log p(x, z) the steps follow; a training refuses a guide that has another model."""
        return self.model

    def forward(
        self, x: Tensor, *, index: Tensor | None = None, given: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Draw z (..., B, D) for x (B, P)."""
        options = {"index": index, "given": given, "mask": mask}
        root = torch.sigmoid(self.logit_beta).sqrt() if self.beta < 1 else 1.0
        start = self.start(visible(x, given=given, mask=mask))
        path = Path(start, self._gradient(x, options), self.log_step.exp(), self.num_steps, root)
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z", path)

    def _gradient(self, x: Tensor, options: dict[str, Any]) -> Callable[[Tensor], Tensor]:
        """Return z (..., B, D) -> d log p(x, z) / dz, differentiable where gradients are asked for."""
        model = tolerant(self.model)

        def gradient(z: Tensor) -> Tensor:
            asked = torch.is_grad_enabled()
            # Computed once here: with draws in chunks, the gradient must not run the guide a second time.
            kept = torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
            with _apart(), torch.enable_grad(), kept:
                z = z if z.requires_grad else z.detach().requires_grad_()
                conditioned = poutine.condition(model, data={"z": z.reshape(-1, *z.shape[-2:])})
                with pyro.plate("paths", z[..., 0, 0].numel(), dim=-2):
                    log_p = poutine.trace(conditioned).get_trace(x, **options).log_prob_sum()
                return torch.autograd.grad(torch.as_tensor(log_p), z, create_graph=asked)[0]

        return gradient


@contextmanager
def _apart() -> Iterator[None]:
    """Context of a program of its own: what is open around it neither sees its sites nor takes dimensions of it."""
    held, _DIM_ALLOCATOR._stack = _DIM_ALLOCATOR._stack, []
    try:
        with poutine.block():
            yield
    finally:
        _DIM_ALLOCATOR._stack = held

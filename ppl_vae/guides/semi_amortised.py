"""Semi-amortised guides: gradient steps that start at the encoder's output."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from ..conditionals.masking import visible
from ..pairs.keywords import tolerant


class SemiAmortised(PyroModule):
    """z ~ q(z; lambda_k(x)), with lambda_0 = encoder(x) and lambda_{i+1} = lambda_i + step_size d ELBO / d lambda_i.

    Sites: ``z`` (D,). Plate: ``data`` at dim -1. Training differentiates through the steps, so that the encoder learns
    to start well. Each step draws z once, so that q varies a little from call to call; the gradient of each datum is
    clipped to ``clip_norm``. Semi-Amortized Variational Autoencoders, Kim, Wiseman, Miller, Sontag and Rush,
    2018.

    Args:
        posterior: a conditional with a reparameterised family: ``DiagNormal`` or ``FullNormal`` over an encoder.
        model: the model that is trained with this guide, shared and not copied.
        num_steps: k; with 0 the guide is ``Amortised``.
        step_size: the size of each step.
        clip_norm: the largest norm of one datum's gradient.

    Raises:
        ValueError: a posterior whose parameters cannot be reached, or a negative number of steps.

    >>> import numpy as np
    >>> from ppl_vae import conditionals, models, nets
    >>> rng = np.random.default_rng(0)
    >>> model = models.VAE(models.StandardNormal(4), conditionals.Bernoulli(nets.MLP((4, 5), rng)))
    >>> guide = SemiAmortised(conditionals.DiagNormal(nets.MLP((5, 8), rng)), model, num_steps=3)
    >>> guide(torch.zeros(3, 5)).shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        posterior: nn.Module,
        model: nn.Module,
        *,
        num_steps: int = 5,
        step_size: float = 0.05,
        clip_norm: float = 5.0,
    ) -> None:
        super().__init__()
        if not hasattr(posterior, "distribution") or num_steps < 0:
            raise ValueError(
                "SemiAmortised: 'posterior' should be conditionals.DiagNormal or FullNormal, and 'num_steps' at least "
                f"0; got {type(posterior).__name__} and {num_steps}."
            )
        self.posterior: Any = posterior
        self.model = model
        self.num_steps = num_steps
        self.step_size = step_size
        self.clip_norm = clip_norm

    @property
    def refines_under(self) -> Any:
        """Model whose ELBO the steps ascend; a training refuses a guide that has another model."""
        return self.model

    def forward(
        self, x: Tensor, *, index: Tensor | None = None, given: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Draw z (..., B, D) for x (B, P)."""
        parameters = self.posterior.net(visible(x, given=given, mask=mask, reader=self.posterior))
        model, options = tolerant(self.model), {"index": index, "given": given, "mask": mask}
        for _ in range(self.num_steps):
            gradient = self._gradient(model, parameters, x, options)
            norm = gradient.norm(dim=-1, keepdim=True)
            parameters = parameters + self.step_size * gradient * (self.clip_norm / norm.clamp(min=self.clip_norm))
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z", self.posterior.distribution(parameters))

    def _gradient(self, model: Any, parameters: Tensor, x: Tensor, options: dict[str, Any]) -> Tensor:
        """Return d ELBO / d parameters (B, W) for one draw of z, differentiable where the parameters are."""
        # Computed once here: with draws in chunks, the gradient below must not run the guide a second time.
        kept = torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
        with poutine.block(), torch.enable_grad(), kept:
            at = parameters if parameters.requires_grad else parameters.detach().requires_grad_()
            q = self.posterior.distribution(at)
            z = q.rsample()
            p = poutine.trace(poutine.condition(model, data={"z": z})).get_trace(x, **options)
            bound = p.log_prob_sum() - q.log_prob(z).sum()
            return torch.autograd.grad(bound, at, create_graph=parameters.requires_grad)[0]

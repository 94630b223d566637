"""Semi-amortised guides: gradient steps that start at the encoder's output."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from flax import nnx
from jax import Array
from numpyro import handlers
from numpyro.infer.util import log_density

from ...pairs.keywords import tolerant
from ..conditionals.masking import visible


class SemiAmortised(nnx.Module):
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
    >>> from ppl_vae.numpyro import conditionals, models, nets
    >>> rng = np.random.default_rng(0)
    >>> model = models.VAE(models.StandardNormal(4), conditionals.Bernoulli(nets.MLP((4, 5), rng)))
    >>> guide = SemiAmortised(conditionals.DiagNormal(nets.MLP((5, 8), rng)), model, num_steps=3)
    >>> handlers.seed(guide, 0)(jnp.zeros((3, 5))).shape
    (3, 4)
    """

    def __init__(
        self,
        posterior: nnx.Module,
        model: nnx.Module,
        *,
        num_steps: int = 5,
        step_size: float = 0.05,
        clip_norm: float = 5.0,
    ) -> None:
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

    def __call__(
        self, x: Array, *, index: Array | None = None, given: Array | None = None, mask: Array | None = None
    ) -> Array:
        """Draw z (..., B, D) for x (B, P)."""
        parameters = self.posterior.net(visible(x, given=given, mask=mask, reader=self.posterior))
        model, options = tolerant(self.model), {"index": index, "given": given, "mask": mask}
        for _ in range(self.num_steps):
            gradient = self._gradient(model, parameters, x, options)
            norm = jnp.sqrt((gradient**2).sum(-1, keepdims=True) + 1e-12)
            parameters = parameters + self.step_size * gradient * (self.clip_norm / norm.clip(min=self.clip_norm))
        with numpyro.plate("data", len(x), dim=-1):
            return numpyro.sample("z", self.posterior.distribution(parameters))

    def _gradient(self, model: Any, parameters: Array, x: Array, options: dict[str, Any]) -> Array:
        """Return d ELBO / d parameters (B, W) for one draw of z."""
        key = numpyro.prng_key()

        def bound(parameters: Array) -> Array:
            q = self.posterior.distribution(parameters)
            z, known = q(rng_key=key, sample_intermediates=True)
            with handlers.block():
                log_p, _ = log_density(model, (x,), options, {"z": z})
            return log_p - q.log_prob(z, *[known] * bool(known)).sum()

        return jax.grad(bound)(parameters)

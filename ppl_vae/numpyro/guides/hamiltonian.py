"""Hamiltonian guides: draws of an encoder that follow the gradient of the model's log p(x, z)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from flax import nnx
from jax import Array
from numpyro import handlers
from numpyro.infer.util import log_density

from ...arrays.flows import hamiltonian
from ...pairs.keywords import tolerant
from ..conditionals.masking import visible
from ..distributions import Hamiltonian as Path


class Hamiltonian(nnx.Module):
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

    >>> from ppl_vae.numpyro import conditionals, models, nets
    >>> rng = np.random.default_rng(0)
    >>> model = models.VAE(models.StandardNormal(4), conditionals.Bernoulli(nets.MLP((4, 5), rng)))
    >>> guide = Hamiltonian(conditionals.DiagNormal(nets.MLP((5, 8), rng)), model, 4, num_steps=3)
    >>> handlers.seed(guide, 0)(jnp.zeros((3, 5))).shape
    (3, 4)
    """

    def __init__(
        self,
        start: nnx.Module,
        model: nnx.Module,
        dim: int,
        *,
        num_steps: int = 5,
        step_size: float = 0.05,
        beta: float = 1.0,
    ) -> None:
        self.start: Any = start
        self.model, self.dim = model, dim
        self.num_steps, self.step_size, self.beta = num_steps, step_size, beta
        hamiltonian.check_settings(self)
        self.log_step = nnx.Param(jnp.full((dim,), np.log(step_size)))
        if beta < 1:
            self.logit_beta = nnx.Param(jnp.asarray(np.log(beta / (1 - beta))))

    @property
    def refines_under(self) -> Any:
        """Model whose log p(x, z) the steps follow; a training refuses a guide that has another model."""
        return self.model

    def __call__(
        self, x: Array, *, index: Array | None = None, given: Array | None = None, mask: Array | None = None
    ) -> Array:
        """Draw z (..., B, D) for x (B, P)."""
        options = {"index": index, "given": given, "mask": mask}
        root = jnp.sqrt(jax.nn.sigmoid(self.logit_beta[...])) if self.beta < 1 else 1.0
        start = self.start(visible(x, given=given, mask=mask))
        path = Path(start, self._gradient(x, options), jnp.exp(self.log_step[...]), self.num_steps, root)
        with numpyro.plate("data", len(x), dim=-1):
            return numpyro.sample("z", path)

    def _gradient(self, x: Array, options: dict[str, Any]) -> Callable[[Array], Array]:
        """Return z (..., B, D) -> d log p(x, z) / dz."""
        model = tolerant(self.model)

        def log_p(z: Array) -> Array:
            values = {"z": z.reshape(-1, *z.shape[-2:])}
            with handlers.block(), numpyro.plate("paths", len(values["z"]), dim=-2):
                return log_density(model, (x,), options, values)[0]

        return jax.grad(log_p)

"""VampPrior: a mixture of the guide's own posteriors at pseudo-inputs, in NumPyro."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from flax import nnx
from jax import Array

from ... import init
from ...arrays.loops import in_parts
from ...pairs.side_inputs import check_side
from ...pairs.sites import ANYWHERE
from ..conditionals.masking import visible
from ..distributions import mixture
from ..nets import layers


class Constant(nnx.Variable):
    """Array of a module that is never trained."""


class Means(nnx.Module):
    """Net of pseudo-inputs, ``means`` in the report: u = W I + b, one linear layer over an identity, W ~ N(0, 0.01^2).

    Returns (C, P). Large VAE report, 2021, after Tomczak and Welling, 2018.

    >>> Means(4, 6, np.random.default_rng(0))().shape
    (4, 6)
    """

    def __init__(self, num_pseudo_inputs: int, data_dim: int, rng: np.random.Generator) -> None:
        self.layer = layers.linear(num_pseudo_inputs, data_dim, rng, init.small_normal)

    def __call__(self) -> Array:
        """Return the pseudo-inputs (C, P)."""
        return self.layer.weight[...].T + self.layer.bias[...]


def check_components(what: str, posterior: nnx.Module) -> None:
    """Refuse a posterior whose density cannot be asked at any value, or at too high a price.

    Raises:
        ValueError: a posterior of codes, a semi-implicit one, or a flow.
    """
    if hasattr(posterior, "codebook"):
        raise ValueError(
            f"{what} is a mixture of densities, and this posterior is the nearest code of a codebook, with "
            "probability 1: use CodePrior(codebook, num_codes)."
        )
    if getattr(posterior, "density_known", ANYWHERE) != ANYWHERE:
        raise ValueError(
            f"{what} is a mixture of densities at given values, and this posterior estimates those of its own draws "
            "alone: use a posterior with a density, such as DiagNormal, with a net of its own."
        )
    if getattr(posterior, "inverts", False):
        raise ValueError(
            f"{what} would invert a flow posterior once for each pseudo-input and draw: use a flow as prior, "
            "priors.FlowPrior, or the posterior's base, posterior.posterior, with a net of its own."
        )


class VampPrior(nnx.Module):
    """p(z) = 1/C sum_c q(z | u_c): a mixture of the guide's own posteriors at pseudo-inputs u. Event shape (D,).

    ``posterior`` is the guide's own module, shared and not copied. VAE with a VampPrior, Tomczak and
    Welling, 2018. With ``learned=False`` over training images it is VampPrior-data (Large VAE report, 2021).

    Args:
        posterior: maps (C, P) to q(z | u), batch shape (C,), event shape (D,).
        pseudo_inputs: their initial values (C, P), which are copied; or a module that returns them, such as ``Means``.
        learned: whether an array's pseudo-inputs are trained.
        given: side information of the pseudo-inputs, (C, G), which stays as it is: p(z) = 1/C sum_c q(z | u_c, s_c).
        chunk: pseudo-inputs that the posterior's net reads at a time, all by default. In parts, a gradient computes
            what is in one again; the posterior has, as those of ``conditionals``, a ``net`` and a method
            ``distribution`` for what the net returned.

    Raises:
        ValueError: pseudo-inputs that are not (C, P), side information that is not (C, G), or a chunk below 1.

    ``fit.generate`` draws images: a component, then z, then x.

    >>> from ppl_vae.numpyro import conditionals, nets
    >>> posterior = conditionals.DiagNormal(nets.MLP((5, 8), np.random.default_rng(0)))
    >>> VampPrior(posterior, np.zeros((3, 5)))().event_shape
    (4,)
    """

    _encoded: Callable[[], dist.Distribution] | None = None

    def __init__(
        self,
        posterior: nnx.Module,
        pseudo_inputs: np.ndarray | nnx.Module,
        *,
        learned: bool = True,
        given: np.ndarray | None = None,
        chunk: int | None = None,
    ) -> None:
        check_components("A VampPrior", posterior)
        if chunk is not None and chunk < 1:
            raise ValueError(f"'chunk' should be at least 1, or None for all at once; got {chunk}.")
        self.posterior, self.chunk = posterior, chunk
        check_side(given, len(pseudo_inputs) if isinstance(pseudo_inputs, np.ndarray) else None)
        self.given: Any = None if given is None else Constant(jnp.array(given, dtype=float))
        self.inputs: Any
        if isinstance(pseudo_inputs, nnx.Module):
            self.inputs = pseudo_inputs
            return
        if np.ndim(pseudo_inputs) != 2 or not len(pseudo_inputs):
            raise ValueError(f"'pseudo_inputs' should have shape (C, P), C >= 1; got {np.shape(pseudo_inputs)}.")
        values = jnp.array(pseudo_inputs, dtype=float)
        self.inputs = nnx.Param(values) if learned else Constant(values)

    def encode(self) -> None:
        """Encode the pseudo-inputs once for all further calls of this copy; its weights must not change."""
        if self._encoded is None:
            distribution = self()
            self._encoded = lambda: distribution

    def pseudo_inputs(self) -> Array:
        """Return the current pseudo-inputs u, (C, P)."""
        return self.inputs() if isinstance(self.inputs, nnx.Module) else self.inputs[...]

    def __call__(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        if self._encoded is not None:
            return self._encoded()
        given = None if self.given is None else self.given[...]
        posterior: Any = self.posterior
        inputs = visible(self.pseudo_inputs(), given=given)
        if self.chunk is None or len(inputs) <= self.chunk:
            return mixture(posterior(inputs))
        (outputs,) = in_parts(lambda u: (posterior.net(u),), self.chunk, inputs)
        return mixture(posterior.distribution(outputs))

"""Priors: modules whose call, with no argument, returns p(z)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .. import init, nets
from ..conditionals import SCALE_FLOOR
from ..distributions import BernoulliLogits, DiagNormalMixture, Normal, mixture


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.get_default_dtype())


class StandardNormal(nn.Module):
    """p(z) = N(0, I). Event shape (D,).

    >>> StandardNormal(3)().event_shape
    torch.Size([3])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.loc = nn.Buffer(torch.zeros(dim))

    def forward(self) -> dist.Distribution:
        """The distribution over (D,)."""
        return Normal(self.loc, torch.ones_like(self.loc)).to_event(1)


class FactorisedBernoulli(nn.Module):
    """p(z) = prod_d Bernoulli(z_d; pi_d), uniform at the start, and for good unless ``learned``. Event shape (D,).

    >>> FactorisedBernoulli(3)().event_shape
    torch.Size([3])
    """

    def __init__(self, dim: int, *, learned: bool = False) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(dim)) if learned else nn.Buffer(torch.zeros(dim))

    def forward(self) -> dist.Distribution:
        """The distribution over (D,)."""
        return BernoulliLogits(logits=self.logits).to_event(1)


class UniformCategorical(nn.Module):
    """p(z) = prod_d 1/C: D uniform variables of C categories. Event shape (D,), values 0..C-1.

    >>> UniformCategorical(3, 10)().event_shape
    torch.Size([3])
    """

    def __init__(self, dim: int, num_categories: int) -> None:
        super().__init__()
        self.logits = nn.Buffer(torch.zeros(dim, num_categories))

    def forward(self) -> dist.Distribution:
        """The distribution over (D,)."""
        return dist.Categorical(logits=self.logits).to_event(1)


class MixtureOfGaussians(nn.Module):
    """p(z) = 1/C sum_c N(z; mu_c, diag sigma_c^2), with means and scales learned. Event shape (D,).

    The means start at N(0, spread^2), the scales at 1; ``sigma = softplus(raw) + floor``. The weights are equal, as in
    VampPrior's comparison (VAE with a VampPrior, Tomczak and Welling, 2018), or learned with ``learned_weights``.

    >>> MixtureOfGaussians(10, 3, np.random.default_rng(0))().event_shape
    torch.Size([3])
    """

    def __init__(
        self,
        num_components: int,
        dim: int,
        rng: np.random.Generator,
        *,
        spread: float = 1.0,
        learned_weights: bool = False,
        floor: float = SCALE_FLOOR,
    ) -> None:
        super().__init__()
        self.floor = floor
        self.loc = nn.Parameter(_tensor(spread * rng.standard_normal((num_components, dim))))
        self.raw = nn.Parameter(_tensor(np.full((num_components, dim), np.log(np.expm1(1.0 - floor)))))
        self.logits = nn.Parameter(_tensor(np.zeros(num_components))) if learned_weights else None

    def forward(self) -> dist.Distribution:
        """The distribution over (D,)."""
        return DiagNormalMixture(self.loc, softplus(self.raw) + self.floor, self.logits)


class Means(nn.Module):
    """The report's ``means`` net: pseudo-inputs u = W I + b, one linear layer over an identity, W ~ N(0, 0.01^2).

    Returns (C, P). Large VAE report, 2021, after Tomczak and Welling, 2018.

    >>> Means(4, 6, np.random.default_rng(0))().shape
    torch.Size([4, 6])
    """

    def __init__(self, num_pseudo_inputs: int, data_dim: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.layer = nets.linear(num_pseudo_inputs, data_dim, rng, init.small_normal)

    def forward(self) -> Tensor:
        """The pseudo-inputs, (C, P)."""
        return self.layer.weight.T + self.layer.bias


class VampPrior(nn.Module):
    """p(z) = 1/C sum_c q(z | u_c): a mixture of the guide's own posteriors at pseudo-inputs u. Event shape (D,).

    ``posterior`` is the very module that the guide holds: shared, not copied. VAE with a VampPrior, Tomczak and
    Welling, 2018. With ``learned=False`` over training images it is VampPrior-data (Large VAE report, 2021).

    Args:
        posterior: maps (C, P) to q(z | u), batch shape (C,), event shape (D,).
        pseudo_inputs: their start, an array (C, P), which is copied; or a module that returns them, such as ``Means``.
        learned: whether an array's pseudo-inputs are trained.

    Raises:
        ValueError: pseudo-inputs that are not (C, P).

    To draw an image: a component, then z, then x; ``fit.generate`` does.

    >>> from ppl_vae import conditionals, nets
    >>> posterior = conditionals.DiagNormal(nets.MLP((5, 8), np.random.default_rng(0)))
    >>> VampPrior(posterior, np.zeros((3, 5)))().event_shape
    torch.Size([4])
    """

    _encoded: dist.Distribution | None = None

    def __init__(self, posterior: nn.Module, pseudo_inputs: np.ndarray | nn.Module, *, learned: bool = True) -> None:
        super().__init__()
        self.posterior = posterior
        self.inputs: Any
        if isinstance(pseudo_inputs, nn.Module):
            self.inputs = pseudo_inputs
            return
        if np.ndim(pseudo_inputs) != 2 or not len(pseudo_inputs):
            raise ValueError(f"'pseudo_inputs' should have shape (C, P), C >= 1; got {np.shape(pseudo_inputs)}.")
        values = _tensor(pseudo_inputs)
        self.inputs = nn.Parameter(values) if learned else nn.Buffer(values)

    @contextmanager
    def encoded(self) -> Iterator[None]:
        """A block in which the pseudo-inputs are encoded once, for any number of calls: the weights have to rest."""
        with torch.no_grad():
            self._encoded = self()
        try:
            yield
        finally:
            self._encoded = None

    def pseudo_inputs(self) -> Tensor:
        """The pseudo-inputs u as they are now, (C, P)."""
        return self.inputs() if isinstance(self.inputs, nn.Module) else self.inputs

    def forward(self) -> dist.Distribution:
        """The distribution over (D,)."""
        if self._encoded is not None:
            return self._encoded
        return mixture(self.posterior(self.pseudo_inputs()))

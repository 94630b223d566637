"""Mixtures of diagonal normals over z, whose density never builds a (B, C, D) tensor."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

Shape = torch.Size | list[int] | tuple[int, ...]


class DiagNormalMixture(TorchDistribution):
    r"""Mixture of C normals with diagonal covariances, p(z) = sum_c pi_c N(z; loc_c, diag scale_c^2).

    The batch shape is () and may be expanded; the event shape is (D,). The quadratic forms of all components are one
    matrix product of [z^2, z] with [1 / scale^2, -2 loc / scale^2], in float64 whatever the inputs' type, because the
    terms cancel. With r = spread of the means / scale, the error is about 1e-16 r^2; in float32 it would be 1e-7 r^2.
    Nothing larger than (B, C) or (C, 2 D) is computed or kept for the gradient. On a device without float64
    (MPS) the CPU computes the product. Samples have no pathwise gradient (``has_rsample`` is False).

    Args:
        loc: the components' means, (C, D).
        scale: their standard deviations, positive, (C, D).
        logits: unnormalised log-weights, (C,); equal weights by default.
        validate_args: whether to check the arguments and values, as for any distribution.

    Raises:
        ValueError: for arguments of other shapes, or a scale that is not positive.

    Reference:
        VAE with a VampPrior (Jakub M. Tomczak, Max Welling, 2018).

    Example:
        >>> import torch
        >>> prior = DiagNormalMixture(torch.tensor([[-2.0], [2.0]]), torch.ones(2, 1))
        >>> prior.expand((3,)).sample().shape
        torch.Size([3, 1])
        >>> round(prior.log_prob(torch.zeros(1)).item(), 4)
        -2.9189
        >>> prior.responsibilities(torch.zeros(1))
        tensor([0.5000, 0.5000])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
        "logits": constraints.real_vector,
    }
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self, loc: Tensor, scale: Tensor, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        if loc.dim() != 2 or scale.shape != loc.shape:
            raise ValueError(
                f"'loc' and 'scale' should have shape (C, D); got {tuple(loc.shape)} and {tuple(scale.shape)}."
            )
        if logits is not None and logits.shape != loc.shape[:1]:
            raise ValueError(f"'logits' should have shape ({len(loc)},), one per component; got {tuple(logits.shape)}.")
        self.loc, self.scale = loc, scale
        self.logits = loc.new_zeros(len(loc)) if logits is None else logits
        super().__init__(torch.Size(), loc.shape[1:], validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: DiagNormalMixture | None = None) -> DiagNormalMixture:
        """Return the same mixture with another batch shape; the parameters are shared, not copied."""
        new = self._get_checked_instance(DiagNormalMixture, _instance)
        new.loc, new.scale, new.logits = self.loc, self.scale, self.logits
        super(DiagNormalMixture, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def component_log_prob(self, value: Tensor) -> Tensor:
        """Return the log-densities log N(z; loc_c, diag scale_c^2) in nats: values (..., D) give (..., C)."""
        dtype = torch.promote_types(value.dtype, self.loc.dtype)
        z, loc, scale = _float64(value), _float64(self.loc), _float64(self.scale)
        centre = loc.detach().mean(0)  # the density does not depend on it; smaller numbers cancel less
        z, loc, precision = z - centre, loc - centre, scale**-2
        weights = torch.cat([precision, -2 * loc * precision], -1)
        square = torch.cat([z * z, z], -1) @ weights.mT + (loc * loc * precision).sum(-1)
        constant = scale.log().sum(-1) + 0.5 * math.log(2 * math.pi) * loc.shape[-1]
        return (-0.5 * square - constant).to(dtype).to(value.device)

    def _joint(self, value: Tensor) -> Tensor:
        """Return the joint log-densities log pi_c + log N(z; c): values (..., D) give (..., C)."""
        return self.component_log_prob(value) + self.logits.log_softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density log p(z) in nats: values (..., D) give (...), broadcast with the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        return self._joint(value).logsumexp(-1).expand(torch.broadcast_shapes(self.batch_shape, value.shape[:-1]))

    def responsibilities(self, value: Tensor) -> Tensor:
        """Return the responsibilities p(c | z) of the components: values (..., D) give (..., C)."""
        return self._joint(value).softmax(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw a component, then z: ``sample_shape + batch_shape + (D,)``."""
        return self.sample_along(sample_shape)

    def sample_along(self, sample_shape: Shape = ()) -> Tensor:
        """Draw the same, with a gradient to the mean and scale of the component that was drawn; none to the weights.

        That of an expectation by means and scales is unbiased, with whatever weights.
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        component = torch.distributions.Categorical(logits=self.logits, validate_args=False).sample(shape[:-1])
        return self._along(component)

    @torch.no_grad()
    def component_sample(self, component: Tensor) -> Tensor:
        """Draw from components: their numbers (...) give z (..., D)."""
        return self._along(component)

    def _along(self, component: Tensor) -> Tensor:
        loc, scale = self.loc[component], self.scale[component]
        return loc + scale * torch.randn_like(loc)

    @property
    def mean(self) -> Tensor:
        """The mean of z: ``batch_shape + (D,)``."""
        return (self.logits.softmax(-1) @ self.loc).expand(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        """The variance of each entry of z, within and between components: ``batch_shape + (D,)``."""
        weights = self.logits.softmax(-1)
        moment = self.scale**2 + (self.loc - weights @ self.loc) ** 2
        return (weights @ moment).expand(self._extended_shape())


def mixture(components: TorchDistribution, logits: Tensor | None = None) -> TorchDistribution:
    """Make the mixture sum_c pi_c p_c(z) of the C distributions in a batch.

    Args:
        components: a distribution with batch shape (C,) and event shape (D,). Diagonal normals, as
            ``Normal(...).to_event(1)``, give a ``DiagNormalMixture``, as
            mixtures with a method ``flattened`` do; others Pyro's ``MixtureSameFamily``.
        logits: unnormalised log-weights, (C,); equal weights by default.

    Raises:
        ValueError: for components of another shape, or another number of logits.

    Example:
        >>> import torch
        >>> posterior = dist.Normal(torch.zeros(5, 2), torch.ones(5, 2)).to_event(1)
        >>> mixture(posterior)
        DiagNormalMixture(loc: torch.Size([5, 2]), scale: torch.Size([5, 2]), logits: torch.Size([5]))
    """
    batch, event = tuple(components.batch_shape), tuple(components.event_shape)
    if len(batch) != 1 or len(event) != 1:
        raise ValueError(f"'components' should have batch shape (C,) and event shape (D,); got {batch} and {event}.")
    if hasattr(components, "flattened"):
        return components.flattened(logits)
    base = getattr(components, "base_dist", None)
    if isinstance(components, torch.distributions.Independent) and isinstance(base, torch.distributions.Normal):
        return DiagNormalMixture(base.loc, base.scale, logits)
    logits = components.mean.new_zeros(batch) if logits is None else logits
    if logits.shape != batch:
        raise ValueError(f"'logits' should have shape {batch}, one per component; got {tuple(logits.shape)}.")
    return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)


def _float64(x: Tensor) -> Tensor:
    """Convert to float64, on the CPU if the device has no such type."""
    return (x.cpu() if x.device.type == "mps" else x).to(torch.float64)

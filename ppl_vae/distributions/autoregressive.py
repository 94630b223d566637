"""Distributions of one entry after the other: draws from a net, and the distribution over categories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.arrays.net_outputs import check_logits, check_order

Shape = torch.Size | list[int] | tuple[int, ...]


class Whole:
    """A net without steps of its own: it computes the logits of all entries for each one."""

    def __init__(self, net: Callable[[Tensor], Tensor]) -> None:
        self.net = net

    def start(self, x: Tensor) -> Any:
        """Return the state before the first entry, here nothing."""

    def step(self, state: Any, x: Tensor, place: int) -> tuple[Tensor, Any]:
        """Return the logits of an entry, given those before it in x (..., D), and the next state."""
        return self.net(x).select(x.ndim - 1, place), state


@torch.no_grad()
def ancestral(
    net: Any, x: Tensor, order: Sequence[int], draw: Callable[[Tensor], Tensor], known: np.ndarray | None = None
) -> Tensor:
    """Draw the entries of x (..., D) one after the other in an order; ``known`` ones stay as they are.

    A net that has ``start`` and ``step`` computes each entry alone and keeps what it needs of those before.

    Args:
        net: maps (..., D) to logits (..., D) or (..., D, C).
        x: the values of known entries; the others are not read.
        order: the entries from the first to the last.
        draw: maps logits of an entry to its values (...).
        known: mask (D,), by default false.
    """
    x, steps = x.clone(), net if hasattr(net, "step") else Whole(net)
    fixed = np.zeros(len(order), bool) if known is None else known
    state = steps.start(x)
    for place in order:
        if fixed[place] and steps is not net:
            continue
        logits, state = steps.step(state, x, place)
        if not fixed[place]:
            x[..., place] = draw(logits).to(x.dtype)
    return x


class AutoregressiveCategorical(TorchDistribution):
    """p(x) = prod_i Categorical(x_i; softmax(l_i(x_<i))), the entries in a given order. Event shape (D,), 0..C-1.

    A density runs the net once. A draw runs it once for each entry, or, if the net has steps of its own, in steps whose
    cost does not grow with D.

    Args:
        net: maps (..., D) to logits l (..., D, C); l_i depends on the entries before i in the order alone.
        order: the entries from the first to the last.
        num_categories: C.
        batch_shape: the batch shape.
        device: where draws are made.

    Raises:
        ValueError: a net of another order; when called, logits of another shape.

    >>> p = AutoregressiveCategorical(lambda x: torch.zeros(*x.shape, 4), (0, 1, 2), 4)
    >>> p.log_prob(torch.tensor([[3, 0, 1], [4, 0, 1]])).exp()
    tensor([0.0156, 0.0000])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_mean: ClassVar[bool] = False
    has_rsample = False

    def __init__(
        self,
        net: Callable[[Tensor], Tensor],
        order: Sequence[int],
        num_categories: int,
        batch_shape: Shape = (),
        *,
        device: torch.device | str | None = None,
    ) -> None:
        self.net, self.order, self.num_values, self.device = net, tuple(order), num_categories, device
        check_order(net, self.order)
        super().__init__(torch.Size(batch_shape), torch.Size([len(self.order)]), validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        """Integers 0..C-1."""
        return constraints.independent(constraints.integer_interval(0, self.num_values - 1), 1)

    @property
    def read_values(self) -> int:
        """C: the net reads the entries, which must be whole."""
        return self.num_values

    def expand(self, batch_shape: Shape, _instance: Any = None) -> AutoregressiveCategorical:
        """Return the same distribution with another batch shape."""
        return AutoregressiveCategorical(self.net, self.order, self.num_values, batch_shape, device=self.device)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p in nats, -inf for what is no category: values (..., D) give (...)."""
        logits = self.net(value)
        check_logits(type(self).__name__, logits.shape, (len(self.order), self.num_values))
        index = value.long().clip(0, self.num_values - 1)
        each = index.expand(logits.shape[:-1])  # gather does not broadcast: it would leave logits out
        chosen = logits.log_softmax(-1).gather(-1, each.unsqueeze(-1)).squeeze(-1)
        density = torch.where(index == value, chosen, -torch.inf).sum(-1)
        return density.expand(torch.broadcast_shapes(density.shape, self.batch_shape))

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw one entry after the other: ``sample_shape + batch_shape + (D,)``."""
        start = torch.zeros(self._extended_shape(torch.Size(sample_shape)), dtype=torch.long, device=self.device)
        return ancestral(self.net, start, self.order, _category)


def _category(logits: Tensor) -> Tensor:
    return torch.distributions.Categorical(logits=logits, validate_args=False).sample()


class AutoregressiveLevels(AutoregressiveCategorical):
    """The same over the levels 0, 1/(L-1), ..., 1 of pixels; the net reads and returns categories 0..L-1.

    >>> p = AutoregressiveLevels(lambda x: torch.zeros(*x.shape, 5), (0, 1), 5)
    >>> p.log_prob(torch.tensor([0.25, 1.0])).exp()
    tensor(0.0400)
    """

    support = constraints.independent(constraints.unit_interval, 1)
    read_values = None  # type: ignore[assignment]  # the levels are checked as such

    @property
    def levels(self) -> int:
        """L."""
        return self.num_values

    def expand(self, batch_shape: Shape, _instance: Any = None) -> AutoregressiveLevels:
        """Return the same distribution with another batch shape."""
        return AutoregressiveLevels(self.net, self.order, self.num_values, batch_shape, device=self.device)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p in nats: levels (..., P) give (...)."""
        return super().log_prob((value * (self.levels - 1)).round())

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Draw one level after the other: ``sample_shape + batch_shape + (P,)``."""
        return super().sample(sample_shape) / (self.levels - 1)

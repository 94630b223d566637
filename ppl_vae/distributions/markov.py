"""Paths of a Markov chain as one draw, in Pyro."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arrays.sequences import beside, joined_steps, lasts, steps


class Markov(TorchDistribution):
    """p(z_1:T) = p(z_1) prod_t p(z_t | z_{t-1}, h_t), of all T steps of a path at once. Event shape (T D,).

    A density calls the conditional once, for all steps; a draw calls it once a step. ``mean`` is the path that takes
    each conditional's mean, which is the mean of z_t where conditionals are linear, and else is none but a good path.

    Where a sequence has ended, its steps are independent N(0, 1), in every such distribution: a prior's and a guide's
    are the same there, and a log-weight knows nothing of them.

    Args:
        initial: p(z_1), event shape (D,).
        transition: maps z_{t-1} (..., D), with h_t beside it (..., D + H), to a distribution over z_t.
        length: T.
        context: h, (..., T, H); none by default. h_1 is not read here.
        on: whether the sequence lasts, (..., T); by default it does.

    >>> import numpy as np
    >>> import pyro.distributions as dist
    >>> walk = Markov(dist.Normal(torch.zeros(1), 1.0).to_event(1), lambda z: dist.Normal(z, 1.0).to_event(1), 3)
    >>> walk.log_prob(torch.tensor([1.0, 1.0, 2.0])).item()  # steps of 1, 0 and 1
    -3.7568154335021973
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known: ClassVar[str] = "anywhere"

    def __init__(
        self,
        initial: Any,
        transition: Callable[[Tensor], Any],
        length: int,
        context: Tensor | None = None,
        on: Tensor | None = None,
    ) -> None:
        self.initial, self.transition, self.length = initial, transition, length
        self.context, self.on = context, on
        shapes = [initial.batch_shape]
        shapes += [a.shape[: a.ndim - over] for a, over in ((context, 2), (on, 1)) if a is not None]
        super().__init__(
            torch.broadcast_shapes(*shapes), torch.Size([length * initial.event_shape[-1]]), validate_args=False
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Markov:
        """Return the same distribution with another batch shape."""
        return Markov(self.initial.expand(batch_shape), self.transition, self.length, self.context, self.on)

    @property
    def steps(self) -> int:
        """T, which tells that a value is a path."""
        return self.length

    def lasting(self, mask: Tensor) -> Markov:
        """Return the same paths, each to the last step of which ``mask`` (..., T P) or a later one shows something."""
        return Markov(self.initial, self.transition, self.length, self.context, lasts(mask, self.length))

    def after(self, z: Tensor, step: int | slice) -> Any:
        """Return p(z_t | z_{t-1}) given z_{t-1} (..., D), t counted from 0, or for several t at once."""
        return self.transition(z if self.context is None else beside(z, self.context[..., step, :]))

    def continued(self, z: Tensor, steps: int) -> Markov:
        """Return the path of so many further steps from z_T (..., D), where no context is needed for them."""
        return Markov(self.transition(z), self.transition, steps)

    def _path(self, draw: Callable[[Any], Tensor], first: Any, rest: Callable[[Tensor], Tensor]) -> Tensor:
        """Go from step to step by a draw from each conditional; where the sequence has ended, by ``rest``."""
        path = [draw(first)]
        for t in range(1, self.length):
            path.append(draw(self.after(path[-1], t)))
            if self.on is not None:
                path[-1] = torch.where(self.on[..., t, None], path[-1], rest(path[-1]))
        return joined_steps(torch.stack(path, -2))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw paths (..., T D)."""
        first = self.initial.expand(torch.Size(sample_shape) + self.batch_shape)
        return self._path(lambda fn: fn.rsample(), first, torch.randn_like)

    @property
    def mean(self) -> Tensor:
        """The path that takes each conditional's mean, (..., T D); 0 where the sequence has ended."""
        return self._path(lambda fn: fn.mean, self.initial.expand(self.batch_shape), torch.zeros_like)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(z_1:T) in nats: paths (..., T D) give (...)."""
        z = steps(value, self.length)
        first = self.initial.log_prob(z[..., 0, :])
        if self.length == 1:  # distributions of no steps are refused by the library
            return first
        later = self.after(z[..., :-1, :], slice(1, None)).log_prob(z[..., 1:, :])
        if self.on is not None:
            ended = dist.Normal(0.0, 1.0).log_prob(z[..., 1:, :]).sum(-1)
            later = torch.where(self.on[..., 1:], later, ended)
        return first + later.sum(-1)

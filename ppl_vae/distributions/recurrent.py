"""Paths whose steps each follow all those before, through the state of a net, in Pyro: one draw of all steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arrays.sequences import joined_steps, steps

State = tuple[Tensor, ...]


class Recurrent(TorchDistribution):
    """p(z_1:T) = prod_t p(z_t | s_t), where a state s_t knows z_1, ..., z_{t-1}. Event shape (T D,).

    The density of a value goes through the T states, one after the other, as a draw does; a draw keeps its own.
    ``mean`` is the path that takes each conditional's mean, which is the mean of z_t where all is linear.

    Args:
        state: before the first step, arrays (..., S).
        predict: maps s_t to itself, or another state, and p(z_t | s_t), event shape (D,).
        follow: maps s_t and z_t to s_{t+1}.
        length: T.
        dim: D.

    >>> import pyro.distributions as dist
    >>> def predict(state): return state, dist.Normal(state[0], 1.0).to_event(1)
    >>> walk = Recurrent((torch.zeros(1),), predict, lambda state, z: (state[0] + z,), 3, 1)
    >>> walk.log_prob(torch.tensor([1.0, 1.0, 2.0])).item()  # each is N(sum of those before, 1)
    -3.2568154335021973
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    has_mean: ClassVar[bool] = True
    density_known: ClassVar[str] = "anywhere"

    def __init__(
        self,
        state: State,
        predict: Callable[[State], tuple[State, Any]],
        follow: Callable[[State, Tensor], State],
        length: int,
        dim: int,
        batch_shape: Any = None,
    ) -> None:
        self.state, self.predict, self.follow = state, predict, follow
        self.length, self.dim = length, dim
        self._drawn: tuple[Tensor, Tensor] | None = None
        shape = torch.broadcast_shapes(*(a.shape[:-1] for a in state)) if batch_shape is None else batch_shape
        super().__init__(torch.Size(shape), torch.Size([length * dim]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Recurrent:
        """Return the same distribution with another batch shape."""
        return Recurrent(self.state, self.predict, self.follow, self.length, self.dim, batch_shape)

    def _path(self, shape: Any, take: Callable[[int, Any], Tensor]) -> tuple[Tensor, Tensor]:
        """Go from step to step with what is taken at each; return the path and its density."""
        state, path, log_p = tuple(a.expand(*shape, a.shape[-1]) for a in self.state), [], []
        for step in range(self.length):
            state, given = self.predict(state)
            path.append(take(step, given))
            log_p.append(given.log_prob(path[-1]))
            state = self.follow(state, path[-1])
        return joined_steps(torch.stack(path, -2)), torch.stack(log_p).sum(0)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw paths (..., T D)."""
        shape = (*sample_shape, *self.batch_shape)
        z, log_p = self._path(shape, lambda step, given: given.rsample())
        self._drawn = z, log_p
        return z

    @property
    def mean(self) -> Tensor:
        """The path that takes each conditional's mean, (..., T D)."""
        return self._path(self.batch_shape, lambda step, given: given.mean)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(z_1:T) in nats: paths (..., T D) give (...)."""
        if self._drawn is not None and value is self._drawn[0]:
            return self._drawn[1]
        z = steps(value, self.length)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return self._path(shape, lambda step, given: z[..., step, :].expand(*shape, -1))[1]

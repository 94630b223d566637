"""Paths of a Markov chain as one draw, and sequences whose chain of states is summed out, in Pyro."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arrays.sequences import (
    beside,
    check_independent,
    forward,
    joined_steps,
    lasts,
    moved_states,
    state_probabilities,
    steps,
)


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
        foresees: whether h_t knows data of later steps.
        twist: maps z_t and what data say of it that come after t to log r, and what they say, (..., T, F).

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
        foresees: bool = False,
        twist: tuple[Callable[[Tensor, Tensor], Tensor], Tensor] | None = None,
    ) -> None:
        self.initial, self.transition, self.length = initial, transition, length
        self.context, self.on, self.foresees, self.twist = context, on, foresees, twist
        shapes = [initial.batch_shape]
        shapes += [a.shape[: a.ndim - over] for a, over in ((context, 2), (on, 1)) if a is not None]
        super().__init__(
            torch.broadcast_shapes(*shapes), torch.Size([length * initial.event_shape[-1]]), validate_args=False
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Markov:
        """Return the same distribution with another batch shape."""
        first = self.initial.expand(batch_shape)
        return Markov(first, self.transition, self.length, self.context, self.on, self.foresees, self.twist)

    @property
    def steps(self) -> int:
        """T, which tells that a value is a path."""
        return self.length

    def lasting(self, mask: Tensor) -> Markov:
        """Return the same paths, each to the last step of which ``mask`` (..., T P) or a later one shows something."""
        on = lasts(mask, self.length)
        return Markov(self.initial, self.transition, self.length, self.context, on, self.foresees, self.twist)

    def after(self, z: Tensor, step: int | slice) -> Any:
        """Return p(z_t | z_{t-1}) given z_{t-1} (..., D), t counted from 0, or for several t at once."""
        return self.transition(z if self.context is None else beside(z, self.context[..., step, :]))

    def log_twist(self, z: Tensor, step: int | slice) -> Tensor:
        """Return log r of z_t (..., D), t counted from 0, given the data after it, or for several t at once."""
        assert self.twist is not None
        log_r, ahead = self.twist
        return log_r(z, ahead[..., step, :])

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


class HiddenMarkov(TorchDistribution):
    """p(x_1:T) = sum over s_1:T of p(s_1) prod_t p(s_t | s_{t-1}) prod_t p(x_t | s_t). Event shape (T P,).

    The sum is exact, by the forward algorithm, which costs T C^2. ``mean`` is E[x_t]. A draw has no pathwise gradient.

    Args:
        initial: log p(s_1), (..., C), or numbers that differ from it by a constant.
        transition: log p(s_t | s_{t-1}) in rows of s_{t-1}, (C, C), or the same with a constant for each row.
        emission: p(x_t | s_t), batch shape (C,), event shape (P,), of independent numbers where some are not ``seen``.
        length: T.
        seen: which numbers are data, (..., T P); the others are summed out. By default all are.

    >>> coin = dist.Bernoulli(torch.tensor([[0.5], [0.9]])).to_event(1)
    >>> HiddenMarkov(torch.zeros(2), torch.zeros(2, 2), coin, 3).log_prob(torch.ones(3)).exp()
    tensor(0.3430)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(
        self, initial: Tensor, transition: Tensor, emission: Any, length: int, seen: Tensor | None = None
    ) -> None:
        self.initial, self.transition = initial.log_softmax(-1), transition.log_softmax(-1)
        self.emission, self.length, self.seen = emission, length, seen
        batch = torch.broadcast_shapes(initial.shape[:-1], () if seen is None else seen.shape[:-1])
        super().__init__(batch, torch.Size([length * emission.event_shape[0]]), validate_args=False)

    @property
    def support(self) -> Any:
        """That of a step, of every number."""
        return self.emission.support

    @property
    def levels(self) -> int | None:
        """L, where a step's numbers are levels k / (L - 1)."""
        return getattr(getattr(self.emission, "base_dist", None), "levels", None)

    def expand(self, batch_shape: Any, _instance: Any = None) -> HiddenMarkov:
        """Return the same distribution with another batch shape."""
        new = copy.copy(self)
        new._batch_shape = torch.Size(batch_shape)
        return new

    def where_seen(self, mask: Tensor) -> HiddenMarkov:
        """Return the distribution of the numbers that ``mask`` (..., T P) shows."""
        check_independent(self.emission)
        return HiddenMarkov(self.initial, self.transition, self.emission, self.length, mask)

    def emitted(self, value: Tensor) -> Tensor:
        """Return log p(x_t | s_t) of each state, (..., T, C)."""
        if self.seen is None:
            return self.emission.log_prob(steps(value, self.length)[..., None, :])
        x = steps(torch.where(self.seen, value, 0), self.length)
        each = self.emission.base_dist.log_prob(x[..., None, :])
        return torch.where(steps(self.seen, self.length)[..., None, :], each, 0).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x_1:T) in nats: rows (..., T P) give (...)."""
        log_p = forward(self.initial, self.transition, self.emitted(value))
        return log_p.expand(torch.broadcast_shapes(log_p.shape, self.batch_shape))

    def states(self, value: Tensor) -> Tensor:
        """Return p(s_t | x) of each state given all that is seen, (..., T, C)."""
        return state_probabilities(self.initial, self.transition, self.emitted(value))

    def following(self, value: Tensor, number: int) -> HiddenMarkov:
        """Return the distribution of so many further steps, each row's from the last step that is seen of it."""
        states = self.states(value)
        last = self.length - 1 if self.seen is None else lasts(self.seen, self.length).sum(-1)[..., None, None] - 1
        index = torch.as_tensor(last, device=states.device).expand(*states.shape[:-2], 1, states.shape[-1])
        at_end = states.gather(-2, index)[..., 0, :].log()
        first = (at_end[..., :, None] + self.transition).logsumexp(-2)
        return HiddenMarkov(first, self.transition, self.emission, number)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw a state and its numbers step by step: sequences (..., T P)."""
        logits, path = self.initial.expand(*sample_shape, *self.batch_shape, -1), []
        with torch.no_grad():
            for _ in range(self.length):
                state = torch.distributions.Categorical(logits=logits, validate_args=False).sample()
                of_each = self.emission.sample(state.shape)
                chosen = state[..., None, None].expand(*state.shape, 1, of_each.shape[-1])
                path.append(of_each.gather(-2, chosen)[..., 0, :])
                logits = self.transition[state]
        return joined_steps(torch.stack(path, -2))

    def _average(self, of_state: Tensor) -> Tensor:
        """The mean of numbers (C, P) over the states of each step, (..., T P)."""
        each = moved_states(self.initial, self.transition, self.length) @ of_state
        return joined_steps(each).expand(self.batch_shape + self.event_shape)

    @property
    def mean(self) -> Tensor:
        """E[x_1:T], (..., T P)."""
        return self._average(self.emission.mean)

    @property
    def variance(self) -> Tensor:
        """Variance of each number, (..., T P)."""
        return self._average(self.emission.variance + self.emission.mean**2) - self.mean**2

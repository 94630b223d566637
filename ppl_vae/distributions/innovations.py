"""Sequences whose steps read all that came before, and the innovations that move them, in Pyro."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions import Normal
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arrays.sequences import at_ends, beside, joined_steps, lasts, steps


class Sequences(TorchDistribution):
    """p(x_1:T | e_1:T) = prod_t p(x_t | z_t, h_t), with z_t and h_t made from e_1:t and x_1:t-1. Event shape (T P,).

    A draw goes from step to step, and reads its own x_t. E[x | e] is not known.

    Args:
        cell: the model, which says by ``expects(h)`` mean and scale of p(z_t | h_t), by ``emission`` of z_t and h_t
            side by side p(x_t | z_t, h_t), and by ``moves(h, x, z)`` the next state.
        h: h_1, (..., H).
        innovations: e, (..., T, D), or None to draw them from N(0, I) with the sequence, of ``length`` T.
        length: T.
        on: whether the sequence lasts, (..., T); by default it does.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False
    has_mean: ClassVar[bool] = False

    def __init__(self, cell: Any, h: Tensor, innovations: Tensor | None, length: int, on: Tensor | None = None) -> None:
        self.cell, self.h, self.innovations, self.length, self.on = cell, h, innovations, length, on
        batch = h.shape[:-1] if innovations is None else innovations.shape[:-2]
        super().__init__(batch, torch.Size([length * cell.width]), validate_args=False)

    @property
    def steps(self) -> int:
        """T, which tells that a mask may end a value, and hide nothing before."""
        return self.length

    @property
    def support(self) -> Any:
        """That of a step, of every number."""
        return self._emission.support

    @property
    def levels(self) -> int | None:
        """L, where a step's numbers are levels k / (L - 1)."""
        return getattr(getattr(self._emission, "base_dist", None), "levels", None)

    @property
    def _emission(self) -> Any:
        return self.cell.emission(beside(self.h.new_zeros(self.cell.dim), self.h.new_zeros(self.h.shape[-1])))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Sequences:
        """Return the same distribution with another batch shape."""
        e = self.innovations if self.innovations is None else self.innovations.expand(*batch_shape, -1, -1)
        h = self.h.expand(*batch_shape, -1) if e is None else self.h
        return Sequences(self.cell, h, e, self.length, self.on)

    def where_seen(self, mask: Tensor) -> Sequences:
        """Return the distribution of sequences that end after the last number that ``mask`` (..., T P) shows."""
        return Sequences(self.cell, self.h, self.innovations, self.length, lasts(mask, self.length))

    def _walk(self, observe: Callable[[Any, int], Tensor], batch: Any) -> tuple[list[Tensor], list[Tensor]]:
        """Go from step to step, with x_t by ``observe``; return z_t and h_t side by side, and x_t."""
        h, beside_h, xs = self.h.expand(*batch, -1), [], []
        for t in range(self.length):
            loc, scale = self.cell.expects(h)
            e = torch.randn_like(loc) if self.innovations is None else self.innovations[..., t, :]
            z = loc + scale * e
            beside_h.append(beside(z, h))
            xs.append(observe(beside_h[-1], t))
            h = self.cell.moves(h, xs[-1], z)
        return [*beside_h, beside(z, h)], xs

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x_1:T | e) in nats: rows (..., T P) give (...)."""
        x = steps(value, self.length)
        batch = torch.broadcast_shapes(x.shape[:-2], self.batch_shape)
        x = (x if self.on is None else torch.where(self.on[..., None], x, 0)).expand(*batch, *x.shape[-2:])
        inputs, _ = self._walk(lambda _, t: x[..., t, :], batch)
        each = self.cell.emission(torch.stack(inputs[:-1], -2)).log_prob(x)
        return (each if self.on is None else torch.where(self.on, each, 0)).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw sequences (..., T P)."""
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.batch_shape
            return joined_steps(torch.stack(self._walk(lambda zh, _: self.cell.emission(zh).sample(), shape)[1], -2))

    def following(self, value: Tensor, number: int) -> Sequences:
        """Return the distribution of so many further steps, each row's from its own end, with new innovations."""
        x = steps(value, self.length)
        inputs, _ = self._walk(lambda _, t: x[..., t, :], self.batch_shape)
        h = torch.stack(inputs[1:], -2)[..., self.cell.dim :]  # h_2, ..., h_{T+1}
        return Sequences(self.cell, at_ends(h, self.on), None, number)


class Innovations(TorchDistribution):
    """q(e_1:T | x_1:T) = prod_t q(e_t | x_1:t, e_1:t-1). Event shape (T D,).

    With z_t = m_t + s_t e_t, mean and scale of p(z_t | h_t), q of e_t is normal, and log q(e) - log N(e; 0, I) is the
    log-ratio log q(z_t | x_t, h_t) - log p(z_t | h_t) of all steps. Where a sequence has ended, e_t is N(0, I).

    Args:
        posterior: ``conditionals.RecurrentFiltering``: its ``model`` is as of ``Sequences``, and its ``located(x, h)``
            maps x_t and h_t to mean and scale of q(z_t | x_t, h_t).
        x: (..., T, P).
        on: whether the sequence lasts, (..., T); by default it does.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True
    density_known: ClassVar[str] = "anywhere"

    def __init__(self, posterior: Any, x: Tensor, on: Tensor | None = None) -> None:
        self.posterior, self.x, self.on = posterior, x, on
        super().__init__(x.shape[:-2], torch.Size([x.shape[-2] * posterior.model.dim]), validate_args=False)

    @property
    def steps(self) -> int:
        """T, which tells that a value is a path."""
        return self.x.shape[-2]

    def expand(self, batch_shape: Any, _instance: Any = None) -> Innovations:
        """Return the same distribution with another batch shape."""
        return Innovations(self.posterior, self.x.expand(*batch_shape, -1, -1), self.on)

    def lasting(self, mask: Tensor) -> Innovations:
        """Return the same, to the last step of which ``mask`` (..., T P) shows something."""
        return Innovations(self.posterior, self.x, lasts(mask, self.steps))

    def reads(self, p: Sequences) -> bool:
        """Whether the posterior reads the states of the model that this is the distribution of."""
        return p.cell is self.posterior.model

    def at(self, h: Tensor, x: Tensor) -> tuple[Any, Tensor, Tensor]:
        """Return q(e_t | x_t, h_t), and mean and scale of p(z_t | h_t)."""
        (loc, scale), (mean, deviation) = self.posterior.model.expects(h), self.posterior.located(x, h)
        return Normal((mean - loc) / scale, deviation / scale), loc, scale

    def _walk(self, choose: Callable[[Normal, int], Tensor], batch: Any) -> tuple[Tensor, Tensor]:
        """Go from step to step by an e_t of each conditional; return the path and log q of each step."""
        x, model = self.x.expand(*batch, *self.x.shape[-2:]), self.posterior.model
        h, path, log_q = model.first(x[..., 0, :]), [], []
        for t in range(self.steps):
            q, loc, scale = self.at(h, x[..., t, :])
            if self.on is not None:
                on = self.on[..., t, None]
                q = Normal(torch.where(on, q.loc, 0), torch.where(on, q.scale, 1))
            path.append(choose(q, t))
            log_q.append(q.log_prob(path[-1]).sum(-1))
            h = model.moves(h, x[..., t, :], loc + scale * path[-1])
        return joined_steps(torch.stack(path, -2)), torch.stack(log_q, -1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw innovations (..., T D)."""
        return self._walk(lambda q, _: q.rsample(), torch.Size(sample_shape) + self.batch_shape)[0]

    @property
    def mean(self) -> Tensor:
        """The path that takes each conditional's mean, (..., T D); 0 where the sequence has ended."""
        return self._walk(lambda q, _: q.mean, self.batch_shape)[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q(e_1:T | x) in nats: paths (..., T D) give (...)."""
        e = steps(value, self.steps)
        batch = torch.broadcast_shapes(e.shape[:-2], self.batch_shape)
        return self._walk(lambda _, t: e[..., t, :], batch)[1].sum(-1)

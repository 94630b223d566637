"""Recorded steps of a pair against players: gradients at their present states, and draws that they learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from ...pairs.terms import Terms
from ...players import State
from .players import RunningPlayer, loss_of
from .products import products
from .recorded_step import Traced


class TracedGame(Traced):
    """The loss of a batch against players, and its gradients, recorded as ``Traced`` does; takes the players, too.

    Their states are inputs of the graph. They learn step by step, outside of it.
    """

    def __init__(self, *recorded: Any, players: Sequence[RunningPlayer]) -> None:
        super().__init__(*recorded)
        self.players, self.drawn = players, TracedTerms(*recorded)

    def beside(self) -> tuple[Tensor, ...]:
        """Return the players' states."""
        return tuple(value for running in self.players for part in running.fixed for value in part.values())

    def loss(
        self, objective: Any, programs: tuple[Any, Any], x: Tensor, side: dict[str, Tensor], *beside: Tensor
    ) -> Tensor:
        """Compute the loss of a batch at these states, summed over data."""
        values = iter(beside)
        states = [State(*({name: next(values) for name in part} for part in p.fixed)) for p in self.players]
        terms = objective.log_terms(*programs, x, **side)
        return loss_of(objective, terms, x, side["index"], self.players, states)[0]


class TracedTerms(Traced):
    """The terms of a batch without a gradient, for a player's own steps, recorded and compared in the same way."""

    shape: Any = None

    def terms(self, x: Tensor, side: Mapping[str, Tensor], epoch: float) -> Terms | None:
        """Return the terms, or None where the step is to run eagerly."""
        results = self.run(x, side, epoch)
        if results is None:
            return None
        values, spec = self.shape
        tensors = iter(results)
        terms: Terms = tree_unflatten([next(tensors) if isinstance(v, Tensor) else v for v in values], spec)
        return terms

    def _loss_and_grads(self, names: tuple[str, ...], values: list[Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the terms of (x, side inputs, epoch), those of them that are tensors."""
        x, *side, epoch = inputs
        with torch.no_grad(), self.pair.active(training=True) as (model, guide), products(self.precision):
            terms = self.objective.at(epoch).log_terms(model, guide, x, **dict(zip(names, side, strict=True)))
        leaves, spec = tree_flatten(terms)
        self.shape = [v.new_empty(0, device="meta") if isinstance(v, Tensor) else v for v in leaves], spec
        return tuple(leaf.clone() for leaf in leaves if isinstance(leaf, Tensor))

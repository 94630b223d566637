"""Parameters of single data points, in Pyro: one step with the model, or a climb to the top of the bound before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...training import rowwise_adam
from ...training.svi import BaseSVI
from ..objectives import TermsObjective
from ..pair import forked


class LocalParameters:
    """The tables of a pair and the Adam of each row.

    Args:
        tables: name -> a parameter (N, W); none for an amortised guide.
        settings: of the training: ``local_steps``, ``local_learning_rate``, ``local_tolerance``.
        first: position of the datum of the tables' first row.
        mean: takes the mean of (B,) numbers over a batch, of which this process may have a part.
    """

    def __init__(
        self,
        tables: Mapping[str, nn.Parameter],
        settings: BaseSVI,
        *,
        first: int = 0,
        mean: Callable[[Tensor], Tensor] = torch.mean,
    ) -> None:
        self.tables, self.settings, self.first, self.mean = dict(tables), settings, first, mean
        self.moments: dict[str, rowwise_adam.Moments] = {}
        if not settings.local_steps:  # an inner loop forgets its moments at its end
            self.moments = {name: self._fresh(table) for name, table in tables.items()}

    def _fresh(self, values: Tensor) -> rowwise_adam.Moments:
        zero = torch.zeros_like(values.detach())
        return rowwise_adam.Moments(zero, zero.clone(), zero[:, :1].clone())

    def zero_grad(self) -> None:
        """Clear every gradient."""
        for table in self.tables.values():
            table.grad = None

    def step(self, index: Tensor, factor: float) -> None:
        """Move the rows at ``index`` (B,) down the gradients that stand in the tables; no other is touched."""
        index = index - self.first
        with torch.no_grad():
            for name, table in self.tables.items():
                if table.grad is not None:
                    moments = rowwise_adam.Moments(*(m[index] for m in self.moments[name]))
                    rate = self.settings.local_learning_rate * factor
                    # The loss is a mean over the batch; a row's own gradient does not fall with the batch.
                    step, moments = rowwise_adam.adam(_rows_of(table.grad, index) * len(index), moments, rate)
                    table[index] += step
                    for old, new in zip(self.moments[name], moments, strict=True):
                        old[index] = new

    def climb(
        self, objective: TermsObjective, programs: tuple[Any, Any], x: Tensor, side: dict[str, Tensor], noise: int
    ) -> None:
        """Ascend the bound of each datum of the batch until their mean hardly rises any more.

        Every ten steps each datum's bound is measured before and after them, with the same noise, drawn afresh: a datum
        whose bound has fallen goes back, with half the learning rate. So the bound never falls but by the error of a
        measurement. Noise that stayed the same for all of them would be fitted itself. ``noise`` is the seed.
        """
        settings, device, index = self.settings, x.device, side["index"] - self.first
        tables = list(self.tables.values())
        best = [table.detach()[index] for table in tables]
        rate = x.new_full((len(x), 1), settings.local_learning_rate)
        moments, idle = [self._fresh(b) for b in best], 0
        with forked(noise + 1, device):
            for done in range(1, settings.local_steps + 1):
                loss = objective.differentiable_loss(*programs, x, **side)
                grads = torch.autograd.grad(loss, tables)
                with torch.no_grad():
                    for i, (table, grad) in enumerate(zip(tables, grads, strict=True)):
                        step, moments[i] = rowwise_adam.adam(_rows_of(grad, index), moments[i], rate)
                        table[index] += step
                if done % rowwise_adam.CHECK_EVERY == 0 or done == settings.local_steps:
                    new = [table.detach()[index] for table in tables]
                    gains = self._bound(objective, programs, x, side, noise + done)
                    self._put(index, best)
                    gains -= self._bound(objective, programs, x, side, noise + done)
                    better = (gains > 0)[:, None]
                    best = [torch.where(better, n, b) for n, b in zip(new, best, strict=True)]
                    moments = [rowwise_adam.Moments(*(torch.where(better, m, 0 * m) for m in ms)) for ms in moments]
                    rate = torch.where(better, rate, rate / 2)
                    self._put(index, best)
                    idle = idle + 1 if self.mean(gains.clamp(min=0)) < settings.local_tolerance else 0
                    if idle == rowwise_adam.IDLE_CHECKS:
                        break

    def _put(self, index: Tensor, values: list[Tensor]) -> None:
        with torch.no_grad():
            for table, value in zip(self.tables.values(), values, strict=True):
                table[index] = value

    def _bound(
        self, objective: TermsObjective, programs: tuple[Any, Any], x: Tensor, side: dict[str, Tensor], noise: int
    ) -> Tensor:
        """Average the bound over repeated draws with the noise of that seed, (B,)."""
        with torch.no_grad(), forked(noise, x.device):
            repeated = {name: torch.cat([a] * rowwise_adam.REPEATS) for name, a in side.items()}
            terms = objective.log_terms(*programs, torch.cat([x] * rowwise_adam.REPEATS), **repeated)
            return objective.bound(terms).reshape(rowwise_adam.REPEATS, -1).mean(0)

    def state(self) -> dict[str, np.ndarray]:
        """Return every row's moments as arrays by name."""
        return {
            f"{name}/{part}": values.cpu().numpy().copy()
            for name, moments in self.moments.items()
            for part, values in moments._asdict().items()
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned."""
        for key, value in state.items():
            name, part = key.rsplit("/", 1)
            getattr(self.moments[name], part).copy_(torch.from_numpy(value))


def _rows_of(grad: Tensor, index: Tensor) -> Tensor:
    """The rows of a table's gradient at distinct ``index`` (B,), in that order: (B, W)."""
    if not grad.is_sparse:
        return grad[index]
    grad = grad.coalesce()
    found = torch.searchsorted(grad.indices()[0], index)
    return grad.values()[found]

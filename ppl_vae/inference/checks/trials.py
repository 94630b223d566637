"""Trial runs of a pair, in Pyro: the log-densities of the same values, run in several ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from ...pairs.side_inputs import Arrays, take_rows
from ...pairs.trials import Trial, does_not_take, others
from ...training.data import TrainingData
from ...training.settings import TrainingSettings
from ..traces import PyroSite, density_of, run, sites_of

Values = dict[str, tuple[Tensor, int]]
"""Site -> its value, and the number of its event dimensions."""


@contextmanager
def kept(buffers: Iterable[Tensor]) -> Iterator[None]:
    """Restore buffers after a block, such as BatchNorm's running statistics."""
    before = [(buffer, buffer.clone()) for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


def trial(model: Any, guide: Any, x: Tensor, side: dict[str, Tensor], num_draws: int, nesting: int) -> dict[str, Trial]:
    """Run programs on the same values, all draws at once and each by itself, among the same rows and among others."""
    p, q = run(model, guide, (x,), side, num_draws, nesting)
    together, values = _densities(p, q, num_draws), [_draw(q, k, num_draws) for k in range(num_draws)]

    def by_itself(draw: Values, rows: Tensor | None = None) -> dict[str, Tensor]:
        given, batch, beside = poutine.Trace(), x, side
        if rows is not None:
            batch, beside = x[rows], {name: a[rows] for name, a in side.items()}
        for name, (value, event_dim) in draw.items():
            value = value if rows is None else value.index_select(value.dim() - event_dim - 1, rows)
            given.add_node(name, name=name, type="sample", is_observed=False, value=value, infer={})
        return _densities(*run(model, poutine.replay(guide, trace=given), (batch,), beside, 1, nesting), 1)

    alone = [by_itself(draw) for draw in values]
    again, rows = by_itself(values[0]), torch.as_tensor(others(len(x)), device=x.device)
    among_others = by_itself(values[0], rows)
    return {
        name: Trial(
            *(a.cpu().numpy() for a in (together[name], torch.cat([run[name] for run in alone]))),
            *(run[name][0].cpu().numpy() for run in (again, among_others)),
        )
        for name in together
        if all(name in run for run in (*alone, again, among_others))
    }


def _draw(q: poutine.Trace, k: int, num_draws: int) -> Values:
    """Draw k of the guide's sites, with the dimensions that it has in a run of one draw."""
    values = {}
    for name, site in sites_of(q, observed=False).items():
        value, event_dim = site["value"], site["fn"].event_dim
        if num_draws > 1:
            value = value[k].reshape(value.shape[value.dim() - _nesting(site) - event_dim :])
        values[name] = value, event_dim
    return values


def _nesting(site: PyroSite) -> int:
    """The number of dimensions of a site's plates in a run of one draw."""
    frames = [frame for frame in site["cond_indep_stack"] if frame.vectorized and frame.name != "num_particles"]
    return max((-frame.dim for frame in frames), default=0)


def _densities(p: poutine.Trace, q: poutine.Trace, num_draws: int) -> dict[str, Tensor]:
    """Compute the log-density of every site, (K, B), but of a guide's that is known at its own draws alone."""
    model = {**sites_of(p, observed=False), **sites_of(p, observed=True)}
    densities = {f"{name!r}": density_of(site, num_draws) for name, site in model.items()}
    for name, site in sites_of(q, observed=False).items():
        try:
            densities[f"{name!r} of the guide"] = density_of(site, num_draws)
        except (NotImplementedError, KeyError):  # a flow without an inverse
            continue
    return densities


def observed(pair: Any, x: np.ndarray, side: Arrays) -> dict[str, np.ndarray]:
    """Run a pair once; return what each site observes, of whatever draws."""
    devices = [pair.device] if pair.device.type == "cuda" else []
    with torch.no_grad(), pair.active() as (model, guide), torch.random.fork_rng(devices):
        p, _ = run(model, guide, (pair.tensor(x),), pair.tensors({"index": np.arange(len(x)), **side}), 1)
    return {name: site["value"].cpu().numpy() for name, site in sites_of(p, observed=True).items()}


def rehearse(settings: TrainingSettings, pair: Any, data: TrainingData, seed: int) -> None:
    """Run a pair in training mode on batches of the sizes that an epoch has, without a step.

    Raises:
        ValueError: a size that its nets do not take, as BatchNorm takes no single row.
    """
    total, size = settings.epoch_size or len(data.train), settings.batch_size
    for rows in dict.fromkeys((size, total % size or size)):
        first = slice(rows)
        try:
            with torch.no_grad(), kept(pair.buffers()):
                pair.rehearse(data.train[first], seed, take_rows(data.side, first))
        except Exception as error:  # whatever a net raises
            raise does_not_take(rows, size, total, error) from error

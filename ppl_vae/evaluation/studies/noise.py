"""The gradient noise of a study's strategies, side by side at the same parameters."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...errors import UnsuitableObjective
from ...objectives.base import Objective
from ...objectives.checks import check_stock
from ...results.fit import Fit
from ..gradients import gradient_report
from .study import Study


def study_gradients(
    study: Study, *, repeats: int = 100, images: int = 100, device: str | None = None, progress: bool | None = False
) -> dict[str, pd.DataFrame]:
    """Backend -> the ``gradient_report`` of every strategy that trains the same pair and is not refused for it.

    The parameters are those of the backend's first finished training, the same for all; schedules stand at their end.
    Strategies with another guide or with a critic, and trainings that could not be kept, are left out.

    Args:
        study: of which something is done.
        repeats: gradients of each objective.
        images: how many training images they are of.
        device: where to compute.
        progress: a progress bar.
    """
    reports = {}
    for result in study.results():
        if result.backend in reports or result.evaluation is None or not result.has_fit:
            continue
        first = next(c for c in study.cells if (c.strategy, c.backend) == (result.strategy, result.backend))
        fit = result.fit(device)
        if not fit.generalises:
            continue
        same = [c for c in study.cells if c.backend == first.backend and c.recipe == first.recipe]
        losses = {
            cell.strategy: _at_its_end(cell.svi, len(study.data.train)) for cell in same if _suits(cell.svi.loss, fit)
        }
        x = study.data.train[:images]
        side = study.beside("train", images)
        reports[result.backend] = gradient_report(fit, losses, x, repeats=repeats, progress=progress, **side)
    return reports


def _at_its_end(svi: Any, num_data: int) -> Any:
    return svi.loss.at(float(svi.epochs)).of_data(num_data) if isinstance(svi.loss, Objective) else svi.loss


def _suits(loss: Any, fit: Fit) -> bool:
    assert fit.pair.sites is not None
    if getattr(loss, "needs_critic", False):
        return False
    try:
        if isinstance(loss, Objective):
            loss.check(fit.pair.sites)
        else:
            check_stock(loss, fit.pair.sites, fit.backend)
    except UnsuitableObjective:
        return False
    return True

"""The noise of an objective's gradient: mean, variance and signal-to-noise ratio at fixed parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, Unpack

import numpy as np
import pandas as pd

from ..backends import load
from ..errors import UnsuitableObjective
from ..objectives.base import Objective
from ..objectives.checks import check_stock
from ..pairs.inputs import CheckedData
from ..pairs.side_inputs import Side
from ..results.fit import Fit
from ..runtime.out_of_memory import explain_out_of_memory
from ..runtime.progress import progress_bar
from ..seeds import derive, generator

OWNERS = ("model", "guide", "shared")
"""The owner of a parameter: the model only, the guide only, or both, as of a VampPrior's encoder."""


ROUNDING = 1e-10
"""A parameter whose variance is less than this part of the largest one varies by rounding alone."""


class Moments:
    """Mean and variance of vectors (n,) that come a few at a time, (C, n): memory does not grow with their number.

    Deviations from the first vector are summed up, so that vectors without noise have a variance of exactly 0.

    >>> moments = Moments()
    >>> moments.add(np.array([[1.0, 5.0], [2.0, 5.0]]))
    >>> moments.add(np.array([[3.0, 5.0]]))
    >>> moments.mean, moments.variance
    (array([2., 5.]), array([1., 0.]))
    """

    def __init__(self) -> None:
        self.count = 0
        self._origin = self._mean = self._squares = np.zeros(0)

    def add(self, values: np.ndarray) -> None:
        """Take (C, n) more (Updating Formulae and a Pairwise Algorithm, Chan, Golub and LeVeque, 1979)."""
        if not self.count:
            self._origin = values[0].astype(np.float64)
            self._mean, self._squares = np.zeros_like(self._origin), np.zeros_like(self._origin)
        deviations, count = values - self._origin, len(values)
        mean = deviations.mean(0)
        gap, total = mean - self._mean, self.count + count
        self._squares += ((deviations - mean) ** 2).sum(0) + gap**2 * self.count * count / total
        self._mean += gap * count / total
        self.count = total

    @property
    def mean(self) -> np.ndarray:
        """The mean, (n,)."""
        return self._origin + self._mean

    @property
    def variance(self) -> np.ndarray:
        """The unbiased variance of one vector, (n,)."""
        return self._squares / (self.count - 1)

    def summary(self) -> dict[str, float]:
        """The columns of ``gradient_report`` that speak of the gradient alone."""
        mean, variance = self.mean, self.variance
        average, noisy = float(variance.mean()), variance > ROUNDING * variance.max()
        norm = float(np.linalg.norm(mean))
        silent = np.inf if norm > 0 else 0.0
        return {
            "parameters": len(mean),
            "norm": norm,
            "mean_error": float(np.sqrt(variance.sum() / self.count)),
            "variance": average,
            "log_variance": float(np.log(average)) if average > 0 else -np.inf,
            "snr": float((np.abs(mean[noisy]) / np.sqrt(variance[noisy])).mean()) if noisy.any() else silent,
        }


def gradient_report(
    fit: Fit,
    objectives: Mapping[str, Any],
    x: np.ndarray,
    *,
    repeats: int = 100,
    batch_size: int | Sequence[int] | None = None,
    seed: int = 0,
    progress: bool | None = False,
    **side: Unpack[Side],
) -> pd.DataFrame:
    """The noise of each objective's gradient at the fit's parameters, which stay as they are.

    One row per objective and owner of parameters: ``model``, ``guide``, or ``shared`` by both. The gradient is that of
    the objective, uphill, per datum, with respect to the unconstrained parameters. Columns:

    - ``num_draws`` (draws per datum), ``batch_size``, ``parameters`` (numbers with this owner);
    - ``norm`` of the mean gradient, and ``mean_error``, the root mean square distance of that mean from the expected
      gradient: sqrt(sum of the variances / repeats). A norm of the size of its error says nothing;
    - ``variance`` of one gradient, the mean over parameters, and ``log_variance``, its natural logarithm (-inf for 0);
    - ``snr``, the mean of |mean| / sd over the parameters whose gradient varies by more than rounding; inf where none
      varies, and 0 where all are exactly zero. Of ``repeats`` gradients: below about 0.8 / sqrt(repeats) it is no
      signal;
    - at equal compute, ``variance_per_draw`` = variance x num_draws, because the mean of c independent copies has 1/c
      of the variance; and ``variance_second`` = variance x ``seconds``, those of one gradient, the median of this run.

    With ``batch_size`` each gradient is of a mini-batch of its own, drawn without replacement, the same for every
    objective, and the variance is that of batches and draws together; without, all of x is used and only draws vary.
    Tighter Variational Bounds are Not Necessarily Better, Rainforth et al., 2018 (the signal-to-noise ratio).

    Args:
        fit: what an inference returned; on either backend.
        objectives: name -> an objective of the fit's backend, ours or a stock one; see ``over_draws``. One that needs
            the number of data gets that of the rows of x.
        x: data (N, P).
        repeats: independent gradients of each objective, at least 2.
        batch_size: rows of each mini-batch; None takes all of x. Of several, each has its rows, named 'ELBO, batch 20'.
        seed: of the batches and draws.
        progress: a progress bar; None shows it on a terminal only.
        side: side inputs of x: ``index``, ``given``, ``mask``.

    Raises:
        ValueError: no objective, fewer than two repeats, a batch larger than x, data that are not (N, P).
        TypeError: what is no objective of the fit's backend.
        UnsuitableObjective: an objective that is wrong for the pair.
        FloatingPointError: a gradient that is NaN or infinite.
        OutOfMemory: the message says what to lower.

    >>> from ppl_vae import inference, recipes
    >>> x = np.eye(6)
    >>> pair = recipes.vae(x, latent_dim=2, hidden=(4,))(np.random.default_rng(0))
    >>> fit = inference.SVI(epochs=1, batch_size=6).fit(*pair, x)
    >>> report = gradient_report(fit, over_draws({"IWAE": inference.IWAE}, (1, 8)), x, repeats=4)
    >>> report["num_draws"]
    objective  owner
    IWAE 1     model    1
               guide    1
    IWAE 8     model    8
               guide    8
    Name: num_draws, dtype: int64
    """
    if isinstance(batch_size, Sequence):
        same: dict[str, Any] = {"repeats": repeats, "seed": seed, "progress": progress, **side}
        parts = [gradient_report(fit, objectives, x, batch_size=size, **same) for size in batch_size]
        names = [{n: f"{n}, batch {size}" for n in objectives} for size in batch_size]
        return pd.concat([part.rename(index=named, level=0) for part, named in zip(parts, names, strict=True)])
    data = fit.checked(x, **side)
    _check(fit, objectives, len(data), repeats, batch_size)
    _check_possible(fit, data)
    inference = load(fit.backend).inference
    owner_of = inference.owners(fit.pair)
    batches = _batches(len(data), batch_size, repeats, seed)
    seeds = [derive(seed, "gradient", repeat) for repeat in range(repeats)]
    rows = {}
    with progress_bar(progress, total=repeats * len(objectives), desc="gradients", unit="gradient") as bar:
        for name, objective in objectives.items():
            objective = objective.of_data(len(data)) if isinstance(objective, Objective) else objective
            draws = getattr(objective, "num_draws", getattr(objective, "num_particles", 1))
            to_lower = {"'batch_size'": batches.shape[1], f"'num_particles' of {name!r}": draws}
            with explain_out_of_memory("in the gradients", to_lower):
                drawn = inference.draw_gradients(fit.pair, objective, data.x, batches, seeds, data.arrays)
                moments, seconds = _moments(_finite(drawn, name), owner_of, bar.update)
            enumerates = isinstance(objective, Objective) and objective.request.gradient.enumerates
            if enumerates and fit.pair.sites is not None:
                draws *= objective.request.gradient.num_configurations(fit.pair.sites)  # what it costs
            for owner, moment in moments.items():
                row: dict[str, Any] = {"num_draws": draws, "batch_size": batches.shape[1], **moment.summary()}
                row |= {"variance_per_draw": row["variance"] * draws, "seconds": seconds}
                rows[name, owner] = row | {"variance_second": row["variance"] * seconds}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["objective", "owner"])


def over_draws(objectives: Mapping[str, Callable[[int], Any]], numbers: Iterable[int]) -> dict[str, Any]:
    """Each objective at each number of particles, under names that end in it, for ``gradient_report``.

    >>> from ppl_vae import inference
    >>> list(over_draws({"IWAE": inference.IWAE, "DReG": inference.DReG}, (1, 10)))
    ['IWAE 1', 'IWAE 10', 'DReG 1', 'DReG 10']
    """
    numbers = list(numbers)
    return {f"{name} {number}": make(number) for name, make in objectives.items() for number in numbers}


def _check(fit: Fit, objectives: Mapping[str, Any], size: int, repeats: int, batch_size: int | None) -> None:
    if not isinstance(objectives, Mapping) or not objectives:
        raise ValueError(
            f"gradient_report: 'objectives' should be a mapping such as {{'ELBO': TraceELBO()}}; got {objectives!r}."
        )
    for name, value, least, most in (("repeats", repeats, 2, np.inf), ("batch_size", batch_size, 1, size)):
        if value is None and name == "batch_size":
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
            limit = f"at least {least}" if most == np.inf else f"between {least} and the {size} rows of x"
            raise ValueError(f"gradient_report: {name!r} should be an integer of {limit}; got {value!r}.")
    if fit.pair.sites is None:
        raise ValueError("gradient_report: the pair has not run yet; call fit.pair.prepare(x[:4], seed=0) first.")
    if not fit.num_parameters:
        raise ValueError("gradient_report: the pair has no parameter, so it has no gradient.")
    kind, rows = load(fit.backend).inference.SVI.objective_class, size if batch_size is None else int(batch_size)
    for name, objective in objectives.items():
        if not isinstance(objective, kind):
            raise TypeError(
                f"gradient_report: objectives[{name!r}] should be an objective of {kind.__module__} or of the ppl_vae "
                f"package for {fit.backend}, such as TraceELBO(); got {objective!r}."
            )
        if getattr(objective, "needs_critic", False):
            raise UnsuitableObjective(
                f"gradient_report: objectives[{name!r}], {type(objective).__name__}, needs a critic, and a fit keeps "
                "none to take gradients through: leave it out."
            )
        if isinstance(objective, Objective):
            objective.check(fit.pair.sites)
            objective.check_batches(rows, rows)
        else:
            check_stock(objective, fit.pair.sites, fit.backend)


def _check_possible(fit: Fit, data: CheckedData[np.ndarray]) -> None:
    """Refuse data without a density, whose gradients may be zeros or NaN; of real numbers, bits and levels none are."""
    if all(site.support == "real" or site.binary or site.levels for site in fit.sites.observed):
        return
    impossible = ~np.isfinite(fit.terms(data).log_lik).all(0)
    if impossible.any():
        raise ValueError(
            f"gradient_report: {impossible.sum()} of the data, first row {int(impossible.argmax())}, have no density "
            "under the likelihood, and no gradient: leave these out, or bring them to values that it has."
        )


def _batches(size: int, batch_size: int | None, repeats: int, seed: int) -> np.ndarray:
    """The rows of each repeat's batch, (repeats, B)."""
    if batch_size is None:
        return np.broadcast_to(np.arange(size), (repeats, size))
    streams = (generator(seed, "batch", repeat) for repeat in range(repeats))
    return np.stack([rng.choice(size, int(batch_size), replace=False) for rng in streams])


Drawn = Iterator[tuple[dict[str, np.ndarray], float | None]]


def _finite(drawn: Drawn, objective: str) -> Drawn:
    for gradients, seconds in drawn:
        for name, values in gradients.items():
            if not np.isfinite(values).all():
                raise FloatingPointError(
                    f"The gradient of {objective!r} is NaN or infinite for the parameter {name!r}: raise the floor of "
                    "the scales, or report on a fit whose training went well."
                )
        yield gradients, seconds


def _moments(drawn: Drawn, owner_of: Mapping[str, str], done: Callable[[int], Any]) -> tuple[dict[str, Moments], float]:
    """The moments of each owner's parameters, and the median of the seconds that one gradient took."""
    names = {owner: [name for name in owner_of if owner_of[name] == owner] for owner in OWNERS}
    moments = {owner: Moments() for owner in OWNERS if names[owner]}
    times: list[float] = []
    for gradients, seconds in drawn:
        for owner, moment in moments.items():
            moment.add(_side_by_side([gradients[name] for name in names[owner]]))
        times += [] if seconds is None else [seconds]
        done(len(next(iter(gradients.values()))))
    return moments, float(np.median(times))


def _side_by_side(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays (C, ...) as one, (C, n)."""
    return np.concatenate([a.reshape(len(a), -1) for a in arrays], 1)

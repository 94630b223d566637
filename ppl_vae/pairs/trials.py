"""Trial runs of a pair before its first step: does it take several draws at once, and each datum by itself?"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import MixedRows, UnsuitableObjective
from .failures import does_not_run, told
from .side_inputs import NOTHING, Arrays
from .sites import Sites

DRAWS = 2
"""Draws of a trial: more of them take no other path through a program."""
ROWS = 8
"""Rows of a trial before an evaluation."""
TOLERANCE = 1e-3
"""Difference of log-densities, relative to their largest, that is more than rounding."""


class Trial(NamedTuple):
    """The log-densities of one site at the same values, (K, B) or (B,)."""

    together: Any
    """of K draws at once, (K, B)"""
    alone: Any
    """of each draw by itself, (K, B)"""
    again: Any
    """of the first draw once more, where whatever else the programs draw is drawn afresh, (B,)"""
    among_others: Any
    """of the first draw, where every second row, from the first one on, is replaced: see ``others``, (B,)"""


class Reading(NamedTuple):
    """log p(x | z) of one draw of bits or categories in several forms, and of another draw, (B,) each."""

    as_drawn: Any
    """of bits, or integers, as the guide draws them"""
    as_rows: Any
    """of the same as real numbers, categories as one-hot rows"""
    of_another: Any
    """of a draw that differs from it in every entry, as real numbers"""
    slope: Any
    """the size of the derivative by a value between the two; None where it carries no gradient"""


def check_reading(name: str, reading: Reading) -> None:
    """Refuse a model that does not read relaxed draws as it reads discrete ones.

    Raises:
        UnsuitableObjective: says how it reads them.
    """
    if differ(reading.as_drawn, reading.as_rows):
        raise UnsuitableObjective(
            f"{name} gives the model categories as rows of real numbers (..., D, C), and log p(x | z) at one-hot rows "
            f"is not that at the integers which they stand for: {READ_ROWS}"
        )
    if differ(reading.as_rows, reading.of_another) and reading.slope is not None and not np.any(reading.slope):
        raise UnsuitableObjective(
            f"{name} follows the slope of log p(x | z) in relaxed draws, and the model rounds them, so that it is 0: "
            "let the model take them as real numbers, or use TraceGraphELBO."
        )


READ_ROWS = (
    "put the net that takes them into nets.OneHot(net, C), or let the model make one-hot rows of integers alone, and "
    "leave real numbers as they are; or use TraceGraphELBO."
)


def does_not_read(name: str, error: Exception) -> UnsuitableObjective:
    """The error for a model that fails on rows of categories."""
    return UnsuitableObjective(
        f"{name} gives the model categories as rows of real numbers (..., D, C), and it does not run on them "
        f"({told(error)}): {READ_ROWS}"
    )


class OnTrial(Protocol):
    """A pair that can be put on trial."""

    draws_refusal: str | None
    """why several draws at once are refused; empty where they are not, None before a trial"""
    size_refusal: str
    """why batches of another size are refused; empty where they are not"""

    @property
    def sites(self) -> Sites | None:
        """The sites, once the pair has run on a batch."""

    def trial(self, x: np.ndarray, num_draws: int, seed: int, side: Arrays = NOTHING) -> dict[str, Trial]:
        """Run several times on the same values; return each site's log-densities, by a name for messages."""


def others(size: int) -> np.ndarray:
    """Positions of rows that keep every second one, and have its neighbour in the place of each of the rest.

    >>> others(5)
    array([1, 1, 3, 3, 3])
    """
    rows = np.arange(size)
    return np.minimum(rows + (rows % 2 == 0), size - 1 - size % 2 if size > 1 else 0)


def differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether log-densities differ by more than rounding; those that are not finite are left to the training."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    finite = np.isfinite(a) & np.isfinite(b)
    a, b = a[finite], b[finite]
    return bool((np.abs(a - b) > TOLERANCE * np.abs(a).max(initial=0.0)).any())


def mixed_rows(trials: Mapping[str, Trial]) -> list[str]:
    """Name the sites where a datum's log-density depends on the other rows of its batch."""
    return [
        name
        for name, site in trials.items()
        if not differ(site.again, site.alone[0]) and differ(site.among_others[1::2], site.alone[0][1::2])
    ]


def unequal_draws(trials: Mapping[str, Trial]) -> list[str]:
    """Name the sites where the log-densities of several draws at once are not those of each by itself."""
    return [
        name
        for name, site in trials.items()
        if not differ(site.again, site.alone[0]) and differ(site.together, site.alone)
    ]


def noisy(trials: Mapping[str, Trial], sites: Sites) -> list[str]:
    """Name the model's sites whose log-densities, of the same values, differ from run to run."""
    names = [repr(site.name) for site in (*sites.latent, *sites.observed)]
    return [name for name in names if name in trials and differ(trials[name].again, trials[name].alone[0])]


def refusal(reason: str) -> str:
    """The refusal of several draws at once, with a remedy."""
    return (
        f"Several draws of each datum run at once, as arrays (draws, rows, features), and {reason}. A net that knows "
        "(rows, features) alone goes into nets.Flattened(net); a program of one's own leaves leading dimensions as "
        "they are, as in z[..., :3], and gives x those of z before it joins them, x.expand(*z.shape[:-1], -1), or "
        "jnp.broadcast_to. Or take one draw: num_particles=1."
    )


def examine_draws(pair: OnTrial, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> tuple[str, list[str]]:
    """Try a pair on a batch: a refusal of several draws at once, or ``""``, and the sites that mix rows.

    A row alone is tried twice over, where the pair runs on two: by itself it cannot be taken for another.
    """
    if len(x) == 1:
        with suppress(Exception):  # whatever a pair of one row raises
            return _examined(pair, np.repeat(x, 2, 0), seed, {name: np.repeat(a, 2, 0) for name, a in side.items()})
    return _examined(pair, x, seed, side)


def _examined(pair: OnTrial, x: np.ndarray, seed: int, side: Arrays) -> tuple[str, list[str]]:
    """Try a pair on a batch of these rows."""
    try:
        trials = pair.trial(x, DRAWS, seed, side)
    except Exception as error:  # whatever a user's own code raises
        try:
            trials = pair.trial(x, 1, seed, side)
        except Exception as of_one:
            if pair.sites is not None and pair.sites.misplaced:  # which stock objectives serve
                return "", []
            raise does_not_run((x,), of_one) from of_one
        return refusal(f"the pair does not run on them ({told(error)})"), mixed_rows(trials)
    if pair.sites is not None and (hidden := noisy(trials, pair.sites)):
        return (
            f"The model draws numbers that are no sites: at {' and '.join(hidden)} the same values have other "
            "log-densities in each run. Several draws of each datum at once may share such a number, and log p(x) of "
            "them is then given it. Make each a site that the guide samples too, without poutine.block or handlers."
            "block and a library's own draws. Or take one draw: num_particles=1."
        ), mixed_rows(trials)
    unequal = unequal_draws(trials)
    reason = f"at {' and '.join(unequal)} their log-densities are not those of each draw by itself"
    return refusal(reason) if unequal else "", mixed_rows(trials)


def require_draws(pair: OnTrial, x: np.ndarray, num_draws: int, seed: int, side: Arrays = NOTHING) -> None:
    """Refuse several draws at once of a pair that does not take them, by a trial on the first rows if there was none.

    Raises:
        ValueError: says what to do.
    """
    if num_draws > 1 and pair.draws_refusal is None:
        first = {name: a[:ROWS] for name, a in side.items()}
        pair.draws_refusal, _ = examine_draws(pair, x[:ROWS], seed, first)
    if num_draws > 1 and pair.draws_refusal:
        raise ValueError(pair.draws_refusal)


def of_one_size(sites: Sites, fewer: Callable[[], Sites], rows: int) -> str:
    """Make the refusal of a pair that runs on batches of one size alone, with what to use; empty for any other.

    Args:
        sites: of a batch.
        fewer: examines the same batch without its last row.
        rows: of the batch.
    """
    if sites.misplaced or rows == 1:  # stock objectives alone serve it, in ways of their own
        return ""
    try:
        said = fewer().misplaced
        if not said:
            return ""
    except Exception as error:  # whatever a user's own code raises
        said = told(error)
    return (
        f"The pair runs on a batch of {rows} rows, and not without the last of them ({said.rstrip('.')}): a parameter "
        "or a constant has an entry for each row of one batch, which other data would be given in the next. Compute "
        "what belongs to a datum from x, as guides.Amortised does by a net; or give each datum its own parameters, by "
        "guides.PerDatapoint over nets.Rows."
    )


def warn_of_mixed_rows(names: list[str]) -> None:
    """Warn of sites where a datum's log-density depends on the other rows of its batch."""
    if names:
        warnings.warn(
            f"The log-densities at {' and '.join(names)} depend on which other data are in the batch: a net there "
            "mixes rows. Then the bound is of no datum by itself, and codes and log p(x) change with the batch: let "
            "the net reduce, normalise or scan the last axis, not that of the rows.",
            MixedRows,
            stacklevel=2,
        )


def does_not_take(rows: int, batch_size: int, total: int, error: Exception) -> ValueError:
    """The error for a pair that a batch of so many rows does not suit in training, with a batch size that does."""
    said = f"The pair does not train on a batch of {rows} row{'s' * (rows > 1)} ({told(error)})"
    if rows == batch_size > 1:
        return ValueError(f"{said}: nets take batches of any size from two rows on.")
    better = next((b for b in range(max(batch_size, 2), total + 1) if total % b != 1 and total % b != rows), total)
    return ValueError(
        f"{said}, the size of an epoch's {'last batch' if rows < batch_size else 'batches'}: set batch_size={better}."
    )


def try_rows(pair: OnTrial, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> None:
    """Try a pair that no training has tried on the first rows of data, and warn where it mixes them."""
    sites = pair.sites
    if sites is not None and not (sites.misplaced or sites.implicit or pair.size_refusal):
        first = {name: a[:ROWS] for name, a in side.items()}
        pair.draws_refusal, mixed = examine_draws(pair, x[:ROWS], seed, first)
        warn_of_mixed_rows(mixed)

"""Chunks of data: a pair is asked about many data points a bounded number of rows at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..data.streams import Data
from ..kinds import check_counts
from ..runtime.out_of_memory import explain_out_of_memory
from ..runtime.progress import progress_bar
from ..seeds import derive
from .densities import point_of
from .side_inputs import NOTHING, Arrays, take_rows
from .terms import Terms

if TYPE_CHECKING:
    from .pair import Pair

CHUNK = 2000
"""Rows (draws times data points) per call of a net when a fit is asked about many, unless ``PPL_VAE_CHUNK`` is set."""
CHUNK_VARIABLE = "PPL_VAE_CHUNK"


def chunk_size(pair: Pair | None = None) -> int:
    """Rows per call of a net: the value of the environment variable ``PPL_VAE_CHUNK``, or 2,000.

    Fewer where a pixel of the pair's likelihood is a row of probabilities itself, one for each of its levels.
    A smaller chunk needs less memory; draws are made chunk by chunk, so that it makes other ones.

    Raises:
        ValueError: the variable holds no integer of at least 1.
    """
    said = os.environ.get(CHUNK_VARIABLE, str(CHUNK))
    if not said.isdecimal() or int(said) < 1:
        raise ValueError(f"The environment variable {CHUNK_VARIABLE} should be an integer of at least 1; got {said!r}.")
    sites = pair.sites.observed if pair is not None and pair.sites is not None else ()
    wide = [site.probabilities_per_entry for site in sites]
    return max(1, int(said) // max([1, *(levels // 8 for levels in wide)]))


def memory_settings(**settings: Any) -> dict[str, Any]:
    """Settings to lower where memory runs out, with their values: the chunk first, then those given by name.

    >>> memory_settings(num_particles=5)
    {'the environment variable PPL_VAE_CHUNK': 2000, "'num_particles'": 5}
    """
    named = {f"{name!r}": value for name, value in settings.items()}
    return {f"the environment variable {CHUNK_VARIABLE}": chunk_size(), **named}


class Window(NamedTuple):
    """Consecutive rows, and the number of them that the window before has covered."""

    rows: slice
    seen: int

    @property
    def size(self) -> int:
        """Number of rows, those that were covered before included."""
        return self.rows.stop - self.rows.start

    def keep(self, values: Any, axis: int = 0) -> Any:
        """Drop the rows that the window before has covered from an array, or from each of a dictionary or tuple.

        >>> Window(slice(2, 5), 1).keep({"z": np.arange(6).reshape(2, 3)}, axis=1)
        {'z': array([[1, 2],
               [4, 5]])}
        """
        return _map(lambda array: array[(*[slice(None)] * (axis % array.ndim), slice(self.seen, None))], values)


def windows(count: int, rows: int) -> list[Window]:
    """Windows of equal length that cover ``count`` rows; two of them overlap where the length does not divide these.

    Equal lengths, so that a compiled program serves all of them; as few windows as hold at most ``rows`` each, and as
    short as that number allows.

    >>> [(window.rows, window.seen) for window in windows(5, 3)]
    [(slice(0, 3, None), 0), (slice(2, 5, None), 1)]
    """
    number = -(-count // rows)
    rows = -(-count // number)
    starts = [min(i * rows, count - rows) for i in range(number)]
    return [Window(slice(s, s + rows), i * rows - s) for i, s in enumerate(starts)]


@dataclass(frozen=True, eq=False)
class Chunk:
    """A window of the data, with its side inputs and a seed of its own."""

    x: np.ndarray
    """(B, P)"""
    side: dict[str, np.ndarray]
    """the side inputs of these rows"""
    window: Window
    origin: tuple[int, *tuple[str | int, ...]]
    """the seed and the purposes that ``seed`` is derived from"""

    def __len__(self) -> int:
        """B, the number of rows, those that the chunk before has covered included."""
        return self.window.size

    @property
    def seed(self) -> int:
        """The seed of the chunk."""
        return derive(*self.origin)

    def seed_of(self, *purpose: str | int) -> int:
        """The seed of one purpose within the chunk, such as the number of a window of draws."""
        return derive(*self.origin, *purpose)

    def rows_of(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The rows of other arrays (N, ...) that belong to these data."""
        return take_rows(arrays, self.window.rows)

    def keep(self, values: Any, axis: int = 0) -> Any:
        """Drop the rows that the chunk before has covered, along ``axis``: see ``Window.keep``."""
        return self.window.keep(values, axis)


@contextmanager
def in_chunks(
    pair: Pair,
    x: Data,
    side: Arrays = NOTHING,
    *,
    doing: str,
    rows_each: int = 1,
    seed: int = 0,
    purpose: str | None = None,
    settings: Mapping[str, Any] = NOTHING,
    bar: str | None = None,
    progress: bool | None = False,
) -> Iterator[Iterator[Chunk]]:
    """Go through data in chunks of equal length that are in memory one at a time; say what to lower if that runs out.

    Chunk i has the seed ``derive(seed, purpose, i)``. Results of a chunk go through its ``keep``, as chunks overlap
    where their length does not divide N, and then into ``concatenate``.

    Args:
        pair: the pair that is asked.
        x: data (N, P); ``np.empty((N, 0))`` where there are none, as for data to be generated.
        side: arrays beside x, a row for each datum.
        doing: what an out-of-memory error says it was in, as "in log p(x)".
        rows_each: rows of a net that each datum needs, such as the number of draws.
        seed: that those of the chunks are derived from.
        purpose: of these seeds; None for ``derive(seed, i)``.
        settings: name -> value of what to lower beside the chunk where memory runs out.
        bar: the name of a progress bar; None for no bar.
        progress: whether to show it; None shows it on a terminal only.

    Yields:
        The chunks, in order.

    Raises:
        OutOfMemory: names the chunk, and the settings.

    >>> with in_chunks(None, np.eye(3), doing="in the sum") as chunks:
    ...     concatenate([chunk.keep(chunk.x.sum(1)) for chunk in chunks])
    array([1., 1., 1.])
    """
    with (
        explain_out_of_memory(doing, memory_settings(**settings)),
        progress_bar(progress if bar else False, total=len(x), desc=bar, unit="x") as done,
    ):
        yield _chunks(pair, x, side, max(1, chunk_size(pair) // rows_each), seed, purpose, done.update)


def _chunks(
    pair: Pair, x: Data, side: Arrays, rows: int, seed: int, purpose: str | None, done: Callable[[int], Any]
) -> Iterator[Chunk]:
    start = (seed,) if purpose is None else (seed, purpose)
    for number, window in enumerate(windows(len(x), rows)):
        yield Chunk(x[window.rows], take_rows(side, window.rows), window, (*start, number))
        done(window.size - window.seen)


def concatenate(parts: Iterable[Any], axis: int = 0) -> Any:
    """Concatenate arrays, or dictionaries or tuples of arrays entry by entry.

    >>> concatenate([{"z": np.zeros(1)}, {"z": np.ones(2)}])
    {'z': array([0., 1., 1.])}
    """
    parts = list(parts)
    if isinstance(parts[0], Mapping):
        return {name: concatenate([part[name] for part in parts], axis) for name in parts[0]}
    if isinstance(parts[0], tuple):
        return tuple(concatenate(column, axis) for column in zip(*parts, strict=True))
    return np.concatenate(parts, axis)


def _map(function: Callable[[np.ndarray], np.ndarray], values: Any) -> Any:
    """Apply a function to an array, or to each of a dictionary or tuple."""
    if isinstance(values, Mapping):
        return {name: _map(function, value) for name, value in values.items()}
    return tuple(_map(function, value) for value in values) if isinstance(values, tuple) else function(values)


def sample_in_chunks(
    pair: Pair,
    x: Data,
    num_particles: int,
    seed: int,
    analytic_kl: bool = False,
    side: Arrays = NOTHING,
) -> tuple[dict[str, np.ndarray], Terms]:
    """Draws for many data points, (K, N, ...), and their terms, (K, N), a bounded number of rows at a time.

    Of a guide that is a point log q is NaN, as of one whose density is known nowhere.
    """
    check_counts("draws", num_particles=num_particles)
    options: dict[str, Any] = {"rows_each": num_particles, "settings": {"num_particles": num_particles}}
    doing = f"with draws of {len(x)} data points"
    with in_chunks(pair, x, side, seed=seed, purpose="terms", doing=doing, **options) as chunks:
        columns = [chunk.keep(_sample(pair, chunk, num_particles, analytic_kl), axis=1) for chunk in chunks]
    values, terms = concatenate(columns, axis=1)
    terms = Terms(*terms)
    return values, terms._replace(log_guide=np.full_like(terms.log_guide, np.nan)) if point_of(pair.sites) else terms


def elbo_in_chunks(
    pair: Pair, x: Data, num_particles: int, seed: int, side: Arrays = NOTHING
) -> tuple[dict[str, np.ndarray], Terms]:
    """Draws for many data points, (K, N, ...), and terms, (K, N), whose mean is the ELBO.

    The terms are log-densities of the draws; of a chain of noise, which has no draws here, ``levels_in_chunks``.
    """
    assert pair.sites is not None
    if pair.sites.chain:
        return {}, levels_in_chunks(pair, x, pair.sites.chain, num_particles, seed, side)
    return sample_in_chunks(pair, x, num_particles, seed, side=side)


def levels_in_chunks(
    pair: Pair, x: Data, number: int | None, num_draws: int, seed: int, side: Arrays = NOTHING
) -> Terms:
    """Unbiased estimates of the ELBO of a chain of noise, (K, N), from K of its levels, each of another K-th of it.

    -KL stands in ``log_prior``, and 0 in ``log_guide``. None is the number of levels of continuous time.
    """
    check_counts("levels of noise", num_particles=num_draws)
    options: dict[str, Any] = {"rows_each": num_draws, "settings": {"num_particles": num_draws}}
    doing = f"in the ELBO of {len(x)} data points"
    with in_chunks(pair, x, side, seed=seed, purpose="levels", doing=doing, **options) as chunks:
        parts = ((chunk, pair.levels(chunk.x, number, num_draws, chunk.seed, chunk.side)) for chunk in chunks)
        columns = [chunk.keep(tuple(terms[:3]), axis=1) for chunk, terms in parts]
    return Terms(*concatenate(columns, axis=1))


def _sample(pair: Pair, chunk: Chunk, num_particles: int, analytic_kl: bool) -> tuple[dict[str, np.ndarray], Any]:
    """Draws for one chunk, (K, B, ...), and the log-densities, (K, B) each, as many draws at a time as fit."""
    parts = []
    for number, draws in enumerate(windows(num_particles, chunk_size(pair))):
        values, terms = pair.sample(chunk.x, draws.size, chunk.seed_of(number), analytic_kl, chunk.side)
        parts.append(draws.keep((values, terms[:3])))
    return concatenate(parts)


def log_weights_of(pair: Pair, chunk: Chunk, num_particles: int) -> np.ndarray:
    """log p(x, z) - log q(z | x) of draws from the guide for the new rows of a chunk, (K, B), in double precision."""
    _, terms = sample_in_chunks(pair, chunk.x, num_particles, chunk.seed, side=chunk.side)
    return np.asarray(chunk.keep(terms.log_weights, axis=1), np.float64)

"""Asking a pair about many data points, a bounded number of rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.streams import Data
from ..runtime.out_of_memory import explain_out_of_memory
from ..seeds import derive
from .side_inputs import NOTHING, Arrays, take_rows
from .terms import Terms

if TYPE_CHECKING:
    from .pair import Pair

CHUNK = 2000
"""Rows (draws times data points) per call of a net when a fit is asked about many, unless ``PPL_VAE_CHUNK`` is set."""
CHUNK_VARIABLE = "PPL_VAE_CHUNK"


def chunk(pair: Pair | None = None) -> int:
    """Rows per call of a net: what the environment variable ``PPL_VAE_CHUNK`` says, or 2,000.

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


def within_memory(doing: str, **settings: Any) -> AbstractContextManager[None]:
    """A block that asks a fit about many data points, and says what to lower where memory runs out.

    Raises:
        OutOfMemory: names the chunk, and the settings that are given.
    """
    rows = {f"the environment variable {CHUNK_VARIABLE}": chunk()}
    return explain_out_of_memory(doing, rows | {f"{name!r}": value for name, value in settings.items()})


def windows(count: int, rows: int) -> list[tuple[slice, int]]:
    """Windows of equal length that cover ``count`` rows, and how many rows of each the one before has covered.

    Equal lengths, so that a compiled program serves all of them; as few windows as hold at most ``rows`` each, and as
    short as that number allows.

    >>> windows(5, 3)
    [(slice(0, 3, None), 0), (slice(2, 5, None), 1)]
    """
    number = -(-count // rows)
    rows = -(-count // number)
    starts = [min(i * rows, count - rows) for i in range(number)]
    return [(slice(s, s + rows), i * rows - s) for i, s in enumerate(starts)]


def sample_in_chunks(
    pair: Pair,
    x: Data,
    num_particles: int,
    seed: int,
    analytic_kl: bool = False,
    side: Arrays = NOTHING,
) -> tuple[dict[str, np.ndarray], Terms]:
    """Draws for many data points, (K, N, ...), and their terms, (K, N), a bounded number of rows at a time."""
    columns, at_once = [], chunk(pair)
    with within_memory(f"with draws of {len(x)} data points", num_particles=num_particles):
        for number, (window, seen) in enumerate(windows(len(x), max(1, at_once // num_particles))):
            rows = []
            for draw, (draws, skip) in enumerate(windows(num_particles, at_once)):
                size, chunk_seed = draws.stop - draws.start, derive(seed, "terms", number, draw)
                values, terms = pair.sample(x[window], size, chunk_seed, analytic_kl, take_rows(side, window))
                rows.append([a[skip:, seen:] for a in (*terms[:3], *values.values())])
                names = list(values)
            columns.append([np.concatenate(parts) for parts in zip(*rows, strict=True)])
        log_lik, log_prior, log_guide, *drawn = (np.concatenate(parts, 1) for parts in zip(*columns, strict=True))
    return dict(zip(names, drawn, strict=True)), Terms(log_lik, log_prior, log_guide)


def log_weights_in_chunks(
    pair: Pair, x: Data, num_particles: int, seed: int, side: Arrays = NOTHING
) -> Iterator[np.ndarray]:
    """log p(x, z) - log q(z | x) for draws from the guide, (K, B) each, for the next B of the data points.

    Raises:
        ValueError: fewer than one particle.
    """
    if num_particles < 1:
        raise ValueError(f"'num_particles' should be at least 1; got {num_particles}.")
    for number, (window, seen) in enumerate(windows(len(x), max(1, chunk(pair) // num_particles))):
        own, beside = derive(seed, "weights", number), take_rows(side, window)
        _, terms = sample_in_chunks(pair, x[window], num_particles, own, side=beside)
        yield terms.log_weights[:, seen:].astype(np.float64)

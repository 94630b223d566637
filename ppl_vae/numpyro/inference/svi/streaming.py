"""Training data that stay on the disk: one block after the other, the next one read ahead."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.random import threefry_2x32

from ....data import Stream
from ....training.prefetch import read_ahead, steps_at_once
from ..pair import Pair


class Batches(NamedTuple):
    """S batches of B data points."""

    positions: Array
    """(S, B), in the data set"""
    rows: Array
    """(S, B), rows of the data in memory: the same, or rows of a stream's block"""
    keys: Array
    """(S,)"""
    epochs: Array
    """(S,)"""


def streamed(
    stream: Stream, parts: Sequence[Batches], pair: Pair, drawn: Array | None
) -> Generator[tuple[Array, Batches]]:
    """Yield blocks of the data (R, P), drawn afresh if there is a key to draw with, and the batches of each."""

    def read(batches: Batches) -> tuple[Array, Batches]:
        index = np.asarray(batches.positions)
        there = np.minimum(index.ravel(), len(stream) - 1)  # a position after the last datum only fills a batch
        x = pair.array(stream[there])
        x = x if drawn is None else binarised(drawn, x, there)
        rows = np.where(index < len(stream), np.arange(index.size).reshape(index.shape), index.size)
        return x, batches._replace(rows=jnp.asarray(rows))

    blocks = read_ahead(read, [block for part in parts for block in _blocks(part, stream)])
    with closing(blocks):
        yield from blocks


def _blocks(part: Batches, stream: Stream) -> list[Batches]:
    """Split batches into groups that a block of the stream holds, of equal size where their number allows."""
    steps, size = part.positions.shape
    most = steps_at_once(stream, size)
    length = max((n for n in range(most // 2 + 1, most + 1) if steps % n == 0), default=most)
    return [Batches(*(a[first : first + length] for a in part)) for first in range(0, steps, length)]


def binarised(key: Array, x: Array, index: np.ndarray) -> Array:
    """Draw the rows ``index`` of ``jax.random.bernoulli(key, p)`` alone; x (B, P) are these rows of p.

    JAX's generator is a hash of the key and of each entry's place in the array, which is 64 bits wide.
    """
    first = index.astype(np.uint64) * np.uint64(x.shape[1])
    return _drawn(jax.random.key_data(key), x, (first >> np.uint64(32)).astype(np.uint32), first.astype(np.uint32))


@jax.jit
def _drawn(key: Array, x: Array, high: Array, low: Array) -> Array:
    places = low[:, None] + jnp.arange(x.shape[1], dtype=jnp.uint32)
    carried = high[:, None] + (places < low[:, None]).astype(jnp.uint32)
    bits = threefry_2x32(key[:2], jnp.stack([carried, places])).reshape(2, *x.shape)
    mantissa = ((bits[0] ^ bits[1]) >> 9) | jnp.uint32(0x3F800000)
    return (jax.lax.bitcast_convert_type(mantissa, jnp.float32) - 1 < x).astype(x.dtype)

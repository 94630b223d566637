"""Nets of a grid: a cell reads the pixels around it alone, and a pixel the cells around it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from pairs import refused

from ppl_vae import backends

H, W = 12, 9
ROWS, COLUMNS = H // 2, W // 2


def on(backend: backends.Backend, net: Any, x: np.ndarray) -> np.ndarray:
    array = torch.as_tensor(x) if backend.name == "pyro" else jnp.asarray(x)
    out = net(array)
    return out.detach().numpy() if backend.name == "pyro" else np.asarray(out)


def test_a_cell_reads_its_window_and_a_pixel_its_cells(backend: backends.Backend) -> None:
    rng, options = np.random.default_rng(0), {"channels": (5,), "hidden": (6,), "activation": "tanh", "per_cell": True}
    encoder = backend.nets.ConvEncoder((H, W), ROWS * COLUMNS * 3, rng, **options)
    decoder = backend.nets.ConvDecoder(ROWS * COLUMNS * 3, (H, W), rng, **options)
    x = rng.random((1, H * W)).astype(np.float32)
    z = on(backend, encoder, x)
    assert z.shape == (1, ROWS * COLUMNS * 3)
    row, column = 5, 4
    other = x.copy()
    other.reshape(H, W)[row, column] += 1.0
    moved = (on(backend, encoder, other) != z).reshape(ROWS, COLUMNS, 3)
    reads = np.array(
        [
            [2 * i - 1 <= row <= 2 * i + 2 and 2 * j - 1 <= column <= 2 * j + 2 for j in range(COLUMNS)]
            for i in range(ROWS)
        ]
    )
    np.testing.assert_array_equal(moved.any(-1), reads)
    back, cell = on(backend, decoder, z), (3, 2)
    changed = z.copy().reshape(ROWS, COLUMNS, 3)
    changed[cell] += 1.0
    moved = (on(backend, decoder, changed.reshape(1, -1)) != back).reshape(H, W)
    rows, columns = np.nonzero(moved)
    assert (rows.min(), rows.max()) == (2 * cell[0] - 1, 2 * cell[0] + 2)
    assert (columns.min(), columns.max()) == (2 * cell[1] - 1, 2 * cell[1] + 2)


@pytest.mark.parametrize("net", ["ConvEncoder", "ConvDecoder"])
def test_numbers_that_the_cells_do_not_divide_are_refused(net: str, backend: backends.Backend) -> None:
    rng, options = np.random.default_rng(0), {"channels": (5,), "per_cell": True}

    def make(numbers: int) -> Any:
        sizes = ((H, W), numbers) if net == "ConvEncoder" else (numbers, (H, W))
        return getattr(backend.nets, net)(*sizes, rng, **options)

    refused("for each of 6 x 4 cells, so that their number should be a multiple of 24; got 25", lambda: make(25))
    assert make(24).cells == 24

"""Initial values, drawn with NumPy, so that both backends start from the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .data.streams import Data, Stream

Initialiser = Callable[[np.random.Generator, int, int], np.ndarray]


def xavier_uniform(rng: np.random.Generator, out: int, inp: int) -> np.ndarray:
    """(out, inp) weights, uniform on +-sqrt(6 / (inp + out)).

    Understanding the difficulty of training deep feedforward neural networks, Glorot and Bengio, 2010.

    >>> bool(np.abs(xavier_uniform(np.random.default_rng(0), 3, 3)).max() <= 1.0)
    True
    """
    limit = np.sqrt(6.0 / (inp + out))
    return rng.uniform(-limit, limit, (out, inp))


def xavier_normal(rng: np.random.Generator, out: int, inp: int) -> np.ndarray:
    """(out, inp) weights, N(0, 2 / (inp + out)) (Glorot and Bengio, 2010).

    >>> xavier_normal(np.random.default_rng(0), 3, 2).shape
    (3, 2)
    """
    return rng.standard_normal((out, inp)) * np.sqrt(2.0 / (inp + out))


def small_normal(rng: np.random.Generator, out: int, inp: int) -> np.ndarray:
    """(out, inp) weights, N(0, 0.01^2): the start of the VampPrior report's ``means`` net.

    >>> bool(np.abs(small_normal(np.random.default_rng(0), 50, 50)).max() < 0.1)
    True
    """
    return 0.01 * rng.standard_normal((out, inp))


def standard_rows(count: int, dim: int, *, full_covariance: bool = False, floor: float = 1e-3) -> np.ndarray:
    """(count, W) rows that are N(0, I) under ``DiagNormal``, W = 2 D, or ``FullNormal``, W = D + D (D + 1) / 2.

    >>> standard_rows(3, 2).shape, standard_rows(3, 2, full_covariance=True).shape
    ((3, 4), (3, 5))
    """
    raw = np.log(np.expm1(1.0 - floor))
    scales = raw * (np.eye(dim)[np.tril_indices(dim)] if full_covariance else np.ones(dim))
    return np.tile(np.concatenate([np.zeros(dim), scales]), (count, 1))


def table(start: np.ndarray) -> np.ndarray:
    """A (N, W) array, checked."""
    start = np.asarray(start)
    if start.ndim != 2 or not len(start):
        raise ValueError(f"The rows should be an array of shape (N, W) with N >= 1; got {start.shape}.")
    return start


def check_index(index: np.ndarray, count: int) -> None:
    """Compare positions with the number of rows.

    Raises:
        ValueError: a position outside 0..count-1.
    """
    if index.size and not (index.min() >= 0 and index.max() < count):
        raise ValueError(
            f"'index' should hold positions in 0..{count - 1}, one of the {count} data points that the rows were made "
            f"for; got {index.min()}..{index.max()}."
        )


def layer_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """The sizes as a tuple: at least an input and an output, all positive."""
    if len(sizes) < 2 or any(int(s) != s or s < 1 for s in sizes):
        raise ValueError(f"'sizes' should hold at least (input, output), all positive integers; got {tuple(sizes)}.")
    return tuple(int(s) for s in sizes)


def _images(images: Data, count: int) -> Data:
    images = images if isinstance(images, Stream) else np.asarray(images)
    if images.ndim != 2 or not len(images):
        raise ValueError(f"'images' should have shape (N, P) with N >= 1; got {images.shape}.")
    if count < 1:
        raise ValueError(f"The number of pseudo-inputs should be at least 1; got {count}.")
    return images


def mean_images(rng: np.random.Generator, images: Data, count: int, *, noise: float = 0.01) -> np.ndarray:
    """(count, P) pseudo-inputs that start at the data mean plus N(0, noise^2).

    >>> mean_images(np.random.default_rng(0), np.ones((5, 3)), 2).shape
    (2, 3)
    """
    images = _images(images, count)
    if isinstance(images, Stream):
        mean = sum(block.sum(0, dtype=np.float64) for _, block in images.blocks()) / len(images)
    else:
        mean = images.mean(0)
    return mean + noise * rng.standard_normal((count, images.shape[1]))


def random_images(rng: np.random.Generator, images: Data, count: int) -> np.ndarray:
    """(count, P) pseudo-inputs that start at distinct random images of the (N, P) given.

    Raises:
        ValueError: more pseudo-inputs than images.

    >>> sorted(random_images(np.random.default_rng(0), np.arange(4.0)[:, None], 4)[:, 0].tolist())
    [0.0, 1.0, 2.0, 3.0]
    """
    images = _images(images, count)
    if count > len(images):
        raise ValueError(
            f"{count} pseudo-inputs were asked for, but there are only {len(images)} images to choose from: "
            f"ask for at most {len(images)}, or start them at the data mean plus noise."
        )
    return np.array(images[rng.choice(len(images), count, replace=False)])

"""Initial values of parameters, drawn with NumPy, so that both backends start from the same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from .data.streams import Data, Stream

Initialiser = Callable[[np.random.Generator, int, int], np.ndarray]
"""Initialiser: (rng, out, inp) -> weights (out, inp)."""


class KernelInitialiser(Protocol):
    """Initialiser of kernels: (rng, out, inp, kernel) -> weights (out, inp, *kernel); by default of a linear layer."""

    def __call__(self, rng: np.random.Generator, out: int, inp: int, kernel: tuple[int, ...] = (), /) -> np.ndarray: ...


def xavier_uniform(rng: np.random.Generator, out: int, inp: int, kernel: tuple[int, ...] = ()) -> np.ndarray:
    """Draw weights (out, inp), uniform on +-sqrt(6 / (inp + out)).

    Weights of a convolution are (out, inp, *kernel); each input and output counts once for each entry of the kernel.
    Understanding the difficulty of training deep feedforward neural networks, Glorot and Bengio, 2010.

    >>> bool(np.abs(xavier_uniform(np.random.default_rng(0), 3, 3)).max() <= 1.0)
    True
    >>> xavier_uniform(np.random.default_rng(0), 3, 2, (4, 4)).shape
    (3, 2, 4, 4)
    """
    limit = np.sqrt(6.0 / ((inp + out) * math.prod(kernel)))
    return rng.uniform(-limit, limit, (out, inp, *kernel))


def xavier_normal(rng: np.random.Generator, out: int, inp: int, kernel: tuple[int, ...] = ()) -> np.ndarray:
    """Draw weights (out, inp, *kernel) from N(0, 2 / (inp + out)) per kernel entry (Glorot and Bengio, 2010).

    >>> xavier_normal(np.random.default_rng(0), 3, 2).shape
    (3, 2)
    """
    return rng.standard_normal((out, inp, *kernel)) * np.sqrt(2.0 / ((inp + out) * math.prod(kernel)))


def small_normal(rng: np.random.Generator, out: int, inp: int, kernel: tuple[int, ...] = ()) -> np.ndarray:
    """Draw weights (out, inp, *kernel) from N(0, 0.01^2), as at the start of the VampPrior report's ``means`` net.

    >>> bool(np.abs(small_normal(np.random.default_rng(0), 50, 50)).max() < 0.1)
    True
    """
    return 0.01 * rng.standard_normal((out, inp, *kernel))


def kaiming_normal(rng: np.random.Generator, out: int, inp: int, kernel: tuple[int, ...] = ()) -> np.ndarray:
    """Draw weights (out, inp, *kernel) from N(0, 2 / inp) per kernel entry, which suits ReLU layers.

    Delving Deep into Rectifiers, He, Zhang, Ren and Sun, 2015.

    >>> kaiming_normal(np.random.default_rng(0), 3, 2).shape
    (3, 2)
    """
    return rng.standard_normal((out, inp, *kernel)) * math.sqrt(2.0 / (inp * math.prod(kernel)))


class TorchDefault:
    """Initialiser that PyTorch has for its layers: weights and biases uniform on +-1 / sqrt(inp), per kernel entry.

    >>> bool(np.abs(torch_default(np.random.default_rng(0), 3, 4)).max() <= 0.5)
    True
    """

    def __call__(self, rng: np.random.Generator, out: int, inp: int, kernel: tuple[int, ...] = ()) -> np.ndarray:
        """Draw weights (out, inp, *kernel)."""
        return self._uniform(rng, (out, inp, *kernel), inp * math.prod(kernel))

    def biases(self, rng: np.random.Generator, count: int, inp: int, kernel: tuple[int, ...] = ()) -> np.ndarray:
        """Draw biases (count,)."""
        return self._uniform(rng, (count,), inp * math.prod(kernel))

    @staticmethod
    def _uniform(rng: np.random.Generator, shape: tuple[int, ...], fan: int) -> np.ndarray:
        return rng.uniform(-1 / math.sqrt(fan), 1 / math.sqrt(fan), shape)


torch_default = TorchDefault()
STARTS: dict[str, KernelInitialiser] = {
    "xavier": xavier_uniform,
    "kaiming-normal": kaiming_normal,
    "torch": torch_default,
}
"""Names of where the weights of a recipe's nets start."""


def draw_biases(
    weights: Initialiser, rng: np.random.Generator, count: int, inp: int, kernel: tuple[int, ...] = ()
) -> np.ndarray:
    """Draw the biases (count,) that go with an initialiser of weights: zeros, or of its own method ``biases``.

    >>> draw_biases(xavier_uniform, np.random.default_rng(0), 2, 3)
    array([0., 0.])
    """
    own = getattr(weights, "biases", None)
    return np.zeros(count) if own is None else own(rng, count, inp, kernel)


def standard_rows(count: int, dim: int, *, full_covariance: bool = False, floor: float = 1e-3) -> np.ndarray:
    """Return rows (count, W) that mean N(0, I) for ``DiagNormal``, W = 2 D, or ``FullNormal``, W = D + D (D + 1) / 2.

    >>> standard_rows(3, 2).shape, standard_rows(3, 2, full_covariance=True).shape
    ((3, 4), (3, 5))
    """
    raw = np.log(np.expm1(1.0 - floor))
    scales = raw * (np.eye(dim)[np.tril_indices(dim)] if full_covariance else np.ones(dim))
    return np.tile(np.concatenate([np.zeros(dim), scales]), (count, 1))


def table(start: np.ndarray) -> np.ndarray:
    """Check that ``start`` is an array (N, W) of finite numbers, and return it."""
    start = np.asarray(start)
    if start.ndim != 2 or not len(start):
        raise ValueError(f"The rows should be an array of shape (N, W) with N >= 1; got {start.shape}.")
    if not np.isfinite(start).all():
        row, column = np.argwhere(~np.isfinite(start))[0]
        raise ValueError(
            f"The rows should be finite numbers; got {start[row, column]} at row {row}, column {column}: a probability "
            "of 0 or 1 has an infinite logit, and init.bernoulli_rows(probabilities) a finite one in its place."
        )
    return start


CERTAIN = 100.0
"""Logit that stands for a probability of 0 or 1: 1 + exp(-100) is 1, in double precision too."""


def bernoulli_rows(probabilities: np.ndarray) -> np.ndarray:
    """Return the logits (N, W) of probabilities (N, W), the rows of a ``Bernoulli`` guide; -100 and 100 for 0 and 1.

    With such a logit a draw is always the same, and its log-probability 0: 0 log 0 = 0.

    Raises:
        ValueError: not (N, W), or numbers outside [0, 1].

    >>> bernoulli_rows(np.array([[0.0, 0.5, 1.0]]))
    array([[-100.,    0.,  100.]])
    """
    p = table(probabilities).astype(float)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"'probabilities' should be in [0, 1]; got {p.min():g}..{p.max():g}.")
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log1p(-p), -CERTAIN, CERTAIN)


def bernoulli_components(rng: np.random.Generator, images: Data, count: int, *, spread: float = 0.5) -> np.ndarray:
    """Draw logits (count, P) of mixture components from N(logit(mean image), spread^2), two grey images counted in.

    >>> bernoulli_components(np.random.default_rng(0), np.eye(3), 5).shape
    (5, 3)
    """
    images = _images(images, count, "components")
    mean = (_mean(images) * len(images) + 1) / (len(images) + 2)
    return np.log(mean / (1 - mean)) + spread * rng.standard_normal((count, images.shape[1]))


def pixel_order(order: Sequence[int] | np.ndarray | None, dim: int) -> tuple[int, ...]:
    """Check an order of ``dim`` pixels and return it, by default that of their numbers.

    Raises:
        ValueError: an order that does not have each pixel once.

    >>> pixel_order(None, 3), pixel_order(np.array([2, 0, 1]), 3)
    ((0, 1, 2), (2, 0, 1))
    """
    pixels = tuple(int(i) for i in (range(dim) if order is None else order))
    if sorted(pixels) != list(range(dim)):
        raise ValueError(f"'order' should hold each of 0..{dim - 1} once; got {len(pixels)} numbers, {pixels[:5]}...")
    return pixels


def num_values(num_categories: int | None) -> int:
    """Count the inputs of a net for each pixel: 1 for a number, C for the one-hot row of a category.

    Raises:
        ValueError: fewer than two categories.

    >>> num_values(None), num_values(5)
    (1, 5)
    """
    if num_categories is not None and (int(num_categories) != num_categories or num_categories < 2):
        raise ValueError(
            f"'num_categories' should be an integer of at least 2, or None for pixels of 0 and 1; got {num_categories}."
        )
    return 1 if num_categories is None else int(num_categories)


def check_entries(shape: Sequence[int], count: int) -> None:
    """Compare the shape of an autoregressive net's input, (..., P), with the number of its pixels.

    Raises:
        ValueError: another number.
    """
    if not len(shape) or shape[-1] != count:
        raise ValueError(
            f"The net was made for {count} pixels or codes, (..., {count}); got an array of shape {tuple(shape)}: make "
            "it for as many as there are, with one dimension for all of them."
        )


def autoregressive_masks(order: Sequence[int], hidden: Sequence[int], values: int = 1) -> list[np.ndarray]:
    """Return for each layer of a perceptron the mask (out, inp) that makes output i depend on preceding pixels alone.

    Each unit has a degree: pixel i its rank in the order, 1..P, a hidden unit one of 1..P-1, evenly spread. A hidden
    unit depends on degrees up to its own, output i on those below its rank. MADE, Germain et al., 2015. With several
    ``values`` a pixel is so many inputs and outputs side by side, as the one-hot rows of categories are.

    >>> [mask.astype(int).tolist() for mask in autoregressive_masks((1, 0), (1,))]
    [[[0, 1]], [[1], [0]]]
    """
    ranks = 1 + np.argsort(np.asarray(order))
    degrees = [ranks, *(1 + np.arange(units) * (len(ranks) - 1) // units for units in hidden)]
    inner = [out[:, None] >= inp for inp, out in pairwise(degrees)]
    masks = [*inner, ranks[:, None] > degrees[-1]]
    masks[0] = masks[0].repeat(values, 1)
    masks[-1] = masks[-1].repeat(values, 0)
    return masks


def check_index(index: np.ndarray, count: int) -> None:
    """Check that positions are those of rows.

    Raises:
        ValueError: a position outside 0..count-1.
    """
    if index.size and not (index.min() >= 0 and index.max() < count):
        raise ValueError(
            f"'index' should hold positions in 0..{count - 1}, one of the {count} data points that the rows were made "
            f"for; got {index.min()}..{index.max()}."
        )


def check_rows(shape: tuple[int, ...], num_categories: int) -> None:
    """Check the shape of rows of categories, (..., D, C).

    Raises:
        ValueError: another number of categories.
    """
    if len(shape) < 2 or shape[-1] != num_categories:
        raise ValueError(
            f"OneHot takes categories as integers (..., D), or as rows of real numbers (..., D, {num_categories}); got "
            f"real numbers of shape {shape}: make integers of them, z.long() in torch, z.astype(int) in JAX."
        )


def layer_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """Check the sizes of layers and return them as a tuple: an input and an output at least, all positive."""
    if len(sizes) < 2 or any(int(s) != s or s < 1 for s in sizes):
        raise ValueError(f"'sizes' should hold at least (input, output), all positive integers; got {tuple(sizes)}.")
    return tuple(int(s) for s in sizes)


def _images(images: Data, count: int, what: str = "pseudo-inputs") -> Data:
    images = images if isinstance(images, Stream) else np.asarray(images)
    if images.ndim != 2 or not len(images):
        raise ValueError(f"'images' should have shape (N, P) with N >= 1; got {images.shape}.")
    if count < 1:
        raise ValueError(f"The number of {what} should be at least 1; got {count}.")
    return images


def mean_images(rng: np.random.Generator, images: Data, count: int, *, noise: float = 0.01) -> np.ndarray:
    """Draw pseudo-inputs (count, P): the data mean plus N(0, noise^2).

    >>> mean_images(np.random.default_rng(0), np.ones((5, 3)), 2).shape
    (2, 3)
    """
    images = _images(images, count)
    return _mean(images) + noise * rng.standard_normal((count, images.shape[1]))


def _mean(images: Data) -> np.ndarray:
    if isinstance(images, Stream):
        total: Any = sum(block.sum(0, dtype=np.float64) for _, block in images.blocks())
        return total / len(images)
    return images.mean(0)


def random_images(rng: np.random.Generator, images: Data, count: int) -> np.ndarray:
    """Draw pseudo-inputs (count, P): distinct random images of those given, (N, P).

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

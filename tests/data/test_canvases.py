"""Laws of the canvases: their labels say all that is on them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ppl_vae import data
from ppl_vae.data.registry import REGISTRY


def digits_of(canvas: np.ndarray, label: np.ndarray) -> list[tuple[int, bytes]]:
    """The class and the pixels of each digit, cut out by its label."""
    return [
        (int(number), canvas[top : top + 8, left : left + 8].tobytes())
        for top, left, number in label[1:].reshape(-1, 3)[: label[0]]
    ]


def test_labels_say_where_the_digits_are_and_which() -> None:
    """Cut out by the labels, every digit is one of its class; no two share a pixel, and the rest is empty."""
    parts = data.canvases.drawn((400, 50, 100), seed=1)
    bunch = load_digits()
    known = {(int(y), x.astype(np.uint8).tobytes()) for x, y in zip(bunch.images, bunch.target, strict=True)}
    seen = {}
    for part, canvases in parts.pixels.items():
        labels = np.asarray(parts.labels[part])
        found = [digits_of(np.asarray(canvases)[i], labels[i]) for i in range(len(labels))]
        assert all(digit in known for digits in found for digit in digits)
        ink = [sum(np.frombuffer(pixels, np.uint8).sum(dtype=int) for _, pixels in digits) for digits in found]
        np.testing.assert_array_equal(np.asarray(canvases).sum((1, 2), dtype=int), ink)
        absent = np.arange(2) >= labels[:, :1]
        assert ((labels[:, 1:].reshape(-1, 2, 3) == -1).all(-1) == absent).all()
        seen[part] = {digit for digits in found for digit in digits}
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["valid"] and not seen["valid"] & seen["test"]


def test_numbers_and_places_are_uniform() -> None:
    """Chi-square of the number of digits, and of the corner of a lone one, at one in a thousand."""
    labels = np.asarray(data.canvases.drawn((6000, 1, 1)).labels["train"])
    observed, expected = np.bincount(labels[:, 0]), len(labels) / 3
    assert ((observed - expected) ** 2 / expected).sum() < 13.8
    alone = labels[labels[:, 0] == 1]
    for corner in (alone[:, 1], alone[:, 2]):
        observed, expected = np.bincount(corner, minlength=25), len(alone) / 25
        assert ((observed - expected) ** 2 / expected).sum() < 51.2


def test_the_seed_says_all() -> None:
    one, again, other = (data.canvases.drawn((20, 5, 5), seed=seed) for seed in (3, 3, 4))
    for part in one.pixels:
        np.testing.assert_array_equal(one.pixels[part], again.pixels[part])
        np.testing.assert_array_equal(one.labels[part], again.labels[part])
        assert (np.asarray(one.pixels[part]) != np.asarray(other.pixels[part])).any()


def test_they_are_a_named_set() -> None:
    split = data.load("canvases")
    assert tuple(split.sizes.values()) == REGISTRY["canvases"].sizes and split.train.max() == 1.0
    assert split.labels is not None and split.labels["test"].shape == (2000, 7)
    assert data.catalogue(["canvases"])[0].place == "installed"


@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_smallest_side_has_places_for_all(most: int) -> None:
    """What the refusal proposes is drawn."""
    side = data.canvases.smallest_side(most)
    with pytest.raises(ValueError, match=f"'side' at least {side}"):
        data.canvases.drawn((9, 1, 1), side=side - 1, most=most)
    assert np.asarray(data.canvases.drawn((9, 1, 1), side=side, most=most).pixels["train"]).shape == (9, side, side)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (5, 5), (5, 5, -1)])
def test_sizes_are_three_numbers(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"'sizes' should be three numbers of at least 1"):
        data.canvases.drawn(sizes)


def test_no_digit_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="'most' should be at least 1"):
        data.canvases.drawn((5, 5, 5), most=0)

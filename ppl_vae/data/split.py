"""Data sets in three parts, training, validation and test, with a rule of binarisation and a record of the origin."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np

from ppl_vae.data.binarisation import PURPOSES, Binarisation, binarise, check_rule, check_suits
from ppl_vae.data.checks import PARTS, as_labels, as_pixels, check_seed
from ppl_vae.data.stored import Pixels, Stored, pixel_blocks, select
from ppl_vae.data.streams import Stream, as_seen, blocks
from ppl_vae.runtime.shown import Shown, image_row

SHOWN = 8
"""Images in a notebook."""


@dataclass(frozen=True, eq=False, repr=False)
class Split(Shown):
    """Data set in three parts, ``train``, ``valid`` and ``test``: read-only float32 arrays of shape (N, P).

    With intensity = stored pixel / scale, the rule of binarisation says what the parts hold:

    - 'none': the intensities, any real values (for a Normal likelihood, say);
    - 'fixed': the data are {0, 1} already, as in the benchmark of Larochelle & Murray;
    - 'threshold': 1 where the intensity exceeds 0.5, else 0;
    - 'dynamic': ``train`` holds intensities in [0, 1]; training draws x ~ Bernoulli(intensity) afresh in each epoch.
      ``valid`` and ``test`` are drawn once, by the recorded seed (Salakhutdinov & Murray 2008).

    If the data stay on the disk (``load(..., stream=True)``), the parts are ``Stream``s instead, which read rows.

    Attributes:
        name: the name of the set.
        pixels: the stored pixels of 'train', 'valid' and 'test', uint8 or floating, each (N, *image_shape) or (N, P).
        image_shape: the shape of one image; P is its product.
        binarisation: one of 'none', 'threshold', 'fixed', 'dynamic'.
        seed: the seed of the split and of the binarisation that is drawn once.
        labels: part -> (N, ...), or None; no model uses them unless they are passed to it.
        scale: the divisor of the stored pixels: 255 for uint8 images, 16 for digits, 1 for floats.
        source: the origin of the data.
        licence: the licence of the data.

    Raises:
        TypeError: for pixels that are neither uint8 nor floating, and labels that are objects.
        ValueError: for missing or empty parts, shapes that differ, NaN or infinite pixels, labels that are too few, an
            unknown rule, and values that the rule cannot take.

    References:
        "The Neural Autoregressive Distribution Estimator", Hugo Larochelle and Iain Murray, 2011.
        "On the Quantitative Analysis of Deep Belief Networks", Ruslan Salakhutdinov and Iain Murray, 2008.

    >>> from ppl_vae import data
    >>> digits = data.load("digits")
    >>> digits
    Split('digits', train=1258, valid=180, test=359, image_shape=(8, 8), binarisation='dynamic')
    >>> digits.train.shape, digits.images(digits.train).shape
    ((1258, 64), (1258, 8, 8))
    >>> digits.with_binarisation("threshold").subset(train=100).sizes
    {'train': 100, 'valid': 180, 'test': 359}

    """

    name: str
    pixels: Mapping[str, Pixels]
    image_shape: tuple[int, ...]
    binarisation: Binarisation = "none"
    seed: int = 0
    labels: Mapping[str, np.ndarray] | None = None
    scale: float = 1.0
    source: str = "not stated"
    licence: str = "not stated"

    def __post_init__(self) -> None:
        """Check every field and make the arrays read-only, by a copy where another owner could still write to them."""
        check_rule(self.binarisation)
        if set(self.pixels) != set(PARTS):
            raise ValueError(f"{self.name}: pixels should have the keys {PARTS}; got {tuple(self.pixels)}.")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"{self.name}: 'scale' should be a positive number; got {self.scale!r}.")
        set_field = object.__setattr__
        set_field(self, "seed", check_seed(self.seed))
        set_field(self, "image_shape", tuple(int(n) for n in self.image_shape))
        set_field(self, "pixels", {part: self._checked(part) for part in PARTS})
        if self.labels is not None:
            set_field(self, "labels", self._checked_labels(self.labels))

    @cached_property
    def train(self) -> np.ndarray:
        """The training part, float32 (N, P), read-only; under 'dynamic' intensities in [0, 1]."""
        return self._part("train")

    @cached_property
    def valid(self) -> np.ndarray:
        """The validation part, float32 (N, P), read-only."""
        return self._part("valid")

    @cached_property
    def test(self) -> np.ndarray:
        """The test part, float32 (N, P), read-only."""
        return self._part("test")

    @property
    def P(self) -> int:
        """The number of pixels of one image."""
        return math.prod(self.image_shape)

    dim = P

    @property
    def sizes(self) -> dict[str, int]:
        """The number of images in each part."""
        return {part: len(self.pixels[part]) for part in PARTS}

    def images(self, flat: np.ndarray) -> np.ndarray:
        """Reshape (..., P) to (..., *image_shape); raises ValueError if the last axis is not P."""
        flat = np.asarray(flat)
        if flat.ndim == 0 or flat.shape[-1] != self.P:
            raise ValueError(f"{self.name}: images are made of arrays of shape (..., {self.P}); got {flat.shape}.")
        return flat.reshape(*flat.shape[:-1], *self.image_shape)

    def with_binarisation(self, rule: Binarisation) -> Split:
        """Return the same stored pixels under another rule; raises ValueError if it does not apply to them."""
        return replace(self, binarisation=rule)

    def subset(
        self, train: int | None = None, valid: int | None = None, test: int | None = None, *, seed: int = 0
    ) -> Split:
        """Return a smaller set for a quick run: a number of images of each part, chosen at random; None keeps all.

        The choice is random because some sets are sorted by class. Under 'dynamic', a shortened ``valid`` or ``test``
        is binarised anew. The ``source`` of the result says that it is a subset.

        Raises:
            ValueError: if a number is below 1 or above the size of its part.

        """
        wanted = {"train": train, "valid": valid, "test": test}
        seed = check_seed(seed)
        rows = {part: _choose(self.sizes[part], wanted[part], [seed, PURPOSES["subset"]], part) for part in PARTS}
        labels = None if self.labels is None else {part: values[rows[part]] for part, values in self.labels.items()}
        pixels = {part: select(self.pixels[part], rows[part]) for part in PARTS}
        return replace(self, pixels=pixels, labels=labels, source=f"{self.source}; subset drawn with seed {seed}")

    def fingerprint(self) -> str:
        """Return the SHA-256 of train, valid and test as little-endian float32, with their shapes, in hexadecimals."""
        return self._fingerprint

    def to_dict(self) -> dict[str, Any]:
        """Return every setting and the fingerprint as values that JSON can hold, for a record of results."""
        return {
            "name": self.name,
            "sizes": self.sizes,
            "image_shape": list(self.image_shape),
            "binarisation": self.binarisation,
            "seed": self.seed,
            "scale": float(self.scale),
            "labelled": sorted(self.labels) if self.labels else [],
            "source": self.source,
            "licence": self.licence,
            "fingerprint": self.fingerprint(),
        }

    def __repr__(self) -> str:
        """Return the name, the sizes, the image shape and the rule."""
        sizes = ", ".join(f"{part}={size}" for part, size in self.sizes.items())
        return f"Split({self.name!r}, {sizes}, image_shape={self.image_shape}, binarisation={self.binarisation!r})"

    then: ClassVar[str] = "recipes.vae(split) makes a pair for it; inference.SVI().fit(*pair, split) trains the pair."

    def shown(self) -> dict[str, Any]:
        """Return what a notebook says of it."""
        kinds = {} if self.labels is None else {"labels": {part: y.shape for part, y in self.labels.items()}}
        shape = {"image shape": self.image_shape, "binarisation": self.binarisation, "scale": self.scale}
        return {"name": self.name, **self.sizes, **shape, **kinds, "licence": self.licence}

    def figure(self) -> str:
        """Draw the first training images, where they are images, in a notebook."""
        if len(self.image_shape) not in (2, 3) or self.image_shape[2:] not in ((), (1,), (3,)):
            return ""
        first = np.asarray(self.train[:SHOWN])
        return image_row(self.images(first)) if first.min() >= 0 and first.max() <= 1 else ""

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for part in PARTS:
            x = getattr(self, part)
            digest.update(f"{part} {x.shape} ".encode())
            for _, block in blocks(x):
                digest.update(block.astype("<f4", copy=False).data)
        return digest.hexdigest()

    def _part(self, part: str) -> np.ndarray:
        pixels = self.pixels[part]
        if isinstance(pixels, Stored):
            return cast(np.ndarray, Stream(pixels, self.scale, self.binarisation, part, self.seed))
        x = binarise(as_seen(pixels.reshape(-1, self.P), self.scale), self.binarisation, part, self.seed)
        x.flags.writeable = False
        return x

    def _checked(self, part: str) -> Pixels:
        what = f"{self.name}: {part!r}"
        x = as_pixels(self.pixels[part], what)
        if x.shape[1:] not in (self.image_shape, (self.P,)):
            raise ValueError(
                f"{what} should have shape (N, {', '.join(map(str, self.image_shape))}) or (N, {self.P}), "
                f"as image_shape={self.image_shape} says; got {x.shape}: all parts need images of one shape."
            )
        for first, block in pixel_blocks(x) if self.binarisation != "none" else ():
            check_suits(block, self.binarisation, self.scale, what, first)
        return x if isinstance(x, Stored) else _freeze(x)

    def _checked_labels(self, labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not set(labels) <= set(PARTS):
            raise ValueError(f"{self.name}: labels should have keys among {PARTS}; got {tuple(labels)}.")
        sizes = self.sizes
        return {p: _freeze(as_labels(y, sizes[p], f"{self.name}: {p!r}")) for p, y in labels.items()}


def _freeze(x: np.ndarray) -> np.ndarray:
    """Return ``x`` read-only; copy it if another array may still write to its memory."""
    owner = x if x.base is None else x.base
    if not x.flags.writeable and isinstance(owner, np.ndarray) and not owner.flags.writeable:
        return x
    x = x.copy()
    x.flags.writeable = False
    return x


def _choose(size: int, wanted: int | None, seed: list[int], part: str) -> np.ndarray | slice:
    if wanted is None:
        return slice(None)
    if not 1 <= wanted <= size:
        raise ValueError(f"'{part}' should be a number from 1 to {size}, the size of that part; got {wanted}.")
    return np.random.default_rng([*seed, PARTS.index(part)]).permutation(size)[:wanted]

"""Pictures of a run: grids of images, and the figures that are drawn after a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays.convolution_shapes import channels_first
from ..data import Split
from .runs import FIGURES, Run
from .sequences import check_ends
from .tables import is_table

if TYPE_CHECKING:
    from ..results.fit import Fit

PAIRS = 40
"""Default number of images in a picture of reconstructions."""
SAMPLES = 64
PAIRS_IN_A_ROW = 5


def image_shape(opened: Run, asked: Sequence[int] | None, *, drawn: bool) -> tuple[int, ...]:
    """Return the shape of the run's images, or the shape ``asked`` for.

    Raises:
        ValueError: another number of pixels, or a shape that cannot be drawn.
    """
    from .. import plots

    if is_table(opened.data):
        check_ends(opened.data)
    shape = tuple(asked) if asked else opened.shape
    if math.prod(shape) != opened.dim:
        raise ValueError(f"--image-shape should have {opened.dim} numbers in all, as the run's images; got {shape}")
    flat = [n for n in opened.shape if n > 1]
    if len(opened.shape) > 1 and [n for n in shape if n > 1] != flat:
        raise ValueError(
            f"--image-shape is for runs on flat rows, and would read the run's images, of shape {opened.shape}, in "
            f"another order; got {shape}: leave it out, or {_otherwise(opened.shape)}"
        )
    if drawn and len(flat) > 2 and not plots.is_drawable(shape):
        raise ValueError(f"images of shape {shape} cannot be drawn: {_otherwise(shape)}")
    if drawn and not plots.is_drawable(shape):
        raise ValueError(
            f"images of shape {shape} cannot be drawn: give --image-shape HEIGHT WIDTH (and 3 for colours), "
            f"{opened.dim} numbers in all, or an --out that ends in .npy"
        )
    return shape


def _otherwise(shape: Sequence[int]) -> str:
    """Advise on images of a shape that cannot be drawn."""
    said = channels_first(shape)
    return "give an --out that ends in .npy" + (f"; {said}, and fit again" if said else "")


def grid(path: Path, images: np.ndarray, shape: Sequence[int], title: str) -> None:
    """Draw a square grid of images (N, P)."""
    from .. import plots

    columns = math.ceil(math.sqrt(len(images)))
    plots.save(plots.image_grid(images, shape, columns=columns, title=title), path)


def pairs(path: Path, x: np.ndarray, made: np.ndarray, shape: Sequence[int], title: str) -> None:
    """Draw a grid of images (N, P), each with its reconstruction on its right."""
    from .. import plots

    both = np.stack([x, made], 1).reshape(2 * len(x), -1)
    columns = 2 * min(len(x), PAIRS_IN_A_ROW)
    plots.save(plots.image_grid(both, shape, columns=columns, title=title), path)


def of_training(folder: Path, fit: Fit, split: Split, valid_side: Mapping[str, Any], each: str) -> None:
    """Draw the figures of a training: its history; for images also reconstructions, samples and pseudo-inputs."""
    from .. import plots

    figures, name = folder / FIGURES, folder.resolve().name
    plots.save(
        plots.training_curves({name: fit.history}, unit=f"nats per {each}"),
        figures / "training.png",
    )
    if not plots.is_drawable(split.image_shape):
        return
    what, x, index = f"validation {each}s", split.valid[:PAIRS], None
    if not fit.generalises:
        what, x = f"training {each}s", split.train[:PAIRS]
        index = np.arange(len(x))
    mean, shape = fit.sites.has_data_means, split.image_shape
    if fit.sites.latent and not fit.sites.implicit:
        side: dict[str, Any] = {name: a[:PAIRS] for name, a in valid_side.items()}
        made = fit.reconstruct(x, index=index, mean=mean, **side)
        pairs(figures / "reconstructions.png", x, made, shape, f"{name}: {what}, each with its reconstruction")
    drawn = "means of" if mean else "draws from"
    what = "draws of the generator" if fit.sites.implicit else f"{drawn} p(x | z)"
    grid(figures / "samples.png", fit.generate(SAMPLES, mean=mean), shape, f"{name}: new {each}s, {what}")
    inputs = _pseudo_inputs(fit)
    if inputs is not None:
        plots.save(plots.pseudo_inputs(inputs, shape), figures / "pseudo_inputs.png")


def _pseudo_inputs(fit: Fit) -> np.ndarray | None:
    """Return the pseudo-inputs (C, P) of a VampPrior, or None for other priors."""
    prior: Any = getattr(fit.model, "prior", None)
    if not hasattr(prior, "pseudo_inputs"):
        return None
    inputs = prior.pseudo_inputs()
    return np.asarray(inputs.detach().cpu() if hasattr(inputs, "detach") else inputs)

"""The page of a fit: its data, its codes and its decoder, inside one HTML file."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from .. import evaluation
from ..pairs.inputs import Input
from ..pairs.side_inputs import Side, check_names
from ..pairs.sites import Site
from ..results import Fit
from ..runtime import storage
from ..runtime.pages import html, page
from .steps import Step, run

TOLERANCE = 1e-4
"""How far a pixel of the steps may be from that of the fit."""
DRAWS = 100
"""Draws from the prior that the page holds."""
REACH = 4
"""Of a slider to each side, at least."""
NETS = "nets.MLP, GatedMLP, ConvDecoder or plain layers in nn.Sequential or nnx.Sequential"
LIKELIHOODS = "conditionals.Bernoulli, Normal or DiagNormal"


def explorer(
    fit: Fit,
    x: Input,
    path: str | Path,
    *,
    image_shape: Sequence[int] | None = None,
    labels: Sequence[Any] | None = None,
    title: str = "A fit to explore",
    seed: int = 0,
    **side: Unpack[Side],
) -> Path:
    """Write one offline page: sliders over the latents, the images and their codes, and the training.

    The page holds the decoder's weights and computes E[x | z] in the browser; before it is written its steps are run in
    NumPy and compared with ``fit.decode``. Nothing is read from a network.

    Args:
        fit: of a model with one site of real latents whose likelihood is ``conditionals.Bernoulli``, ``Normal`` or
            ``DiagNormal`` over an ``MLP``, a ``GatedMLP``, a ``ConvDecoder`` or plain layers
            of torch or nnx in a sequence.
        x: images (N, P) to show, some hundreds: each is in the page as P bytes, and a row of a table in float32, too.
        path: of the file.
        image_shape: (H, W) or (H, W, C) with 1 or 3 channels; by default a square of greys, or a row.
        labels: a label for each image, for colours and captions.
        title: of the page.
        seed: of the draws of the ELBO and from the prior.
        side: side inputs of x.

    Raises:
        ValueError: a pair whose decoder cannot be written down, or images of another shape.
    """
    text = to_html(fit, x, image_shape=image_shape, labels=labels, title=title, seed=seed, **side)
    path = Path(path)
    storage.write_atomically(path, text.encode())
    return path


def to_html(
    fit: Fit,
    x: Input,
    *,
    image_shape: Sequence[int] | None = None,
    labels: Sequence[Any] | None = None,
    title: str = "A fit to explore",
    seed: int = 0,
    **side: Unpack[Side],
) -> str:
    """Make the text of the page that ``explorer`` writes; see there."""
    check_names(side)
    steps = steps_of(fit)
    data = fit.checked(x, **side)
    rows = np.asarray(data.x)
    shape = _shape(image_shape, rows.shape[1])
    if labels is not None and len(labels) != len(rows):
        raise ValueError(f"'labels' should have a label for each of the {len(rows)} images; got {len(labels)}.")
    codes = fit.encode(data)
    _check(fit, steps, codes[:5])
    bound = evaluation.elbo(fit, data, 10, seed=seed)
    kl = _kl(fit, data)
    order = np.arange(codes.shape[1]) if kl is None else np.argsort(-kl, kind="stable")
    low, high = _range(rows, strip=shape[0] == 1)
    draws = evaluation.prior_draws(fit, DRAWS, seed=seed)
    each = "row" if shape[0] == 1 else "image"
    content = {
        "shape": shape,
        "dims": codes.shape[1],
        "order": order.tolist(),
        "kl": None if kl is None else [float(v) for v in kl],
        "low": low.tolist(),
        "high": high.tolist(),
        "reach": max(REACH, math.ceil(max(np.abs(codes).max(), np.abs(draws).max()))),
        "codes": _floats(codes),
        "draws": _floats(draws),
        "elbo": _floats(bound.reconstruction - bound.kl),
        "plane": _plane(codes).round(4).tolist(),
        "images": _text(np.round(255 * (rows - low) / (high - low)).astype(np.uint8)),
        "values": _floats(rows) if shape[0] == 1 else None,
        "labels": None if labels is None else [str(label) for label in labels],
        "steps": [{k: _floats(v) if isinstance(v, np.ndarray) else v for k, v in step.items()} for step in steps],
        "history": _history(fit),
        "settings": [[name, _told(value)] for name, value in fit.settings.items()],
    }
    summary = (
        f"{len(rows)} {each}s, {codes.shape[1]} latents, mean ELBO {bound.mean:.2f} nats. The page needs no network."
    )
    record = json.dumps(content, allow_nan=False).replace("</", "<\\/")
    return page("page.html", [Path(__file__).parent], title=title, summary=summary, each=each, data=html(record))


def steps_of(fit: Fit) -> list[Step]:
    """Write the decoder of a fit down.

    Raises:
        ValueError: a model whose latents are not one site of real numbers, or a decoder that is not of known parts.
    """
    latent = fit.sites.latent
    if len(latent) != 1 or latent[0].num_values is not None or latent[0].codes:
        raise ValueError(
            "An explorer has a slider for each number of one latent site; this model has "
            f"{', '.join(f'{s.name!r}' + _of(s) for s in latent) or 'no latents'}."
        )
    if fit.pair.given_dim:
        raise ValueError(
            "An explorer has no sliders for side information, which the decoder of this model reads beside z: draw "
            "pictures by evaluation.traverse(fit, z, given=c) and plots.traversals."
        )
    likelihood = getattr(fit.model, "likelihood", None)
    try:
        return list(likelihood.as_steps())  # type: ignore[union-attr]
    except AttributeError as error:
        raise ValueError(
            f"The decoder of this model cannot be written into a page: use {LIKELIHOODS} over {NETS}, or draw pictures "
            "by evaluation.traverse and plots.traversals."
        ) from error


def _of(site: Site) -> str:
    return ", of codes" if site.codes else ", of categories" if site.num_values is not None else ""


def _check(fit: Fit, steps: Sequence[Step], codes: np.ndarray) -> None:
    """Compare the steps with the fit, so that no page shows another model."""
    gap = float(np.abs(run(steps, codes) - fit.decode(codes)).max())
    if not gap <= TOLERANCE * max(1.0, float(np.abs(fit.decode(codes)).max())):
        raise ValueError(
            f"The decoder as the page would compute it is {gap:.2g} from fit.decode: its parts do more than their "
            "as_steps() say. Let the as_steps() of your own parts say all that they do."
        )


def _shape(image_shape: Sequence[int] | None, pixels: int) -> list[int]:
    side = math.isqrt(pixels)
    if image_shape is None:
        image_shape = (side, side) if side * side == pixels else (1, pixels)
    height, width, channels = (*image_shape, 1)[:3]
    if height * width * channels != pixels or channels not in (1, 3):
        raise ValueError(
            f"'image_shape' should be (H, W) or (H, W, C) of {pixels} numbers with 1 or 3 channels; got "
            f"{tuple(image_shape)}."
        )
    return [int(height), int(width), int(channels)]


def _range(rows: np.ndarray, *, strip: bool) -> tuple[np.ndarray, np.ndarray]:
    """Values of black and of white: [0, 1] of such data, one pair for all pixels, or one for each cell of a table."""
    if rows.min() >= 0 and rows.max() <= 1:
        return np.zeros(1), np.ones(1)
    low, high = (rows.min(0), rows.max(0)) if strip else (rows.min()[None], rows.max()[None])
    low, high = low.astype(float), high.astype(float)
    return low, np.where(high > low, high, low + 1)


def _kl(fit: Fit, data: Any) -> np.ndarray | None:
    try:
        return evaluation.kl_by_dimension(fit, data)
    except ValueError:  # of a guide that is not one normal
        return None


def _plane(codes: np.ndarray) -> np.ndarray:
    """The first two principal components of the codes, (N, 2)."""
    centred = codes.astype(np.float64) - codes.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    plane = centred @ axes[:2].T
    return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))


def _history(fit: Fit) -> list[dict[str, Any]]:
    names = [name for name in ("loss", "valid_elbo") if name in fit.history]
    told = {"loss": "training objective", "valid_elbo": "validation ELBO"}
    return [
        {"name": told[name], "values": [float(v) if np.isfinite(v) else None for v in sign * fit.history[name]]}
        for name in names
        for sign in [-1 if name == "loss" else 1]
    ]


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _floats(values: Any) -> str:
    return _text(np.ascontiguousarray(values, "<f4"))


def _text(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()

"""Implicit models, which draw data and have no density of them."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..errors import DoubtfulDraws
from .keywords import inner, within_handler
from .sites import Plates, Site, Sites

DESCRIBED, UNLIKE = 5000, 100.0
"""Rows that describe the data, and the ratio of standard deviations above which columns hide each other."""
NO_DENSITY = (
    "The model is implicit: it draws x, and has no density p(x | z), so that there is no log p(x), no bound of it and "
    "no posterior of z. Train it by inference.Adversarial(inference.GAN()), whose critic judges draws, or by "
    "inference.SVI(inference.GMMN()); and compare its draws with data, divergences.mmd(fit.generate(len(x)), x)."
)


def generated_by(program: Any) -> str:
    """The name of the site at which an implicit model draws x, its attribute ``generates``; nothing of any other.

    >>> from ppl_vae.models import Implicit
    >>> generated_by(Implicit), generated_by(print)
    ('x', '')
    """
    while program is not None:
        if name := getattr(program, "generates", ""):
            return str(name)
        inside = inner(program)
        program = within_handler(program) if inside is program else inside
    return ""


def match_implicit(
    generates: str,
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...]],
    guide: Collection[str],
    latent: Mapping[str, Site],
    observed: Collection[str],
    plates: Plates,
) -> Sites:
    """Describe the sites of an implicit model, of which no density belongs to data.

    Args:
        generates: the name of the deterministic site that is x, as the program's attribute ``generates`` says.
        shapes: of its value, None if there is no such site, and of the data, (B, P).
        guide: the guide's sites.
        latent: the model's latent sites, by name.
        observed: the model's observed sites.
        plates: of all sites.

    Raises:
        ValueError: a guide that draws, observed sites, no latent site, or draws of another shape than the data.
    """
    value, data = shapes
    if guide:
        raise ValueError(
            f"An implicit model has no posterior to infer, and the guide samples {sorted(guide)}: use guides.Empty()."
        )
    if observed:
        raise ValueError(
            f"The model says that it is implicit (generates = {generates!r}), and observes {sorted(observed)}: leave "
            "the attribute out, and it is trained by its likelihood."
        )
    if value is None:
        raise ValueError(
            f"The model says that it generates {generates!r}, and has no deterministic site of that name: let it end "
            f"in deterministic({generates!r}, x)."
        )
    if not latent:
        raise ValueError("The model has no latent site, so that all its draws are one: let it draw noise z ~ p(z).")
    if value != data:
        raise ValueError(
            f"The model generates {generates!r} of shape {value} where the data are {data}: let the generator return "
            f"{data[-1]} numbers for each z, in a plate of the data's length at dim -1."
        )
    return Sites(
        tuple(latent.values()),
        (),
        tuple(latent),
        misplaced=NO_DENSITY,
        nesting=max([1, *(-dim for frames in plates.values() for dim in frames)]),
        implicit=generates,
    )


def warn_of_data(name: str, x: np.ndarray, *, noisy: bool) -> None:
    """Warn of data (N, P) that draws of a generator are told from whatever it learns, or whose columns hide others.

    Args:
        name: of the objective.
        x: rows that describe the data.
        noisy: whether the critic adds noise to all that it sees.
    """
    x = np.asarray(x, float)
    scales = x.std(0)[x.std(0) > 0]
    if not noisy and (x == np.round(x)).all():
        warnings.warn(
            f"{name}: the data are whole numbers, which no draw of a generator is, so that they are told apart by "
            "that alone: add noise to them, x + rng.uniform(size=x.shape), or give the critic some, "
            "Discriminator(noise=0.3).",
            DoubtfulDraws,
            stacklevel=2,
        )
    elif len(scales) and scales.max() > UNLIKE * scales.min():
        warnings.warn(
            f"{name}: the columns' standard deviations run from {scales.min():.3g} to {scales.max():.3g}, and draws "
            "are held beside the data in these units, of which the largest hide the others: divide each column by its "
            "own, x / x.std(0), and multiply the draws by it.",
            DoubtfulDraws,
            stacklevel=2,
        )

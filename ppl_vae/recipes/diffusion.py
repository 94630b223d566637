"""Diffusion as a program of recipes, and the guide that belongs to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..arrays import diffusion
from ..backends import Backend
from .components import SLOTS, Guide, Program, Setting, Values, register
from .nets import build_perceptron

NOISE_LEVELS = Setting("noise_levels", 50, "levels of noise of the chain of 'diffusion'", least=1, metavar="T")
PREDICTION = Setting(
    "prediction", "x", "what the net of 'diffusion' predicts, the image or its noise", choices=diffusion.PREDICTIONS
)
MOST_NOISE = Setting("most_noise", 6.0, "where the noise of 'diffusion' starts to be learned, -log SNR at its end")
PIECES = Setting(
    "schedule_pieces",
    1,
    "pieces of the schedule of noise, whose durations are learned if they are several",
    least=1,
)
SETTINGS = (NOISE_LEVELS, PREDICTION, MOST_NOISE, PIECES)

VALUES = {"bernoulli": lambda recipe: 2, "categorical": lambda recipe: recipe.levels}
"""Likelihood -> the number of values of a pixel."""
NETS = ("mlp", "conv")
LEFT = ("prior", "latents", "posterior")
"""Parts that a chain of noise has no use for."""


def refuse_program(recipe: Values) -> str | None:
    """A chain of noise has its own latents, and pixels of few values."""
    if recipe.net not in NETS:
        return f"program='diffusion' has a perceptron or a U-Net: use net='mlp' or 'conv'; got {recipe.net!r}."
    for slot in LEFT:
        if getattr(recipe, slot) != SLOTS[slot].default:
            return (
                f"The latents of program='diffusion' are images with noise, and it has no use for {slot}="
                f"{getattr(recipe, slot)!r}: leave {slot}={SLOTS[slot].default!r}, or program='vae'."
            )
    if recipe.guide != "noising":
        return f"The guide of program='diffusion' is noise: set guide='noising'; got {recipe.guide!r}."
    if recipe.likelihood not in VALUES:
        return (
            "program='diffusion' is of pixels of known values: use likelihood='bernoulli' for 0 and 1, or "
            f"'categorical' for k / (levels - 1); got {recipe.likelihood!r}."
        )
    if recipe.given_dim:
        return "program='diffusion' takes no side information: leave given_dim=0, or use program='vae'."
    return None


def build_program(b: Backend, recipe: Values, rng: np.random.Generator, prior: Any, likelihood: Any) -> Any:
    """Build the chain of noise, from a net of its own."""
    if recipe.net == "conv":
        options = {"channels": recipe.channels, "hidden": recipe.hidden, "activation": recipe.activation}
        net = b.nets.UNet(recipe.shape, rng, **options, weights=init.STARTS[recipe.initial_weights])
    else:
        net = build_perceptron(b, recipe, rng, (recipe.dim + 1, *recipe.hidden, recipe.dim))
    values = VALUES[recipe.likelihood](recipe)
    denoiser = b.nets.Denoiser(net, values, prediction=recipe.prediction)
    low = diffusion.lowest_gamma(values)
    gamma = b.nets.NoiseSchedule(low, recipe.most_noise, pieces=recipe.schedule_pieces)
    return b.models.Diffusion(denoiser, gamma, recipe.noise_levels, recipe.dim)


def refuse_guide(recipe: Values) -> str | None:
    """Noise is the posterior of a chain of it."""
    if recipe.program != "diffusion":
        return f"guide='noising' is that of program='diffusion'; got {recipe.program!r}: use guide='amortised'."
    return None


PROGRAM = Program(
    "diffusion",
    "a chain of images with ever less noise, and x given the last",
    settings=SETTINGS,
    refuse=refuse_program,
    build=build_program,
)
GUIDE = Guide(
    "noising",
    "noise added to x, of 'diffusion'",
    refuse=refuse_guide,
    build=lambda b, recipe, rng, posterior, model: b.guides.Noising(model.gamma, recipe.noise_levels),
)

for entry in (PROGRAM, GUIDE):
    register(entry)

"""The nets of recipes: perceptrons, convolutions, and grids of cells."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from .. import init
from ..arrays.convolution_shapes import channels_first, halvings
from ..backends import Backend
from .components import Net, Setting, Values

ACTIVATIONS = ("elu", "relu", "sigmoid", "softplus", "tanh")
"""Those of both backends' ``nets``, which would import them."""

HIDDEN = Setting(
    "hidden",
    (300, 300),
    "units of the encoder's hidden layers; the decoder has them in reverse",
    least=1,
    metavar="UNITS",
)
INITIAL = Setting(
    "initial_weights",
    "xavier",
    "where the weights of encoder and decoder start; biases start at 0, but those of 'torch'",
    choices=tuple(init.STARTS),
)
ACTIVATION = Setting("activation", "relu", "activation function of the hidden layers", offered=ACTIVATIONS)


def build_perceptron(b: Backend, recipe: Values, rng: np.random.Generator, sizes: tuple[int, ...]) -> Any:
    """Build a perceptron with layers of these sizes, gated or with the recipe's activation."""
    weights = init.STARTS[recipe.initial_weights]
    if recipe.gated:
        return b.nets.GatedMLP(sizes, rng, weights=weights)
    return b.nets.MLP(sizes, rng, activation=recipe.activation, weights=weights)


def build_mlp_encoder(b: Backend, recipe: Values, rng: np.random.Generator, outputs: int) -> Any:
    """Build a perceptron from x, and c beside it."""
    return build_perceptron(b, recipe, rng, (recipe.dim + recipe.given_dim, *recipe.hidden, outputs))


def build_mlp_decoder(b: Backend, recipe: Values, rng: np.random.Generator, inputs: int, outputs: int) -> Any:
    """Build a perceptron to ``outputs`` numbers for each pixel."""
    return build_perceptron(b, recipe, rng, (inputs, *reversed(recipe.hidden), recipe.dim * outputs))


def build_conv_encoder(
    b: Backend, recipe: Values, rng: np.random.Generator, outputs: int, per_cell: bool = False
) -> Any:
    """Build convolutions, then hidden layers, with ``per_cell`` at each cell by itself."""
    options = {"channels": recipe.channels, "hidden": recipe.hidden, "activation": recipe.activation}
    options |= {"weights": init.STARTS[recipe.initial_weights], "per_cell": per_cell}
    return b.nets.ConvEncoder(recipe.shape, outputs, rng, given_dim=recipe.given_dim, **options)


def build_conv_decoder(
    b: Backend, recipe: Values, rng: np.random.Generator, inputs: int, outputs: int, per_cell: bool = False
) -> Any:
    """Build hidden layers, with ``per_cell`` at each cell by itself, then transposed convolutions."""
    shape, parts = recipe.shape, outputs
    if recipe.component("likelihood").side_by_side:
        shape, parts = (*shape[:2], math.prod(shape[2:]) * outputs), 1
    options = {"channels": recipe.channels[::-1], "hidden": recipe.hidden[::-1], "activation": recipe.activation}
    options |= {"weights": init.STARTS[recipe.initial_weights], "per_cell": per_cell}
    return b.nets.ConvDecoder(inputs, shape, rng, parts=parts, **options)


def refuse_conv(recipe: Values) -> str | None:
    """Convolutions are of images that can be halved, and have an activation."""
    if recipe.gated:
        return "Gated layers are those of perceptrons: leave gated=False, or net='mlp'."
    if len(recipe.shape) not in (2, 3):
        return (
            "Convolutional nets need images with a height and a width: pass them as (N, H, W) or (N, H, W, C), or say "
            f"image_shape=(H, W) of flat rows; got the shape {recipe.shape} of one image."
        )
    halvings(recipe.shape, recipe.channels)
    return None


def refuse_grid(recipe: Values) -> str | None:
    """A grid has a latent, or several, for each cell of the last convolution, whose numbers stand side by side."""
    fits = len(recipe.shape) in (2, 3) and int(math.log2(max(1, min(recipe.shape[:2]))))
    if fits and len(recipe.channels) > fits and not channels_first(recipe.shape):
        few = recipe.channels[: max(1, fits - 2)]
        height, width, _ = halvings(recipe.shape, few)[-1]
        return (
            f"The net 'grid' halves an image of {recipe.shape[0]} x {recipe.shape[1]} pixels for each of its channels, "
            f"{fits} times at most: set channels={few} and latent_dim={height * width}, or a multiple, for {height} x "
            f"{width} cells; got channels={recipe.channels}."
        )
    if reason := refuse_conv(recipe):
        return reason
    if recipe.given_dim or not recipe.component("latents").side_by_side:
        return (
            "The net 'grid' gives each cell latents of its own, categories, codes or bits, without side information; "
            f"got {recipe.latents} latents and given_dim={recipe.given_dim}: use net='conv'."
        )
    height, width, _ = halvings(recipe.shape, recipe.channels)[-1]
    if recipe.latent_dim % (height * width):
        return (
            f"The net 'grid' has latents for each of the {height} x {width} cells that channels={recipe.channels} "
            f"leave of an image: set latent_dim={height * width}, or a multiple; got {recipe.latent_dim}."
        )
    return None


CONV = (
    Setting(
        "channels",
        (32, 32, 32, 32),
        "of the encoder's convolutions, each of which halves the image; the decoder has them in reverse",
        least=1,
        metavar="N",
    ),
    HIDDEN,
    ACTIVATION,
    INITIAL,
)

NETS = (
    Net(
        "mlp",
        "perceptrons",
        settings=(HIDDEN, Setting("gated", False, "gated hidden layers instead of --activation"), ACTIVATION, INITIAL),
        encoder=build_mlp_encoder,
        decoder=build_mlp_decoder,
    ),
    Net(
        "conv",
        "convolutions, of images (N, H, W) or (N, H, W, C), before the encoder's hidden layers",
        settings=CONV,
        refuse=refuse_conv,
        encoder=build_conv_encoder,
        decoder=build_conv_decoder,
    ),
    Net(
        "grid",
        "the same with the hidden layers at each cell that the convolutions leave, which has latents of its own",
        settings=CONV,
        refuse=refuse_grid,
        encoder=partial(build_conv_encoder, per_cell=True),
        decoder=partial(build_conv_decoder, per_cell=True),
    ),
)

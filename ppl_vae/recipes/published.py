"""Recipes from data, and those of published models."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

from ..arrays.convolution_shapes import channels_first
from ..data import Split, Stream
from ..data.containers import as_array, check_numbers
from ..data.streams import Data
from .codes import NO_ENCODINGS
from .recipe import Recipe

REPORT_PRIORS = ("standard", "mixture", "vampprior", "vampprior-data")
"""The priors that the VampPrior report compares."""


def vae(data: Split | Data | tuple[int, ...], *, image_shape: tuple[int, ...] | None = None, **settings: Any) -> Recipe:
    """A VAE for this data: a ``Split``, training images (N, P), or the shape of one image.

    Images are what ``SVI.fit`` takes, an array, a tensor, a table, a list of rows or a ``Stream``; (N, H, W) too.

    The settings are those of ``Recipe``, and of the components that are chosen. ``image_shape``, (H, W) or (H, W, C),
    is that of flat rows.

    Priors that start at training images need the images.

    Auto-Encoding Variational Bayes, Kingma and Welling, 2014; VAE with a VampPrior, Tomczak and Welling, 2018.

    >>> import numpy as np
    >>> model, guide = vae((28, 28), prior="mixture", num_pseudo_inputs=10)(np.random.default_rng(0))
    >>> model(size=2).shape
    torch.Size([2, 784])
    """
    images: Any = None
    if isinstance(data, Split):
        shape, images = data.image_shape, data.train
    elif isinstance(data, Stream):
        shape, images = data.stored.shape[1:], data
    elif isinstance(data, tuple | list) and all(isinstance(n, Integral) for n in data):
        shape = tuple(data)
    else:
        array = as_array(data, "data")
        if array.ndim < 2 or not len(array):
            raise ValueError(f"'data' should be images of shape (N, P) or (N, H, W); got {array.shape}.")
        check_numbers(array, "data")
        shape, images = array.shape[1:], array.reshape(len(array), -1)
    recipe = Recipe(_shape(shape, image_shape), images=images, **settings)
    if images is None and recipe.component("prior").images_needed(recipe):
        if recipe.component("latents").images_needed(recipe):
            raise ValueError(NO_ENCODINGS)
        raise ValueError(f"The prior {recipe.prior!r} starts at training images: pass the data, not only a shape.")
    convolves = any(setting.name == "channels" for setting in recipe.component("net").settings)
    if convolves and (said := channels_first(recipe.shape)):
        raise ValueError(f"Convolutions are of images (H, W) or (H, W, C); of {recipe.shape} {said}.")
    return recipe


def _shape(found: tuple[int, ...], said: tuple[int, ...] | None) -> tuple[int, ...]:
    if said is not None and math.prod(said) != math.prod(found):
        raise ValueError(
            f"'image_shape' should hold the {math.prod(found)} pixels of one image, here of shape {found}; got {said}."
        )
    if said is not None and len(found) > 1 and [n for n in found if n > 1] != [n for n in said if n > 1]:
        raise ValueError(
            f"'image_shape' is that of flat rows, and would read the images, of shape {found}, in another order; got "
            f"{said}: leave it out, or move axes, as np.moveaxis(x, 1, -1) does of channels that come first."
        )
    return found if said is None else tuple(said)


def conditional_vae(data: Split | Data | tuple[int, ...], given_dim: int, **settings: Any) -> Recipe:
    """A VAE of x given c (``given``, of ``given_dim`` numbers), with a prior p(z | c) that is a net of its own.

    Learning Structured Output Representation using Deep Conditional Generative Models, Sohn, Lee and Yan, 2015.

    >>> conditional_vae((28, 28), 10).conditional_prior
    True
    """
    return vae(data, given_dim=given_dim, **{"conditional_prior": True, **settings})


def report_vae(data: Split | Data | tuple[int, ...], **settings: Any) -> Recipe:
    """The VAE of the VampPrior report (Large VAE, 2021): 300-300 units, 40 latents, 500 pseudo-inputs, Xavier weights.

    With ``prior="vampprior"`` the pseudo-inputs come from its net of ``means``. Its text says no activation: ReLU.

    >>> report_vae((28, 28), prior="vampprior").pseudo_inputs_start
    'means'
    """
    report = {"latent_dim": 40, "hidden": (300, 300), "activation": "relu"}
    report |= {"num_pseudo_inputs": 500, "pseudo_inputs_start": "means"}
    return vae(data, **{**report, **settings})


def vampprior_vae(data: Split | Data | tuple[int, ...], **settings: Any) -> Recipe:
    """The VAE of Tomczak and Welling, 2018: gated 300-300 layers, 40 latents, VampPrior of 500 pseudo-inputs.

    >>> vampprior_vae((28, 28), pseudo_inputs_start="means").gated
    True
    """
    return vae(data, **{"prior": "vampprior", "gated": True, **settings})


def hierarchy(data: Split | Data | tuple[int, ...], latent_levels: int = 2, **settings: Any) -> Recipe:
    """A VAE of several levels of latents, ``models.Hierarchy``, with the guide ``top-down`` or ``ladder``.

    With ``prior="vampprior", gated=True`` it is the two-level model of Tomczak and Welling, 2018, 40 latents a level,
    but for the likelihood and q(z_1 | x, z_2), whose two inputs have no layer of their own before they meet.

    >>> import numpy as np
    >>> model, guide = hierarchy((28, 28), guide="ladder")(np.random.default_rng(0))
    >>> model(size=2).shape
    torch.Size([2, 784])
    """
    own = {"program": "hierarchy", "guide": "top-down", "latent_levels": latent_levels}
    return vae(data, **{**own, **settings})


def pixel_hvae(data: Split | Data | tuple[int, ...], latent_levels: int = 2, **settings: Any) -> Recipe:
    """A hierarchy, ``hierarchy``, whose likelihood is a PixelCNN that reads every level: PixelHVAE with a VampPrior.

    Its nets of z are perceptrons, gated, with 40 latents a level; settings of the PixelCNN are ``pixel_layers`` and the
    like. VAE with a VampPrior, Tomczak and Welling, 2018, whose nets of z and x convolve; PixelVAE, Gulrajani et al.,
    2017.

    >>> import numpy as np
    >>> recipe = pixel_hvae((4, 4), latent_dim=3, prior="standard", pixel_channels=4, pixel_layers=2)
    >>> model, guide = recipe(np.random.default_rng(0))
    >>> model(size=2).shape
    torch.Size([2, 16])
    """
    own = {"likelihood": "pixelcnn", "prior": "vampprior", "gated": True}
    return hierarchy(data, latent_levels, **{**own, **settings})


def deep_markov(data: Split | Data | tuple[int, ...], **settings: Any) -> Recipe:
    """A deep Markov model of sequences (N, T, P): gated transitions, and a smoother that reads x backwards.

    ``posterior="filtering"`` reads x forwards. Of sequences of several lengths, pad and pass ``mask``. Structured
    Inference Networks for Nonlinear State Space Models, Krishnan, Shalit and Sontag, 2017, whose nets are larger.

    >>> import numpy as np
    >>> model, guide = deep_markov((7, 3), latent_dim=2)(np.random.default_rng(0))
    >>> model(size=2).shape
    torch.Size([2, 21])
    """
    own = {"prior": "markov", "posterior": "smoothing", "net": "recurrent", "latent_dim": 16, "hidden": (100,)}
    return vae(data, **{**own, **settings})


def hidden_markov(data: Split | Data | tuple[int, ...], **settings: Any) -> Recipe:
    """A hidden Markov model of sequences (N, T, P), of ``hidden_states`` that are summed out.

    Of sequences of several lengths, pad and pass ``mask``. A Tutorial on Hidden Markov Models, Rabiner, 1989.

    >>> import numpy as np
    >>> model, guide = hidden_markov((7, 3), hidden_states=4)(np.random.default_rng(0))
    >>> model(size=2).shape
    torch.Size([2, 21])
    """
    return vae(data, **{"program": "hidden-markov", "guide": "empty", **settings})


def variational_recurrent(data: Split | Data | tuple[int, ...], **settings: Any) -> Recipe:
    """A variational recurrent net of sequences (N, T, P), whose guide reads x up to each step.

    Of sequences of several lengths, pad and pass ``mask``. A Recurrent Latent Variable Model for Sequential Data, Chung
    et al., 2015, whose nets are larger.

    >>> import numpy as np
    >>> model, guide = variational_recurrent((7, 3), latent_dim=2, recurrent_units=4)(np.random.default_rng(0))
    >>> model(size=2).shape
    torch.Size([2, 21])
    """
    own = {"program": "recurrent", "guide": "recurrent", "latent_dim": 16, "hidden": (100,)}
    return vae(data, **{**own, **settings})


def conv_vae(data: Split | Data | tuple[int, ...], **settings: Any) -> Recipe:
    """The VAE usual for dSprites: four convolutions to 32 channels, 256 units, 10 latents; of 64 x 64 pixels.

    Between the convolutions and the 256 units there are 32 x 4 x 4 = 512. Understanding disentangling in beta-VAE,
    Burgess et al., 2018, who have a second layer of 256 units.

    >>> conv_vae((64, 64)).channels
    (32, 32, 32, 32)
    """
    return vae(data, **{"net": "conv", "hidden": (256,), "latent_dim": 10, **settings})

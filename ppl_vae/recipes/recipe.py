"""A recipe: the settings of a pair, which draw its weights from a seed on either backend."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import backends, init
from ..arrays.convolution_shapes import halvings
from ..data.streams import Data

PRIORS = ("standard", "mixture", "vampprior", "vampprior-data")


LIKELIHOODS = ("bernoulli", "normal", "normal-diagonal", "discretised-logistic", "categorical")


STARTS = ("random", "mean", "means")


GUIDES = ("amortised", "semi-amortised", "per-datapoint")


LATENTS = ("gaussian", "bernoulli", "categorical")


NETS = ("mlp", "conv")


_TUPLES = ("shape", "channels", "hidden")


@dataclass(frozen=True)
class Recipe:
    """A VAE under one of four priors, or with discrete latents under a uniform one.

    With Gaussian latents it is the model of the VampPrior report, and of Tomczak and Welling with gated nets.

    Args:
        shape: of one image.
        prior: ``standard`` N(0, I); ``mixture`` of Gaussians; ``vampprior``; ``vampprior-data``, whose pseudo-inputs
            are fixed random training images.
        likelihood: ``bernoulli``; ``normal`` with one learned scale; ``normal-diagonal``, whose decoder gives each
            pixel a scale; or, of pixels k / (``levels`` - 1), ``discretised-logistic`` or ``categorical``.
        levels: of the last two likelihoods.
        latents: ``gaussian``; ``bernoulli`` (a sigmoid belief net of one layer); or ``categorical``. The discrete ones
            have a uniform prior.
        latent_dim: D.
        num_categories: of each categorical latent.
        net: ``mlp``, perceptrons; or ``conv``, convolutions before the encoder's hidden layers and transposed ones
            after the decoder's, of images with a height and a width (``nets.ConvEncoder``, ``ConvDecoder``).
        channels: of the encoder's convolutions, each of which halves the image; the decoder has them in reverse.
        hidden: the units of the encoder's hidden layers; the decoder has them in reverse.
        gated: gated hidden layers instead of ``activation``.
        activation: of the hidden layers.
        given_dim: G, the width of the side information c that everything is conditional on; 0 for none. Then the prior
            is ``standard`` or ``mixture``, and the latents have values that stand beside c.
        conditional_prior: p(z | c) = N(loc(c), diag scale(c)^2) by a net of its own, instead of a prior without c.
        full_covariance: a guide with full covariance instead of a diagonal one.
        guide: ``amortised``; ``semi-amortised``, whose encoder's answer is refined by ``refinement_steps`` steps; or
            ``per-datapoint``, which has parameters for each training image and no encoder.
        refinement_steps: of a semi-amortised guide.
        num_images: how many images a per-datapoint guide is for; the number of ``images`` by default.
        num_pseudo_inputs: C, the components of the last three priors.
        pseudo_inputs_start: ``random`` training images, the data ``mean`` plus noise, or the report's ``means`` net.
        backend: ``pyro`` or ``numpyro``.
        images: training images (N, P), which the pseudo-inputs start from, NaN as zeros: put NaN where nothing was
            seen. They are not saved with the recipe.

    Raises:
        ValueError: an unknown name (the message lists what there is), more pseudo-inputs than images, or images that
            convolutions cannot halve so often.
    """

    shape: tuple[int, ...]
    prior: str = "standard"
    likelihood: str = "bernoulli"
    levels: int = 256
    latents: str = "gaussian"
    latent_dim: int = 40
    num_categories: int = 10
    net: str = "mlp"
    channels: tuple[int, ...] = (32, 32, 32, 32)
    hidden: tuple[int, ...] = (300, 300)
    gated: bool = False
    activation: str = "relu"
    given_dim: int = 0
    conditional_prior: bool = False
    full_covariance: bool = False
    guide: str = "amortised"
    refinement_steps: int = 5
    num_images: int | None = None
    num_pseudo_inputs: int = 500
    pseudo_inputs_start: str = "random"
    backend: str = "pyro"
    images: Data | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check("prior", self.prior, PRIORS)
        _check("likelihood", self.likelihood, LIKELIHOODS)
        _check("pseudo_inputs_start", self.pseudo_inputs_start, STARTS)
        _check("backend", self.backend, backends.NAMES)
        _check("latents", self.latents, LATENTS)
        _check("guide", self.guide, GUIDES)
        _check("net", self.net, NETS)
        if self.net == "conv":
            self._check_conv()
        if self.guide == "per-datapoint":
            if self.num_images is None and self.images is not None:
                object.__setattr__(self, "num_images", len(self.images))
            if self.num_images is None:
                raise ValueError("A per-datapoint guide is made for training images: pass them, or 'num_images'.")
            if self.prior.startswith("vampprior"):
                raise ValueError(
                    f"The prior {self.prior!r} is a mixture of the encoder's posteriors, and a per-datapoint guide has "
                    "no encoder: use prior='standard' or 'mixture', or another guide."
                )
        if self.guide == "semi-amortised" and self.latents != "gaussian":
            raise ValueError(
                f"A semi-amortised guide differentiates the bound by its draws, which {self.latents} latents do not "
                "allow: use latents='gaussian', or another guide."
            )
        if self.latents != "gaussian" and (self.prior != "standard" or self.full_covariance):
            raise ValueError(
                f"The {self.latents} latents have a uniform prior: leave prior='standard' and full_covariance=False, "
                "or use latents='gaussian'."
            )
        self._check_given()
        for name, least in {
            "given_dim": 0,
            "latent_dim": 1,
            "num_pseudo_inputs": 1,
            "num_categories": 1,
            "levels": 2,
        }.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name!r} should be at least {least}; got {getattr(self, name)}.")

    def _check_conv(self) -> None:
        if self.gated:
            raise ValueError("Gated layers are those of perceptrons: leave gated=False, or net='mlp'.")
        if len(self.shape) not in (2, 3):
            raise ValueError(
                "Convolutional nets need images with a height and a width: pass them as (N, H, W) or (N, H, W, C), or "
                f"say image_shape=(H, W) of flat rows; got the shape {self.shape} of one image."
            )
        halvings(self.shape, self.channels)

    def _check_given(self) -> None:
        if self.given_dim and (self.prior.startswith("vampprior") or self.latents == "categorical"):
            raise ValueError(
                "With side information ('given_dim') the prior is 'standard', 'mixture' or conditional, and the "
                f"latents are 'gaussian' or 'bernoulli'; got prior {self.prior!r} and {self.latents!r} latents."
            )
        fits = self.given_dim and self.prior == "standard" and self.latents == "gaussian"
        if self.conditional_prior and not fits:
            raise ValueError(
                "A conditional prior is a net of the side information in place of the standard Gaussian: give "
                "'given_dim', and leave prior='standard' and latents='gaussian'."
            )

    @property
    def dim(self) -> int:
        """P, the number of pixels."""
        return math.prod(self.shape)

    def __call__(self, rng: np.random.Generator) -> tuple[Any, Any]:
        """The (model, guide) with weights drawn from ``rng``."""
        b = backends.load(self.backend)
        posterior = self._posterior(b, rng)
        prior = self._prior(b, posterior, rng)
        likelihood = self._likelihood(b, rng)
        model = b.models.ConditionalVAE(prior, likelihood) if self.given_dim else b.models.VAE(prior, likelihood)
        if self.guide == "semi-amortised":
            return model, b.guides.SemiAmortised(posterior, model, num_steps=self.refinement_steps)
        guide = b.guides.PerDatapoint if self.guide == "per-datapoint" else b.guides.Amortised
        return model, guide(posterior)

    def _encoder(self, b: backends.Backend, outputs: int, rng: np.random.Generator) -> Any:
        """From images to the posterior's parameters; for a per-datapoint guide from positions to them."""
        if self.guide != "per-datapoint" and self.net == "conv":
            options = {"channels": self.channels, "hidden": self.hidden, "activation": self.activation}
            return b.nets.ConvEncoder(self.shape, outputs, rng, given_dim=self.given_dim, **options)
        if self.guide != "per-datapoint":
            return self._perceptron(b, (self.dim + self.given_dim, *self.hidden, outputs), rng)
        assert self.num_images is not None
        if self.latents != "gaussian":
            return b.nets.Rows(np.zeros((self.num_images, outputs)))
        rows = init.standard_rows(self.num_images, self.latent_dim, full_covariance=self.full_covariance)
        return b.nets.Rows(rows)

    def _decoder(self, b: backends.Backend, inputs: int, outputs: int, rng: np.random.Generator) -> Any:
        """From latents to ``outputs`` numbers for each pixel: side by side for levels, else one image after another."""
        if self.net == "mlp":
            return self._perceptron(b, (inputs, *reversed(self.hidden), self.dim * outputs), rng)
        shape, parts = self.shape, outputs
        if self.likelihood == "categorical":
            shape, parts = (*shape[:2], math.prod(shape[2:]) * outputs), 1
        options = {"channels": self.channels[::-1], "hidden": self.hidden[::-1], "activation": self.activation}
        return b.nets.ConvDecoder(inputs, shape, rng, parts=parts, **options)

    def _likelihood(self, b: backends.Backend, rng: np.random.Generator) -> Any:
        categories = self.num_categories if self.latents == "categorical" else 1
        outputs = {"normal-diagonal": 2, "discretised-logistic": 2, "categorical": self.levels}.get(self.likelihood, 1)
        inputs = self.latent_dim * categories + self.given_dim
        net = self._decoder(b, inputs, outputs, rng)
        net = b.nets.OneHot(net, categories) if self.latents == "categorical" else net
        if self.likelihood == "bernoulli":
            return b.conditionals.Bernoulli(net)
        if self.likelihood == "normal":
            return b.conditionals.Normal(net, learned=True)
        if self.likelihood == "normal-diagonal":
            return b.conditionals.DiagNormal(net)
        if self.likelihood == "discretised-logistic":
            return b.conditionals.DiscretisedLogistic(net, levels=self.levels)
        return b.conditionals.CategoricalLevels(net, self.levels)

    def _perceptron(self, b: backends.Backend, sizes: tuple[int, ...], rng: np.random.Generator) -> Any:
        return b.nets.GatedMLP(sizes, rng) if self.gated else b.nets.MLP(sizes, rng, activation=self.activation)

    def _posterior(self, b: backends.Backend, rng: np.random.Generator) -> Any:
        d = self.latent_dim
        if self.latents == "bernoulli":
            return b.conditionals.Bernoulli(self._encoder(b, d, rng))
        if self.latents == "categorical":
            return b.conditionals.Categorical(self._encoder(b, d * self.num_categories, rng), self.num_categories)
        if self.full_covariance:
            return b.conditionals.FullNormal(self._encoder(b, d + d * (d + 1) // 2, rng), d)
        return b.conditionals.DiagNormal(self._encoder(b, 2 * d, rng))

    def _prior(self, b: backends.Backend, posterior: Any, rng: np.random.Generator) -> Any:
        if self.conditional_prior:
            return b.conditionals.DiagNormal(
                self._perceptron(b, (self.given_dim, *self.hidden, 2 * self.latent_dim), rng)
            )
        prior = self._unconditional_prior(b, posterior, rng)
        return b.models.Unconditional(prior) if self.given_dim else prior

    def _unconditional_prior(self, b: backends.Backend, posterior: Any, rng: np.random.Generator) -> Any:
        if self.latents == "bernoulli":
            return b.models.FactorisedBernoulli(self.latent_dim)
        if self.latents == "categorical":
            return b.models.UniformCategorical(self.latent_dim, self.num_categories)
        if self.prior == "standard":
            return b.models.StandardNormal(self.latent_dim)
        if self.prior == "mixture":
            return b.models.MixtureOfGaussians(self.num_pseudo_inputs, self.latent_dim, rng)
        if self.prior == "vampprior" and self.pseudo_inputs_start == "means":
            return b.models.VampPrior(posterior, b.models.Means(self.num_pseudo_inputs, self.dim, rng))
        return b.models.VampPrior(posterior, self._pseudo_inputs(rng), learned=self.prior == "vampprior")

    def _pseudo_inputs(self, rng: np.random.Generator) -> np.ndarray:
        if self.images is None:
            raise ValueError(
                f"The prior {self.prior!r} starts at training images: make the recipe from the data, "
                "recipes.vae(data, ...), not only from its settings."
            )
        if self.prior == "vampprior" and self.pseudo_inputs_start == "mean":
            return init.mean_images(rng, self.images, self.num_pseudo_inputs)
        return init.random_images(rng, self.images, self.num_pseudo_inputs)

    def skeleton(self) -> tuple[Any, Any]:
        """The (model, guide) with arbitrary weights and pseudo-inputs, for a saved fit to fill in."""
        blank = np.zeros((self.num_pseudo_inputs, self.dim), np.float32)  # num_images stays what it is
        return dataclasses.replace(self, images=blank)(np.random.default_rng(0))

    def to_dict(self) -> dict[str, Any]:
        """Every setting but the images, JSON-able."""
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "images"}
        return {**settings, **{name: list(settings[name]) for name in _TUPLES}}

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Recipe:
        """The recipe that ``to_dict`` described."""
        return cls(**{**settings, **{name: tuple(settings[name]) for name in _TUPLES if name in settings}})


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"Unknown {name} {value!r}; there are {', '.join(known)}.")

"""Models of binary images with known densities, and their use to complete images with hidden pixels."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro
from flax import nnx
from jax import Array

from ... import init
from ...data.regions import checked_hidden
from ...data.streams import Data
from ..conditionals.masking import observed_only
from ..distributions import BernoulliMixture


class MixtureOfBernoullis(nnx.Module):
    """p(x) = sum_c pi_c prod_p Bernoulli(x_p; sigmoid(l_cp)), weights and logits learned. Event shape (P,).

    The components start near the mean of the images, each drawn from N(logit(mean), 0.5^2). The density of the observed
    pixels, and that of the hidden ones given them, have closed forms.

    Args:
        num_components: C.
        images: training images (N, P) of zeros and ones, or intensities.
        rng: the generator of the initial components.

    >>> MixtureOfBernoullis(10, np.eye(4), np.random.default_rng(0))().event_shape
    (4,)
    """

    def __init__(self, num_components: int, images: Data, rng: np.random.Generator) -> None:
        start = init.bernoulli_components(rng, images, num_components)
        self.pixel_logits = nnx.Param(jnp.asarray(start, jnp.result_type(float)))
        self.logits = nnx.Param(jnp.zeros(num_components))

    def __call__(self) -> BernoulliMixture:
        """Return the distribution over (P,)."""
        return BernoulliMixture(self.pixel_logits[...], self.logits[...], validate_args=False)


class FullyVisible(nnx.Module):
    """x ~ p(x), without latents; the ELBO under the guide ``Empty`` is log p(x).

    Site: ``x`` (P,). Plate: ``data`` at dim -1.

    Args:
        images: a module whose call returns p(x): ``MixtureOfBernoullis``, ``Autoregressive`` or ``HiddenMarkov``, which
            alone takes a mask.

    >>> from numpyro import handlers
    >>> images = MixtureOfBernoullis(10, np.eye(4), np.random.default_rng(0))
    >>> handlers.seed(FullyVisible(images), 0)(size=3).shape
    (3, 4)
    """

    takes_given: ClassVar[bool] = False

    def __init__(self, images: nnx.Module) -> None:
        self.images = images

    def __call__(self, x: Array | None = None, *, mask: Array | None = None, size: int = 1) -> Array:
        """Observe x (B, P) where ``mask`` (B, P) allows, or draw ``size`` images."""
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            return numpyro.sample("x", observed_only(self.images(), mask), obs=x)


class Completion(nnx.Module):
    """z, x ~ p(image): the hidden pixels z are latent, the observed pixels x are the data.

    Sites: ``z`` (H,), ``x`` (S,), each in the order of the pixels, H + S = P. Plate: ``data`` at dim -1. For a mixture,
    the factors are p(z) and p(x | z); for an autoregressive model, those of its own product. Any guide with binary
    latents serves; ``ExactCompletion`` is p(z | x) itself where that is known.

    Args:
        images: a module whose call returns p(image): ``MixtureOfBernoullis`` or ``Autoregressive``.
        hidden: mask (P,) of the hidden pixels, such as ``data.regions.region`` returns.

    Raises:
        ValueError: a mask that hides every pixel or none, or that is not one boolean for each.

    >>> from numpyro import handlers
    >>> images = MixtureOfBernoullis(10, np.eye(4), np.random.default_rng(0))
    >>> handlers.seed(Completion(images, np.array([True, True, True, False])), 0)(size=2).shape
    (2, 1)
    """

    takes_given: ClassVar[bool] = False

    def __init__(self, images: nnx.Module, hidden: np.ndarray) -> None:
        self.hidden = checked_hidden(hidden, images().event_shape[0])
        self.images = images

    def __call__(self, x: Array | None = None, *, size: int = 1) -> Array:
        """Observe the pixels x (B, S), or draw those of ``size`` images."""
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            p_z, p_x_given = self.images().split(self.hidden, x)
            z = numpyro.sample("z", p_z)
            return numpyro.sample("x", p_x_given(z), obs=x)

    def exact(self, x: Array) -> Any:
        """Return p(z | x), the distribution of the hidden pixels given the observed pixels x (B, S).

        Raises:
            ValueError: an autoregressive model in whose order a hidden pixel precedes an observed one.
        """
        return self.images().conditional(~np.array(self.hidden), x)

"""Models of whole binary images whose density is known, and what is made of them where some pixels are hidden."""

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
from ..distributions import AutoregressiveBernoulli, BernoulliMixture
from ..nets.masked import MADE


class MixtureOfBernoullis(nnx.Module):
    """p(x) = sum_c pi_c prod_p Bernoulli(x_p; sigmoid(l_cp)), weights and logits learned. Event shape (P,).

    The components start near the mean of the images, each drawn from N(logit(mean), 0.5^2). The pixels that were seen
    have a density, and those hidden one given them, in closed form.

    Args:
        num_components: C.
        images: training images (N, P) of zeros and ones, or intensities.
        rng: of the start.

    >>> MixtureOfBernoullis(10, np.eye(4), np.random.default_rng(0))().event_shape
    (4,)
    """

    def __init__(self, num_components: int, images: Data, rng: np.random.Generator) -> None:
        start = init.bernoulli_components(rng, images, num_components)
        self.pixel_logits = nnx.Param(jnp.asarray(start, jnp.result_type(float)))
        self.logits = nnx.Param(jnp.zeros(num_components))

    def __call__(self) -> BernoulliMixture:
        """The distribution over (P,)."""
        return BernoulliMixture(self.pixel_logits[...], self.logits[...], validate_args=False)


class Autoregressive(nnx.Module):
    """p(x) = prod_i Bernoulli(x_i; sigmoid(l_i(x_<i))), with logits from a net that sees what precedes i. Event (P,).

    MADE: Masked Autoencoder for Distribution Estimation, Germain, Gregor, Murray and Larochelle, 2015.

    Args:
        net: ``nets.MADE``, whose order it has.

    >>> from ppl_vae.numpyro import nets
    >>> Autoregressive(nets.MADE(4, (8,), np.random.default_rng(0)))().event_shape
    (4,)
    """

    def __init__(self, net: MADE) -> None:
        self.net = net

    def __call__(self) -> AutoregressiveBernoulli:
        """The distribution over (P,)."""
        return AutoregressiveBernoulli(self.net, self.net.order)


class FullyVisible(nnx.Module):
    """x ~ p(x): nothing is latent, and the ELBO under the guide ``Empty`` is log p(x).

    Site: ``x`` (P,). Plate: ``data`` at dim -1.

    Args:
        images: a module whose call returns p(x): ``MixtureOfBernoullis`` or ``Autoregressive``.

    >>> from numpyro import handlers
    >>> images = MixtureOfBernoullis(10, np.eye(4), np.random.default_rng(0))
    >>> handlers.seed(FullyVisible(images), 0)(size=3).shape
    (3, 4)
    """

    takes_given: ClassVar[bool] = False

    def __init__(self, images: nnx.Module) -> None:
        self.images = images

    def __call__(self, x: Array | None = None, *, size: int = 1) -> Array:
        """Observe x (B, P), or draw ``size`` images."""
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            return numpyro.sample("x", self.images(), obs=x)


class Completion(nnx.Module):
    """z, x ~ p(image): the hidden pixels z are latent, those seen are the data x.

    Sites: ``z`` (H,), ``x`` (S,), each in the order of the pixels, H + S = P. Plate: ``data`` at dim -1. A mixture's z
    has its marginal and x its conditional given z; of an autoregressive model each has its own factors. Any guide of
    binary latents serves; ``ExactCompletion`` is p(z | x) itself where that is known.

    Args:
        images: a module whose call returns p(image): ``MixtureOfBernoullis`` or ``Autoregressive``.
        hidden: which pixels are hidden, (P,), as ``data.regions.region`` says.

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
        """Observe the pixels seen, x (B, S), or draw those of ``size`` images."""
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            p_z, p_x_given = self.images().split(self.hidden, x)
            z = numpyro.sample("z", p_z)
            return numpyro.sample("x", p_x_given(z), obs=x)

    def exact(self, x: Array) -> Any:
        """p(z | x), the hidden pixels given those seen, x (B, S).

        Raises:
            ValueError: an autoregressive model in whose order some hidden pixel precedes one that is seen.
        """
        return self.images().conditional(~np.array(self.hidden), x)

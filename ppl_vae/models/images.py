"""Models of whole binary images whose density is known, and what is made of them where some pixels are hidden."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from .. import init
from ..data.regions import checked_hidden
from ..data.streams import Data
from ..distributions import AutoregressiveBernoulli, BernoulliMixture
from ..nets.masked import MADE


class MixtureOfBernoullis(nn.Module):
    """p(x) = sum_c pi_c prod_p Bernoulli(x_p; sigmoid(l_cp)), weights and logits learned. Event shape (P,).

    The components start near the mean of the images, each drawn from N(logit(mean), 0.5^2). The pixels that were seen
    have a density, and those hidden one given them, in closed form.

    Args:
        num_components: C.
        images: training images (N, P) of zeros and ones, or intensities.
        rng: of the start.

    >>> MixtureOfBernoullis(10, np.eye(4), np.random.default_rng(0))().event_shape
    torch.Size([4])
    """

    def __init__(self, num_components: int, images: Data, rng: np.random.Generator) -> None:
        super().__init__()
        start = init.bernoulli_components(rng, images, num_components)
        self.pixel_logits = nn.Parameter(torch.tensor(start, dtype=torch.get_default_dtype()))
        self.logits = nn.Parameter(torch.zeros(num_components))

    def forward(self) -> BernoulliMixture:
        """The distribution over (P,)."""
        return BernoulliMixture(self.pixel_logits, self.logits, validate_args=False)


class Autoregressive(nn.Module):
    """p(x) = prod_i Bernoulli(x_i; sigmoid(l_i(x_<i))), with logits from a net that sees what precedes i. Event (P,).

    MADE: Masked Autoencoder for Distribution Estimation, Germain, Gregor, Murray and Larochelle, 2015.

    Args:
        net: ``nets.MADE``, whose order it has.

    >>> from ppl_vae import nets
    >>> Autoregressive(nets.MADE(4, (8,), np.random.default_rng(0)))().event_shape
    torch.Size([4])
    """

    def __init__(self, net: MADE) -> None:
        super().__init__()
        self.net = net

    def forward(self) -> AutoregressiveBernoulli:
        """The distribution over (P,)."""
        nothing = next(self.net.parameters()).new_zeros(0)
        return AutoregressiveBernoulli(self.net, self.net.order, values=nothing)


class FullyVisible(PyroModule):
    """x ~ p(x): nothing is latent, and the ELBO under the guide ``Empty`` is log p(x).

    Site: ``x`` (P,). Plate: ``data`` at dim -1.

    Args:
        images: a module whose call returns p(x): ``MixtureOfBernoullis`` or ``Autoregressive``.

    >>> images = MixtureOfBernoullis(10, np.eye(4), np.random.default_rng(0))
    >>> FullyVisible(images)(size=3).shape
    torch.Size([3, 4])
    """

    takes_given: ClassVar[bool] = False

    def __init__(self, images: nn.Module) -> None:
        super().__init__()
        self.images = images

    def forward(self, x: Tensor | None = None, *, size: int = 1) -> Tensor:
        """Observe x (B, P), or draw ``size`` images."""
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            return pyro.sample("x", self.images(), obs=x)


class Completion(PyroModule):
    """z, x ~ p(image): the hidden pixels z are latent, those seen are the data x.

    Sites: ``z`` (H,), ``x`` (S,), each in the order of the pixels, H + S = P. Plate: ``data`` at dim -1. A mixture's z
    has its marginal and x its conditional given z; of an autoregressive model each has its own factors. Any guide of
    binary latents serves; ``ExactCompletion`` is p(z | x) itself where that is known.

    Args:
        images: a module whose call returns p(image): ``MixtureOfBernoullis`` or ``Autoregressive``.
        hidden: which pixels are hidden, (P,), as ``data.regions.region`` says.

    Raises:
        ValueError: a mask that hides every pixel or none, or that is not one boolean for each.

    >>> images = MixtureOfBernoullis(10, np.eye(4), np.random.default_rng(0))
    >>> Completion(images, np.array([True, True, True, False]))(size=2).shape
    torch.Size([2, 1])
    """

    takes_given: ClassVar[bool] = False

    def __init__(self, images: nn.Module, hidden: np.ndarray) -> None:
        super().__init__()
        self.hidden = checked_hidden(hidden, images().event_shape[0])
        self.images = images

    def forward(self, x: Tensor | None = None, *, size: int = 1) -> Tensor:
        """Observe the pixels seen, x (B, S), or draw those of ``size`` images."""
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            p_z, p_x_given = self.images().split(self.hidden, x)
            z = pyro.sample("z", p_z)
            return pyro.sample("x", p_x_given(z), obs=x)

    def exact(self, x: Tensor) -> Any:
        """p(z | x), the hidden pixels given those seen, x (B, S).

        Raises:
            ValueError: an autoregressive model in whose order some hidden pixel precedes one that is seen.
        """
        return self.images().conditional(~np.array(self.hidden), x)

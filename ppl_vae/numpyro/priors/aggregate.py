"""The aggregate posterior of the training data as prior, in NumPyro."""

from __future__ import annotations

import numpy as np
import numpyro.distributions as dist
from flax import nnx

from .vampprior import VampPrior, check_components


class AggregatePosterior(nnx.Module):
    """p(z) = 1/N sum_n q(z | x_n) over all N training data: the prior with the highest ELBO on them. Event shape (D,).

    On these data KL(q(z) || p(z)) = 0, and the rate is the mutual information of z and which datum it is, at most
    log N. It over-fits: a decoder that is told which datum to draw pays log N nats for it. Judge it by test data. ELBO
    surgery, Hoffman and Johnson, 2016; VAE with a VampPrior, Tomczak and Welling, 2018, which is this mixture at few,
    learned images; ``VampPrior(..., learned=False)`` is the one over a part of the data.

    Every step encodes all N data, and the density holds N numbers in double precision for each draw, several times:
    100 data and N = 50,000 are 40 MB each. ``chunk`` bounds what the encoder holds.

    Args:
        posterior: the guide's own module, shared and not copied; it maps (N, P) to q(z | x).
        images: the training data (N, P), finite, which are copied, and saved with a fit; 0 where a mask hides them.
        chunk: data that the posterior's net reads at a time, as of ``VampPrior``.

    Raises:
        ValueError: images of another shape, or that are not finite; a chunk below 1; a posterior of codes, or a flow.

    >>> from ppl_vae.numpyro import conditionals, nets
    >>> posterior = conditionals.DiagNormal(nets.MLP((5, 8), np.random.default_rng(0)))
    >>> AggregatePosterior(posterior, np.eye(5))().event_shape
    (4,)
    """

    def __init__(self, posterior: nnx.Module, images: np.ndarray, *, chunk: int | None = 5000) -> None:
        check_components("An AggregatePosterior", posterior)
        images = np.asarray(images)
        if images.ndim != 2 or not len(images):
            raise ValueError(f"'images' should have shape (N, P), N >= 1; got {images.shape}.")
        if not np.isfinite(images).all():
            raise ValueError(
                "'images' should be finite, as the posterior's net reads them: put 0 where nothing was seen."
            )
        self.components = VampPrior(posterior, images, learned=False, chunk=chunk)

    @property
    def images(self) -> np.ndarray:
        """The images, (N, P)."""
        return np.asarray(self.components.pseudo_inputs())

    @property
    def hidden_input(self) -> np.ndarray | None:
        """Stand-in of the posterior's net for values that are not seen; None for 0."""
        value = getattr(getattr(self.components.posterior, "net", None), "hidden_input", None)
        return None if value is None else np.asarray(value)

    def __call__(self) -> dist.Distribution:
        """Return the distribution over (D,)."""
        return self.components()

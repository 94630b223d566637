"""The interface of a model and its guide, the same on both backends, before and after training."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np

from .densities import density_unknown
from .side_inputs import NOTHING, Arrays, placeholder
from .sites import Sites
from .terms import SiteTerms, Terms
from .trials import Trial


def check_shapes(shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, np.ndarray]) -> None:
    """Compare names and shapes of weights before they are loaded.

    Raises:
        ValueError: names the first difference.
    """
    given = {name: np.shape(value) for name, value in state.items()}
    for name in {**shapes, **given}:
        if shapes.get(name) != given.get(name):
            raise ValueError(
                f"The weights do not fit the pair: {name!r} is {shapes.get(name, 'absent')} in the pair and "
                f"{given.get(name, 'absent')} in what is loaded."
            )


class Pair(Protocol):
    """A model and its guide on one backend, with parameters of their own: the inside of a fit."""

    @property
    def backend(self) -> str:
        """``pyro`` or ``numpyro``."""

    @property
    def model(self) -> Any:
        """The model, of the backend's own kind."""

    @property
    def guide(self) -> Any:
        """The guide, of the backend's own kind."""

    def guide_parts(self) -> list[Any]:
        """The guide and every module inside it, so that what a part can do is seen through a wrapper."""

    @property
    def num_parameters(self) -> int:
        """The number of trained numbers; a shared encoder counts once."""

    def of_the_prior(self) -> Collection[Any]:
        """Names of the parameters that the model's prior has for itself; none where no module ``prior`` is known."""

    def with_prior(self, prior: Any) -> Pair:
        """Make a copy of the pair that has another prior, on the same device; it has not run yet."""

    def state(self) -> dict[str, np.ndarray]:
        """Every parameter and constant, by name."""

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Set every parameter and constant to those that ``state`` returned."""

    sites: Sites | None
    """The sites, once the pair has run on a batch."""

    @property
    def dim(self) -> int:
        """P, the width of the data, once the pair has run on a batch."""

    @property
    def example(self) -> Arrays:
        """The first datum that the pair has run on, ``x`` (1, P), with its side inputs but for the position."""

    @property
    def device_name(self) -> str:
        """The device of the pair, as ``device=`` takes it."""

    @property
    def num_rows(self) -> int | None:
        """The number of data points that the pair has parameters of their own for; None where it serves any."""

    @property
    def given_dim(self) -> int:
        """G, the width of the side information, once the pair has run on a batch; 0 without any."""

    def prepare(self, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> Sites:
        """Run on a batch, so that every parameter exists; return the sites."""

    size_refusal: str
    """why batches of another size are refused; empty where they are not"""
    draws_refusal: str | None
    """why several draws at once are refused; empty where they are not, None before a trial"""

    def trial(self, x: np.ndarray, num_draws: int, seed: int, side: Arrays = NOTHING) -> dict[str, Trial]:
        """Run several times on the same values; return each site's log-densities, by a name for messages."""

    def terms(self, x: np.ndarray, request: Any, seed: int, side: Arrays = NOTHING) -> Any:
        """Evaluate a ``TermsRequest`` on a batch, with the derivatives that it needs: arrays, as its gradient says."""

    def levels(self, x: np.ndarray, number: int | None, num_draws: int, seed: int, side: Arrays = NOTHING) -> Terms:
        """Estimate the ELBO of a chain of noise of a number of levels, None in continuous time: terms (K, B)."""

    def sample(
        self,
        x: np.ndarray,
        num_particles: int,
        seed: int,
        analytic_kl: bool = False,
        side: Arrays = NOTHING,
    ) -> tuple[dict[str, np.ndarray], Terms]:
        """Draw from the guide for each latent site, (K, B, ...); return the draws and their log-densities, (K, B)."""

    def site_terms(self, x: np.ndarray, num_particles: int, seed: int, side: Arrays = NOTHING) -> dict[str, SiteTerms]:
        """Log p and log q of each latent site at draws of the guide, (K, B) each, in the guide's order."""

    def posterior(self, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean (of categories the mode) and standard deviation of q(z | x) for each latent site, (B, D) each."""

    def predict(
        self, x: np.ndarray, num_particles: int, seed: int, side: Arrays = NOTHING
    ) -> tuple[np.ndarray, np.ndarray]:
        """For draws z ~ q(z | x): E[x | z], (K, B, P), and the log-weights of z, (K, B)."""

    def decode(self, z: Arrays, seed: int, side: Arrays = NOTHING) -> tuple[np.ndarray, np.ndarray]:
        """E[x | z] and x ~ p(x | z) for the values of all latent sites, (B, ...) each: (B, P) each."""

    def generate(self, size: int, seed: int, side: Arrays = NOTHING) -> tuple[np.ndarray, np.ndarray]:
        """E[x | z] and x ~ p(x | z) for z ~ p(z), (size, P) each."""


def example_of(x: np.ndarray, side: Arrays) -> dict[str, np.ndarray]:
    """Copy the first datum of a batch, with its side inputs but for the position."""
    rows = {"x": x, **{name: array for name, array in side.items() if name != "index"}}
    return {name: np.array(array[:1]) for name, array in rows.items()}


def probe(pair: Pair, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> float:
    """Compute the ELBO of a few data points with fixed noise, to tell pairs apart whose weights have equal shapes.

    Of an implicit model, which has none, the mean square of as many draws; of a guide without a density log p(x, z).
    """
    if pair.sites is not None and pair.sites.implicit:
        return float((pair.generate(len(x), seed)[1].astype(float) ** 2).mean())
    side = {**placeholder(len(x), pair.num_rows, pair.given_dim), **side}
    terms = pair.sample(x, 1, seed, side=side)[1]
    unknown = pair.sites is not None and density_unknown(pair.sites)
    return float((terms.log_lik + terms.log_prior if unknown else terms.log_weights).mean())

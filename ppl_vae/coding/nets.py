"""Distributions of a fit as both sides of a code need them: checked, and computed on batches of one shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backends
from ..errors import UnsuitableObjective
from ..pairs.marginals import Marginal, Marginals
from ..pairs.sites import Site, Sites
from ..results.fit import Fit
from .intervals import Intervals, Normals, Table, Uniform, centres

WHAT = "Bits-back coding"
BOUND = "take the length that it would come to, -evaluation.elbo(fit, x).mean / np.log(2) bits for each datum"
MOST_BITS = 16
"""The most bits of a latent's bin: each of its bins needs some of the 2^30 integers of a distribution."""


class Nets:
    """q(z | x), p(z) and p(x | z) of a fit as intervals.

    Args:
        fit: a pair with one latent site and one observed one, each of independent entries.
        batch_size: the rows of every call of the nets; those that are left over are filled up with zeros.
        latent_bits: the bins of a continuous latent are 2^latent_bits.

    Raises:
        ValueError: numbers that are too small or too large.
        UnsuitableObjective: a pair that cannot be coded.
    """

    def __init__(self, fit: Fit, batch_size: int, latent_bits: int) -> None:
        if not (batch_size in range(1, 2**31) and latent_bits in range(1, MOST_BITS + 1)):
            raise ValueError(
                f"'batch_size' should be an integer of at least 1, and 'latent_bits' one from 1 to {MOST_BITS}; got "
                f"{batch_size} and {latent_bits}."
            )
        batch_size, latent_bits = int(batch_size), int(latent_bits)
        _check_sites(fit)
        self.fit, self.bits = fit, latent_bits
        self.latent, self.pixels = fit.sites.latent[0], fit.sites.observed[0]
        self._backend: Any = backends.load(fit.backend)
        self._x = np.zeros((batch_size, fit.pair.dim), np.float32)
        kind = np.int64 if self.latent.is_categorical else np.float32
        self._z = np.zeros((batch_size, *self.latent.event_shape), kind)
        self.fixed = self._marginals(self._x, self._z)
        _check_entries(self.fixed, fit.sites)
        self._check_order()

    def posterior(self, x: np.ndarray) -> Intervals:
        """q(z | x) of data (n, P)."""
        own = _rows(self._marginals(_filled(self._x, x), self._z).posterior, len(x))
        if "log_masses" in own:
            return Table(own["log_masses"])
        prior = _rows(self.fixed.prior, len(x))
        return Normals((own["loc"] - prior["loc"]) / prior["scale"], own["scale"] / prior["scale"], self.bits)

    def likelihood(self, symbols: np.ndarray) -> Intervals:
        """p(x | z) of latents' symbols (n, D)."""
        z = symbols.reshape(len(symbols), *self.latent.event_shape)
        prior = self.fixed.prior
        if "loc" in prior:
            z = prior["loc"][: len(z)] + prior["scale"][: len(z)] * centres(z, self.bits)
        else:
            z = values_of(self.latent, self._z.dtype)[z]
        found = self._marginals(self._x, _filled(self._z, z)).likelihood
        return Table(_rows(found, len(symbols))["log_masses"])

    def prior(self, count: int) -> Intervals:
        """p(z) of ``count`` data."""
        own = _rows(self.fixed.prior, count)
        return Table(own["log_masses"]) if "log_masses" in own else Uniform(own["loc"].shape, self.bits)

    def _marginals(self, x: np.ndarray, z: np.ndarray) -> Marginals:
        found: Marginals = self._backend.inference.marginals(self.fit.pair, x, z)
        if not all(_has_code(name, value) for part in found[:3] for name, value in part.items()):
            raise FloatingPointError(
                f"{WHAT}: the nets of the fit return NaN, an infinite mean or scale, or a scale 0, of which there is "
                "no code: train the pair again, with a lower learning rate."
            )
        return found

    def _check_order(self) -> None:
        """Refuse a model that cannot be read in Bob's order: p(z), then p(x | z) without x."""
        ones = np.ones_like(self._x)
        other = self._marginals(ones, self._z)
        itself = _same(self.fixed.observed, self._x) and _same(other.observed, ones)
        parts = ((self.fixed.prior, other.prior), (self.fixed.likelihood, other.likelihood))
        if not (itself and all(np.array_equal(a[name], b[name]) for a, b in parts for name in a)):
            raise UnsuitableObjective(
                f"{WHAT} reads z first and then x, and the site {self.pixels.name!r} observes something else than x, "
                "or its distribution depends on x: let the program observe x itself, under a p(x | z) of independent "
                f"pixels; or {BOUND}."
            )


def _has_code(name: str, value: np.ndarray) -> bool:
    """Whether parameters of a marginal are numbers that make intervals; a probability may be 0."""
    if name == "log_masses":
        return not np.isnan(value).any()
    return bool(np.isfinite(value).all()) and not (name == "scale" and (value <= 0).any())


def values_of(site: Site, dtype: np.dtype) -> np.ndarray:
    """The values that an entry can take, as the data have them, (L,)."""
    assert site.values is not None
    if site.levels is None:
        return site.values.astype(dtype)
    return np.arange(site.levels).astype(dtype) / dtype.type(site.levels - 1)


def symbols_of(pixels: Site, x: np.ndarray) -> np.ndarray:
    """The numbers of the values that the pixels of x (N, P) have.

    Raises:
        ValueError: a value to which the likelihood gives no probability.
    """
    values = values_of(pixels, x.dtype)
    top = len(values) - 1
    symbols = np.rint(x * top if pixels.levels is not None else x).clip(0, top).astype(np.int64)
    wrong = values[symbols] != x
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        known = f"the integers from 0 to {top}" if pixels.levels is None else f"the levels k / {top}"
        remedy = f"pass the nearest ones, np.rint(x * {top}).astype(x.dtype) / {top}"
        if pixels.levels is None:
            remedy = (
                "pass zeros and ones, (x > 0.5).astype(x.dtype), or fit a likelihood of levels, as "
                "recipes.vae(..., likelihood='discretised-logistic', levels=256) makes it"
            )
        raise ValueError(
            f"{WHAT} is of values that have probabilities, of the site {pixels.name!r} {known}; got "
            f"{x[row, column]!r} at row {row}, column {column}: {remedy}."
        )
    return symbols


def _check_sites(fit: Fit) -> None:
    """Refuse what the sites say that cannot be coded."""
    sites = fit.sites
    sites.check_terms(WHAT)
    sites.check_latent(WHAT)
    sites.check_plain(WHAT, BOUND.removeprefix("take "))
    groups = {"latent": sites.latent, "observed": sites.observed}
    several = [f"{len(group)} {kind} ones" for kind, group in groups.items() if len(group) > 1]
    if several:
        raise UnsuitableObjective(
            f"{WHAT} takes one latent site and one observed one; the pair has {' and '.join(several)}: draw them as "
            f"one site of independent entries, or {BOUND}."
        )
    pixels = sites.observed[0]
    if pixels.plates or pixels.masked:
        raise UnsuitableObjective(
            f"{WHAT} is of every pixel of x as one site, and {pixels.name!r} has a mask, or stands in a plate inside "
            f"the data's: observe x whole, with .to_event(1), or {BOUND}."
        )
    if fit.pair.given_dim:
        raise UnsuitableObjective(
            f"{WHAT} is not made for side information, which Bob would need beside the message: fit a pair without "
            f"'given', or {BOUND.replace('x)', 'x, given=given)')}."
        )
    if not fit.generalises:
        raise UnsuitableObjective(
            f"{WHAT} needs a q(z | x) that Bob has, too, and this guide has parameters of its own for each of its "
            f"data: code with an amortised guide, such as guides.Amortised, or {BOUND}."
        )


def _check_entries(found: Marginals, sites: Sites) -> None:
    """Refuse distributions that have no intervals."""
    latent, pixels = sites.latent[0], sites.observed[0]
    if not (found.posterior and found.prior):
        whose = "its prior is another" if found.posterior else f"q(z | x) is {latent.distribution}"
        raise UnsuitableObjective(
            f"{WHAT} is of latents whose entries are independent, and normal or of finitely many values, in the guide "
            f"and in the prior; of the site {latent.name!r} {whose}: use conditionals.DiagNormal with "
            "models.StandardNormal, or conditionals.Bernoulli with models.FactorisedBernoulli; "
            f"or {BOUND}."
        )
    if "log_masses" not in found.likelihood:
        raise UnsuitableObjective(
            f"{WHAT} is of pixels that are independent given z and have probabilities, and the site {pixels.name!r} is "
            f"{pixels.distribution}; a density has no code without loss: use conditionals.Bernoulli for zeros and "
            "ones, or conditionals.DiscretisedLogistic or CategoricalLevels for levels."
        )


def _filled(zeros: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Put rows into a batch of zeros."""
    whole = zeros.copy()
    whole[: len(rows)] = rows
    return whole


def _rows(marginal: Marginal, count: int) -> dict[str, np.ndarray]:
    """The first rows of a batch, entry by entry: (count, E), of tables (L, count, E)."""
    return {
        name: value[:, :count].reshape(len(value), count, -1)
        if name == "log_masses"
        else value[:count].reshape(count, -1)
        for name, value in marginal.items()
    }


def _same(observed: np.ndarray, x: np.ndarray) -> bool:
    """Whether a site observed x, (B, P)."""
    return np.array_equal(np.reshape(observed, (len(observed), -1)), x)

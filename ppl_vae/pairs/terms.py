"""The log-densities of a batch, and what else an objective may ask of its latents."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..arrays.ops import Array
from ..runtime.shown import brief


class Latents(NamedTuple):
    """The latent site of a batch; what was not asked for is None."""

    z: Array
    """draws from the guide, (K, B, D)"""
    loc: Array = None
    """(B, D)"""
    scale: Array = None
    """(B, D)"""
    prior: Array = None
    """draws from the prior, (K, B, D)"""
    directions: Array = None
    """(L, D)"""
    x: Array = None
    """the data, (B, P); 0 where a mask hides them"""
    mean: Array = None
    """E[x | z], (K, B, P); 0 where a mask hides x"""
    encoded: Array = None
    """the vectors before they are quantised, (K, B, S, E): the encoder's, or what earlier stages left of them"""
    codes: Array = None
    """the codes nearest to them, (K, B, S, E), with a gradient to the codebook"""
    codebook: Array = None
    """every code, (L, K, E); slot s has one of codebook s mod L"""
    groups: Array = None
    """what says the group of each datum, columns of ``given``, (B, G)"""
    generated: Array = None
    """data that the model draws, (K, B, P), or their mean given ``prior``"""
    control: Any = None
    """what a learned control variate reads: named tuples of arrays, as of ``ppl_vae.controls``, or one for each site"""
    noise: Array = None
    """standard normal draws, (K, B, D)"""
    stopped: Array = None
    """E[x | z], (K, B, P), with a gradient to the model alone"""


class SiteTerms(NamedTuple):
    """The log-densities of one latent site, in nats, (K, B) or a number; with a KL in closed form -KL and 0."""

    log_prior: Array
    log_guide: Array
    log_score: Array = 0.0
    """log q where the site's draws are scored"""


class Terms(NamedTuple):
    """The log-densities of ``K`` draws from the guide for each of ``B`` data points, in nats, summed over sites.

    ``scale`` is the plate or handler scale that all sites share (1 unless a program subsamples): it multiplies a bound
    from outside and never enters a logsumexp.
    """

    log_lik: Array
    """log p(x | z), (K, B)"""
    log_prior: Array
    """log p(z), (K, B)"""
    log_guide: Array
    """log q(z | x), (K, B)"""
    scale: Any = 1.0
    log_score: Array = None
    """log q of the sites whose draws carry no gradient, (K, B): what a score-function estimator multiplies; of a
    particle filter its sum over steps, each times a weight"""
    log_sleep: Array = None
    """log q(z | x) of latents and data that the model dreamt, or the log-probability with which a twist tells which of
    them belong together, (B,), where they were asked for"""
    latents: Latents | None = None
    """the latent site, where it was asked for"""
    log_label: Array = None
    """log q(y | x) of labels y that are known, (B,), where it was asked for"""
    gain: Array = None
    """log p(x, z') - log p(x, z) of draws z that chains moved to z', (K, B): a gradient to the model, none to draws"""
    accepted: Array = None
    """the mean probability that a transition of these chains is accepted, (K, B)"""

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={brief(value)}" for name, value in self._asdict().items() if value is not None)
        return f"Terms({said})"

    @property
    def log_weights(self) -> Array:
        """Log w = log p(x, z) - log q(z | x), (K, B)."""
        return self.log_lik + self.log_prior - self.log_guide

"""Distributions that Pyro lacks."""

from ppl_vae.distributions.levels import CategoricalLevels, DiscretisedLogistic
from ppl_vae.distributions.mixture import DiagNormalMixture, mixture

__all__ = ["CategoricalLevels", "DiagNormalMixture", "DiscretisedLogistic", "mixture"]

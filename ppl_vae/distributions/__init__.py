"""Distributions that Pyro lacks."""

from ppl_vae.distributions.mixture import DiagNormalMixture, mixture

__all__ = ["DiagNormalMixture", "mixture"]

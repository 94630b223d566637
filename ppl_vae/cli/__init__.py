"""The command line, ``ppl-vae``: a module for each of fit, evaluate, encode, reconstruct, sample, compare, data."""

from .main import main as main

"""Data sets as NumPy arrays: a name, a file or arrays in memory become a `Split`; imports neither torch nor jax."""

from __future__ import annotations

from ppl_vae.data.binarisation import BINARISATIONS, Binarisation
from ppl_vae.data.catalogue import Listing, catalogue
from ppl_vae.data.checks import check_binary, check_unit_interval
from ppl_vae.data.parts import from_arrays
from ppl_vae.data.registry import load, names
from ppl_vae.data.split import Split
from ppl_vae.data.streams import Stream, stream

__all__ = [
    "BINARISATIONS",
    "Binarisation",
    "Listing",
    "Split",
    "Stream",
    "catalogue",
    "check_binary",
    "check_unit_interval",
    "from_arrays",
    "load",
    "names",
    "stream",
]

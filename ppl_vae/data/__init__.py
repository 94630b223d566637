"""Data sets as NumPy arrays: load a name, a file or arrays in memory as a ``Split``, without torch or jax."""

from __future__ import annotations

from ppl_vae.data.binarisation import BINARISATIONS, Binarisation
from ppl_vae.data.catalogue import Listing, catalogue
from ppl_vae.data.checks import check_binary, check_unit_interval
from ppl_vae.data.factors import Factors
from ppl_vae.data.items import from_items
from ppl_vae.data.midi import write_midi
from ppl_vae.data.parts import from_arrays
from ppl_vae.data.registry import load, names
from ppl_vae.data.rendering import renderer
from ppl_vae.data.rendering.renderer import inverted, pixel_noise, render
from ppl_vae.data.sequences import Padded, lengths_to_mask, pad
from ppl_vae.data.sets import (
    adult,
    canvases,
    dsprites,
    dsprites_grid,
    dsprites_subset,
    japanese_vowels,
    nile,
    sonnets,
    sprites,
)
from ppl_vae.data.split import Split
from ppl_vae.data.streams import Stream, stream
from ppl_vae.data.tables.frames import Table, table

__all__ = [
    "BINARISATIONS",
    "Binarisation",
    "Factors",
    "Listing",
    "Padded",
    "Split",
    "Stream",
    "Table",
    "adult",
    "canvases",
    "catalogue",
    "check_binary",
    "check_unit_interval",
    "dsprites",
    "dsprites_grid",
    "dsprites_subset",
    "from_arrays",
    "from_items",
    "inverted",
    "japanese_vowels",
    "lengths_to_mask",
    "load",
    "names",
    "nile",
    "pad",
    "pixel_noise",
    "render",
    "renderer",
    "sonnets",
    "sprites",
    "stream",
    "table",
    "write_midi",
]

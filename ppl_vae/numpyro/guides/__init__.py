"""Guides q(z | x), in NumPyro."""

from .amortised import Amortised as Amortised
from .hierarchical import BottomUp as BottomUp

"""Guides q(z | x), in Pyro."""

from .amortised import Amortised as Amortised
from .hierarchical import BottomUp as BottomUp

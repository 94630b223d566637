"""Guides q(z | x), in NumPyro."""

from .amortised import Amortised as Amortised
from .hierarchical import BottomUp as BottomUp
from .per_datapoint import PerDatapoint as PerDatapoint
from .semi_amortised import SemiAmortised as SemiAmortised

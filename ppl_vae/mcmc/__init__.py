"""Markov chain Monte Carlo on a trained model: samplers, kernels, and the ladder of annealed runs."""

from .samplers import HMC as HMC
from .samplers import NUTS as NUTS
from .samplers import Chains as Chains
from .samplers import LearnedHMC as LearnedHMC
from .samplers import kernel_of as kernel_of

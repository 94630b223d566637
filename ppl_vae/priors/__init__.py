"""Priors: modules whose call, with no argument, returns p(z), in Pyro."""

from ..runtime import extras

extras.check_installed("pyro")

from .aggregate import AggregatePosterior as AggregatePosterior
from .autoregressive import Autoregressive as Autoregressive
from .codebook import CodePrior as CodePrior
from .factorised import FactorisedBernoulli as FactorisedBernoulli
from .factorised import FactorisedCategorical as FactorisedCategorical
from .factorised import StandardNormal as StandardNormal
from .factorised import UniformCategorical as UniformCategorical
from .factorised import UniformConcrete as UniformConcrete
from .flow import FlowPrior as FlowPrior
from .hidden_markov import HiddenMarkov as HiddenMarkov
from .markov import Markov as Markov
from .mixtures import MixtureOfGaussians as MixtureOfGaussians
from .mixtures import MixtureOfNormals as MixtureOfNormals
from .sticks import StickBreaking as StickBreaking
from .unconditional import Unconditional as Unconditional
from .vampprior import Means as Means
from .vampprior import VampPrior as VampPrior

"""Generative programs p(x, z) and their priors, in NumPyro."""

from .conditional import ConditionalVAE as ConditionalVAE
from .conditional import Unconditional as Unconditional
from .hierarchical import HVAE as HVAE
from .images import Autoregressive as Autoregressive
from .images import Completion as Completion
from .images import FullyVisible as FullyVisible
from .images import MixtureOfBernoullis as MixtureOfBernoullis
from .priors import FactorisedBernoulli as FactorisedBernoulli
from .priors import Means as Means
from .priors import MixtureOfGaussians as MixtureOfGaussians
from .priors import StandardNormal as StandardNormal
from .priors import UniformCategorical as UniformCategorical
from .priors import VampPrior as VampPrior
from .vae import VAE as VAE

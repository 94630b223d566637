"""Generative programs p(x, z) and their priors, in Pyro."""

from ..runtime import extras

extras.check_installed("pyro")

from ..priors.aggregate import AggregatePosterior as AggregatePosterior
from ..priors.autoregressive import Autoregressive as Autoregressive
from ..priors.codebook import CodePrior as CodePrior
from ..priors.factorised import FactorisedBernoulli as FactorisedBernoulli
from ..priors.factorised import FactorisedCategorical as FactorisedCategorical
from ..priors.factorised import StandardNormal as StandardNormal
from ..priors.factorised import UniformCategorical as UniformCategorical
from ..priors.factorised import UniformConcrete as UniformConcrete
from ..priors.flow import FlowPrior as FlowPrior
from ..priors.mixtures import MixtureOfGaussians as MixtureOfGaussians
from ..priors.sticks import StickBreaking as StickBreaking
from ..priors.unconditional import Unconditional as Unconditional
from ..priors.vampprior import Means as Means
from ..priors.vampprior import VampPrior as VampPrior
from .attend_infer_repeat import AttendInferRepeat as AttendInferRepeat
from .bottleneck import InformationBottleneck as InformationBottleneck
from .conditional import ConditionalVAE as ConditionalVAE
from .diffusion import Diffusion as Diffusion
from .fair import FairVAE as FairVAE
from .hierarchical import HVAE as HVAE
from .hierarchical import Hierarchy as Hierarchy
from .images import Completion as Completion
from .images import FullyVisible as FullyVisible
from .images import MixtureOfBernoullis as MixtureOfBernoullis
from .implicit import Implicit as Implicit
from .recurrent import Recurrent as Recurrent
from .semi_supervised import SemiSupervisedVAE as SemiSupervisedVAE
from .vae import VAE as VAE

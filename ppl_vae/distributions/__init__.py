"""Distributions that Pyro lacks, and two of its own that take fewer passes over their arrays."""

from ..runtime import extras

extras.check_installed("pyro")

from ppl_vae.distributions.autoregressive import AutoregressiveCategorical, AutoregressiveLevels
from ppl_vae.distributions.bernoulli import BernoulliLogits
from ppl_vae.distributions.concrete import Concrete
from ppl_vae.distributions.diffusion import Denoising, Noising
from ppl_vae.distributions.flow import Flow
from ppl_vae.distributions.hamiltonian import Hamiltonian
from ppl_vae.distributions.images import AutoregressiveBernoulli, BernoulliMixture
from ppl_vae.distributions.implicit import Implicit
from ppl_vae.distributions.innovations import Innovations, Sequences
from ppl_vae.distributions.levels import CategoricalLevels, DiscretisedLogistic
from ppl_vae.distributions.markov import HiddenMarkov, Markov
from ppl_vae.distributions.mixture import DiagNormalMixture, mixture
from ppl_vae.distributions.normal import Normal
from ppl_vae.distributions.quantised import Nearest, RandomCodes
from ppl_vae.distributions.recurrent import Recurrent
from ppl_vae.distributions.semi_implicit import SemiImplicit
from ppl_vae.distributions.shared_mixture import SharedMixture, Strata
from ppl_vae.distributions.sticks import LogitBeta, LogitKumaraswamy
from ppl_vae.distributions.tables import Columns, NegativeBinomial, Poisson

__all__ = [
    "AutoregressiveBernoulli",
    "AutoregressiveCategorical",
    "AutoregressiveLevels",
    "BernoulliLogits",
    "BernoulliMixture",
    "CategoricalLevels",
    "Columns",
    "Concrete",
    "Denoising",
    "DiagNormalMixture",
    "DiscretisedLogistic",
    "Flow",
    "HiddenMarkov",
    "Hamiltonian",
    "Implicit",
    "Innovations",
    "Markov",
    "Normal",
    "LogitBeta",
    "LogitKumaraswamy",
    "Nearest",
    "NegativeBinomial",
    "Noising",
    "Poisson",
    "RandomCodes",
    "Recurrent",
    "SemiImplicit",
    "Sequences",
    "SharedMixture",
    "Strata",
    "mixture",
]

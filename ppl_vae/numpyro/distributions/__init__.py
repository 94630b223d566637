"""Distributions that NumPyro lacks."""

from ppl_vae.numpyro.distributions.autoregressive import AutoregressiveCategorical, AutoregressiveLevels
from ppl_vae.numpyro.distributions.bernoulli import BernoulliLogits
from ppl_vae.numpyro.distributions.concrete import Concrete
from ppl_vae.numpyro.distributions.diffusion import Denoising, Noising
from ppl_vae.numpyro.distributions.flow import Flow
from ppl_vae.numpyro.distributions.hamiltonian import Hamiltonian
from ppl_vae.numpyro.distributions.images import AutoregressiveBernoulli, BernoulliMixture
from ppl_vae.numpyro.distributions.implicit import Implicit
from ppl_vae.numpyro.distributions.innovations import Innovations, Sequences
from ppl_vae.numpyro.distributions.levels import CategoricalLevels, DiscretisedLogistic
from ppl_vae.numpyro.distributions.markov import HiddenMarkov, Markov
from ppl_vae.numpyro.distributions.mixture import DiagNormalMixture, mixture
from ppl_vae.numpyro.distributions.quantised import Nearest, RandomCodes
from ppl_vae.numpyro.distributions.recurrent import Recurrent
from ppl_vae.numpyro.distributions.semi_implicit import SemiImplicit
from ppl_vae.numpyro.distributions.shared_mixture import SharedMixture, Strata
from ppl_vae.numpyro.distributions.sticks import LogitBeta, LogitKumaraswamy
from ppl_vae.numpyro.distributions.tables import Columns, NegativeBinomial, Poisson

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
    "LogitBeta",
    "LogitKumaraswamy",
    "Markov",
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

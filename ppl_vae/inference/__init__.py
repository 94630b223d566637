"""Inference in Pyro: objectives, stochastic variational inference and Markov chains."""

from ..runtime import extras

extras.check_installed("pyro")

from typing import TYPE_CHECKING

from ..errors import WorkerLost as WorkerLost
from ..mcmc.samplers import HMC as HMC
from ..mcmc.samplers import NUTS as NUTS
from ..mcmc.samplers import LearnedHMC as LearnedHMC
from .checks.examination import examine as examine
from .gradients import draw_gradients as draw_gradients
from .gradients import owners as owners
from .marginals import marginals as marginals
from .pair import Pair as Pair
from .refinement import localised as localised
from .sequences import continued as continued
from .sequences import followed as followed
from .sequences import particles as particles
from .sequences import smoothed as smoothed
from .sequences import states as states
from .sequences import step_moments as step_moments
from .svi.processes import launch as launch
from .svi.svi import SVI as SVI
from .svi.svi import Adversarial as Adversarial
from .terms import log_terms as log_terms

if TYPE_CHECKING:  # the same names and fields, for editors and type checkers
    from ..objectives import *
    from .objectives import TermsObjective as TermsObjective
    from .objectives import adopt as adopt
else:
    from .objectives import *

"""How good is a fit? Likelihoods, latents, and fits side by side; arrays in, arrays out, one code for both backends."""

from .ais import AIS as AIS
from .ais import Annealing as Annealing
from .ais import Bidirectional as Bidirectional
from .ais import ais as ais
from .ais import bdmc as bdmc
from .ais import exact_log_likelihood as exact_log_likelihood
from .compare import compare as compare
from .compare import difference as difference
from .completion import ConditionalLogLikelihood as ConditionalLogLikelihood
from .completion import conditional_log_likelihood as conditional_log_likelihood
from .evaluate import Evaluation as Evaluation
from .evaluate import evaluate as evaluate
from .gradients import gradient_report as gradient_report
from .gradients import over_draws as over_draws
from .latents import active_units as active_units
from .likelihood import ELBO as ELBO
from .likelihood import LogLikelihood as LogLikelihood
from .likelihood import elbo as elbo
from .likelihood import log_likelihood as log_likelihood
from .noise import study_gradients as study_gradients
from .report import write_report as write_report
from .study import Cell as Cell
from .study import Result as Result
from .study import Study as Study

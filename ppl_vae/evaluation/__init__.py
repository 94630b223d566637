"""How good is a fit? Likelihoods, latents, and fits side by side; arrays in, arrays out, one code for both backends."""

from .compare import Evaluation as Evaluation
from .compare import compare as compare
from .compare import evaluate as evaluate
from .latents import active_units as active_units
from .likelihood import ELBO as ELBO
from .likelihood import LogLikelihood as LogLikelihood
from .likelihood import elbo as elbo
from .likelihood import log_likelihood as log_likelihood

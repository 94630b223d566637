"""Divergences between distributions, and measures of the aggregate posterior, from samples and densities."""

from .aggregate_density import ESTIMATORS as ESTIMATORS
from .aggregate_density import aggregate_log_densities as aggregate_log_densities
from .aggregate_density import log_densities as log_densities
from .aggregate_density import log_weights as log_weights
from .aggregate_posterior import covariance_gap as covariance_gap
from .aggregate_posterior import total_correlation as total_correlation
from .costs import COSTS as COSTS
from .costs import cost as cost
from .two_sample import KERNELS as KERNELS
from .two_sample import mmd as mmd
from .two_sample import sliced_wasserstein as sliced_wasserstein

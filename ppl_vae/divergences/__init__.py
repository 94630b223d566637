"""Divergences between distributions, and measures of the aggregate posterior, from samples and densities."""

from .aggregate_density import ESTIMATORS as ESTIMATORS
from .aggregate_density import aggregate_log_densities as aggregate_log_densities
from .aggregate_density import log_densities as log_densities
from .aggregate_density import log_weights as log_weights
from .aggregate_posterior import covariance_gap as covariance_gap
from .aggregate_posterior import total_correlation as total_correlation
from .costs import COSTS as COSTS
from .costs import cost as cost
from .families import FAMILIES as FAMILIES
from .families import FDivergence as FDivergence
from .families import by_learned_ratio as by_learned_ratio
from .families import by_quadrature as by_quadrature
from .families import by_samples as by_samples
from .families import dual_bound as dual_bound
from .families import from_generator as from_generator
from .families import learned_log_ratio as learned_log_ratio
from .nulls import PermutationTest as PermutationTest
from .nulls import permutation_test as permutation_test
from .optimal_transport import gaussian_wasserstein as gaussian_wasserstein
from .optimal_transport import wasserstein as wasserstein
from .two_sample import KERNELS as KERNELS
from .two_sample import group_mmd as group_mmd
from .two_sample import mmd as mmd
from .two_sample import sliced_wasserstein as sliced_wasserstein

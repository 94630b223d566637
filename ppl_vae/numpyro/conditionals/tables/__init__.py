"""Likelihoods of tables, in NumPyro: counts, and columns of several kinds."""

from .columns import Columns as Columns
from .counts import NegativeBinomial as NegativeBinomial
from .counts import Poisson as Poisson

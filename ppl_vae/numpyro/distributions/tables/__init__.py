"""Distributions of tables, in NumPyro."""

from .columns import Columns as Columns
from .counts import NegativeBinomial as NegativeBinomial
from .counts import Poisson as Poisson

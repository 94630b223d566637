"""Distributions of tables, in NumPyro."""

from .columns import Columns as Columns

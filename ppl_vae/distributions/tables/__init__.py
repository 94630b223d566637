"""Distributions of tables, in Pyro."""

from .columns import Columns as Columns

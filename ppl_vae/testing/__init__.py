"""Tools for tests of one's own programs: the same pair on Pyro and on NumPyro."""

from .parity import assert_same_program as assert_same_program
from .parity import port_weights as port_weights

"""Tables of mixed columns as an estimator."""

from .estimator import TabularVAE as TabularVAE

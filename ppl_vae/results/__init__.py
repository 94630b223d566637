"""Fit, what an inference returns, and draws from it."""

from .draws import Draws as Draws
from .fit import Fit as Fit
from .forecasts import Forecast as Forecast

"""Conditionals: modules whose call returns a distribution, given z or x, in Pyro."""

from ..runtime import extras

extras.check_installed("pyro")

from .autoregressive import Autoregressive as Autoregressive
from .discrete import Bernoulli as Bernoulli
from .discrete import Categorical as Categorical
from .discrete import Concrete as Concrete
from .drawing import Drawing as Drawing
from .flow import Flow as Flow
from .hierarchical import Beside as Beside
from .hierarchical import Merged as Merged
from .implicit import Implicit as Implicit
from .labels import at_labels as at_labels
from .labels import beside_labels as beside_labels
from .masking import joined as joined
from .masking import observed_only as observed_only
from .masking import visible as visible
from .mixture import Mixture as Mixture
from .normal import SCALE_FLOOR as SCALE_FLOOR
from .normal import DiagNormal as DiagNormal
from .normal import FullNormal as FullNormal
from .normal import Normal as Normal
from .pixel_levels import CategoricalLevels as CategoricalLevels
from .pixel_levels import DiscretisedLogistic as DiscretisedLogistic
from .presence import if_present as if_present
from .quantised import Nearest as Nearest
from .recurrent import Filtering as Filtering
from .recurrent import Smoothing as Smoothing
from .recurrent_filtering import RecurrentFiltering as RecurrentFiltering
from .semi_implicit import SemiImplicit as SemiImplicit
from .standardised import Standardised as Standardised
from .sticks import StickBreaking as StickBreaking
from .tables import Columns as Columns
from .tables import NegativeBinomial as NegativeBinomial
from .tables import Poisson as Poisson

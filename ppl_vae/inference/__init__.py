"""Inference strategies, in Pyro: objectives, and what drives them."""

from ..chains import HMC as HMC
from ..chains import NUTS as NUTS
from .distributed import WorkerLost as WorkerLost
from .distributed import launch as launch
from .gradients import draw_gradients as draw_gradients
from .gradients import owners as owners
from .objectives import CIWAE as CIWAE
from .objectives import IWAE as IWAE
from .objectives import MIWAE as MIWAE
from .objectives import VIMCO as VIMCO
from .objectives import CapacityELBO as CapacityELBO
from .objectives import DReG as DReG
from .objectives import FreeBitsELBO as FreeBitsELBO
from .objectives import RenyiELBO as RenyiELBO
from .objectives import TermsObjective as TermsObjective
from .objectives import TraceELBO as TraceELBO
from .objectives import TraceEnumELBO as TraceEnumELBO
from .objectives import TraceGraphELBO as TraceGraphELBO
from .objectives import TraceMeanFieldELBO as TraceMeanFieldELBO
from .objectives import WakeSleep as WakeSleep
from .objectives import WakeWake as WakeWake
from .pair import Pair as Pair
from .refinement import localised as localised
from .svi import SVI as SVI
from .terms import examine as examine
from .terms import log_terms as log_terms

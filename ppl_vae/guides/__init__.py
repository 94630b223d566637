"""Guides q(z | x), in Pyro."""

from ..runtime import extras

extras.check_installed("pyro")

from .amortised import Amortised as Amortised
from .attend_infer_repeat import AttendInferRepeat as AttendInferRepeat
from .exact import Empty as Empty
from .exact import ExactCompletion as ExactCompletion
from .hamiltonian import Hamiltonian as Hamiltonian
from .hierarchical import BottomUp as BottomUp
from .hierarchical import TopDown as TopDown
from .noising import Noising as Noising
from .per_datapoint import PerDatapoint as PerDatapoint
from .semi_amortised import SemiAmortised as SemiAmortised
from .semi_supervised import SemiSupervised as SemiSupervised

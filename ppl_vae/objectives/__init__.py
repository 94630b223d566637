"""Objectives: settings, checks, and a bound of terms, written once for both backends."""

from .adversarial import AAE as AAE
from .adversarial import ALI as ALI
from .adversarial import AVB as AVB
from .adversarial import GAN as GAN
from .adversarial import GMMN as GMMN
from .adversarial import VAEGAN as VAEGAN
from .adversarial import WAEGAN as WAEGAN
from .adversarial import AdversarialObjective as AdversarialObjective
from .adversarial import FactorVAE as FactorVAE
from .adversarial import FDivergenceVAE as FDivergenceVAE
from .adversarial import ImplicitObjective as ImplicitObjective
from .aggregate_posterior import DIPVAE as DIPVAE
from .aggregate_posterior import WAE as WAE
from .aggregate_posterior import BetaTCVAE as BetaTCVAE
from .aggregate_posterior import InfoVAE as InfoVAE
from .aggregate_posterior import MatchedObjective as MatchedObjective
from .aggregate_posterior import RandomMixtureVAE as RandomMixtureVAE
from .aggregate_posterior import RegularisedObjective as RegularisedObjective
from .antithetic import ARM as ARM
from .antithetic import AntitheticObjective as AntitheticObjective
from .antithetic import DisARM as DisARM
from .base import BetaObjective as BetaObjective
from .base import Objective as Objective
from .base import WeightedObjective as WeightedObjective
from .control_variates import REBAR as REBAR
from .control_variates import RELAX as RELAX
from .control_variates import RODEO as RODEO
from .control_variates import ControlledObjective as ControlledObjective
from .control_variates import MuProp as MuProp
from .elbo import MISELBO as MISELBO
from .elbo import CapacityELBO as CapacityELBO
from .elbo import DiffusionELBO as DiffusionELBO
from .elbo import FreeBitsELBO as FreeBitsELBO
from .elbo import TraceELBO as TraceELBO
from .elbo import TraceMeanFieldELBO as TraceMeanFieldELBO
from .importance_weighted import CIWAE as CIWAE
from .importance_weighted import FIVO as FIVO
from .importance_weighted import IWAE as IWAE
from .importance_weighted import MIWAE as MIWAE
from .importance_weighted import NASMC as NASMC
from .importance_weighted import DReG as DReG
from .importance_weighted import RejectionELBO as RejectionELBO
from .importance_weighted import RenyiELBO as RenyiELBO
from .labelled import AroundObjective as AroundObjective
from .labelled import Denoising as Denoising
from .labelled import GroupMMD as GroupMMD
from .labelled import Labelled as Labelled
from .per_site import Enumerate as Enumerate
from .per_site import MeasureValued as MeasureValued
from .per_site import PerSite as PerSite
from .per_site import Relax as Relax
from .per_site import Reparameterise as Reparameterise
from .per_site import Score as Score
from .prior import ACN as ACN
from .prior import Neighbours as Neighbours
from .prior import PriorELBO as PriorELBO
from .quantised import VQELBO as VQELBO
from .relaxed import GumbelSoftmax as GumbelSoftmax
from .request import ChainRequest as ChainRequest
from .request import FilterRequest as FilterRequest
from .request import LatentsRequest as LatentsRequest
from .request import LevelsRequest as LevelsRequest
from .request import TermsRequest as TermsRequest
from .score_function import VIMCO as VIMCO
from .score_function import ScoredObjective as ScoredObjective
from .score_function import TraceEnumELBO as TraceEnumELBO
from .score_function import TraceGraphELBO as TraceGraphELBO
from .wake_sleep import HMCELBO as HMCELBO
from .wake_sleep import WakeSleep as WakeSleep
from .wake_sleep import WakeWake as WakeWake


def concrete() -> dict[str, type[Objective]]:
    """Name -> class of every objective here that has a bound; each backend makes its own ELBOs of them.

    >>> "IWAE" in concrete(), "ScoredObjective" in concrete()
    (True, False)
    """
    classes = {name: value for name, value in globals().items() if isinstance(value, type)}
    return {name: c for name, c in classes.items() if issubclass(c, Objective) and c.bound is not Objective.bound}

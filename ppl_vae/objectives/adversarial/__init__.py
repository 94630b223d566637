"""Objectives that read draws in the place of densities, most with a second player: a critic of codes, data or both."""

from .codes import AAE as AAE
from .codes import WAEGAN as WAEGAN
from .codes import AdversarialObjective as AdversarialObjective
from .codes import FactorVAE as FactorVAE
from .codes import FDivergenceVAE as FDivergenceVAE
from .implicit import GAN as GAN
from .implicit import GMMN as GMMN
from .implicit import ImplicitObjective as ImplicitObjective
from .joint import ALI as ALI
from .joint import AVB as AVB
from .similarity import VAEGAN as VAEGAN

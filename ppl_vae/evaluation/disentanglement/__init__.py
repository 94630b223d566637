"""Disentanglement metrics: which dimensions of codes (N, D) hold which factors (N, F) of the data."""

from .beta_vae import beta_vae_metric as beta_vae_metric
from .correlations import spearman as spearman
from .dci import DCI as DCI
from .dci import dci as dci
from .factor_vae import factor_vae_metric as factor_vae_metric
from .metrics import METRICS as METRICS
from .metrics import Codes as Codes
from .metrics import encode as encode
from .metrics import evaluate as evaluate
from .metrics import metrics as metrics
from .mig import mig_binned as mig_binned
from .mig_sampled import mig_sampled as mig_sampled
from .modularity import modularity as modularity
from .sap import sap as sap
from .score import Score as Score
from .unsupervised import active_dims as active_dims
from .unsupervised import gaussian_total_correlation as gaussian_total_correlation
from .unsupervised import gaussian_wasserstein as gaussian_wasserstein
from .usefulness import Usefulness as Usefulness
from .usefulness import usefulness as usefulness

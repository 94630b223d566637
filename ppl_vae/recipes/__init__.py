"""Recipes: the settings of a model and its guide, for either backend."""

from .bottleneck import bottleneck as bottleneck
from .builders import STARTS as STARTS
from .fair import fair as fair
from .labels import semi_supervised as semi_supervised
from .published import REPORT_PRIORS as REPORT_PRIORS
from .published import conditional_vae as conditional_vae
from .published import conv_vae as conv_vae
from .published import deep_markov as deep_markov
from .published import hidden_markov as hidden_markov
from .published import hierarchy as hierarchy
from .published import pixel_hvae as pixel_hvae
from .published import report_vae as report_vae
from .published import vae as vae
from .published import vampprior_vae as vampprior_vae
from .published import variational_recurrent as variational_recurrent
from .recipe import GUIDES as GUIDES
from .recipe import LATENTS as LATENTS
from .recipe import LIKELIHOODS as LIKELIHOODS
from .recipe import NETS as NETS
from .recipe import PRIORS as PRIORS
from .recipe import Recipe as Recipe
from .scenes import attend_infer_repeat as attend_infer_repeat

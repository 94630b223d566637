"""Deep latent-variable generative models as Pyro model/guide pairs with NumPyro mirrors.

The inference strategy is an object: exchange it, keep the pair as it is, and compare the results.
This module imports neither torch nor jax; ``ppl_vae.models`` and its siblings are in Pyro, the same
names under ``ppl_vae.numpyro`` in NumPyro. ``VAE``, ``VampVAE``, ``SemiSupervisedVAE``, ``SequenceVAE`` and
``TabularVAE`` are scikit-learn estimators, imported when they are first used.
"""

from typing import TYPE_CHECKING, Any

from .runtime.versions import __version__ as __version__

if TYPE_CHECKING:
    from .estimators import VAE as VAE
    from .estimators import SemiSupervisedVAE as SemiSupervisedVAE
    from .estimators import SequenceVAE as SequenceVAE
    from .estimators import VampVAE as VampVAE
    from .tabular import TabularVAE as TabularVAE


def __getattr__(name: str) -> Any:
    if name in ("VAE", "VampVAE", "SemiSupervisedVAE", "SequenceVAE"):
        from . import estimators

        return getattr(estimators, name)
    if name == "TabularVAE":
        from . import tabular

        return tabular.TabularVAE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

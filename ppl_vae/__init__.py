"""Deep latent-variable generative models as Pyro model/guide pairs with NumPyro mirrors.

The inference strategy is an object: swap it, leave the pair alone, read the results side by side.
This module imports neither torch nor jax; ``ppl_vae.models`` and its siblings speak Pyro, the same
names under ``ppl_vae.numpyro`` speak NumPyro.
"""

__version__ = "0.1.0"

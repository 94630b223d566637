"""Hidden Markov models, in NumPyro: sequences from states that are summed out."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx

from .. import distributions


class HiddenMarkov(nnx.Module):
    """p(x_1:T) = sum over s_1:T of p(s_1) prod_t p(s_t | s_{t-1}) p(x_t | s_t), for ``models.FullyVisible``.

    Event shape (T P,). With the guide ``Empty`` the ELBO is log p(x), which is exact, and so is its gradient. *A
    Tutorial on Hidden Markov Models*, Rabiner, 1989.

    Args:
        num_states: C.
        emission: a conditional that maps states, one-hot (C, C), to p(x_t | s_t), event shape (P,), such as
            ``conditionals.Bernoulli(nets.MLP((C, P), rng))``, or ``DiagNormal`` of 2 P outputs.
        length: T.
        rng: of the transition's start, near an equal chance of every state.

    >>> from ppl_vae.numpyro import conditionals, nets
    >>> rng = np.random.default_rng(0)
    >>> HiddenMarkov(4, conditionals.Bernoulli(nets.MLP((4, 3), rng)), 7, rng)().event_shape
    (21,)
    """

    def __init__(self, num_states: int, emission: nnx.Module, length: int, rng: np.random.Generator) -> None:
        self.emission = emission
        self.length = length
        self.initial = nnx.Param(jnp.zeros(num_states))
        self.transition = nnx.Param(jnp.asarray(0.1 * rng.standard_normal((num_states, num_states)), float))

    def __call__(self) -> distributions.HiddenMarkov:
        """Return the distribution over sequences (T P,)."""
        emission = self.emission(jnp.eye(len(self.initial[...])))
        return distributions.HiddenMarkov(self.initial[...], self.transition[...], emission, self.length)

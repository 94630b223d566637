"""Markov priors, in NumPyro: latents that move from step to step."""

from __future__ import annotations

from flax import nnx

from .. import distributions


class Markov(nnx.Module):
    """p(z_1:T) = p(z_1) prod_t p(z_t | z_{t-1}), one draw of all T steps. Event shape (T D,).

    With a linear transition a linear Gaussian state space, with ``nets.GatedTransition`` the deep Markov model of
    *Structured Inference Networks for Nonlinear State Space Models*, Krishnan, Shalit and Sontag, 2017.

    Args:
        initial: a prior of the first step, whose call returns p(z_1), event shape (D,).
        transition: a conditional that maps z_{t-1} (..., D) to p(z_t | z_{t-1}).
        length: T.

    >>> import numpy as np
    >>> from ppl_vae.numpyro import conditionals, nets, priors
    >>> step = conditionals.DiagNormal(nets.GatedTransition(2, (8,), np.random.default_rng(0)))
    >>> priors.Markov(priors.StandardNormal(2), step, 7)().event_shape
    (14,)
    """

    def __init__(self, initial: nnx.Module, transition: nnx.Module, length: int) -> None:
        self.initial = initial
        self.transition = transition
        self.length = length

    def __call__(self) -> distributions.Markov:
        """Return the distribution over paths (T D,)."""
        return distributions.Markov(self.initial(), self.transition, self.length)

"""Wake-sleep, and chains from the guide's draws: model and guide maximise different functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from .. import bounds
from ..arrays.ops import Array
from ..kinds import fits
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from .base import Objective
from .options import option
from .request import ChainRequest, TermsRequest
from .score_function import ScoredObjective


@dataclass(frozen=True)
class WakeWake(ScoredObjective):
    """Reweighted wake-sleep without the sleep: the model ascends the IWAE bound, the guide descends KL(p(z | x) || q).

    Any latents. The guide's gradient has a bias of order 1/K. Reweighted Wake-Sleep, Bornschein and Bengio, 2015;
    Revisiting Reweighted Wake-Sleep, Le et al., 2020.

    >>> WakeWake(10).num_particles
    10
    """

    num_particles: int = 5

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.wake_wake(terms)


@dataclass(frozen=True)
class WakeSleep(ScoredObjective):
    """Wake-sleep: the model ascends the IWAE bound, the guide is trained on draws from the model.

    Each step draws (z, x) from the model, one for each datum of the batch, and the guide ascends log q(z | x) on them:
    down KL(p(z | x) || q(z | x)) with no bias, averaged over data drawn from the model, not over the data set. Any
    latents; the model must generate, ``model(x=None, size=B)``. Hinton et al., 1995; Reweighted Wake-Sleep, Bornschein
    and Bengio, 2015.

    >>> WakeSleep(5).request.sleep
    True
    """

    num_particles: int = 5

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, sleep=True)

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.wake_sleep(terms)


@dataclass(frozen=True)
class HMCELBO(Objective):
    """The guide ascends the ELBO at its draws; the model ascends log p(x, z) at the draws that HMC moved them to.

    ``transitions`` of Hamiltonian Monte Carlo, of ``leapfrog`` steps each, take every draw towards p(z | x), at which
    E d log p(x, z) is the gradient of log p(x): the model no longer pays for what the guide cannot reach. The value is
    the ELBO, which such a model does not ascend. ``step_size`` is the leapfrog's, in the units of the latents without
    constraints, with the jitter of ``kernels``. Learning Deep Latent Gaussian Models with Markov Chain Monte Carlo,
    Hoffman, 2017.

    Raises:
        ValueError: no transition, which is ``TraceELBO``; no leapfrog step, or a step size that is not above 0.
        UnsuitableObjective: latents without a reparameterised sample.

    >>> HMCELBO(transitions=2).request.chain
    ChainRequest(transitions=2, leapfrog=5, step_size=0.1)
    """

    unused: ClassVar[tuple[str, ...]] = ("chunk",)
    transitions: int = option(
        1, "transitions of HMC from each draw", name="train_transitions", kind="count", metavar="T"
    )
    leapfrog: int = option(5, "leapfrog steps of each transition", name="train_leapfrog", kind="count", metavar="L")
    step_size: float = option(0.1, "step size of the leapfrog", name="train_step_size", kind="positive", metavar="SIZE")

    def __post_init__(self) -> None:
        if fits("whole", self.transitions) and not self.transitions:
            raise ValueError(
                "HMCELBO: 'transitions' should be 1 or more, as without one draws stay: use TraceELBO; got 0."
            )
        super().__post_init__()
        if self.chunk is not None:
            raise ValueError(f"HMCELBO moves its draws at once: leave 'chunk' at None; got {self.chunk}.")

    @property
    def is_bound(self) -> bool:
        """False: its value is the ELBO, but the model ascends another function."""
        return False

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, chain=ChainRequest(self.transitions, self.leapfrog, self.step_size))

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        sites.check_plain(type(self).__name__, "TraceELBO")

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.moved(terms)

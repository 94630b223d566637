"""Wake-sleep objectives: model and guide maximise different functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .. import bounds
from ..arrays.ops import Array
from ..pairs.terms import Terms
from .request import TermsRequest
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

"""Objectives with a second player: a critic that learns a log-ratio of densities from draws of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from .. import bounds
from ..arrays import ops
from ..arrays.ops import Array
from ..divergences import costs
from ..divergences.costs import Cost, CostFunction
from ..pairs.terms import Terms
from ..schedules import Schedule
from .aggregate_posterior import ASKED, Autoencoding, RegularisedObjective
from .options import option
from .request import LatentsRequest, TermsRequest


@dataclass(frozen=True)
class AdversarialObjective(RegularisedObjective):
    """An objective with a second player: a critic c(z) = log q(z) - log r(z), learned by classifying codes.

    ``against`` names the other class, draws from r: 'prior' draws, or 'permuted' codes of another batch, each
    dimension shuffled independently, whose law is prod_d q(z_d). ``inference.Adversarial`` runs it, and has the critic.
    """

    against: ClassVar[Literal["prior", "permuted"]] = "prior"
    asks: ClassVar[LatentsRequest] = LatentsRequest(prior=True)
    needs_critic: ClassVar[bool] = True

    def check_output(self, logits: Array | None) -> Array:
        """Return the critic's logits, which only a training with a critic has.

        Raises:
            ValueError: there are none.
        """
        if logits is None:
            raise ValueError(
                f"{type(self).__name__} needs its critic's logits: train with inference.Adversarial, which has one."
            )
        return logits


@dataclass(frozen=True)
class FactorVAE(AdversarialObjective):
    """ELBO - ``strength`` TC, with TC = E_q(z)[log q(z) - log prod_d q(z_d)] read off a critic.

    At strength 0 the ELBO. Any guide whose draws carry a gradient. Disentangling by Factorising, Kim and Mnih, 2018;
    their gamma is ``strength``.

    >>> FactorVAE(strength=10.0).against
    'permuted'
    """

    against: ClassVar[Literal["prior", "permuted"]] = "permuted"
    asks: ClassVar[LatentsRequest] = LatentsRequest()
    strength: float | Schedule = option(10.0, ASKED, kind="non-negative", metavar="WEIGHT")

    def bound(self, terms: Terms, logits: Array | None = None) -> Array:
        """Terms (K, B) and the critic's logits at the draws (K, B) -> (B,)."""
        return bounds.elbo(terms) - self._weight() * self.check_output(logits).mean(0)


@dataclass(frozen=True)
class WAEGAN(Autoencoding, AdversarialObjective):
    """-E_q[rho(x, E[x | z])] - ``strength`` E_q[-log D(z)]: a Wasserstein auto-encoder with an adversary on the codes.

    D = sigmoid(-c) is the critic's probability that z came from the prior; ``cost`` and ``deterministic`` are those of
    ``WAE``. At strength 0 an autoencoder. No bound. Wasserstein Auto-Encoders, Tolstikhin et al., 2018.

    >>> WAEGAN().against
    'prior'
    """

    strength: float | Schedule = option(10.0, ASKED, kind="non-negative", metavar="WEIGHT")
    cost: Cost | CostFunction = option("likelihood", "cost of a reconstruction", kind=costs.COSTS, function="(x, mean)")
    deterministic: bool = option(False, "the guide's mean instead of its draws", kind="switch")

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return self._without_kl(super().request)

    def bound(self, terms: Terms, logits: Array | None = None) -> Array:
        """Terms (K, B) and the critic's logits at the draws (K, B) -> (B,)."""
        return self._reconstruction(terms) - self._weight() * ops.softplus(self.check_output(logits)).mean(0)


@dataclass(frozen=True)
class AAE(WAEGAN):
    """E_q[log p(x | z)] - ``strength`` E_q[-log D(z)]: an adversarial autoencoder.

    The likelihood for a cost, and 1 for a strength; else ``WAEGAN``. Adversarial Autoencoders, Makhzani, Shlens,
    Jaitly, Goodfellow and Frey, 2016.

    >>> AAE().strength
    1.0
    """

    strength: float | Schedule = option(1.0, ASKED, kind="non-negative", metavar="WEIGHT")

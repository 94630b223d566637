"""Objectives with a critic of codes, which learns how far the aggregate posterior is from another law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ... import bounds
from ...arrays import ops
from ...arrays.ops import Array
from ...critics import Critic
from ...divergences import costs
from ...divergences.costs import Cost, CostFunction
from ...divergences.families import FAMILIES
from ...pairs.terms import Terms
from ...players import Player
from ...schedules import Schedule
from ..aggregate_posterior import ASKED, Autoencoding, RegularisedObjective
from ..base import Objective
from ..options import from_python, option
from ..request import LatentsRequest, TermsRequest


def needed(objective: Objective, logits: Array | None) -> Array:
    """Return the critic's logits, which only a training with a critic has."""
    if logits is None:
        raise ValueError(
            f"{type(objective).__name__} needs its critic's logits: train with inference.Adversarial, which has one."
        )
    return logits


@dataclass(frozen=True)
class AdversarialObjective(RegularisedObjective):
    """An objective with a second player: a critic c(z) = log q(z) - log r(z), learned by classifying codes.

    ``against`` names the other class, draws from r: 'prior' draws, or 'permuted' codes of another batch, each
    dimension shuffled independently, whose law is prod_d q(z_d). ``inference.Adversarial`` runs it, and has the critic.
    """

    against: ClassVar[Literal["prior", "permuted"]] = "prior"
    asks: ClassVar[LatentsRequest] = LatentsRequest(prior=True)
    needs_critic: ClassVar[bool] = True
    judges: ClassVar[Literal["data", "codes", "both"]] = "codes"
    default_critic: ClassVar[type[Player]] = Critic

    def player(self, critic: Critic) -> Player:
        """The player that the critic of a training is for this objective."""
        return critic

    def check_output(self, logits: Array | None) -> Array:
        """Return the critic's logits, which only a training with a critic has.

        Raises:
            ValueError: there are none.
        """
        return needed(self, logits)


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
class FDivergenceVAE(AdversarialObjective):
    """ELBO - ``strength`` D_f(q(z) || p(z)): an f-divergence of the aggregate posterior, by a critic's log-ratio c.

    Its value is E_q[f(e^c) e^-c] at the codes; its gradient is that of E_q f'(e^c) with c fixed, which is the
    divergence's, as q and c move together. So reverse KL has one too, though E_p[-c] at the prior's draws has none:
    its terms grow as e^-c, and ``clip`` has to bound |c| then. With 'jensen-shannon' the encoder plays half the
    saturating game of a GAN, its KL kept. At strength 0 the ELBO. The formulas are ``divergences.FAMILIES``.

    >>> FDivergenceVAE(divergence="jensen-shannon").against
    'prior'
    """

    strength: float | Schedule = option(10.0, ASKED, kind="non-negative", metavar="WEIGHT")
    divergence: Literal["kl", "reverse kl", "jensen-shannon", "squared hellinger", "pearson"] = from_python(
        "kl", "the command line has no name for this objective"
    )
    clip: float | None = from_python(None, "the command line has no name for this objective", kind="positive")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.divergence not in FAMILIES or self.divergence == "total variation":
            raise ValueError(
                "FDivergenceVAE: 'divergence' should be 'kl', 'reverse kl', 'jensen-shannon', 'squared hellinger' or "
                "'pearson'; the gradient of total variation is 0 or infinite: use 'jensen-shannon'; got "
                f"{self.divergence!r}."
            )
        if self.divergence == "reverse kl" and self.clip is None:
            raise ValueError(
                "FDivergenceVAE: terms of reverse KL grow as e^-c at codes that the critic takes for the prior's: set "
                "'clip' to a bound of |c|, such as clip=5.0, or use divergence='jensen-shannon'."
            )

    def bound(self, terms: Terms, logits: Array | None = None) -> Array:
        """Terms (K, B) and the critic's logits at the draws (K, B) -> (B,)."""
        c, family = self.check_output(logits), FAMILIES[self.divergence]
        c = c if self.clip is None else ops.clip(c, -self.clip, self.clip)
        penalty = bounds.scored(ops.stop_gradient(family.of_p(c)), family.witness(c))
        return bounds.elbo(terms) - self._weight() * penalty.mean(0)


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

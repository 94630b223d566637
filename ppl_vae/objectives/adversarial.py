"""Objectives that read draws in the place of densities, most with a second player: a critic of codes, or of data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from .. import bounds
from ..arrays import contrast, ops
from ..arrays.ops import Array
from ..critics import Critic, JointCritic
from ..discriminators import Discriminator
from ..divergences import costs, two_sample
from ..divergences.costs import Cost, CostFunction
from ..divergences.families import FAMILIES
from ..errors import UnsuitableObjective
from ..games import Game, NonSaturating
from ..pairs.terms import Terms
from ..players import Player
from ..schedules import Schedule
from .aggregate_posterior import ASKED, Autoencoding, RegularisedObjective, latents_of
from .base import Objective
from .options import from_python, option
from .request import LatentsRequest, TermsRequest


def _needed(objective: Objective, logits: Array | None) -> Array:
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
        return _needed(self, logits)


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


@dataclass(frozen=True)
class ImplicitObjective(Objective):
    """An objective of draws of the model beside data, for a model that has no density; no bound of log p(x)."""

    per_datum: ClassVar[bool] = False
    implicit: ClassVar[bool] = True
    unused: ClassVar[tuple[str, ...]] = ("num_particles", "chunk")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_particles != 1 or self.chunk is not None:
            raise ValueError(
                f"{type(self).__name__} draws one x for each datum of a batch: leave 'num_particles' at 1 and 'chunk' "
                "at None, and set batch_size."
            )

    @property
    def is_bound(self) -> bool:
        """False: there is no log p(x) of an implicit model that it could bound."""
        return False

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair: data that the model draws."""
        return TermsRequest(generated=True)

    def check_given(self, given: np.ndarray | None) -> None:
        """Refuse side information, beside which no draw is held against a datum."""
        if given is not None:
            raise UnsuitableObjective(
                f"{type(self).__name__} holds x against draws of x, whatever 'given' is, so that draws need not follow "
                "it: leave it out, and let x have its columns, np.concatenate([x, given], 1), which the generator then "
                "draws together."
            )


@dataclass(frozen=True)
class GAN(ImplicitObjective):
    """Minus the generator's loss in a ``game`` with a critic of data: a generative adversarial net.

    The model is ``models.Implicit``, the guide ``guides.Empty()``, the training ``inference.Adversarial``, whose
    critic is a ``discriminators.Discriminator``. The value is no bound, and falls and rises as the critic learns.
    Generative Adversarial Nets, Goodfellow et al., 2014.

    Args:
        game: both players' losses, of ``games``; by default the non-saturating ones.

    >>> GAN().game
    NonSaturating()
    """

    needs_critic: ClassVar[bool] = True
    judges: ClassVar[Literal["data", "codes", "both"]] = "data"
    default_critic: ClassVar[type[Discriminator]] = Discriminator
    game: Game = from_python(NonSaturating(), "both players' losses are an object of ppl_vae.games")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(callable(getattr(self.game, name, None)) for name in ("critic", "generator")):
            raise ValueError(
                "GAN: 'game' should be both players' losses, with critic(real, fake) and generator(real, fake), "
                f"such as games.Hinge(); got {self.game!r}."
            )

    def bound(self, terms: Terms, logits: Array | None = None) -> Array:
        """Terms, and the critic's logits at data and at draws, (2, M) -> (B,), the same number for each datum."""
        real, fake = _needed(self, logits)
        return 0 * terms.log_lik[0] - self.game.generator(real, fake)


@dataclass(frozen=True)
class GMMN(ImplicitObjective):
    """Minus the squared maximum mean discrepancy of draws and data: a generative moment matching network.

    No critic; the kernel is ``divergences.mmd``'s, an unbiased estimate from a batch, of any sign. Generative Moment
    Matching Networks, Li, Swersky and Zemel, 2015; Training Generative Neural Networks via Maximum Mean Discrepancy
    Optimization, Dziugaite, Roy and Ghahramani, 2015.

    Args:
        kernel: 'imq', or 'rbf'.
        bandwidth: h; by default 2 P.

    >>> GMMN().kernel
    'imq'
    """

    kernel: two_sample.Kernel = from_python("imq", "the command line makes no implicit model")
    bandwidth: float | None = from_python(None, "the command line makes no implicit model", kind="positive")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel not in two_sample.KERNELS:
            raise ValueError(f"GMMN: 'kernel' should be one of {', '.join(two_sample.KERNELS)}; got {self.kernel!r}.")

    def check_batches(self, num_data: int, batch_size: int) -> None:
        """Refuse batches of one row, of which nothing can be estimated.

        Raises:
            ValueError: says which batch size fits.
        """
        if num_data < 2:
            raise ValueError("GMMN compares data with each other, and there is a single row: pass two or more.")
        rest = num_data % batch_size
        if batch_size == 1 or rest == 1:
            better = next(b for b in range(max(2, batch_size), num_data + 2) if b > num_data or num_data % b != 1)
            raise ValueError(
                f"GMMN compares the rows of a batch with each other, and one batch has a single row: {num_data} data "
                f"in batches of {batch_size}: set batch_size={min(better, num_data)}."
            )

    def bound(self, terms: Terms) -> Array:
        """Terms with data and draws -> (B,), the same number for each datum."""
        assert terms.latents is not None
        drawn = terms.latents.generated[0]
        return 0 * terms.log_lik[0] - two_sample.mmd(
            drawn, terms.latents.x, kernel=self.kernel, bandwidth=self.bandwidth
        )


@dataclass(frozen=True)
class AVB(AdversarialObjective):
    """E_q[log p(x | z)] - ``beta`` KL(q(z | x) || p(z)), the KL by a critic: for guides whose density nobody knows.

    The critic T(x, z) learns log q(z | x) - log r(z | x). With ``adaptive_contrast`` r is the normal with the moments
    of each datum's K draws, and the KL is E_q[T + log r - log p]; without, r is the prior, and the KL is E_q[T]. The
    value is an estimate of the ELBO, as good as the critic, and no bound. Adversarial Variational Bayes, Mescheder,
    Nowozin and Geiger, 2017.

    Without contrast no gradient reaches a learned prior. With it the estimate is too low by what K draws do not say of
    their law's moments, about D / K nats.

    >>> AVB().is_bound, AVB(1, adaptive_contrast=False).num_particles
    (False, 1)
    """

    judges_given_x: ClassVar[bool] = True
    weight_field: ClassVar[str] = "beta"
    scheduled: ClassVar[str | None] = "beta"
    num_particles: int = option(
        8,
        "draws per image and step, K; where the name's N is that, N is the same",
        name="train_particles",
        kind="count",
        metavar="K",
        kw_only=False,
    )
    beta: float | Schedule = option(1.0, "weight of the KL term", kind="non-negative", metavar="WEIGHT")
    adaptive_contrast: bool = option(
        True, "tell codes from a normal with their moments, not from the prior", kind="switch"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adaptive_contrast and self.num_particles < 2:
            raise ValueError(
                "AVB: adaptive contrast takes the moments of each datum's draws: set 'num_particles' to 2 or more, "
                f"better 8, or adaptive_contrast=False; got {self.num_particles}."
            )

    @property
    def is_bound(self) -> bool:
        """False: the KL is what a critic has learned of it."""
        return False

    @property
    def asks_density(self) -> bool:
        """False: draws alone say what the critic learns."""
        return False

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        latents = LatentsRequest(prior=not self.adaptive_contrast, noise=self.adaptive_contrast)
        return replace(super().request, latents=latents, analytic_kl=False)

    def player(self, critic: Critic) -> Player:
        """The critic of x and z that has this critic's net."""
        return JointCritic(critic, self.adaptive_contrast)

    def check_batches(self, num_data: int, batch_size: int) -> None:
        """Refuse nothing: each datum has a term of its own."""

    def check_given(self, given: np.ndarray | None) -> None:
        """Refuse side information, which the critic does not see."""
        if given is not None:
            raise UnsuitableObjective(
                "AVB: the critic sees x and z, and not what the pair is given beside x, of which q(z | x, c) is made, "
                "too: use TraceELBO, and a guide that has a density."
            )

    def bound(self, terms: Terms, logits: Array | None = None) -> Array:
        """Terms (K, B) and the critic's logits at the draws (K, B) -> (B,)."""
        ratio = self.check_output(logits)
        if self.adaptive_contrast:
            ratio = ratio + contrast.standardised(latents_of(terms).z)[1] - terms.log_prior
        return bounds.learned_kl(terms, ratio, beta=self._weight())

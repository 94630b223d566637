"""Objectives with a critic of x and z together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from ... import bounds
from ...arrays import contrast, ops
from ...arrays.ops import Array
from ...critics import Critic, JointCritic
from ...errors import UnsuitableObjective
from ...pairs.sites import Sites
from ...pairs.terms import Terms
from ...players import Player
from ...schedules import Schedule
from ..aggregate_posterior import latents_of
from ..base import Objective
from ..checks import check_codes, check_decoded
from ..gradients import AtMean
from ..options import option
from ..request import PATHWISE, LatentsRequest, TermsRequest
from .codes import AdversarialObjective, needed


def refuse_given(objective: Objective, given: np.ndarray | None) -> None:
    """Refuse side information, which the critic does not see.

    Raises:
        UnsuitableObjective: names the objective.
    """
    if given is not None:
        raise UnsuitableObjective(
            f"{type(objective).__name__}: the critic sees x and z, and not what the pair is given beside x, of which "
            "q(z | x, c) is made, too: use TraceELBO, and a guide that has a density."
        )


def refuse_chunk(objective: Objective) -> None:
    """Refuse to hold draws in parts, which the critic sees together.

    Raises:
        ValueError: names the objective.
    """
    if objective.chunk is not None:
        raise ValueError(
            f"{type(objective).__name__}: the critic sees the draws of a batch together: leave 'chunk' at None; got "
            f"{objective.chunk}."
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
        refuse_given(self, given)

    def bound(self, terms: Terms, logits: Array | None = None) -> Array:
        """Terms (K, B) and the critic's logits at the draws (K, B) -> (B,)."""
        ratio = self.check_output(logits)
        if self.adaptive_contrast:
            ratio = ratio + contrast.standardised(latents_of(terms).z)[1] - terms.log_prior
        return bounds.learned_kl(terms, ratio, beta=self._weight())


@dataclass(frozen=True)
class ALI(Objective):
    """Minus the loss of an encoder and a decoder that hide pairs (x, z) from a critic: adversarially learned inference.

    The critic T(x, z) learns the log-ratio of two joint densities, that of data x with z ~ q(z | x), and that of
    z ~ p(z) with x ~ p(x | z), by draws alone. The pair descends -E_q log(1 - D) - E_p log D, D = sigmoid(T); with
    ``saturating`` what the critic climbs, E_q log D + E_p log(1 - D): 2 JSD - 2 log 2 at the best critic. With
    ``deterministic`` the guide's mean stands for its draws, and with ``mean`` E[x | z] for those of x: both together
    are a BiGAN. No bound. Adversarially Learned Inference, Dumoulin et al., 2017; Adversarial Feature Learning,
    Donahue, Kraehenbuehl and Darrell, 2017.

    Raises:
        ValueError: a chunk.

    >>> ALI(deterministic=True, mean=True).is_bound
    False
    """

    unused: ClassVar[tuple[str, ...]] = ("chunk",)
    per_datum: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = True
    trains_likelihood: ClassVar[bool] = False
    shows_draws: ClassVar[bool] = True
    tells_gradient: ClassVar[bool] = True
    judges: ClassVar[Literal["data", "codes", "both"]] = "codes"
    default_critic: ClassVar[type[Player]] = Critic
    deterministic: bool = option(False, "the guide's mean instead of its draws", kind="switch")
    mean: bool = option(False, "show the critic E[x | z] instead of draws of x", kind="switch")
    saturating: bool = option(False, "descend what the critic climbs, which vanishes where it wins", kind="switch")

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_chunk(self)

    @property
    def is_bound(self) -> bool:
        """False: the value says how well the critic tells the pairs apart."""
        return False

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair: codes of the data, and draws of the model."""
        latents = LatentsRequest(prior=True, dreams="mean" if self.mean else "draws")
        gradient = AtMean() if self.deterministic else PATHWISE
        return TermsRequest(self.num_draws, gradient=gradient, latents=latents)

    def player(self, critic: Critic) -> Player:
        """The critic of x and z that has this critic's net."""
        return JointCritic(critic, dreams=True)

    def check(self, sites: Sites) -> None:
        """Refuse a pair without a vector of codes and draws of x that carry a gradient."""
        check_codes(type(self).__name__, sites, normal=False, density=False)
        check_decoded(type(self).__name__, sites, mean=self.mean)

    def check_given(self, given: np.ndarray | None) -> None:
        """Refuse side information, which the critic does not see."""
        refuse_given(self, given)

    def bound(self, terms: Terms, logits: Array | None = None) -> Array:
        """Terms (K, B) and the critic's logits at pairs of the data and of the model, (2, K, B) -> (B,)."""
        ours, theirs = needed(self, logits)
        if self.saturating:
            return (ops.softplus(-ours) + ops.softplus(theirs)).mean(0)
        return -(ops.softplus(ours) + ops.softplus(-theirs)).mean(0)

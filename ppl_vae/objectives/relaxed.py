"""The ELBO of discrete latents by relaxed draws: Gumbel-Softmax, straight-through and Gumbel-Rao."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Self

from .. import bounds, schedules
from ..arrays import discrete, ops
from ..arrays.ops import Array
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from ..pairs.trials import Reading
from ..schedules import Schedule
from .base import BetaObjective
from .checks import check_mean_field, check_relaxable
from .gradients import Gradient, GuideSite, Rule, Run
from .options import Option, check_value, option
from .request import TermsRequest

POSITIVE = Option("", kind="positive")


@dataclass(frozen=True)
class Relaxed(Gradient):
    """The gradient through relaxed draws of discrete latents, at a temperature.

    With ``straight_through`` the model gets hard draws, and the gradient takes the relaxed ones' place. With
    ``averaged`` of M, that is their mean over M relaxed draws which give the same hard one.
    """

    temperature: Any = 1.0
    straight_through: bool = False
    averaged: int = 0
    relaxes: ClassVar[bool] = True

    def check(self, name: str, sites: Sites) -> None:
        """Refuse latents that are neither bits nor categories nor follow a path, or none of the first."""
        check_relaxable(name, sites, mixed=True)

    def rules(self) -> tuple[Rule]:
        """A relaxed draw, or a hard one with its gradient; of a reparameterised site a plain one."""
        return (self.draw,)

    def scores(self, reparameterised: bool) -> bool:
        """False: no draw is scored."""
        return False

    def draw(self, site: GuideSite) -> Array:
        """A relaxed draw, or a hard one with its gradient; of a reparameterised site a plain one."""
        if site.reparameterised:
            return site.sample()
        of = variables_of(site)
        perturbed = of.perturbed(site.noise("uniform", of.logits))
        if not self.straight_through:
            return of.soft(perturbed, self.temperature)
        hard = ops.stop_gradient(of.hard(perturbed))
        if not self.averaged:
            return _with_gradient_of(hard, of.soft(perturbed, self.temperature))
        soft = 0.0
        for number in range(self.averaged):
            again = of.given(site.noise("uniform", of.logits, f"given {number}"), hard)
            noise = ops.stop_gradient(again - of.logits)  # as it is, given the draw, the softmax still has a gradient
            soft = soft + of.soft(of.logits + noise, self.temperature) / self.averaged
        return _with_gradient_of(hard, soft)


@dataclass(frozen=True)
class ReadingOnTrial(Gradient):
    """One draw of discrete latents in several forms, and another draw, for ``pairs.trials.check_reading``.

    That is of those that the gradient estimator ``of`` softens; other latents have the same value in all forms.
    """

    of: Gradient = field(default_factory=Relaxed)

    relaxes: ClassVar[bool] = True
    slopes: ClassVar[bool] = True

    def check(self, name: str, sites: Sites) -> None:
        """Refuse latents that are neither bits nor categories nor follow a path."""
        check_relaxable(name, sites, mixed=True)

    def rules(self) -> Iterable[Rule]:
        """The draw as the guide gives it, as real numbers, softened, and another one."""
        held: dict[str, Array] = {}
        for of_discrete in (_as_drawn, draw_hard, _softened, _another):
            yield partial(self._holding, held, of_discrete)

    def scores(self, reparameterised: bool) -> bool:
        """False."""
        return False

    def softens(self, name: str, reparameterised: bool) -> bool:
        """Whether the estimator on trial softens the site."""
        return self.of.softens(name, reparameterised)

    def _holding(self, held: dict[str, Array], of_discrete: Rule, site: GuideSite) -> Array:
        if self.softens(site.name, site.reparameterised):
            return of_discrete(site)
        if site.name not in held:
            held[site.name] = site.sample()
        return held[site.name]

    def terms(self, runs: Sequence[Run]) -> Reading:  # type: ignore[override]
        """log p(x | z) of each, and what q and p of other latents add to it, (B,)."""
        as_drawn, as_rows, softened, another = runs
        soft = {name for name, site in softened.sites.items() if self.softens(name, site.reparameterised)}
        sizes = [abs(slope).sum() for name, slope in softened.slopes.items() if name in soft]
        return Reading(
            as_drawn.terms.log_weights[0],
            as_rows.terms.log_weights[0],
            another.terms.log_weights[0],
            sum(sizes[1:], sizes[0]) if sizes else None,
        )


def draw_hard(site: GuideSite) -> Array:
    """Draw bits, or one-hot rows, without a gradient."""
    of = variables_of(site)
    return ops.stop_gradient(of.hard(of.perturbed(site.noise("uniform", of.logits))))


def _as_drawn(site: GuideSite) -> Array:
    hard, drawn = draw_hard(site), site.sample()
    return ops.cast(hard.argmax(-1) if hard.ndim > drawn.ndim else hard, drawn)


def _softened(site: GuideSite) -> Array:
    return 0.75 * draw_hard(site) + 0.25 * variables_of(site).mean()


def _another(site: GuideSite) -> Array:
    hard = draw_hard(site)
    return 1.0 - hard if hard.ndim == len(site.shape) else ops.roll(hard, 1, -1)


def variables_of(site: GuideSite) -> discrete.Bits | discrete.Categories:
    """The bits or categories of a guide's site, (K, B, ...) or of one particle (B, ...)."""
    return discrete.variables(site.parameter("logits"), len(site.shape))


def _with_gradient_of(hard: Array, soft: Array) -> Array:
    return hard + (soft - ops.stop_gradient(soft))


@dataclass(frozen=True)
class GumbelSoftmax(BetaObjective):
    """E[log p(x | z)] - beta KL(q(z | x) || p(z)) of relaxed draws z of Bernoulli and categorical latents.

    z = softmax((log q + Gumbel noise) / t), and for bits sigmoid((logits + logistic noise) / t); the KL is that of the
    discrete latents, in closed form. The gradient is biased, less so at a low temperature t, where its noise grows.
    ``temperature`` is a number or a schedule that ends above 0, such as ``schedules.Exponential(1.0, 0.3, over=20)``.
    With ``straight_through`` the model gets the hard draw, so that the value is the ELBO of the discrete pair, and the
    gradient is the relaxed draw's; with ``averaged`` of M, the mean of M relaxed draws that give the same hard one
    (Gumbel-Rao): the same mean, less noise.

    The model gets rows (..., D, C) in place of integers (..., D), as ``nets.OneHot`` takes them. Everything that is
    evaluated has discrete values. The likelihood of several sites depends on relaxed ones, and a KL whose prior depends
    on another site is taken at its relaxed value.

    Categorical Reparameterization with Gumbel-Softmax, Jang, Gu and Poole, 2017; The Concrete Distribution, Maddison,
    Mnih and Teh, 2017; Rao-Blackwellizing the Straight-Through Gumbel-Softmax Gradient Estimator, Paulus, Maddison and
    Krause, 2021.

    Raises:
        ValueError: a temperature of 0, or a schedule that reaches it; ``averaged`` without ``straight_through``.
        UnsuitableObjective: latents of another kind, or without a KL in closed form.

    >>> from ppl_vae import schedules
    >>> GumbelSoftmax(temperature=schedules.Exponential(1.0, 0.3, over=20)).warm_up
    20
    """

    temperature: float | Schedule = option(0.5, "softness of relaxed draws", kind="positive", metavar="T")
    straight_through: bool = option(False, "hard draws with the gradient of relaxed ones", kind="switch")
    averaged: int = option(
        0, "average the gradient over M relaxed draws that give the same hard one", kind="whole", metavar="M"
    )
    cooled: ClassVar[str | None] = "temperature"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.temperature, Schedule):
            for epoch in (0.0, schedules.end(self.temperature)):
                check_value(f"GumbelSoftmax: 'temperature' after {epoch} epochs", self.temperature(epoch), POSITIVE)
        if self.averaged and not self.straight_through:
            raise ValueError(
                f"GumbelSoftmax: 'averaged' is for hard draws: set straight_through=True; got {self.averaged} without "
                "it."
            )

    @property
    def is_bound(self) -> bool:
        """Whether draws are hard and the KL has its weight of 1."""
        return self.straight_through and super().is_bound

    @property
    def warm_up(self) -> float:
        """Epochs until the weight and the temperature are constant."""
        return max(super().warm_up, schedules.end(self.temperature))

    def at(self, epoch: Any) -> Self:
        """Return the objective with weight and temperature at their values after ``epoch`` epochs."""
        return replace(super().at(epoch), temperature=schedules.value(self.temperature, epoch))

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        check_mean_field(type(self).__name__, sites)

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        temperature = schedules.value(self.temperature, schedules.end(self.temperature))
        gradient = Relaxed(temperature, self.straight_through, self.averaged)
        return replace(super().request, gradient=gradient, analytic_kl=True)

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.elbo(terms, beta=self._weight())

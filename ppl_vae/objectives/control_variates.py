"""The ELBO of discrete latents by score functions whose noise a model of f takes away: REBAR and MuProp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from .. import bounds
from ..arrays import ops
from ..arrays.ops import Array
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from .antithetic import per_draw
from .base import Objective
from .checks import check_mean_field, check_relaxable
from .gradients import Gradient, GuideSite, Rule, Run
from .options import option
from .relaxed import draw_hard, variables_of
from .request import TermsRequest


@dataclass(frozen=True)
class Controlled(Gradient):
    """The score-function gradient with a control variate from runs at values between the discrete ones.

    The first run has hard draws; of the others, only the values and slopes of log p(x | z) are read, and the model's
    parameters get no gradient from them.
    """

    relaxes: ClassVar[bool] = True
    slopes: ClassVar[bool] = True

    def check(self, name: str, sites: Sites) -> None:
        """Refuse latents that are not bits or categories of one layer."""
        check_relaxable(name, sites, single=True)

    def scores(self, reparameterised: bool) -> bool:
        """False: ``terms`` scores the draws itself."""
        return False

    def surrogate(self, f: Array, log_q: Array, hard: Array, others: Sequence[Run]) -> Array:
        """A number whose gradient is the estimate, (K, B), of f and log q, (K, B), at hard draws (..., D)."""
        raise NotImplementedError

    def terms(self, runs: Sequence[Run]) -> Terms:
        """The terms of the hard draws, with the estimate's gradient."""
        first, *others = runs
        site = next(iter(first.sites.values()))
        f = ops.stop_gradient(first.terms.log_lik)
        log_q = per_draw(variables_of(site).log_prob(site.value), f)
        surrogate = self.surrogate(f, log_q, site.value, others)
        return first.terms._replace(log_lik=bounds.scored(first.terms.log_lik, surrogate))


def _value_and_slope(run: Run, like: Array) -> tuple[Array, Array, Array]:
    """Values of log p(x | z), (K, B), of z, (..., D), and of its slope there, 0 where z has no gradient."""
    ((name, site),) = run.sites.items()
    slope = run.slopes.get(name)
    slope = 0.0 * ops.stop_gradient(site.value) if slope is None else ops.stop_gradient(slope)
    return ops.stop_gradient(run.terms.log_lik), site.value, slope


@dataclass(frozen=True)
class RelaxedControl(Controlled):
    """Relaxed draws as control variate: (f(b) - eta f(s')) d log q(b) + eta d f(s) - eta d f(s')."""

    temperature: float = 0.5
    eta: float = 1.0

    def rules(self) -> tuple[Rule, Rule, Rule]:
        """The hard draw, its relaxed draw, and another relaxed one that gives the same hard draw."""
        return draw_hard, self._soft, self._soft_given

    def surrogate(self, f: Array, log_q: Array, hard: Array, others: Sequence[Run]) -> Array:
        """(f(b) - eta f(s')) log q(b) + eta (f'(s) s - f'(s') s'), with constant factors, (K, B)."""
        (_, soft, slope), (f_given, given, slope_given) = (_value_and_slope(run, f) for run in others)
        through = per_draw(slope * soft - slope_given * given, f)
        return (f - self.eta * f_given) * log_q + self.eta * through

    def _soft(self, site: GuideSite) -> Array:
        of = variables_of(site)
        return of.soft(of.perturbed(site.noise("uniform", of.logits)), self.temperature)

    def _soft_given(self, site: GuideSite) -> Array:
        of = variables_of(site)
        return of.soft(of.given(site.noise("uniform", of.logits, "given"), draw_hard(site)), self.temperature)


@dataclass(frozen=True)
class MeanControl(Controlled):
    """f linearised at the mean m as control variate: (f(b) - f(m) - f'(m) (b - m)) d log q(b) + f'(m) dm."""

    def rules(self) -> tuple[Rule, Rule]:
        """The hard draw, and the probabilities."""
        return draw_hard, _probabilities

    def surrogate(self, f: Array, log_q: Array, hard: Array, others: Sequence[Run]) -> Array:
        """(f(b) - f(m) - f'(m) (b - m)) log q(b) + f'(m) m, with constant factors, (K, B)."""
        ((f_mean, mean, slope),) = (_value_and_slope(run, f) for run in others)
        linear = f_mean + per_draw(slope * (hard - ops.stop_gradient(mean)), f)
        return (f - linear) * log_q + per_draw(slope * mean, f)


def _probabilities(site: GuideSite) -> Array:
    return variables_of(site).mean()


@dataclass(frozen=True)
class ControlledObjective(Objective):
    """The ELBO of one layer of discrete latents by a controlled score function, the KL in closed form."""

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        super().check(sites)
        check_mean_field(type(self).__name__, sites)


@dataclass(frozen=True)
class REBAR(ControlledObjective):
    """The ELBO of one layer of discrete latents, by score functions with relaxed draws as control variate.

    (f(b) - eta f(s')) d log q(b | x) + eta d f(s) - eta d f(s') with f = log p(x | z), a hard draw b, its relaxed draw
    s at the ``temperature``, and s' another relaxed draw that gives the same b: unbiased for every eta and temperature,
    three evaluations of the model for each of ``num_particles`` draws. The KL is in closed form, and the model's own
    gradient is that of the hard draw. The model gets rows (..., D, C) in place of integers (..., D), as ``nets.OneHot``
    takes them. REBAR: Low-variance, Unbiased Gradient Estimates for Discrete Latent Variable Models, Tucker et al.,
    2017.

    Raises:
        UnsuitableObjective: latents that are not Bernoulli or categorical, several sites, or no KL in closed form.

    >>> REBAR(temperature=1.0).is_bound
    True
    """

    temperature: float = option(0.5, "softness of relaxed draws", kind="positive", metavar="T")
    eta: float = option(1.0, "weight of the control variate", kind="number", metavar="WEIGHT")

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=RelaxedControl(self.temperature, self.eta), analytic_kl=True)

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.elbo(terms)


@dataclass(frozen=True)
class MuProp(ControlledObjective):
    """The ELBO of one layer of discrete latents, by score functions with f linearised at the mean as control variate.

    (f(b) - f(m) - f'(m) (b - m)) d log q(b | x) + f'(m) d m with f = log p(x | z), a hard draw b and the probabilities
    m: unbiased, two evaluations of the model for each of ``num_particles`` draws. The KL is in closed form. The model
    gets rows (..., D, C) in place of integers (..., D), as ``nets.OneHot`` takes them. MuProp: Unbiased Backpropagation
    for Stochastic Neural Networks, Gu, Levine, Sutskever and Mnih, 2016.

    Raises:
        UnsuitableObjective: latents that are not Bernoulli or categorical, several sites, or no KL in closed form.

    >>> MuProp(2).is_bound
    True
    """

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=MeanControl(), analytic_kl=True)

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.elbo(terms)

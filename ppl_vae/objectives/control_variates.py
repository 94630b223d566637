"""The ELBO of discrete latents by score functions whose noise a model of f takes away: REBAR, RELAX, RODEO, MuProp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from .. import bounds
from ..arrays import ops
from ..arrays.ops import Array
from ..controls import BitDraws, ControlVariate, FreeForm, Relaxation, Stein
from ..pairs.sites import Sites
from ..pairs.terms import Latents, Terms
from ..players import Player
from .antithetic import per_draw
from .base import Objective
from .checks import check_mean_field, check_relaxable
from .gradients import Gradient, GuideSite, Rule, Run
from .options import from_python, option
from .relaxed import draw_hard, variables_of
from .request import TermsRequest

GIVEN = "given"
"""The purpose of the noise behind a relaxed draw that gives the hard one."""


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
        return of.soft(of.given(site.noise("uniform", of.logits, GIVEN), draw_hard(site)), self.temperature)


@dataclass(frozen=True)
class LearnedRelaxedControl(RelaxedControl):
    """The same runs, as ``Latents.control`` for a control variate that learns."""

    def terms(self, runs: Sequence[Run]) -> Terms:
        """The terms of the hard draws, with what ``controls.FreeForm`` reads."""
        first, *others = runs
        site, f = next(iter(first.sites.values())), ops.stop_gradient(first.terms.log_lik)
        (_, _, slope), (f_given, _, slope_given) = (_value_and_slope(run, f) for run in others)
        logits = site.parameter("logits")
        noise = (site.noise("uniform", logits), site.noise("uniform", logits, GIVEN))
        plain = site.value if len(site.shape) == site.value.ndim else site.value.argmax(-1)
        z, logits, u, u_given, slope, slope_given = (_drawn(a, f) for a in (plain, logits, *noise, slope, slope_given))
        control = Relaxation(logits, u, u_given, self.temperature, f, f_given, slope, slope_given)
        return first.terms._replace(latents=Latents(z, control=control))


@dataclass(frozen=True)
class SteinControl(Controlled):
    """Hard draws of bits and the slopes there, as ``Latents.control`` for a control variate that learns."""

    def check(self, name: str, sites: Sites) -> None:
        """Refuse latents that are not bits of one layer."""
        check_relaxable(name, sites, single=True, bits=True)

    def rules(self) -> tuple[Rule]:
        """The hard draw, by which log p(x | z) may be differentiated."""
        return (_leaf,)

    def terms(self, runs: Sequence[Run]) -> Terms:
        """The terms of the draws, with what ``controls.Stein`` reads."""
        (run,) = runs
        ((_, site),) = run.sites.items()
        f, b, slope = _value_and_slope(run, run.terms.log_lik)
        logits, b, slope = (_drawn(a, f) for a in (site.parameter("logits"), ops.stop_gradient(b), slope))
        logits, b, slope = (a.reshape(*f.shape, -1) for a in (logits, b, slope))
        return run.terms._replace(latents=Latents(b, control=BitDraws(logits, b, f, slope)))


def _leaf(site: GuideSite) -> Array:
    return ops.leaf(draw_hard(site))


def _drawn(values: Array, f: Array) -> Array:
    """Values of a site, (B, ...) for one draw, as (K, B, ...), where f is (K, B)."""
    return values if values.shape[: f.ndim] == f.shape else values.reshape(*f.shape, *values.shape[1:])


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
class LearnedControlObjective(ControlledObjective):
    """The ELBO of one layer of discrete latents by a score function whose control variate learns beside the pair."""

    control: ControlVariate = field(kw_only=True)
    takes: ClassVar[type[ControlVariate]] = ControlVariate

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.control, self.takes):
            raise TypeError(
                f"{type(self).__name__}: 'control' should be controls.{self.takes.__name__}(); got {self.control!r}."
            )

    @property
    def players(self) -> tuple[Player, ...]:
        """The control variate."""
        return (self.control,)

    def controlled(self, terms: Terms, control: Array | None) -> Array:
        """Terms (K, B) and the control variate's surrogate (K, B) -> (B,)."""
        if control is None:
            raise ValueError(
                f"{type(self).__name__}: {self.control} follows the training, and this call does not know its state: "
                "train with ppl_vae's SVI, or use REBAR, which has none."
            )
        return bounds.scored(bounds.elbo(terms), control.mean(0))


@dataclass(frozen=True)
class RELAX(LearnedControlObjective):
    """The ELBO of one layer of discrete latents, by score functions with a control variate that learns.

    (f(b) - c(s')) d log q(b | x) + d c(s) - d c(s') with draws b, s and s' as REBAR's, and c(s) = eta f(s) + r(s, x): a
    net r and a weight eta that descend the squared gradient, ``controls.FreeForm(hidden, learning_rate=)``. Unbiased
    for every c, REBAR before the first step. The temperature is fixed: to learn it would take a second derivative of
    the model. Backpropagation through the Void: Optimizing Control Variates for Black-box Gradient Estimation,
    Grathwohl, Choi, Wu, Roeder and Duvenaud, 2018.

    Raises:
        TypeError: another control variate.
        UnsuitableObjective: latents that are not Bernoulli or categorical, several sites, or no KL in closed form.

    >>> from ppl_vae.controls import FreeForm
    >>> RELAX(control=FreeForm(20)).players
    (FreeForm(hidden=20, learning_rate=0.003),)
    """

    temperature: float = option(0.5, "softness of relaxed draws", kind="positive", metavar="T")
    control: FreeForm = from_python(FreeForm(), "a net has settings of its own")
    takes: ClassVar[type[ControlVariate]] = FreeForm

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=LearnedRelaxedControl(self.temperature), analytic_kl=True)

    def bound(self, terms: Terms, control: Array | None = None) -> Array:
        """Terms (K, B) and the control variate's surrogate (K, B) -> (B,)."""
        return self.controlled(terms, control)


@dataclass(frozen=True)
class RODEO(LearnedControlObjective):
    """The ELBO of one layer of Bernoulli latents, by RLOO with two control variates of a discrete Stein operator.

    K draws, one evaluation of the model each, with its slope: the leave-one-out baseline has a correction A h2, and the
    gradient one A(h1 d log q), whose means are zero; ``controls.Stein(hidden, learning_rate=)`` has the formulas, and
    learns by the squared gradient. Unbiased for every h, RLOO before the first step. The operator is that of Gibbs
    sampling. Gradient Estimation with Discrete Stein Operators, Shi, Zhou, Hwang, Titsias and Mackey, 2022; from Double
    Control Variates for Gradient Estimation in Discrete Latent Variable Models, Titsias and Shi, 2022.

    Raises:
        TypeError: another control variate.
        ValueError: one particle, which leaves no others.
        UnsuitableObjective: categorical latents, several sites, or no KL in closed form.

    >>> RODEO(2).is_bound
    True
    """

    num_particles: int = 2
    control: Stein = from_python(Stein(), "a net has settings of its own")
    takes: ClassVar[type[ControlVariate]] = Stein

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_particles < 2:
            raise ValueError("RODEO compares each draw with the others: num_particles should be at least 2; got 1.")

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=SteinControl(), analytic_kl=True)

    def bound(self, terms: Terms, control: Array | None = None) -> Array:
        """Terms (K, B) and the control variate's surrogate (K, B) -> (B,)."""
        return self.controlled(terms, control)


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

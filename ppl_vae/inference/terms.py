"""Traces of a pair, and the log-densities of their sites."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial, reduce
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import detach, scale_and_mask
from pyro.nn import PyroModule
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils.checkpoint import checkpoint

from ..errors import UnsuitableObjective
from ..objectives.checks import check_dream, no_parameter, not_normal
from ..objectives.gradients import Rule, Run
from ..objectives.request import LatentsRequest, TermsRequest
from ..pairs.keywords import Tolerant, generated_site, inner, tolerant
from ..pairs.sites import Sites, check_batch_shape, does_not_run, match
from ..pairs.terms import Latents, Terms
from .sites import base_of, describe

PyroSite = Any
DEFAULT = TermsRequest()


def sites_of(trace: poutine.Trace, *, observed: bool) -> dict[str, PyroSite]:
    """Select the latent or the observed sample sites of a trace."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample"
        and not site_is_subsample(site)
        and not (site["infer"] or {}).get("_deterministic")
        and site["is_observed"] == observed
    }


def _in_plate(program: Any, num_particles: int, max_plate_nesting: int) -> Any:
    if num_particles == 1:
        return program
    return pyro.plate("num_particles", num_particles, dim=-1 - max_plate_nesting)(program)


_STATEMENTS = ("_pyro_params", "_pyro_samples", "_parameters")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class _Quiet(Tolerant):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.program.forward(*args, **self.taken(kwargs))


def quiet(program: Any) -> Any:
    """Drop the program's ``pyro.module`` statements at each access of a net, which take a tenth of a step in Python.

    For trainings of torch's own parameters; Pyro's SVI finds parameters by these statements. A ``PyroModule`` whose
    attributes are more than plain modules, with hooks or a ``__call__`` of its own, stays as it is.
    """
    module = inner(program)
    if not isinstance(module, PyroModule) or type(module).__call__ is not PyroModule.__call__:
        return program
    if any(isinstance(child, PyroModule) for child in module.children()):
        return program
    if any(getattr(module, name) for name in (*_STATEMENTS, *_HOOKS)):
        return program
    return _Quiet(module, program.needs if isinstance(program, Tolerant) else ())


def run(
    model: Any,
    guide: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int = 1,
    tap: _Tap | None = None,
    ruled: Ruled | None = None,
) -> tuple[poutine.Trace, poutine.Trace]:
    """Trace the guide, and the model on its draws: (model's trace, guide's trace), with particles as a plate."""
    q = run_guide(guide, args, kwargs, num_particles, max_plate_nesting, ruled)
    if tap is not None:
        for site in sites_of(q, observed=False).values():
            site["value"] = tap(site["value"])
    replayed = poutine.replay(_in_plate(model, num_particles, max_plate_nesting), trace=q)
    return poutine.trace(replayed).get_trace(*args, **kwargs), q


def run_guide(
    guide: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int = 1,
    ruled: Ruled | None = None,
) -> poutine.Trace:
    """Trace the guide, with particles as a plate; ``ruled`` gives its latent sites their values, if it is given."""
    # The handler stands outside the trace, which then records what it did.
    with ruled or nullcontext():
        return poutine.trace(_in_plate(guide, num_particles, max_plate_nesting)).get_trace(*args, **kwargs)


class TracedSite:
    """A latent site of the running guide: the ``GuideSite`` of ``objectives.gradients``."""

    def __init__(self, msg: Any, noise: dict[tuple[Any, ...], Tensor]) -> None:
        self.name, self.reparameterised, self.value = msg["name"], bool(msg["fn"].has_rsample), None
        self._msg, self._noise = msg, noise

    def sample(self) -> Tensor:
        """Draw from the guide, with a gradient where the site is reparameterised."""
        return self._msg["fn"](*self._msg["args"], **self._msg["kwargs"])

    def mean(self) -> Tensor:
        """The mean of the site's distribution."""
        return self._msg["fn"].mean

    def parameter(self, name: str) -> Tensor:
        """A parameter of the site's distribution, for each draw."""
        base, shape = base_of(self._msg["fn"]), self._msg["fn"].shape()
        if not hasattr(base, name):
            raise no_parameter(self.name, type(base).__name__, name)
        values = getattr(base, name)
        own = values.shape[len(base.batch_shape) :]
        return values.expand(*shape[: len(shape) - len(base.event_shape)], *own)

    def noise(self, kind: str, like: Tensor) -> Tensor:
        """Standard noise of the shape of ``like``, the same in every run of one evaluation."""
        key = self.name, kind, like.shape
        if key not in self._noise:
            like = like if like.is_floating_point() else like.to(torch.get_default_dtype())
            self._noise[key] = torch.rand_like(like) if kind == "uniform" else torch.randn_like(like)
        return self._noise[key]


class Ruled(Messenger):
    """A handler in which the latent sites of the program inside take the values that a rule gives them."""

    def __init__(self, rule: Rule, noise: dict[tuple[Any, ...], Tensor] | None = None) -> None:
        super().__init__()
        self.rule, self.noise = rule, {} if noise is None else noise
        self.sites: dict[str, TracedSite] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["done"] or site_is_subsample(msg):
            return
        site = TracedSite(msg, self.noise)
        msg["value"] = site.value = self.rule(site)
        msg["done"], self.sites[site.name] = True, site


class _Tap:
    """An identity whose backward pass multiplies by weights (K, B) that are set after the forward pass."""

    def __init__(self, num_particles: int) -> None:
        self.num_particles = num_particles
        self.weights: Tensor | None = None

    def __call__(self, value: Tensor) -> Tensor:
        """The same value, (K, B, ...) or, for one particle, (B, ...)."""
        if not value.requires_grad:
            return value
        value = value.view_as(value)
        value.register_hook(self._weighted)
        return value

    def _weighted(self, grad: Tensor) -> Tensor:
        assert self.weights is not None
        weights = self.weights if self.num_particles > 1 else self.weights[0]
        return grad * weights.reshape(*weights.shape, *[1] * (grad.dim() - weights.dim()))


def _per_datum(site: PyroSite, values: Tensor, num_particles: int) -> Tensor:
    """Apply the site's mask, and sum over every dimension but particles and data: (K, B)."""
    if site["mask"] is not None:
        values = scale_and_mask(values, mask=site["mask"])
    if not any(frame.vectorized and frame.dim == -1 for frame in site["cond_indep_stack"]):
        raise ValueError(
            f"Site {site['name']!r} is outside the plate of the data at dim -1, so its density does not belong to any "
            "datum: put it inside, or use a stock objective of pyro.infer, which sums over everything."
        )
    while values.dim() > (1 if num_particles == 1 else 2):
        values = values.sum(-2)
    return values.unsqueeze(0) if num_particles == 1 else values


def density_of(site: PyroSite, num_particles: int) -> Tensor:
    """Compute the log-density of a traced site at its value, summed to one number per particle and datum: (K, B)."""
    return _per_datum(site, site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), num_particles)


def _common_scale(sites: list[PyroSite]) -> Any:
    """The scale that all sites share, from a subsampled plate or ``poutine.scale``."""
    first, *others = sites
    for other in others:
        if not (
            other["scale"] is first["scale"] or torch.equal(*map(torch.as_tensor, (other["scale"], first["scale"])))
        ):
            raise ValueError(
                f"Sites {first['name']!r} and {other['name']!r} have different scales: the weight of a term belongs to "
                "the objective, e.g. TraceELBO(beta=0.5), and a scale to the whole program."
            )
    return first["scale"]


def log_terms(
    model: Any,
    guide: Any,
    *args: Any,
    request: TermsRequest = DEFAULT,
    max_plate_nesting: int = 1,
    **kwargs: Any,
) -> Terms:
    """Draw latents from the guide, K for each datum, and return their log-densities, (K, B) in nats.

    Particles are one more plate on the left (at dim -2, for ``max_plate_nesting=1``), so that the encoder runs once.
    Densities are unscaled; the scale that the sites share stands in ``terms.scale``.

    Args:
        model: the generative program, p(x, z), with the data in a plate at dim -1.
        guide: the program q(z | x).
        args: what both are called with, first of all x (B, P).
        request: which draws, how their gradient flows, and which densities; one draw with the pathwise gradient by
            default.
        max_plate_nesting: number of plates that the programs nest.
        kwargs: keywords for both programs.

    Raises:
        ValueError: a site outside the data plate, or sites with different scales.
        UnsuitableObjective: a gradient without the score, for a guide whose parameters cannot be told from its draws.

    >>> import numpy as np, torch
    >>> from ppl_vae import recipes
    >>> from ppl_vae.objectives import TermsRequest
    >>> model, guide = recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0))
    >>> log_terms(model, guide, torch.zeros(3, 6), request=TermsRequest(5)).log_guide.shape
    torch.Size([5, 3])
    """
    model = model if isinstance(model, Tolerant) else tolerant(model, ("mask",))
    guide = guide if isinstance(guide, Tolerant) else tolerant(guide)
    gradient, num_particles, drawn = request.gradient, request.num_particles, guide
    if gradient.enumerates:
        drawn, num_particles = _at_every_configuration(guide, args, kwargs)

    def run_once(draws: int, tap: _Tap | None, rule: Rule | None, noise: dict[tuple[Any, ...], Tensor]) -> Run:
        ruled = None if rule is None else Ruled(rule, noise)
        p, q = run(model, drawn, args, kwargs, draws, max_plate_nesting, tap, ruled)
        latent, observed, guided = sites_of(p, observed=False), sites_of(p, observed=True), sites_of(q, observed=False)
        if set(latent) != set(guided) or not observed:
            examine(model, guide, *args, **kwargs)
        if not gradient.keeps_score:
            guided = _without_score(guided, guide, q, args, kwargs, draws, max_plate_nesting)
        terms = terms_of(latent, observed, guided, draws, analytic_kl=request.analytic_kl, scored=gradient.scores)
        if request.latents is not None:
            terms = terms._replace(latents=_latents(request.latents, latent, observed, guided, draws))
        return Run(terms, {} if ruled is None else ruled.sites)

    def evaluate(draws: int, tap: _Tap | None) -> Terms:
        noise: dict[tuple[Any, ...], Tensor] = {}
        runs = []
        for rule in gradient.rules():
            runs.append(run_once(draws, tap, rule, noise))
        return gradient.terms(runs)

    chunk, weighs_paths = request.chunk, gradient.weighs_paths
    sizes = [num_particles] if chunk is None else [chunk] * (num_particles // chunk)
    taps = [_Tap(draws) if weighs_paths else None for draws in sizes]
    if len(sizes) == 1:
        terms = evaluate(num_particles, taps[0])
    else:
        # The batch is an argument so that the state of its device's generator is kept for the second run.
        held = partial(checkpoint, lambda _, draws, tap: evaluate(draws, tap), args[0], use_reentrant=False)
        parts = [held(draws, tap) for draws, tap in zip(sizes, taps, strict=True)]
        log_lik, log_prior, log_guide, scales, log_score, *_ = zip(*parts, strict=True)
        terms = Terms(torch.cat(log_lik), torch.cat(log_prior), torch.cat(log_guide), scales[0], torch.cat(log_score))
    if weighs_paths:
        weights = gradient.path_weights(terms.log_weights.detach())
        assert weights is not None
        for tap, part in zip(taps, weights.split(sizes), strict=True):
            if tap is not None:
                tap.weights = part
    return terms._replace(log_sleep=_sleep(model, guide, args, kwargs)) if request.sleep else terms


def _latents(
    request: LatentsRequest,
    latent: dict[str, PyroSite],
    observed: dict[str, PyroSite],
    guided: dict[str, PyroSite],
    num_particles: int,
) -> Latents:
    """Collect what the request asks of the single latent site."""
    (name, site), data = next(iter(guided.items())), next(iter(observed.values()))
    told: dict[str, Tensor] = {"z": _with_particles(site["value"], num_particles)}
    if request.moments:
        base = base_of(site["fn"])
        if not isinstance(base, Normal):
            raise not_normal("The objective", name, type(base).__name__)
        shape = site["value"].shape
        told |= {n: _with_particles(getattr(base, n).expand(shape), num_particles)[0] for n in ("loc", "scale")}
    if request.prior:
        told["prior"] = _with_particles(latent[name]["fn"](), num_particles)
    if request.directions:
        standard = Normal(told["z"].new_zeros(()), told["z"].new_ones(()))
        towards = standard.rsample((request.directions, told["z"].shape[-1]))
        told["directions"] = towards / towards.norm(dim=-1, keepdim=True)
    if request.reconstruction:
        told |= _reconstruction(data, num_particles)
    return Latents(**told)


def _with_particles(values: Tensor, num_particles: int) -> Tensor:
    return values.reshape(num_particles, *values.shape[-2:])


def _reconstruction(data: PyroSite, num_particles: int) -> dict[str, Tensor]:
    """The data of a site and their mean, zero where a mask hides them."""
    shape = data["fn"].batch_shape + data["fn"].event_shape
    x, mean = data["value"], _with_particles(torch.broadcast_to(data["fn"].mean, shape), num_particles)
    for mask in _masks(data):
        seen = _with_particles(torch.broadcast_to(mask, shape), num_particles)
        x, mean = torch.where(seen[0], x, 0), torch.where(seen, mean, 0)
    return {"x": x, "mean": mean}


def _masks(site: PyroSite) -> list[Tensor]:
    """The masks of a site's entries, each with the number of dimensions of the site's value."""
    fn, masks = site["fn"], []
    if not isinstance(site["mask"], bool | None):
        masks.append(site["mask"][(..., *[None] * fn.event_dim)])
    while hasattr(fn, "base_dist"):
        if not isinstance(getattr(fn, "_mask", True), bool):
            masks.append(fn._mask[(..., *[None] * fn.event_dim)])
        fn = fn.base_dist
    return masks


def _sleep(model: Any, guide: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Compute log q(z | x) of B pairs (z, x) drawn from the model, B the size of the batch: (B,)."""
    generated_site(inner(model), None)  # raises where the model cannot generate
    given = {name: value for name, value in kwargs.items() if name in ("given", "mask")}
    with torch.no_grad():
        dream = poutine.trace(model).get_trace(size=len(args[0]), **given)
        observed = sites_of(poutine.trace(model).get_trace(*args, **kwargs), observed=True)
    check_dream(args, tuple(observed))
    x = dream.nodes[next(iter(observed))]["value"]
    q = poutine.trace(poutine.replay(guide, trace=dream)).get_trace(x.to(args[0].dtype), **given)
    return torch.stack([density_of(site, 1)[0] for site in sites_of(q, observed=False).values()]).sum(0)


def terms_of(
    latent: dict[str, PyroSite],
    observed: dict[str, PyroSite],
    guided: dict[str, PyroSite],
    num_particles: int,
    *,
    analytic_kl: bool = False,
    scored: Callable[[bool], bool] = operator.not_,
) -> Terms:
    """Compute the terms of traced sites: the model's latent and observed ones, and the guide's.

    ``scored(reparameterised)`` says whether the log q of such a site belongs to ``log_score``.
    """
    scale = _common_scale([*latent.values(), *observed.values(), *guided.values()])
    log_lik = reduce(operator.add, (density_of(site, num_particles) for site in observed.values()))
    log_prior = log_guide = log_score = log_lik.new_zeros(())
    for name, site in guided.items():
        kl = _kl(site["fn"], latent[name]["fn"]) if analytic_kl else None
        is_scored = scored(bool(site["fn"].has_rsample))
        if kl is None or is_scored:
            density = density_of(site, num_particles)
        if kl is None:
            log_prior = log_prior + density_of(latent[name], num_particles)
            log_guide = log_guide + density
        else:
            log_prior = log_prior - _per_datum(latent[name], kl, num_particles)
        if is_scored:
            log_score = log_score + density
    log_lik, log_prior, log_guide, log_score = torch.broadcast_tensors(log_lik, log_prior, log_guide, log_score)
    return Terms(log_lik, log_prior, log_guide, scale, log_score)


def _at_every_configuration(guide: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, int]:
    """Replace the guide's draws by every joint value of its sites; return that guide and the number of values."""
    with torch.no_grad():
        sites = sites_of(poutine.trace(guide).get_trace(*args, **kwargs), observed=False)
    latent = tuple(describe(site) for site in sites.values())
    given = poutine.Trace()
    values = Sites(latent, (), ()).configurations()
    for name, site in sites.items():
        value = torch.as_tensor(values[name], device=site["value"].device).to(site["value"].dtype)
        value = value.unsqueeze(1).expand(len(value), *site["value"].shape)
        given.add_node(name, name=name, type="sample", is_observed=False, value=value, fn=site["fn"], infer={})
    return poutine.replay(guide, trace=given), len(next(iter(values.values())))


def _without_score(
    guided: dict[str, PyroSite],
    guide: Any,
    trace: poutine.Trace,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int,
) -> dict[str, PyroSite]:
    """Return the guide's sites with distributions that depend on draws but not on parameters.

    One site is detached as it is. Several are run once more on detached parameters.
    """
    if len(guided) == 1:
        return {name: {**site, "fn": detach(site["fn"])} for name, site in guided.items()}
    module = inner(guide)
    if not isinstance(module, nn.Module):
        raise UnsuitableObjective(
            f"A guide with the sites {list(guided)} as a plain function cannot be run without its parameters' score: "
            "make it a PyroModule, or use an objective that keeps the score, such as TraceELBO() or IWAE."
        )
    frozen = {name: p.detach() for name, p in module.named_parameters()}
    again = poutine.replay(_in_plate(guide, num_particles, max_plate_nesting), trace=trace)
    with warnings.catch_warnings(), _reparametrize_module(module, frozen, tie_weights=True):
        warnings.simplefilter("ignore")  # Pyro tells of parameters that need no gradient
        rerun = poutine.trace(again).get_trace(*args, **kwargs)
    return sites_of(rerun, observed=False)


def _kl(q: Any, p: Any) -> Tensor | None:
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def examine(model: Any, guide: Any, *args: Any, **kwargs: Any) -> Sites:
    """Run the pair once, and describe its sites.

    Raises:
        ValueError: the pair does not run on this batch, the model and the guide have different latent sites, or a
            site's log-density has a shape that is not the batch's.
    """
    try:
        with torch.no_grad():
            p, q = run(model, guide, args, kwargs, 1, 1)
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        raise does_not_run(args, error) from error
    for site in [
        *sites_of(p, observed=False).values(),
        *sites_of(p, observed=True).values(),
        *sites_of(q, observed=False).values(),
    ]:
        frames = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
        check_batch_shape(site["name"], tuple(site["fn"].batch_shape), {f.dim: (f.name, f.size) for f in frames})
    guided, latent, observed = (
        {name: describe(site) for name, site in sites.items()}
        for sites in (sites_of(q, observed=False), sites_of(p, observed=False), sites_of(p, observed=True))
    )
    traced = [*sites_of(p, observed=False).values(), *sites_of(p, observed=True).values()]
    scaled = any(bool((torch.as_tensor(site["scale"]) != 1).any()) for site in traced)
    return match(guided, latent, observed, scaled=scaled, empty=getattr(inner(guide), "is_empty", False))

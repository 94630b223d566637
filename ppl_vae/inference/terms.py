"""The log-densities of a pair's sites, with the gradient that an objective asks for."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from functools import partial, reduce
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import detach
from torch import Tensor
from torch.distributions import Normal
from torch.utils.checkpoint import checkpoint

from ..arrays.ops import zeros_like
from ..errors import UnsuitableObjective
from ..objectives.checks import check_dream, given_groups, known_labels, no_closed_kl, not_normal
from ..objectives.gradients import Gradient, Rule, Run
from ..objectives.request import LatentsRequest, TermsRequest
from ..pairs.keywords import Disturbed, Tolerant, generated_site, inner, tolerant
from ..pairs.levels import first_level, level_terms
from ..pairs.sites import Sites
from ..pairs.terms import Latents, SiteTerms, Terms
from .checks.examination import examine
from .closed_kl import closed_kl
from .decoded import decoded, generated
from .filtering import filtered
from .moved import gain
from .sites import PARAMETRIC, base_of, describe, masks_of
from .traces import PyroSite, Ruled, Tap, at_values, density_of, in_plate, per_datum, run, sites_of, split_sites
from .twists import taught

DEFAULT = TermsRequest()
NO_SITES: Mapping[str, PyroSite] = {}


def _density_or_nan(site: PyroSite, num_particles: int) -> Tensor:
    """The log-density of a guide's site, (K, B); NaN where its distribution has none."""
    try:
        return density_of(site, num_particles)
    except NotImplementedError:
        nothing = torch.full(site["fn"].batch_shape, torch.nan, device=site["value"].device)
        return per_datum(site, nothing, num_particles)


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
    if request.input_noise:
        guide = Disturbed(guide, request.input_noise * torch.randn_like(args[0]))
    if request.generated:
        return generated(model, args, kwargs, request.num_particles, max_plate_nesting)
    if request.levels is not None:
        return _of_levels(model, guide, args, kwargs, request, max_plate_nesting)
    if request.filter is not None:
        found, sites = filtered(request.filter, model, guide, args, kwargs, request.num_particles, max_plate_nesting)
        none = zeros_like(found.log_w)
        score = found.score if request.filter.scored else None
        told = taught(sites, model, guide, args, kwargs, max_plate_nesting) if request.filter.twist else None
        return Terms(found.log_w, none, none, _common_scale(sites), score, told)
    gradient, num_particles, drawn = request.gradient, request.num_particles, guide
    configurations: dict[str, int] = {}
    if gradient.enumerates:
        drawn, configurations = _at_every_configuration(gradient, guide, args, kwargs, num_particles, max_plate_nesting)
        num_particles *= math.prod(configurations.values())

    def run_once(draws: int, tap: Tap | None, rule: Rule | None, noise: dict[tuple[Any, ...], Tensor]) -> Run:
        ruled = None if rule is None else Ruled(rule, noise)
        p, q = run(model, drawn, args, kwargs, draws, max_plate_nesting, tap, ruled)
        (latent, observed), (guided, besides) = split_sites(p), split_sites(q)
        if latent.keys() != guided.keys() or not observed or besides:
            examine(model, guide, *args, **kwargs).check_terms("A bound of log-densities")
        stopped: dict[str, PyroSite] = {}
        if not gradient.keeps_score:
            guided, stopped = _apart(guided, guide, args, kwargs, draws, max_plate_nesting, tapped=tap is not None)
        densities = site_terms_of(latent, guided, draws, request.analytic_kl, gradient, stopped)
        terms = _summed(latent, observed, guided, densities, draws)
        if terms.log_lik.shape[-1] != len(args[0]):
            examine(model, guide, *args, **kwargs).check_terms("A bound of log-densities")
        if request.latents is not None:
            latents = _latents(request.latents, latent, observed, guided, draws)
            latents = decoded(request.latents, latents, model, guided, args, kwargs, max_plate_nesting)
            groups = given_groups(kwargs, request.latents.groups)
            terms = terms._replace(latents=latents._replace(groups=groups))
        if request.labels in observed:
            terms = terms._replace(log_label=density_of(observed[request.labels], draws).mean(0))
        if request.chain is not None:
            gained, accepted = gain(request.chain, model, args[0], kwargs, latent, draws)
            terms = terms._replace(gain=gained, accepted=accepted)
        slopes = _slopes(terms, guided) if gradient.slopes else {}
        return Run(terms, {} if ruled is None else ruled.sites, slopes, densities, tuple(latent), configurations)

    def evaluate(draws: int, tap: Tap | None) -> Terms:
        noise: dict[tuple[Any, ...], Tensor] = {}
        runs = []
        for rule in gradient.rules():
            runs.append(run_once(draws, tap, rule, noise))
        return gradient.terms(runs)

    chunk, weighs_paths = request.chunk, gradient.weighs_paths
    sizes = [num_particles] if chunk is None else [chunk] * (num_particles // chunk)
    taps = [Tap(draws) if weighs_paths else None for draws in sizes]
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
    if request.labels and terms.log_label is None:
        terms = terms._replace(log_label=_labels(guide, request.labels, args, kwargs))
    return terms._replace(log_sleep=_sleep(model, guide, args, kwargs)) if request.sleep else terms


def _labels(guide: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Compute log q(y | x) of known labels y, ``given`` (B, 1), by a guide that is not told of them: (B,)."""
    labels, others = known_labels(kwargs), {key: value for key, value in kwargs.items() if key != "given"}
    at = at_values(guide, {name: {"fn": None}}, {name: labels.clamp(min=0).long()})
    q = sites_of(poutine.trace(at).get_trace(*args, **others), observed=False)
    return torch.where(labels[:, 0] < 0, 0.0, density_of(q[name], 1)[0])


def _of_levels(
    model: Any, guide: Any, args: tuple[Any, ...], kwargs: dict[str, Any], request: TermsRequest, max_plate_nesting: int
) -> Terms:
    """Estimate the ELBO of a chain of noise from its first level and another one at random, for each draw: (K, B)."""
    assert request.levels is not None
    draws, ruled = request.num_particles, Ruled(first_level)
    p, q = run(model, guide, args, kwargs, draws, max_plate_nesting, None, ruled)
    (latent, observed), guided = split_sites(p), sites_of(q, observed=False)
    ((name, site),) = ruled.sites.items()
    prior = base_of(latent[name]["fn"])
    kl = per_datum(latent[name], level_terms(site, prior, request.levels.number, draws), draws)
    log_lik = reduce(operator.add, (density_of(each, draws) for each in observed.values()))
    scale = _common_scale([*latent.values(), *observed.values(), *guided.values()])
    return Terms(log_lik, -kl, 0 * kl, scale, 0 * kl)


def _slopes(terms: Terms, guided: dict[str, PyroSite]) -> dict[str, Tensor]:
    """The derivative of log p(x | z) by the value of each site that carries a gradient; 0 where it does not enter."""
    values = {name: site["value"] for name, site in guided.items() if site["value"].requires_grad}
    if not values or not torch.is_grad_enabled():
        return {}
    total = terms.log_lik.sum() if terms.log_lik.requires_grad else sum(value.sum() for value in values.values()) * 0.0
    slopes = torch.autograd.grad(
        total, list(values.values()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return dict(zip(values, slopes, strict=True))


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
        prior = base_of(latent[name]["fn"])
        told["prior"] = _with_particles(getattr(prior, "sample_along", latent[name]["fn"])(), num_particles)
    if request.noise:
        told["noise"] = Normal(torch.zeros_like(told["z"]), 1.0).sample()
    if request.directions:
        standard = Normal(told["z"].new_zeros(()), told["z"].new_ones(()))
        towards = standard.rsample((request.directions, told["z"].shape[-1]))
        told["directions"] = towards / towards.norm(dim=-1, keepdim=True)
    if request.reconstruction:
        told |= _reconstruction(data, num_particles)
    if request.quantised:
        base, batch = base_of(site["fn"]), site["fn"].batch_shape
        for field, vectors in (("encoded", base.before), ("codes", base.nearest)):
            told[field] = vectors.expand(*batch, *vectors.shape[-2:]).reshape(num_particles, -1, *vectors.shape[-2:])
        if request.codebook:
            told["codebook"] = base.quantiser.table(base.encoded)
    return Latents(**told)


def _with_particles(values: Tensor, num_particles: int) -> Tensor:
    return values.reshape(num_particles, *values.shape[-2:])


def _reconstruction(data: PyroSite, num_particles: int) -> dict[str, Tensor]:
    """The data of a site and their mean, zero where a mask hides them."""
    shape = data["fn"].batch_shape + data["fn"].event_shape
    x, mean = data["value"], _with_particles(torch.broadcast_to(data["fn"].mean, shape), num_particles)
    for mask in masks_of(data):
        seen = _with_particles(torch.broadcast_to(mask, shape), num_particles)
        x, mean = torch.where(seen[0], x, 0), torch.where(seen, mean, 0)
    return {"x": x, "mean": mean}


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
    gradient: Gradient = DEFAULT.gradient,
    stopped: Mapping[str, PyroSite] = NO_SITES,
) -> Terms:
    """Compute the terms of traced sites: the model's latent and observed ones, and the guide's."""
    densities = site_terms_of(latent, guided, num_particles, analytic_kl, gradient, stopped)
    return _summed(latent, observed, guided, densities, num_particles)


def _summed(
    latent: dict[str, PyroSite],
    observed: dict[str, PyroSite],
    guided: dict[str, PyroSite],
    densities: Mapping[str, SiteTerms],
    num_particles: int,
) -> Terms:
    scale = _common_scale([*latent.values(), *observed.values(), *guided.values()])
    log_lik = reduce(operator.add, (density_of(site, num_particles) for site in observed.values()))
    zero = log_lik.new_zeros(())
    log_prior, log_guide, log_score = (sum((each[i] for each in densities.values()), zero) for i in range(3))
    log_lik, log_prior, log_guide, log_score = torch.broadcast_tensors(log_lik, log_prior, log_guide, log_score)
    return Terms(log_lik, log_prior, log_guide, scale, log_score)


def site_terms_of(
    latent: dict[str, PyroSite],
    guided: dict[str, PyroSite],
    num_particles: int,
    analytic_kl: bool = False,
    gradient: Gradient = DEFAULT.gradient,
    stopped: Mapping[str, PyroSite] = NO_SITES,
) -> dict[str, SiteTerms]:
    """Compute log p and log q of each latent site, in the guide's order.

    ``gradient`` says which log q belong to ``log_score``. Of the sites that stand in ``stopped``, too, log q loses the
    gradient that it has there, which is the score.
    """
    found = {}
    for name, site in guided.items():
        softened = gradient.softens(name, bool(site["fn"].has_rsample))
        kl = closed_kl(site, latent[name]) if analytic_kl or softened else None
        is_scored = gradient.scores(bool(site["fn"].has_rsample))
        density: Any = 0.0
        log_score: Any = 0.0
        if is_scored or (kl is None and not softened):
            density = _density_or_nan(site, num_particles)
        if is_scored:
            if site["value"].requires_grad:
                raise _carrying(site)
            log_score = density
        if kl is not None:
            found[name] = SiteTerms(-per_datum(latent[name], kl, num_particles), 0.0, log_score)
            continue
        if softened:
            raise no_closed_kl(name, describe(site).distribution, describe(latent[name]).distribution)
        if name in stopped:
            score = density_of(stopped[name], num_particles)
            density = density - score + score.detach()
        elif is_scored and not gradient.weighs_score:
            density = density.detach()
        found[name] = SiteTerms(density_of(latent[name], num_particles), density, log_score)
    return found


def _at_every_configuration(
    gradient: Gradient,
    guide: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int,
) -> tuple[Any, dict[str, int]]:
    """Replace draws of the guide by every joint value of the sites that take all, each for K particles.

    Returns: that guide, and the number of values of each of these sites.
    """
    with torch.no_grad():
        sites = sites_of(poutine.trace(guide).get_trace(*args, **kwargs), observed=False)
    described = Sites(tuple(describe(site) for site in sites.values()), (), tuple(sites))
    gradient.check("Enumeration", described)
    configurations, values = described.configurations(gradient.takes_all), {}
    for name, every in configurations.items():
        like = sites[name]["value"]
        value = torch.as_tensor(every, device=like.device).to(like.dtype).repeat_interleave(num_particles, 0)
        value = value.reshape(len(value), *[1] * max_plate_nesting, *value.shape[1:])
        values[name] = value.expand(*value.shape[:max_plate_nesting], *like.shape)
    return at_values(guide, {name: sites[name] for name in values}, values), described.sizes(gradient.takes_all)


def _apart(
    guided: dict[str, PyroSite],
    guide: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int,
    tapped: bool,
) -> tuple[dict[str, PyroSite], dict[str, PyroSite]]:
    """Part the gradient of log q into that through the draws and the score: (sites, the same at stopped draws).

    At stopped draws the gradient of log q is the score alone. A single site that holds its parameters itself is
    detached instead. The parameters of several sites may depend on draws, so that the guide runs once more; and, where
    the draws are tapped after the guide has run, once more on these.
    """
    ((name, site), *others) = guided.items()
    if not others and type(base_of(site["fn"])) in PARAMETRIC:
        return {name: {**site, "fn": detach(site["fn"])}}, {}
    values = {name: site["value"].detach() for name, site in guided.items()}
    if not others:
        return guided, {name: {**site, "value": values[name]}}
    drawn = {name: site["value"] for name, site in guided.items()}

    def at(values: Mapping[str, Tensor]) -> dict[str, PyroSite]:
        again = at_values(in_plate(guide, num_particles, max_plate_nesting), guided, values)
        return sites_of(poutine.trace(again).get_trace(*args, **kwargs), observed=False)

    return at(drawn) if tapped else guided, at(values)


def _carrying(site: PyroSite) -> UnsuitableObjective:
    """Make the error for a draw that is scored and carries a gradient."""
    return UnsuitableObjective(
        f"The guide's site {site['name']!r} is scored, because its distribution, {type(site['fn']).__name__}, has no "
        "rsample; but its draw carries a gradient, which would count twice: decorate the distribution's sample with "
        "torch.no_grad(), or set its has_rsample to True and name the method rsample."
    )

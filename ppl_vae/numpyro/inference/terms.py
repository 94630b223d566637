"""The log-densities of a pair's sites, with the gradient that an objective asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from numpyro import handlers
from numpyro.distributions import Normal
from numpyro.primitives import Messenger

from ...arrays.ops import zeros_like
from ...objectives.checks import check_dream, given_groups, known_labels, no_closed_kl, not_normal
from ...objectives.gradients import Gradient, Rule, Run
from ...objectives.request import LatentsRequest, TermsRequest
from ...pairs.keywords import Disturbed, generated_site, inner, tolerant
from ...pairs.levels import first_level, level_terms
from ...pairs.sites import Sites
from ...pairs.terms import Latents, SiteTerms, Terms
from .checks.examination import examine
from .closed_kl import closed_kl
from .decoded import decoded, generated
from .filtering import filtered
from .moved import gain
from .sites import PARAMETRIC, base_of, describe, masks_of, traced
from .traces import (
    NumPyroSite,
    NumPyroTrace,
    Ruled,
    as_given,
    density_of,
    in_plate,
    per_datum,
    replayed,
    run,
    sites_of,
    split_sites,
)
from .twists import taught

SLEEP, PRIOR, DIRECTIONS, NOISE, CHAIN = 2**30, 2**30 + 1, 2**30 + 2, 2**30 + 4, 2**30 + 6
INPUT = 2**30 + 8
"""Numbers folded into a key for dreams, the prior's draws, directions, noise, chains and the guide's input: splitting
never uses them."""
DEFAULT = TermsRequest()
NO_SITES: Mapping[str, NumPyroSite] = {}


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _tap(value: Array, like: Array, event_dim: int) -> tuple[Array, Array]:
    """Return the value, and zeros (K, B) whose incoming gradient multiplies that of the value: see ``_weighing``."""
    return value, jnp.zeros_like(like)


def _tapped_gradient(event_dim: int, _: None, grads: tuple[Array, Array]) -> tuple[Array, Array]:
    grad, weights = grads
    plates = [1] * (grad.ndim - weights.ndim - event_dim)
    shaped = weights.reshape(*weights.shape[:-1], *plates, weights.shape[-1], *[1] * event_dim)
    return grad * shaped, jnp.zeros_like(weights)


_tap.defvjp(lambda value, like, event_dim: (_tap(value, like, event_dim), None), _tapped_gradient)


@jax.custom_vjp
def _weighing(values: Array, taps: Array, weights: Array) -> Array:
    """Return the values; in the backward pass the taps receive ``weights`` as their gradient."""
    return values


_weighing.defvjp(lambda values, taps, weights: (values, weights), lambda weights, grad: (grad, weights, None))


def _density_or_nan(site: NumPyroSite, num_particles: int) -> Array:
    """The log-density of a guide's site, (K, B); NaN where its distribution has none."""
    try:
        return density_of(site, num_particles)
    except NotImplementedError:
        return per_datum(site, jnp.full(site["fn"].batch_shape, jnp.nan), num_particles)


def _common_scale(sites: list[NumPyroSite]) -> Any:
    """The scale that all sites share, from a subsampled plate or ``handlers.scale``."""
    first, *others = sites
    for other in others:
        if not (other["scale"] is first["scale"] or _equal(other["scale"], first["scale"])):
            raise ValueError(
                f"Sites {first['name']!r} and {other['name']!r} have different scales: the weight of a term belongs to "
                "the objective, e.g. TraceELBO(beta=0.5), and a scale to the whole program."
            )
    return 1.0 if first["scale"] is None else first["scale"]


def _equal(*scales: Any) -> bool:
    a, b = (1 if scale is None else scale for scale in scales)
    return isinstance(a, int | float) and isinstance(b, int | float) and a == b


def log_terms(
    model: Any,
    guide: Any,
    *args: Any,
    key: Array,
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
        key: the random key of the draws.
        request: which draws, how their gradient flows, and which densities; one draw with the pathwise gradient by
            default.
        max_plate_nesting: number of plates that the programs nest.
        kwargs: keywords for both programs.

    Raises:
        ValueError: a site outside the data plate, or sites with different scales.
        UnsuitableObjective: a gradient without the score, for a guide whose parameters cannot be told from its draws.

    >>> import jax, jax.numpy as jnp, numpy as np
    >>> from ppl_vae import recipes
    >>> from ppl_vae.objectives import TermsRequest
    >>> model, guide = recipes.vae((6,), latent_dim=2, hidden=(4,), backend="numpyro")(np.random.default_rng(0))
    >>> log_terms(model, guide, jnp.zeros((3, 6)), key=jax.random.key(0), request=TermsRequest(5)).log_guide.shape
    (5, 3)
    """
    model, guide = tolerant(model, ("mask",)), tolerant(guide)
    if request.input_noise:
        noise = jax.random.normal(jax.random.fold_in(key, INPUT), args[0].shape, args[0].dtype)
        guide = Disturbed(guide, request.input_noise * noise)
    if request.generated:
        return generated(model, args, kwargs, request.num_particles, max_plate_nesting, key)
    if request.levels is not None:
        return _of_levels(model, guide, args, kwargs, request, max_plate_nesting, key)
    if request.filter is not None:
        found, sites = filtered(
            request.filter, model, guide, args, kwargs, request.num_particles, max_plate_nesting, key
        )
        none = zeros_like(found.log_w)
        score = found.score if request.filter.scored else None
        told = None
        if request.filter.twist:
            told = taught(sites, model, guide, args, kwargs, max_plate_nesting, jax.random.fold_in(key, SLEEP))
        return Terms(found.log_w, none, none, _common_scale(sites), score, told)
    gradient, num_particles, drawn = request.gradient, request.num_particles, guide
    configurations: dict[str, int] = {}
    if gradient.enumerates:
        drawn, configurations = _at_every_configuration(
            gradient, guide, args, kwargs, num_particles, max_plate_nesting, key
        )
        num_particles *= math.prod(configurations.values())

    def run_once(key: Array, draws: int, rule: Rule | None) -> tuple[Run, Array | None]:
        ruled = None if rule is None else Ruled(rule, key)
        p, q = run(model, drawn, args, kwargs, draws, max_plate_nesting, key, ruled)
        (latent, observed), (guided, besides) = split_sites(p), split_sites(q)
        if latent.keys() != guided.keys() or not observed or besides:
            examine(model, guide, *args, **kwargs).check_terms("A bound of log-densities")
        taps = None
        if gradient.weighs_paths:
            tapped, taps = _tapped(guided, draws, len(args[0]))
            q = {**q, **tapped}
            p = replayed(model, q, args, kwargs, draws, max_plate_nesting, key)
            latent, observed = split_sites(p)
            guided = sites_of(q, observed=False)
        stopped: NumPyroTrace = {}
        if not gradient.keeps_score:
            guided, stopped = _apart(guided, guide, args, kwargs, draws, max_plate_nesting, tapped=taps is not None)
        densities = site_terms_of(latent, guided, draws, request.analytic_kl, gradient, stopped)
        terms = _summed(latent, observed, guided, densities, draws)
        if terms.log_lik.shape[-1] != len(args[0]):
            examine(model, guide, *args, **kwargs).check_terms("A bound of log-densities")
        if request.latents is not None:
            latents = _latents(request.latents, latent, observed, guided, draws, key)
            latents = decoded(request.latents, latents, model, guided, args, kwargs, max_plate_nesting, key)
            groups = given_groups(kwargs, request.latents.groups)
            terms = terms._replace(latents=latents._replace(groups=groups))
        if request.labels in observed:
            terms = terms._replace(log_label=density_of(observed[request.labels], draws).mean(0))
        if request.chain is not None:
            moving = jax.random.fold_in(key, CHAIN)
            gained, accepted = gain(request.chain, model, args[0], kwargs, latent, draws, moving)
            terms = terms._replace(gain=gained, accepted=accepted)
        slopes: Mapping[str, Array] = {}
        if gradient.slopes:
            slopes = _slopes(
                lambda given: replayed(model, given, args, kwargs, draws, max_plate_nesting, key), q, draws
            )
        return Run(terms, {} if ruled is None else ruled.sites, slopes, densities, tuple(latent), configurations), taps

    def evaluate(key: Array, draws: int) -> tuple[Terms, Array | None]:
        runs, taps = zip(*(run_once(key, draws, rule) for rule in gradient.rules()), strict=True)
        return gradient.terms(runs), taps[0]

    chunk = request.chunk
    if chunk is None or chunk == num_particles:
        terms, taps = evaluate(key, num_particles)
    else:
        keys = jax.random.split(key, num_particles // chunk)

        @jax.checkpoint
        def body(key: Array) -> tuple[Any, ...]:
            terms, taps = evaluate(key, chunk)
            return (*terms[:3], jnp.asarray(terms.scale), terms.log_score, taps)

        _, stacked = jax.lax.scan(lambda carry, key: (carry, body(key)), None, keys)
        log_lik, log_prior, log_guide, log_score = (stacked[i].reshape(num_particles, -1) for i in (0, 1, 2, 4))
        terms = Terms(log_lik, log_prior, log_guide, stacked[3][0], log_score)
        taps = stacked[5].reshape(num_particles, -1) if gradient.weighs_paths else None
    if gradient.weighs_paths:
        weights = gradient.path_weights(jax.lax.stop_gradient(terms.log_weights))
        terms = terms._replace(log_lik=_weighing(terms.log_lik, taps, weights))
    if request.labels and terms.log_label is None:
        terms = terms._replace(log_label=_labels(guide, request.labels, args, kwargs, key))
    return terms._replace(log_sleep=_sleep(model, guide, args, kwargs, key)) if request.sleep else terms


def _labels(guide: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], key: Array) -> Array:
    """Compute log q(y | x) of known labels y, ``given`` (B, 1), by a guide that is not told of them: (B,)."""
    labels, others = known_labels(kwargs), {key: value for key, value in kwargs.items() if key != "given"}
    at = handlers.substitute(guide, data={name: jnp.maximum(labels, 0).astype(int)})
    q = sites_of(traced(handlers.seed(at, key), *args, **others), observed=False)
    return jnp.where(labels[:, 0] < 0, 0.0, density_of(q[name], 1)[0])


def _of_levels(
    model: Any,
    guide: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    request: TermsRequest,
    max_plate_nesting: int,
    key: Array,
) -> Terms:
    """Estimate the ELBO of a chain of noise from its first level and another one at random, for each draw: (K, B)."""
    assert request.levels is not None
    draws, ruled = request.num_particles, Ruled(first_level, key)
    p, q = run(model, guide, args, kwargs, draws, max_plate_nesting, key, ruled)
    (latent, observed), guided = split_sites(p), sites_of(q, observed=False)
    ((name, site),) = ruled.sites.items()
    prior = base_of(latent[name]["fn"])
    kl = per_datum(latent[name], level_terms(site, prior, request.levels.number, draws), draws)
    log_lik = jnp.stack([density_of(each, draws) for each in observed.values()]).sum(0)
    scale = _common_scale([*latent.values(), *observed.values(), *guided.values()])
    return Terms(log_lik, -kl, 0 * kl, scale, 0 * kl)


def _slopes(model: Callable[[NumPyroTrace], NumPyroTrace], q: NumPyroTrace, draws: int) -> Mapping[str, Array]:
    """The derivative of log p(x | z) by the value of each site of a guide's trace, where it is a real number."""
    guided = sites_of(q, observed=False)
    reals = {name: s["value"] for name, s in guided.items() if jnp.issubdtype(s["value"].dtype, jnp.floating)}

    def log_lik(values: dict[str, Array]) -> Array:
        at = {**q, **{name: {**guided[name], "value": value} for name, value in values.items()}}
        observed = sites_of(model(at), observed=True)
        return jnp.stack([density_of(site, draws) for site in observed.values()]).sum()

    return jax.grad(log_lik)(jax.lax.stop_gradient(reals))


def _latents(
    request: LatentsRequest,
    latent: NumPyroTrace,
    observed: NumPyroTrace,
    guided: NumPyroTrace,
    num_particles: int,
    key: Array,
) -> Latents:
    """Collect what the request asks of the single latent site."""
    (name, site), data = next(iter(guided.items())), next(iter(observed.values()))
    told: dict[str, Array] = {"z": _with_particles(site["value"], num_particles)}
    if request.moments:
        base = base_of(site["fn"])
        if not isinstance(base, Normal):
            raise not_normal("The objective", name, type(base).__name__)
        shape = site["value"].shape
        moments = {n: jnp.broadcast_to(getattr(base, n), shape) for n in ("loc", "scale")}
        told |= {n: _with_particles(value, num_particles)[0] for n, value in moments.items()}
    if request.prior:
        fn = latent[name]["fn"]
        draw = getattr(base_of(fn), "sample_along", fn.sample)
        told["prior"] = _with_particles(draw(jax.random.fold_in(key, PRIOR)), num_particles)
    if request.noise:
        told["noise"] = jax.random.normal(jax.random.fold_in(key, NOISE), told["z"].shape, told["z"].dtype)
    if request.directions:
        shape = (request.directions, told["z"].shape[-1])
        towards = jax.random.normal(jax.random.fold_in(key, DIRECTIONS), shape)
        told["directions"] = towards / jnp.linalg.norm(towards, axis=-1, keepdims=True)
    if request.reconstruction:
        told |= _reconstruction(data, num_particles)
    if request.quantised:
        base, batch = base_of(site["fn"]), site["fn"].batch_shape
        for field, vectors in (("encoded", base.before), ("codes", base.nearest)):
            shape = vectors.shape[-2:]
            told[field] = jnp.broadcast_to(vectors, (*batch, *shape)).reshape(num_particles, -1, *shape)
        if request.codebook:
            told["codebook"] = base.quantiser.table(base.encoded)
    return Latents(**told)


def _with_particles(values: Array, num_particles: int) -> Array:
    return values.reshape(num_particles, *values.shape[-2:])


def _reconstruction(data: NumPyroSite, num_particles: int) -> dict[str, Array]:
    """The data of a site and their mean, zero where a mask hides them."""
    shape = data["fn"].batch_shape + data["fn"].event_shape
    x, mean = data["value"], _with_particles(jnp.broadcast_to(data["fn"].mean, shape), num_particles)
    for mask in masks_of(data):
        seen = _with_particles(jnp.broadcast_to(mask, shape), num_particles)
        x, mean = jnp.where(seen[0], x, 0), jnp.where(seen, mean, 0)
    return {"x": x, "mean": mean}


def _sleep(model: Any, guide: Any, args: tuple[Any, ...], kwargs: dict[str, Any], key: Array) -> Array:
    """Compute log q(z | x) of B pairs (z, x) drawn from the model, B the size of the batch: (B,)."""
    program = inner(model)
    while isinstance(program, Messenger):
        program = inner(program.fn)
    generated_site(program, None)  # raises where the model cannot generate
    given = {name: value for name, value in kwargs.items() if name in ("given", "mask")}
    key = jax.random.fold_in(key, SLEEP)
    seeded = handlers.seed(model, key)
    dream = traced(seeded, size=len(args[0]), **given)
    values = {name: jax.lax.stop_gradient(site["value"]) for name, site in dream.items() if site["type"] == "sample"}
    observed = sites_of(traced(seeded, *args, **kwargs), observed=True)
    check_dream(args, tuple(observed))
    x = values[next(iter(observed))].astype(args[0].dtype)
    q = traced(handlers.seed(handlers.substitute(guide, data=values), key), x, **given)
    return jnp.stack([density_of(site, 1)[0] for site in sites_of(q, observed=False).values()]).sum(0)


def terms_of(
    latent: NumPyroTrace,
    observed: NumPyroTrace,
    guided: NumPyroTrace,
    num_particles: int,
    *,
    analytic_kl: bool = False,
    gradient: Gradient = DEFAULT.gradient,
    stopped: Mapping[str, NumPyroSite] = NO_SITES,
) -> Terms:
    """Compute the terms of traced sites: the model's latent and observed ones, and the guide's."""
    densities = site_terms_of(latent, guided, num_particles, analytic_kl, gradient, stopped)
    return _summed(latent, observed, guided, densities, num_particles)


def _summed(
    latent: NumPyroTrace,
    observed: NumPyroTrace,
    guided: NumPyroTrace,
    densities: Mapping[str, SiteTerms],
    num_particles: int,
) -> Terms:
    scale = _common_scale([*latent.values(), *observed.values(), *guided.values()])
    log_lik = jnp.stack([density_of(site, num_particles) for site in observed.values()]).sum(0)
    zero = jnp.zeros(())
    log_prior, log_guide, log_score = (sum((each[i] for each in densities.values()), zero) for i in range(3))
    log_lik, log_prior, log_guide, log_score = jnp.broadcast_arrays(log_lik, log_prior, log_guide, log_score)
    return Terms(log_lik, log_prior, log_guide, scale, log_score)


def site_terms_of(
    latent: NumPyroTrace,
    guided: NumPyroTrace,
    num_particles: int,
    analytic_kl: bool = False,
    gradient: Gradient = DEFAULT.gradient,
    stopped: Mapping[str, NumPyroSite] = NO_SITES,
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
            log_score = density
        if kl is not None:
            found[name] = SiteTerms(-per_datum(latent[name], kl, num_particles), 0.0, log_score)
            continue
        if softened:
            raise no_closed_kl(name, describe(site).distribution, describe(latent[name]).distribution)
        if name in stopped:
            score = density_of(stopped[name], num_particles)
            density = density - score + jax.lax.stop_gradient(score)
        elif is_scored and not gradient.weighs_score:
            density = jax.lax.stop_gradient(density)
        found[name] = SiteTerms(density_of(latent[name], num_particles), density, log_score)
    return found


def _at_every_configuration(
    gradient: Gradient,
    guide: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int,
    key: Array,
) -> tuple[Any, dict[str, int]]:
    """Replace draws of the guide by every joint value of the sites that take all, each for K particles.

    Returns: that guide, and the number of values of each of these sites.
    """
    sites = sites_of(traced(handlers.seed(guide, key), *args, **kwargs), observed=False)
    described = Sites(tuple(describe(site) for site in sites.values()), (), tuple(sites))
    gradient.check("Enumeration", described)
    values, given = described.configurations(gradient.takes_all), {}
    for name, every in values.items():
        like = sites[name]["value"]
        value = jnp.repeat(jnp.asarray(every, like.dtype), num_particles, 0)
        value = value.reshape(len(value), *[1] * max_plate_nesting, *value.shape[1:])
        given[name] = jnp.broadcast_to(value, (*value.shape[:max_plate_nesting], *like.shape))
    return handlers.substitute(guide, data=given), described.sizes(gradient.takes_all)


def _tapped(guided: NumPyroTrace, draws: int, size: int) -> tuple[NumPyroTrace, Array]:
    """Put a tap on each draw of the guide; return the sites, and the taps' zeros (K, B), for ``_weighing``."""
    zeros, tapped = jnp.zeros((draws, size)), {}
    for name, site in guided.items():
        value, tap = _tap(site["value"], zeros if draws > 1 else zeros[0], site["fn"].event_dim)
        tapped[name] = as_given(site, value)
        zeros = zeros + (tap if draws > 1 else tap[None])
    return tapped, zeros


def _apart(
    guided: NumPyroTrace,
    guide: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int,
    tapped: bool,
) -> tuple[NumPyroTrace, NumPyroTrace]:
    """Part the gradient of log q into that through the draws and the score: (sites, the same at stopped draws).

    At stopped draws the gradient of log q is the score alone. A single site that holds its parameters itself is
    stopped instead. The parameters of several sites may depend on draws, so that the guide runs once more; and, where
    the draws are tapped after the guide has run, once more on these.
    """
    ((name, site), *others) = guided.items()
    if not others and type(base_of(site["fn"])) in PARAMETRIC:
        return {name: as_given({**site, "fn": jax.lax.stop_gradient(site["fn"])}, site["value"])}, {}
    values = {name: jax.lax.stop_gradient(site["value"]) for name, site in guided.items()}
    if not others:
        return guided, {name: as_given(site, values[name])}
    drawn = {name: site["value"] for name, site in guided.items()}

    def at(values: Mapping[str, Array]) -> NumPyroTrace:
        again = handlers.substitute(in_plate(guide, num_particles, max_plate_nesting), data=values)
        return sites_of(traced(handlers.seed(again, jax.random.key(0)), *args, **kwargs), observed=False)

    return at(drawn) if tapped else guided, at(values)

"""Traces of a pair, and the log-densities of their sites."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
import numpyro
from flax import nnx
from jax import Array
from numpyro import handlers
from numpyro.distributions import Independent, Normal, kl_divergence
from numpyro.primitives import Messenger

from ...errors import UnsuitableObjective
from ...objectives.checks import check_dream, no_parameter, not_normal
from ...objectives.gradients import Rule, Run
from ...objectives.request import LatentsRequest, TermsRequest
from ...pairs.keywords import generated_site, inner, tolerant
from ...pairs.sites import Sites, check_batch_shape, does_not_run, match
from ...pairs.terms import Latents, Terms
from .sites import NUMPYRO, base_of, describe, traced

NumPyroSite = dict[str, Any]
SLEEP, PRIOR, DIRECTIONS, NOISE = 2**30, 2**30 + 1, 2**30 + 2, 2**30 + 4
"""Numbers folded into a key for dreams, draws from the prior, directions and noise; splitting a key never uses them."""
NumPyroTrace = dict[str, NumPyroSite]
DEFAULT = TermsRequest()


def sites_of(trace: NumPyroTrace, *, observed: bool) -> NumPyroTrace:
    """Select the latent or the observed sample sites of a trace."""
    return {name: s for name, s in trace.items() if s["type"] == "sample" and s["is_observed"] == observed}


def run(
    model: Any,
    guide: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int,
    key: Array,
    ruled: Ruled | None = None,
) -> tuple[NumPyroTrace, NumPyroTrace]:
    """Trace the guide, and the model on its draws: (model's trace, guide's trace), with particles as a plate."""
    model_key, guide_key = jax.random.split(key)
    q = run_guide(guide, args, kwargs, num_particles, max_plate_nesting, guide_key, ruled)
    return _replayed(model, q, args, kwargs, num_particles, max_plate_nesting, model_key), q


def run_guide(
    guide: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int,
    key: Array,
    ruled: Ruled | None = None,
) -> NumPyroTrace:
    """Trace the guide, with particles as a plate; ``ruled`` gives its latent sites their values, if it is given."""
    guide = _in_plate(guide, num_particles, max_plate_nesting)
    # The handler stands outside the trace, which then records what it did.
    with NUMPYRO, ruled or nullcontext():
        return traced(handlers.seed(guide, key), *args, **kwargs)


def _replayed(
    model: Any,
    q: NumPyroTrace,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int,
    key: Array,
) -> NumPyroTrace:
    replayed = handlers.replay(_in_plate(model, num_particles, max_plate_nesting), trace=q)
    return traced(handlers.seed(replayed, key), *args, **kwargs)


def _in_plate(program: Any, num_particles: int, max_plate_nesting: int) -> Any:
    def vectorised(*args: Any, **kwargs: Any) -> Any:
        with numpyro.plate("num_particles", num_particles, dim=-1 - max_plate_nesting):
            return program(*args, **kwargs)

    return program if num_particles == 1 else vectorised


class TracedSite:
    """A latent site of the running guide: the ``GuideSite`` of ``objectives.gradients``."""

    def __init__(self, msg: Any, key: Array) -> None:
        self.name, self.reparameterised, self.value = msg["name"], bool(msg["fn"].has_rsample), None
        self._msg, self._key = msg, key

    def sample(self) -> Array:
        """Draw from the guide, with a gradient where the site is reparameterised."""
        return self._msg["fn"](*self._msg["args"], **self._msg["kwargs"])

    def mean(self) -> Array:
        """The mean of the site's distribution."""
        return self._msg["fn"].mean

    def parameter(self, name: str) -> Array:
        """A parameter of the site's distribution, for each draw."""
        base, shape = base_of(self._msg["fn"]), self._msg["fn"].shape()
        if not hasattr(base, name):
            raise no_parameter(self.name, type(base).__name__, name)
        values = getattr(base, name)
        own = values.shape[len(base.batch_shape) :]
        return jnp.broadcast_to(values, (*shape[: len(shape) - len(base.event_shape)], *own))

    def noise(self, kind: str, like: Array) -> Array:
        """Standard noise of the shape of ``like``, the same in every run of one evaluation."""
        key = jax.random.fold_in(self._key, crc32(f"{self.name}/{kind}".encode()))
        draw = jax.random.uniform if kind == "uniform" else jax.random.normal
        dtype = like.dtype if jnp.issubdtype(like.dtype, jnp.floating) else jnp.result_type(float)
        return draw(key, like.shape, dtype)


class Ruled(Messenger):
    """A handler in which the latent sites of the program inside take the values that a rule gives them."""

    def __init__(self, rule: Rule, key: Array) -> None:
        super().__init__()
        self.rule, self.key = rule, jax.random.fold_in(key, NOISE)
        self.sites: dict[str, TracedSite] = {}

    def process_message(self, msg: Any) -> None:
        if msg["type"] != "sample" or msg["is_observed"] or msg["value"] is not None:
            return
        site = TracedSite(msg, self.key)
        msg["value"], msg["intermediates"] = self.rule(site), []
        site.value, self.sites[site.name] = msg["value"], site


@jax.custom_vjp
def _tap(value: Array, like: Array) -> tuple[Array, Array]:
    """Return the value, and zeros (K, B) whose incoming gradient multiplies that of the value: see ``_weighing``."""
    return value, jnp.zeros_like(like)


def _tapped_gradient(_: None, grads: tuple[Array, Array]) -> tuple[Array, Array]:
    grad, weights = grads
    return grad * weights.reshape(*weights.shape, *[1] * (grad.ndim - weights.ndim)), jnp.zeros_like(weights)


_tap.defvjp(lambda value, like: (_tap(value, like), None), _tapped_gradient)


@jax.custom_vjp
def _weighing(values: Array, taps: Array, weights: Array) -> Array:
    """Return the values; in the backward pass the taps receive ``weights`` as their gradient."""
    return values


_weighing.defvjp(lambda values, taps, weights: (values, weights), lambda weights, grad: (grad, weights, None))


def _per_datum(site: NumPyroSite, values: Array, num_particles: int) -> Array:
    """Sum over every dimension but particles and data: (K, B)."""
    if not any(frame.dim == -1 for frame in site["cond_indep_stack"]):
        raise ValueError(
            f"Site {site['name']!r} is outside the plate of the data at dim -1, so its density does not belong to any "
            "datum: put it inside, or use a stock objective of numpyro.infer, which sums over everything."
        )
    while values.ndim > (1 if num_particles == 1 else 2):
        values = values.sum(-2)
    return values[None] if num_particles == 1 else values


def density_of(site: NumPyroSite, num_particles: int) -> Array:
    """Compute the log-density of a traced site at its value, summed to one number per particle and datum: (K, B)."""
    if site["intermediates"]:
        values = site["fn"].log_prob(site["value"], site["intermediates"])
    else:
        values = site["fn"].log_prob(site["value"])
    return _per_datum(site, values, num_particles)


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


def _equal(a: Any, b: Any) -> bool:
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
    gradient, num_particles, drawn = request.gradient, request.num_particles, guide
    if gradient.enumerates:
        drawn, num_particles = _at_every_configuration(guide, args, kwargs, key)

    def run_once(key: Array, draws: int, rule: Rule | None) -> tuple[Run, Array | None]:
        ruled = None if rule is None else Ruled(rule, key)
        p, q = run(model, drawn, args, kwargs, draws, max_plate_nesting, key, ruled)
        latent, observed, guided = sites_of(p, observed=False), sites_of(p, observed=True), sites_of(q, observed=False)
        if set(latent) != set(guided) or not observed:
            examine(model, guide, *args, **kwargs)
        taps = None
        if gradient.weighs_paths:
            tapped, taps = _tapped(guided, draws, len(args[0]))
            q = {**q, **tapped}
            p = _replayed(model, q, args, kwargs, draws, max_plate_nesting, key)
            latent, observed = sites_of(p, observed=False), sites_of(p, observed=True)
            guided = sites_of(q, observed=False)
        if not gradient.keeps_score:
            guided = _without_score(guided, guide, q, args, kwargs, draws, max_plate_nesting)
        terms = terms_of(latent, observed, guided, draws, analytic_kl=request.analytic_kl, scored=gradient.scores)
        if request.latents is not None:
            terms = terms._replace(latents=_latents(request.latents, latent, observed, guided, draws, key))
        return Run(terms, {} if ruled is None else ruled.sites), taps

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
    return terms._replace(log_sleep=_sleep(model, guide, args, kwargs, key)) if request.sleep else terms


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
        told["prior"] = _with_particles(latent[name]["fn"].sample(jax.random.fold_in(key, PRIOR)), num_particles)
    if request.directions:
        shape = (request.directions, told["z"].shape[-1])
        towards = jax.random.normal(jax.random.fold_in(key, DIRECTIONS), shape)
        told["directions"] = towards / jnp.linalg.norm(towards, axis=-1, keepdims=True)
    if request.reconstruction:
        told |= _reconstruction(data, num_particles)
    return Latents(**told)


def _with_particles(values: Array, num_particles: int) -> Array:
    return values.reshape(num_particles, *values.shape[-2:])


def _reconstruction(data: NumPyroSite, num_particles: int) -> dict[str, Array]:
    """The data of a site and their mean, zero where a mask hides them."""
    shape = data["fn"].batch_shape + data["fn"].event_shape
    x, mean = data["value"], _with_particles(jnp.broadcast_to(data["fn"].mean, shape), num_particles)
    for mask in _masks(data):
        seen = _with_particles(jnp.broadcast_to(mask, shape), num_particles)
        x, mean = jnp.where(seen[0], x, 0), jnp.where(seen, mean, 0)
    return {"x": x, "mean": mean}


def _masks(site: NumPyroSite) -> list[Array]:
    """The masks of a site's entries, each with the number of dimensions of the site's value."""
    fn, masks = site["fn"], []
    while hasattr(fn, "base_dist"):
        if not isinstance(getattr(fn, "_mask", True), bool):
            masks.append(fn._mask[(..., *[None] * fn.event_dim)])
        fn = fn.base_dist
    return masks


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
    scored: Callable[[bool], bool] = operator.not_,
) -> Terms:
    """Compute the terms of traced sites: the model's latent and observed ones, and the guide's.

    ``scored(reparameterised)`` says whether the log q of such a site belongs to ``log_score``.
    """
    scale = _common_scale([*latent.values(), *observed.values(), *guided.values()])
    log_lik = jnp.stack([density_of(site, num_particles) for site in observed.values()]).sum(0)
    log_prior = log_guide = log_score = jnp.zeros(())
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
    log_lik, log_prior, log_guide, log_score = jnp.broadcast_arrays(log_lik, log_prior, log_guide, log_score)
    return Terms(log_lik, log_prior, log_guide, scale, log_score)


def _at_every_configuration(guide: Any, args: tuple[Any, ...], kwargs: dict[str, Any], key: Array) -> tuple[Any, int]:
    """Replace the guide's draws by every joint value of its sites; return that guide and the number of values."""
    sites = sites_of(traced(handlers.seed(guide, key), *args, **kwargs), observed=False)
    latent = tuple(describe(site) for site in sites.values())
    values = Sites(latent, (), ()).configurations()
    given = {}
    for name, site in sites.items():
        value = jnp.asarray(values[name], site["value"].dtype)
        given[name] = jnp.broadcast_to(value[:, None], (len(value), *site["value"].shape))
    return handlers.substitute(guide, data=given), len(next(iter(values.values())))


def _tapped(guided: NumPyroTrace, draws: int, size: int) -> tuple[NumPyroTrace, Array]:
    """Put a tap on each draw of the guide; return the sites, and the taps' zeros (K, B), for ``_weighing``."""
    zeros, tapped = jnp.zeros((draws, size)), {}
    for name, site in guided.items():
        value, tap = _tap(site["value"], zeros if draws > 1 else zeros[0])
        tapped[name] = {**site, "value": value, "intermediates": []}
        zeros = zeros + (tap if draws > 1 else tap[None])
    return tapped, zeros


def _without_score(
    guided: NumPyroTrace,
    guide: Any,
    trace: NumPyroTrace,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int,
) -> NumPyroTrace:
    """Return the guide's sites with distributions that depend on draws but not on parameters.

    One site is stopped as it is. Several are run once more on stopped parameters.
    """
    if len(guided) == 1:
        stopped = {name: {**site, "fn": jax.lax.stop_gradient(site["fn"])} for name, site in guided.items()}
        return {name: {**site, "intermediates": []} for name, site in stopped.items()}
    if not isinstance(inner(guide), nnx.Module):
        raise UnsuitableObjective(
            f"A guide with the sites {list(guided)} as a plain function cannot be run without its parameters' score: "
            "make it an nnx.Module, or use an objective that keeps the score, such as TraceELBO() or IWAE."
        )
    graph, state = nnx.split(inner(guide))
    frozen = tolerant(nnx.merge(graph, jax.lax.stop_gradient(state)))
    frozen = _in_plate(frozen, num_particles, max_plate_nesting)
    replayed = handlers.seed(handlers.replay(frozen, trace=trace), jax.random.key(0))
    return sites_of(traced(replayed, *args, **kwargs), observed=False)


def _kl(q: Any, p: Any) -> Array | None:
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return _finite_kl(q, p)


def _finite_kl(q: Any, p: Any) -> Array | None:
    """Sum q(z) (log q(z) - log p(z)) over the finitely many values of each entry: a KL that NumPyro lacks."""
    bases = [fn.base_dist if isinstance(fn, Independent) else fn for fn in (q, p)]
    if q.event_shape != p.event_shape or not all(base.has_enumerate_support for base in bases):
        return None
    values = bases[0].enumerate_support(expand=True)
    log_q, log_p = (base.log_prob(values) for base in bases)
    kl = (jnp.exp(log_q) * (log_q - log_p)).sum(0)
    return kl.sum(tuple(range(-len(q.event_shape), 0)))


def examine(model: Any, guide: Any, *args: Any, **kwargs: Any) -> Sites:
    """Run the pair once, and describe its sites.

    Raises:
        ValueError: the pair does not run on this batch, the model and the guide have different latent sites, or a
            site's log-density has a shape that is not the batch's.
    """
    try:
        p, q = run(model, guide, args, kwargs, 1, 1, jax.random.key(0))
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        raise does_not_run(args, error) from error
    for site in [
        *sites_of(p, observed=False).values(),
        *sites_of(p, observed=True).values(),
        *sites_of(q, observed=False).values(),
    ]:
        frames = site["cond_indep_stack"]
        check_batch_shape(site["name"], tuple(site["fn"].batch_shape), {f.dim: (f.name, f.size) for f in frames})
    guided, latent, observed = (
        {name: describe(site) for name, site in sites.items()}
        for sites in (sites_of(q, observed=False), sites_of(p, observed=False), sites_of(p, observed=True))
    )
    scales = [p[name]["scale"] for name in {**latent, **observed}]
    scaled = any(scale is not None and not (isinstance(scale, int | float) and scale == 1) for scale in scales)
    return match(guided, latent, observed, scaled=scaled, empty=getattr(inner(guide), "is_empty", False))

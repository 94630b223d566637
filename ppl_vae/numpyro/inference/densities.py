"""A pair's log-densities as functions of the positions of chains, in NumPyro."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from flax import nnx
from jax import Array
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.primitives import Messenger

from ...mcmc.kernels import Evaluated, component_weights, stratified
from ...mcmc.layout import Latent, Layout, Position
from ...pairs.keywords import inner
from ..models import VampPrior
from .sites import describe, traced
from .traces import NumPyroSite, NumPyroTrace, density_of, sites_of

MAX_PLATE_NESTING = 1
GUESSES = 16
"""Draws of the guide that responsibilities of a start from components are the mean over."""


def layout_of(model: Any, x: Array, side: Mapping[str, Array]) -> Layout:
    """Describe the model's latent sites, from one run."""
    trace = traced(handlers.seed(model, jax.random.key(0)), x, **side)
    return layout_of_sites(sites_of(trace, observed=False), len(x))


def layout_of_sites(latent: NumPyroTrace, rows: int) -> Layout:
    """Describe the model's latent sites, from their values in as many rows, of all particles together."""
    return Layout(tuple(_latent(site, rows) for site in latent.values()))


def _is_mixture(fn: Any) -> bool:
    """Whether draws can be made of its components, and so with other weights."""
    return hasattr(fn, "component_sample")


def _latent(site: NumPyroSite, rows: int) -> Latent:
    fn, described = site["fn"], describe(site)
    if fn.support.is_discrete:
        values = described.num_values
        categorical = values is not None and not described.binary
        return Latent(site["name"], described.distribution, tuple(fn.event_shape), None, values, categorical)
    free = biject_to(fn.support).inv(site["value"])
    return Latent(
        site["name"], described.distribution, tuple(fn.event_shape), free.size // rows, None, False, _is_mixture(fn)
    )


def repeat(count: int, body: Callable[..., tuple[Array, ...]], start: tuple[Array, ...]) -> tuple[Array, ...]:
    """Apply the body ``count`` times, compiled once."""
    return jax.lax.fori_loop(0, count, lambda _, state: body(state), start)


class _Set(Messenger):
    """A handler in which latent sites take values that are computed from their distributions."""

    def __init__(self, fn: Any, compute: Callable[[NumPyroSite], Array | None]) -> None:
        super().__init__(fn)
        self.compute = compute

    def process_message(self, msg: NumPyroSite) -> None:
        if msg["type"] == "sample" and not msg["is_observed"]:
            value = self.compute(msg)
            if value is not None:
                msg["value"] = value


class Densities:
    """log f_beta = (1 - beta) log f_0 + beta log p(x, z) of K chains for each of B data points, where z = z(u, codes).

    f_0 is the prior p(z), the guide's q(z | x), or the prior whose components are weighted anew for each datum, by the
    guide's draws. Densities are those of u, with the Jacobian of the bijection to z.

    Args:
        model: the generative program.
        guide: the program q(z | x).
        x: data (B, P).
        side: side inputs of x.
        layout: the model's latent sites.
        start: f_0, ``prior``, ``guide`` or ``components``.
        key: of the noise that a guide may draw inside, always the same.
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        x: Array,
        side: Mapping[str, Array],
        layout: Layout,
        start: str = "prior",
        key: Array | None = None,
    ) -> None:
        self.model, self.guide, self.x, self.side, self.layout = model, guide, x, side, layout
        self.start = start
        program = inner(model)
        for _, node in nnx.iter_graph(program) if isinstance(program, nnx.Module) else ():
            if isinstance(node, VampPrior):  # or a loop's every step would encode its pseudo-inputs
                node.encode()
        self.key = jax.random.key(0) if key is None else key
        if start == "guide":
            trace = traced(handlers.seed(guide, self.key), x, **side)
            self.guided = sites_of(trace, observed=False)
        self.weights = self._component_weights() if start == "components" else {}

    def _component_weights(self) -> dict[str, Array]:
        """Compute the log-weights of the components of each site whose prior is a mixture, (B, C)."""
        guided = sites_of(self.trace(self.guide, GUESSES, lambda site: None), observed=False)
        drawn = {name: site["value"] for name, site in guided.items()}
        latent = sites_of(self.trace(self.model, GUESSES, lambda site: drawn.get(site["name"])), observed=False)
        mixed = {name: site for name, site in latent.items() if _is_mixture(site["fn"])}
        near = {name: site["fn"].responsibilities(site["value"]) for name, site in mixed.items()}
        return {name: component_weights(near[name], site["fn"].logits) for name, site in mixed.items()}

    def _start_at(self, site: NumPyroSite, key: Array) -> Array | None:
        """Draw a value of a site whose components are weighted anew; None for others."""
        log_weights = self.weights.get(site["name"])
        if log_weights is None:
            return None
        for_noise, for_shift, for_value = jax.random.split(key, 3)
        shape = jnp.broadcast_shapes(site["fn"].batch_shape, log_weights.shape[:-1])
        noise, shift = jax.random.uniform(for_noise, shape), jax.random.uniform(for_shift, shape[-1:])
        return site["fn"].component_sample(for_value, stratified(log_weights, noise, shift))

    def trace(
        self, program: Any, num_chains: int, compute: Callable[[NumPyroSite], Any], key: Array | None = None
    ) -> NumPyroTrace:
        """Trace a program with a plate of chains; ``compute(site)`` gives each latent site its value."""

        def in_plate(*args: Any, **kwargs: Any) -> Any:
            with numpyro.plate("num_particles", num_chains, dim=-1 - MAX_PLATE_NESTING):
                return program(*args, **kwargs)

        seeded = handlers.seed(_Set(in_plate, compute), self.key if key is None else key)
        return traced(seeded, self.x, **self.side)

    def _placed(self, position: Position) -> tuple[NumPyroTrace, Array]:
        """The model's trace at a position, and log |dz / du|, (K, B)."""
        columns, log_dets = self.layout.columns(position), []

        def compute(site: NumPyroSite) -> Array | None:
            flat = columns.get(site["name"])
            if flat is None:
                return None
            if not jnp.issubdtype(flat.dtype, jnp.floating):
                return self._discrete(site["name"], flat.reshape(*flat.shape[:2], *site["fn"].event_shape))
            transform = biject_to(site["fn"].support)
            u = flat.reshape(transform.inverse_shape((*flat.shape[:2], *site["fn"].event_shape)))
            value = transform(u)
            log_dets.append(transform.log_abs_det_jacobian(u, value).reshape(*flat.shape[:2], -1).sum(-1))
            return value

        trace = self.trace(self.model, position.u.shape[0], compute)
        return trace, sum(log_dets, jnp.zeros(position.u.shape[:2], position.u.dtype))

    def _discrete(self, name: str, value: Array) -> Array:
        """Give a discrete site's value the type that programs take: integers for categories, else floating."""
        categories = any(site.name == name and site.is_categorical for site in self.layout.sites)
        return value if categories else value.astype(self.x.dtype)

    def parts(self, position: Position) -> tuple[Array, Array, Array, NumPyroTrace]:
        """(log p(x | z), log p(z), log |dz / du|), (K, B) each, and the model's trace."""
        chains = position.u.shape[0]
        trace, log_det = self._placed(position)
        log_lik, log_prior = (
            sum((density_of(site, chains) for site in sites_of(trace, observed=seen).values()), log_det * 0)
            for seen in (True, False)
        )
        return log_lik, log_prior, log_det, trace

    def _log_guide(self, trace: NumPyroTrace, chains: int) -> Array:
        """Compute log q(z | x), (K, B); the noise that a guide may draw inside is always the same."""
        values = {name: site["value"] for name, site in sites_of(trace, observed=False).items()}
        if len(self.guided) == 1:  # its parameters do not depend on z
            ((name, site),) = self.guided.items()
            return site["fn"].log_prob(values[name])
        guided = self.trace(self.guide, chains, lambda site: values.get(site["name"]))
        return jnp.stack([density_of(site, chains) for site in sites_of(guided, observed=False).values()]).sum(0)

    def draws(self, num_chains: int, key: Array) -> dict[str, Array]:
        """Draws from f_0, (K, B, ...) by site."""
        if self.start == "guide" and len(self.guided) == 1:
            return {name: site["fn"].sample(key, (num_chains,)) for name, site in self.guided.items()}
        trace = self._guided(num_chains, key) if self.start == "guide" else self._placed_at_starts(num_chains, key)
        return {name: site["value"] for name, site in sites_of(trace, observed=False).items()}

    def _placed_at_starts(self, num_chains: int, key: Array) -> NumPyroTrace:
        """Trace the model with draws of its sites, those of components that are weighted anew."""
        keys = {name: jax.random.fold_in(key, number) for number, name in enumerate(self.weights)}
        return self.trace(self.model, num_chains, lambda site: self._start_at(site, keys.get(site["name"], key)), key)

    def _guided(self, num_chains: int, key: Array) -> NumPyroTrace:
        """Trace the guide with draws of its sites, whose parameters are those of ``_log_guide``.

        The noise that it draws inside is the same; draws of its sites are by keys of their own.
        """
        keys = {name: jax.random.fold_in(key, number) for number, name in enumerate(self.guided)}

        def draw(site: NumPyroSite) -> Array | None:
            return site["fn"].sample(keys[site["name"]]) if site["name"] in keys else None

        return self.trace(self.guide, num_chains, draw)

    def ends(self, position: Position) -> tuple[Array, Array]:
        """(log f_0, log f_1) of u, (K, B) each."""
        log_lik, log_prior, log_det, trace = self.parts(position)
        log_joint = log_lik + log_prior + log_det
        if self.start != "guide":
            return log_prior + log_det + self._weighed(trace), log_joint
        return self._log_guide(trace, position.u.shape[0]) + log_det, log_joint

    def _weighed(self, trace: NumPyroTrace) -> Array | float:
        """Compute log f_0 - log p(z), (K, B), from the weights of components; 0 at the prior."""
        each: list[Array] = []
        for name, log_weights in self.weights.items():
            fn, value = trace[name]["fn"], trace[name]["value"]
            of_component = fn.component_log_prob(value)
            own = of_component + jax.nn.log_softmax(fn.logits)
            each.append(jax.nn.logsumexp(of_component + log_weights, -1) - jax.nn.logsumexp(own, -1))
        return sum(each, 0.0)

    def at(self, codes: Array, beta: Any) -> Callable[[Array], Evaluated]:
        """Return u -> (log-density, its gradient), given the discrete entries."""

        def total(u: Array) -> tuple[Array, tuple[Array, Array]]:
            log_0, log_1 = self.ends(Position(u, codes))
            log_f = log_0 + beta * (log_1 - log_0)
            return log_f.sum(), (log_f, log_1 - log_0)

        def density(u: Array) -> Evaluated:
            gradient, (log_f, gap) = jax.grad(total, has_aux=True)(u)
            return Evaluated(log_f, gradient, gap)

        return density

    def log_f(self, position: Position, beta: Any) -> Array:
        """log f_beta, (K, B), without its gradient."""
        log_0, log_1 = self.ends(position)
        return log_0 + beta * (log_1 - log_0)

    def values(self, position: Position) -> dict[str, Array]:
        """Compute the latents' values at a position, by site, (K, B, ...)."""
        trace, _ = self._placed(position)
        return {site.name: trace[site.name]["value"] for site in self.layout.sites}

    def position(self, values: Mapping[str, Array]) -> Position:
        """Find the position of chains whose latents have these values, (K, B, ...) each."""
        given = dict(values) | {s.name: self._discrete(s.name, values[s.name]) for s in self.layout.discrete}
        chains, size = len(next(iter(values.values()))), len(self.x)
        trace = self.trace(self.model, chains, lambda site: given.get(site["name"]))
        u, codes = [jnp.zeros((chains, size, 0), self.x.dtype)], [jnp.zeros((chains, size, 0), int)]
        for site in self.layout.sites:
            if site.width is None:
                codes.append(values[site.name].reshape(chains, size, -1).astype(int))
            else:
                free = biject_to(trace[site.name]["fn"].support).inv(values[site.name])
                u.append(free.reshape(chains, size, -1))
        return Position(jnp.concatenate(u, -1), jnp.concatenate(codes, -1))

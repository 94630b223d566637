"""Traces of a pair: the guide's draws, by plain sampling or by a rule, and the model on them."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
import numpyro
from jax import Array
from numpyro import handlers
from numpyro.primitives import Messenger

from ...objectives.checks import no_parameter
from ...objectives.gradients import Rule
from ...pairs.failures import not_of_its_plates
from .sites import NUMPYRO, base_of, traced

NumPyroSite = dict[str, Any]
NumPyroTrace = dict[str, NumPyroSite]
NOISE = 2**30 + 4
"""The number folded into a key for the noise of rules; splitting a key never uses it."""


def split_sites(trace: NumPyroTrace) -> tuple[NumPyroTrace, NumPyroTrace]:
    """Select the latent and the observed sample sites of a trace."""
    return sites_of(trace, observed=False), sites_of(trace, observed=True)


def sites_of(trace: NumPyroTrace, *, observed: bool) -> NumPyroTrace:
    """Select the latent or the observed sample sites of a trace."""
    return {name: s for name, s in trace.items() if s["type"] == "sample" and s["is_observed"] == observed}


def per_datum(site: NumPyroSite, values: Array, num_particles: int) -> Array:
    """Sum over every dimension but particles and data: (K, B)."""
    if not any(frame.dim == -1 for frame in site["cond_indep_stack"]):
        raise ValueError(
            f"Site {site['name']!r} is outside the plate of the data at dim -1, so its density does not belong to any "
            "datum: put it inside, or use a stock objective of numpyro.infer, which sums over everything."
        )
    dim = -2
    while values.ndim > (1 if num_particles == 1 else 2):
        if values.shape[-2] > 1 and not any(frame.dim == dim for frame in site["cond_indep_stack"]):
            raise not_of_its_plates(site["name"], tuple(site["fn"].batch_shape), dim, num_particles)
        values, dim = values.sum(-2), dim - 1
    return values[None] if num_particles == 1 else values


def density_of(site: NumPyroSite, num_particles: int) -> Array:
    """Compute the log-density of a traced site at its value, summed to one number per particle and datum: (K, B)."""
    if site["intermediates"]:
        values = site["fn"].log_prob(site["value"], site["intermediates"])
    else:
        values = site["fn"].log_prob(site["value"])
    return per_datum(site, values, num_particles)


def as_given(site: NumPyroSite, value: Array) -> NumPyroSite:
    """The site at the numbers of its own draw, as a value that is given: what led to the draw does not count.

    A distribution with ``of_given`` keeps what helps it to invert, without its gradient.
    """
    kept: Any = getattr(site["fn"], "of_given", lambda intermediates: [])
    return {**site, "value": value, "intermediates": kept(site["intermediates"])}


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
    return replayed(model, q, args, kwargs, num_particles, max_plate_nesting, model_key), q


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
    guide = in_plate(guide, num_particles, max_plate_nesting)
    # The handler stands outside the trace, which then records what it did.
    with NUMPYRO, ruled or Ruled(None, key):
        return traced(handlers.seed(guide, key), *args, **kwargs)


def replayed(
    model: Any,
    q: NumPyroTrace,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_particles: int,
    max_plate_nesting: int,
    key: Array,
) -> NumPyroTrace:
    """Trace the model on the draws of a guide's trace, with particles as a plate."""
    replayed = handlers.replay(in_plate(model, num_particles, max_plate_nesting), trace=q)
    return traced(handlers.seed(replayed, key), *args, **kwargs)


def in_plate(program: Any, num_particles: int, max_plate_nesting: int) -> Any:
    """Put a program into a plate of K particles, left of the plates that it nests; for one particle it stays."""

    def vectorised(*args: Any, **kwargs: Any) -> Any:
        with numpyro.plate("num_particles", num_particles, dim=-1 - max_plate_nesting):
            return program(*args, **kwargs)

    return program if num_particles == 1 else vectorised


class TracedSite:
    """A latent site of the running guide: the ``GuideSite`` of ``objectives.gradients``."""

    def __init__(self, msg: Any, key: Array) -> None:
        self.name, self.reparameterised, self.value = msg["name"], bool(msg["fn"].has_rsample), None
        self._msg, self._key = msg, key

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a plain draw."""
        return tuple(self._msg["fn"].shape())

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum's draw."""
        return tuple(self._msg["fn"].event_shape)

    def sample(self) -> Array:
        """Draw from the guide, with a gradient where the site is reparameterised."""
        fn, args, kwargs = self._msg["fn"], self._msg["args"], self._msg["kwargs"]
        if self.reparameterised:
            return fn(*args, **kwargs)
        return jax.lax.stop_gradient(jax.lax.stop_gradient(fn)(*args, **kwargs))  # some samplers have no derivative

    @property
    def distribution(self) -> Any:
        """The site's distribution, without wrappers that only rearrange it."""
        return base_of(self._msg["fn"])

    def mean(self) -> Array:
        """The mean of the site's distribution."""
        return self._msg["fn"].mean

    def strata(self, alone: bool) -> Array:
        """Draw from a mixture's components, another for each particle; log q is then of all, or of these ``alone``."""
        key = jax.random.fold_in(self._key, crc32(f"{self.name}/strata".encode()))
        several = any(frame.name == "num_particles" for frame in self._msg["cond_indep_stack"])
        self._msg["fn"] = self._msg["fn"].strata(alone, several, key)
        return self.sample()

    def parameter(self, name: str) -> Array:
        """A parameter of the site's distribution, for each draw."""
        base, shape = base_of(self._msg["fn"]), self._msg["fn"].shape()
        if not hasattr(base, name):
            raise no_parameter(self.name, type(base).__name__, name)
        values = getattr(base, name)
        own = values.shape[len(base.batch_shape) :]
        return jnp.broadcast_to(values, (*shape[: len(shape) - len(base.event_shape)], *own))

    def noise(self, kind: str, like: Array, purpose: str = "") -> Array:
        """Standard noise of the shape of ``like``, the same in every run of one evaluation."""
        key = jax.random.fold_in(self._key, crc32("/".join([self.name, kind, *[purpose] * bool(purpose)]).encode()))
        draw = jax.random.uniform if kind == "uniform" else jax.random.normal
        dtype = like.dtype if jnp.issubdtype(like.dtype, jnp.floating) else jnp.result_type(float)
        return draw(key, like.shape, dtype)


class Ruled(Messenger):
    """A handler in which the latent sites of the program inside take the values that a rule gives them.

    Without a rule, what is not reparameterised takes a draw that carries no gradient.
    """

    def __init__(self, rule: Rule | None, key: Array) -> None:
        super().__init__()
        self.rule, self.key = rule, jax.random.fold_in(key, NOISE)
        self.sites: dict[str, TracedSite] = {}

    def process_message(self, msg: Any) -> None:
        if msg["type"] != "sample" or msg["is_observed"] or msg["value"] is not None:
            return
        site = TracedSite(msg, self.key)
        if self.rule is None and site.reparameterised:
            return
        msg["value"], msg["intermediates"] = site.sample() if self.rule is None else self.rule(site), []
        site.value, self.sites[site.name] = msg["value"], site

"""A pair's log-densities as functions of the positions of chains, in Pyro."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import biject_to

from ..mcmc.kernels import Evaluated, component_weights, stratified
from ..mcmc.layout import Latent, Layout, Position
from ..models import VampPrior
from ..pairs.keywords import inner
from .sites import base_of, describe, masks_of
from .traces import PyroSite, density_of, quiet, sites_of

MAX_PLATE_NESTING = 1
GUESSES = 16
"""Draws of the guide that responsibilities of a start from components are the mean over."""


def layout_of(model: Any, x: Tensor, side: Mapping[str, Tensor]) -> Layout:
    """Describe the model's latent sites, from one run."""
    with torch.no_grad():
        trace = poutine.trace(model).get_trace(x, **side)
    return layout_of_sites(sites_of(trace, observed=False), len(x))


def validated(model: Any, x: Tensor, side: Mapping[str, Tensor]) -> frozenset[str]:
    """Name the observed sites that check their values, as the caller's setting of Pyro has it, but for real numbers."""
    with torch.no_grad():
        trace = poutine.trace(model).get_trace(x, **side)
    return frozenset(
        name
        for name, site in sites_of(trace, observed=True).items()
        if (described := describe(site)).validates and described.support != "real"
    )


def _impossible(site: PyroSite) -> Tensor | None:
    """Whether a datum has an entry that the site's distribution cannot have, (B,) or (K, B); None where all may be.

    Without Pyro's validation a formula has a number there, too.
    """
    fn, value = site["fn"], site["value"]
    try:
        support = base_of(fn).support
        outside = ~support.check(value)
    except (AttributeError, NotImplementedError):  # a user's own may say nothing
        return None
    outside = outside.reshape(*outside.shape, *[1] * (value.dim() - outside.dim()))
    for mask in masks_of(site):
        outside = outside & mask
    return outside.flatten(-fn.event_dim).any(-1) if fn.event_dim else outside


def layout_of_sites(latent: Mapping[str, PyroSite], rows: int) -> Layout:
    """Describe the model's latent sites, from their values in as many rows, of all particles together."""
    return Layout(tuple(_latent(site, rows) for site in latent.values()))


def _is_mixture(fn: Any) -> bool:
    """Whether draws can be made of its components, and so with other weights."""
    return hasattr(fn, "component_sample")


@contextmanager
def encoded(model: Any) -> Iterator[None]:
    """Context in which the pseudo-inputs of a model's priors are encoded once; no weights may change in it."""
    program = inner(model)
    with ExitStack() as priors:
        for module in program.modules() if isinstance(program, torch.nn.Module) else ():
            if isinstance(module, VampPrior):
                priors.enter_context(module.encoded())
        yield


def _latent(site: PyroSite, rows: int) -> Latent:
    fn, described = site["fn"], describe(site)
    if fn.support.is_discrete:
        values = described.num_values
        categorical = values is not None and not described.binary
        return Latent(site["name"], described.distribution, tuple(fn.event_shape), None, values, categorical)
    free = biject_to(fn.support).inv(site["value"])
    return Latent(
        site["name"], described.distribution, tuple(fn.event_shape), free.numel() // rows, None, False, _is_mixture(fn)
    )


def repeat(count: int, body: Callable[..., tuple[Tensor, ...]], start: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Apply the body ``count`` times."""
    for _ in range(count):
        start = body(start)
    return start


def _generators(device: torch.device) -> tuple[Tensor, ...]:
    """The states of torch's generators: of the CPU, and of a GPU where the data are on one."""
    on_gpu = (torch.cuda.get_rng_state(device),) if device.type == "cuda" else ()
    return torch.random.get_rng_state(), *on_gpu


def _set_generators(states: tuple[Tensor, ...], device: torch.device) -> None:
    """Put them back."""
    torch.random.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)


@contextmanager
def _as_before(device: torch.device) -> Iterator[None]:
    """Context after which the generators are as they were."""
    before = _generators(device)
    try:
        yield
    finally:
        _set_generators(before, device)


class _Set(Messenger):
    """A handler in which latent sites take values that are computed from their distributions."""

    def __init__(self, compute: Callable[[PyroSite], Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            value = self.compute(msg)
            if value is not None:
                msg["value"], msg["done"] = value, True


class Densities:
    """log f_beta = (1 - beta) log f_0 + beta log p(x, z) of K chains for each of B data points, where z = z(u, codes).

    f_0 is the prior p(z), the guide's q(z | x), or the prior whose components are weighted anew for each datum, by the
    guide's draws. Densities are those of u, with the Jacobian of the bijection to z.
    Call it while the pair is active.

    Args:
        model: the generative program.
        guide: the program q(z | x).
        x: data (B, P).
        side: side inputs of x.
        layout: the model's latent sites.
        start: f_0, ``prior``, ``guide`` or ``components``.
        validated: the observed sites of which a datum that the distribution cannot have has density 0; of the others,
            and where Pyro validates, that is the distribution's affair.
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        x: Tensor,
        side: Mapping[str, Tensor],
        layout: Layout,
        start: str = "prior",
        validated: Collection[str] = (),
    ) -> None:
        self.model, self.guide, self.x, self.side, self.layout = quiet(model), guide, x, side, layout
        self.start, self.validated = start, validated
        if start == "guide":
            with torch.no_grad():
                self.inside = _generators(x.device)
                self.guided = sites_of(poutine.trace(guide).get_trace(x, **side), observed=False)
        self.weights = self._component_weights() if start == "components" else {}

    def _component_weights(self) -> dict[str, Tensor]:
        """Compute the log-weights of the components of each site whose prior is a mixture, (B, C)."""
        with torch.no_grad():
            guided = sites_of(self.trace(self.guide, GUESSES, lambda site: None), observed=False)
            drawn = {name: site["value"] for name, site in guided.items()}
            latent = sites_of(self.trace(self.model, GUESSES, lambda site: drawn.get(site["name"])), observed=False)
        mixed = {name: site for name, site in latent.items() if _is_mixture(site["fn"])}
        near = {name: site["fn"].responsibilities(site["value"]) for name, site in mixed.items()}
        return {name: component_weights(near[name], site["fn"].logits) for name, site in mixed.items()}

    def _start_at(self, site: PyroSite) -> Tensor | None:
        """Draw a value of a site whose components are weighted anew; None for others."""
        log_weights = self.weights.get(site["name"])
        if log_weights is None:
            return None
        shape = torch.broadcast_shapes(site["fn"].batch_shape, log_weights.shape[:-1])
        noise = torch.rand(shape, device=log_weights.device)
        component = stratified(log_weights, noise, torch.rand(shape[-1:], device=log_weights.device))
        return site["fn"].component_sample(component)

    def trace(self, program: Any, num_chains: int, compute: Callable[[PyroSite], Any]) -> poutine.Trace:
        """Trace a program with a plate of chains; ``compute(site)`` gives each latent site its value."""
        in_plate = pyro.plate("num_particles", num_chains, dim=-1 - MAX_PLATE_NESTING)(program)
        with _Set(compute):
            return poutine.trace(in_plate).get_trace(self.x, **self.side)

    def _placed(self, position: Position) -> tuple[poutine.Trace, Tensor]:
        """The model's trace at a position, and log |dz / du|, (K, B)."""
        columns, log_dets = self.layout.columns(position), []

        def compute(site: PyroSite) -> Tensor | None:
            flat = columns.get(site["name"])
            if flat is None:
                return None
            if not flat.dtype.is_floating_point:
                return self._discrete(site["name"], flat.reshape(*flat.shape[:2], *site["fn"].event_shape))
            transform = biject_to(site["fn"].support)
            u = flat.reshape(transform.inverse_shape((*flat.shape[:2], *site["fn"].event_shape)))
            value = transform(u)
            log_dets.append(transform.log_abs_det_jacobian(u, value).reshape(*flat.shape[:2], -1).sum(-1))
            return value

        trace = self.trace(self.model, position.u.shape[0], compute)
        return trace, sum(log_dets, position.u.new_zeros(position.u.shape[:2]))

    def _discrete(self, name: str, value: Tensor) -> Tensor:
        """Give a discrete site's value the type that programs take: integers for categories, else floating."""
        categories = any(site.name == name and site.is_categorical for site in self.layout.sites)
        return value if categories else value.to(self.x.dtype)

    def parts(self, position: Position) -> tuple[Tensor, Tensor, Tensor, poutine.Trace]:
        """(log p(x | z), log p(z), log |dz / du|), (K, B) each, and the model's trace."""
        chains = position.u.shape[0]
        trace, log_det = self._placed(position)
        log_lik, log_prior = (
            sum((density_of(site, chains) for site in sites_of(trace, observed=seen).values()), log_det * 0)
            for seen in (True, False)
        )
        for name, site in sites_of(trace, observed=True).items():
            outside = _impossible(site) if name in self.validated else None
            log_lik = log_lik if outside is None else torch.where(outside, -torch.inf, log_lik)
        return log_lik, log_prior, log_det, trace

    def _log_guide(self, trace: poutine.Trace, chains: int) -> Tensor:
        """Compute log q(z | x), (K, B); the noise that a guide may draw inside is always the same."""
        values = {name: site["value"] for name, site in sites_of(trace, observed=False).items()}
        if len(self.guided) == 1:  # its parameters do not depend on z
            ((name, site),) = self.guided.items()
            return site["fn"].log_prob(values[name])
        with _as_before(self.x.device):
            _set_generators(self.inside, self.x.device)
            guided = self.trace(self.guide, chains, lambda site: values.get(site["name"]))
        return torch.stack([density_of(site, chains) for site in sites_of(guided, observed=False).values()]).sum(0)

    def draws(self, num_chains: int) -> dict[str, Tensor]:
        """Draws from f_0, (K, B, ...) by site."""
        if self.start == "guide" and len(self.guided) == 1:
            return {name: site["fn"].sample((num_chains,)) for name, site in self.guided.items()}
        guided = self.start == "guide"
        trace = self._guided(num_chains) if guided else self.trace(self.model, num_chains, self._start_at)
        return {name: site["value"] for name, site in sites_of(trace, observed=False).items()}

    def _guided(self, num_chains: int) -> poutine.Trace:
        """Trace the guide with draws of its sites, whose parameters are those of ``_log_guide``.

        The noise that it draws inside is the same; draws of its sites are the caller's, and leave that noise as it is.
        """
        device, outside = self.x.device, _generators(self.x.device)

        def draw(site: PyroSite) -> Tensor | None:
            nonlocal outside
            if site["name"] not in self.guided:
                return None
            with _as_before(device):
                _set_generators(outside, device)
                value: Tensor = site["fn"].sample()
                outside = _generators(device)
            return value

        with _as_before(device):
            _set_generators(self.inside, device)
            return self.trace(self.guide, num_chains, draw)

    def ends(self, position: Position) -> tuple[Tensor, Tensor]:
        """(log f_0, log f_1) of u, (K, B) each."""
        log_lik, log_prior, log_det, trace = self.parts(position)
        log_joint = log_lik + log_prior + log_det
        if self.start != "guide":
            return log_prior + log_det + self._weighed(trace), log_joint
        return self._log_guide(trace, position.u.shape[0]) + log_det, log_joint

    def _weighed(self, trace: poutine.Trace) -> Tensor | float:
        """Compute log f_0 - log p(z), (K, B), from the weights of components; 0 at the prior."""
        latent = sites_of(trace, observed=False)
        each: list[Tensor] = []
        for name, log_weights in self.weights.items():
            fn, value = latent[name]["fn"], latent[name]["value"]
            of_component = fn.component_log_prob(value)
            own = of_component + fn.logits.log_softmax(-1)
            each.append((of_component + log_weights).logsumexp(-1) - own.logsumexp(-1))
        return sum(each, 0.0)

    def at(self, codes: Tensor, beta: float | Tensor) -> Callable[[Tensor], Evaluated]:
        """Return u -> (log-density, its gradient), given the discrete entries."""

        def density(u: Tensor) -> Evaluated:
            with torch.enable_grad():
                u = u.detach().requires_grad_()
                log_0, log_1 = self.ends(Position(u, codes))
                log_f = log_0 + beta * (log_1 - log_0)
                gradient = torch.autograd.grad(log_f.sum(), u)[0] if u.shape[-1] else u
            return Evaluated(log_f.detach(), gradient.detach(), (log_1 - log_0).detach())

        return density

    def log_f(self, position: Position, beta: float | Tensor) -> Tensor:
        """log f_beta, (K, B), without its gradient."""
        with torch.no_grad():
            log_0, log_1 = self.ends(position)
            return log_0 + beta * (log_1 - log_0)

    def values(self, position: Position) -> dict[str, Tensor]:
        """Compute the latents' values at a position, by site, (K, B, ...)."""
        with torch.no_grad():
            trace, _ = self._placed(position)
        nodes: dict[str, Any] = dict(trace.nodes)
        return {site.name: nodes[site.name]["value"] for site in self.layout.sites}

    def position(self, values: Mapping[str, Tensor]) -> Position:
        """Find the position of chains whose latents have these values, (K, B, ...) each."""
        given = dict(values) | {s.name: self._discrete(s.name, values[s.name]) for s in self.layout.discrete}
        chains = len(next(iter(values.values())))
        with torch.no_grad():
            nodes: dict[str, Any] = dict(self.trace(self.model, chains, lambda site: given.get(site["name"])).nodes)
            u, codes = [self.x.new_zeros(chains, len(self.x), 0)], []
            for site in self.layout.sites:
                value = values[site.name]
                if site.width is None:
                    codes.append(value.reshape(chains, len(self.x), -1).long())
                else:
                    free = biject_to(nodes[site.name]["fn"].support).inv(value)
                    u.append(free.reshape(chains, len(self.x), -1))
        none = torch.zeros(chains, len(self.x), 0, dtype=torch.long, device=self.x.device)
        return Position(torch.cat(u, -1), torch.cat([none, *codes], -1))

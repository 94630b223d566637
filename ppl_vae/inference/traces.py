"""Traces of a pair: the guide's draws, by plain sampling or by a rule, and the model on them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.nn import PyroModule
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ..objectives.checks import no_parameter
from ..objectives.gradients import Rule
from ..pairs.failures import not_of_its_plates
from ..pairs.keywords import Tolerant, inner
from .sites import base_of

PyroSite = Any


def split_sites(trace: poutine.Trace) -> tuple[dict[str, PyroSite], dict[str, PyroSite]]:
    """Select the latent and the observed sample sites of a trace."""
    latent: dict[str, PyroSite] = {}
    observed: dict[str, PyroSite] = {}
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or site_is_subsample(site) or (site["infer"] or {}).get("_deterministic"):
            continue
        (observed if site["is_observed"] else latent)[name] = site
    return latent, observed


def sites_of(trace: poutine.Trace, *, observed: bool) -> dict[str, PyroSite]:
    """Select the latent or the observed sample sites of a trace."""
    return split_sites(trace)[observed]


def per_datum(site: PyroSite, values: Tensor, num_particles: int) -> Tensor:
    """Apply the site's mask, and sum over every dimension but particles and data: (K, B)."""
    if site["mask"] is not None:
        values = scale_and_mask(values, mask=site["mask"])
    if not any(frame.vectorized and frame.dim == -1 for frame in site["cond_indep_stack"]):
        raise ValueError(
            f"Site {site['name']!r} is outside the plate of the data at dim -1, so its density does not belong to any "
            "datum: put it inside, or use a stock objective of pyro.infer, which sums over everything."
        )
    dim = -2
    while values.dim() > (1 if num_particles == 1 else 2):
        if values.shape[-2] > 1 and not any(frame.dim == dim for frame in site["cond_indep_stack"]):
            raise not_of_its_plates(site["name"], tuple(site["fn"].batch_shape), dim, num_particles)
        values, dim = values.sum(-2), dim - 1
    return values.unsqueeze(0) if num_particles == 1 else values


def density_of(site: PyroSite, num_particles: int) -> Tensor:
    """Compute the log-density of a traced site at its value, summed to one number per particle and datum: (K, B)."""
    return per_datum(site, site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), num_particles)


def in_plate(program: Any, num_particles: int, max_plate_nesting: int) -> Any:
    """Put a program into a plate of K particles, left of the plates that it nests; for one particle it stays."""
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
    if isinstance(program, Tolerant) and type(program).__call__ is not Tolerant.__call__:
        return program
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
    tap: Tap | None = None,
    ruled: Ruled | None = None,
) -> tuple[poutine.Trace, poutine.Trace]:
    """Trace the guide, and the model on its draws: (model's trace, guide's trace), with particles as a plate."""
    q = run_guide(guide, args, kwargs, num_particles, max_plate_nesting, ruled)
    if tap is not None:
        for site in sites_of(q, observed=False).values():
            site["value"] = tap(site["value"], site["fn"].event_dim)
    replayed = poutine.replay(in_plate(model, num_particles, max_plate_nesting), trace=q)
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
        return poutine.trace(in_plate(guide, num_particles, max_plate_nesting)).get_trace(*args, **kwargs)


def at_values(guide: Any, sites: Mapping[str, PyroSite], values: Mapping[str, Tensor]) -> Any:
    """The guide with these values in the place of its draws."""
    given = poutine.Trace()
    for name, site in sites.items():
        options = {"is_observed": False, "fn": site["fn"], "infer": {}}
        given.add_node(name, name=name, type="sample", value=values[name], **options)
    return poutine.replay(guide, trace=given)


class TracedSite:
    """A latent site of the running guide: the ``GuideSite`` of ``objectives.gradients``."""

    def __init__(self, msg: Any, noise: dict[tuple[Any, ...], Tensor]) -> None:
        self.name, self.reparameterised, self.value = msg["name"], bool(msg["fn"].has_rsample), None
        self._msg, self._noise = msg, noise

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a plain draw."""
        return tuple(self._msg["fn"].shape())

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum's draw."""
        return tuple(self._msg["fn"].event_shape)

    def sample(self) -> Tensor:
        """Draw from the guide, with a gradient where the site is reparameterised."""
        return self._msg["fn"](*self._msg["args"], **self._msg["kwargs"])

    @property
    def distribution(self) -> Any:
        """The site's distribution, without wrappers that only rearrange it."""
        return base_of(self._msg["fn"])

    def mean(self) -> Tensor:
        """The mean of the site's distribution."""
        return self._msg["fn"].mean

    def strata(self, alone: bool) -> Tensor:
        """Draw from a mixture's components, another for each particle; log q is then of all, or of these ``alone``."""
        several = any(frame.name == "num_particles" for frame in self._msg["cond_indep_stack"])
        self._msg["fn"] = self._msg["fn"].strata(alone, several)
        return self.sample()

    def parameter(self, name: str) -> Tensor:
        """A parameter of the site's distribution, for each draw."""
        base, shape = base_of(self._msg["fn"]), self._msg["fn"].shape()
        if not hasattr(base, name):
            raise no_parameter(self.name, type(base).__name__, name)
        values = getattr(base, name)
        own = values.shape[len(base.batch_shape) :]
        return values.expand(*shape[: len(shape) - len(base.event_shape)], *own)

    def noise(self, kind: str, like: Tensor, purpose: str = "") -> Tensor:
        """Standard noise of the shape of ``like``, the same in every run of one evaluation."""
        key = self.name, kind, like.shape, purpose
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


class Tap:
    """An identity whose backward pass multiplies by weights (K, B) that are set after the forward pass."""

    def __init__(self, num_particles: int) -> None:
        self.num_particles = num_particles
        self.weights: Tensor | None = None

    def __call__(self, value: Tensor, event_dim: int) -> Tensor:
        """The same value, (K, plates, B, ...) or, for one particle, (plates, B, ...)."""
        if not value.requires_grad:
            return value
        value = value.view_as(value)
        value.register_hook(lambda grad: grad * self._shaped(grad.dim(), event_dim))
        return value

    def _shaped(self, dims: int, event_dim: int) -> Tensor:
        """The weights, with ones for the plates inside the data's and for the event."""
        assert self.weights is not None
        weights = self.weights if self.num_particles > 1 else self.weights[0]
        plates = [1] * (dims - weights.dim() - event_dim)
        return weights.reshape(*weights.shape[:-1], *plates, weights.shape[-1], *[1] * event_dim)

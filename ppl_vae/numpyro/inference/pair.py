"""A model and its guide with parameters of their own: the inside of a fit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from numpyro import handlers
from numpyro.distributions import biject_to, constraints

from ...objectives.request import LevelsRequest, TermsRequest
from ...pairs.failures import explained
from ...pairs.inputs import observed_data, side_by_side
from ...pairs.keywords import generated_site, tolerant
from ...pairs.pair import check_shapes, example_of
from ...pairs.priors import exchange
from ...pairs.side_inputs import NOTHING, Arrays
from ...pairs.sites import Sites, value_of_data
from ...pairs.terms import SiteTerms, Terms
from ...pairs.trials import Trial, of_one_size, require_draws
from ..nets.tables import PerDatum
from .checks.examination import REMEDIES, examine
from .checks.programs import check_names_apart, check_programs
from .checks.reached import MOVES, StateStays, warn_of_untrained
from .checks.scales import Unscaled, one_scale
from .checks.trials import trial
from .parts import numbers_of, of_kind, of_the_prior, rows_of
from .sites import NUMPYRO, base_of, describe, moments_of, traced
from .terms import log_terms, site_terms_of, terms_of
from .traces import run, sites_of, split_sites

Tree = Any
COMPILED_FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Options of XLA for a program that runs once."""


def find_device(name: str | None) -> jax.Device:
    """Find the device of that name; by default that of JAX.

    Raises:
        ValueError: an unknown device, or a GPU that is not there; the message lists what there is.
    """
    try:
        there = jax.devices()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"JAX finds no device; the environment variable JAX_PLATFORMS is {os.environ.get('JAX_PLATFORMS')!r}: "
            "remove it, or name a platform that this machine has, such as 'cpu'."
        ) from error
    if name is None:
        return there[0]
    kind, _, number = name.partition(":")
    try:
        return dict(enumerate(jax.devices(kind)))[int(number or 0)]
    except (RuntimeError, ValueError, KeyError):
        listed = ", ".join(f"{d.platform}:{d.id}" for d in there)
        raise ValueError(f"The device {name!r} is not there; on this machine there are {listed}.") from None


@dataclass(frozen=True, eq=False)
class Structure:
    """The static part of a pair: nnx's graph of its modules, and its plain functions.

    Two pairs of modules with the same graph are equal, so that a compiled program serves both.
    """

    graph: Any
    model: Any
    guide: Any
    transforms: Mapping[str, Any]
    unscaled: bool = False
    """whether a scale that all sites share is taken away"""

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Structure) or self.transforms or other.transforms:
            return False
        static, others = ((s.graph, s.model, s.guide, s.unscaled) for s in (self, other))
        return static == others

    def __hash__(self) -> int:
        return id(self) if self.transforms else hash((self.graph, self.model, self.guide))

    def merged(self, params: Tree, constants: Tree) -> tuple[Any, Any]:
        """Put (model, guide) on these parameters together, as objects of the classes that the caller passed."""
        modules = list(nnx.merge(self.graph, params["tables"], params["modules"], constants))
        if "offsets" in params:
            offsets = dict(nnx.to_flat_state(params["offsets"]))
            for path, rows in rows_of(modules):
                rows.offset = nnx.data(offsets[path][...])
        values = {name: self.transforms[name](value) for name, value in params["sites"].items()}
        functions = (self.model, self.guide)
        needs = (("mask",), ())
        model, guide = (
            modules.pop(0) if f is None else handlers.substitute(tolerant(f, n), values)
            for f, n in zip(functions, needs, strict=True)
        )
        return model, guide

    def programs(self, params: Tree, constants: Tree) -> tuple[Any, Any]:
        """Put (model, guide) on these parameters together, callable with every keyword: see ``pairs.keywords``."""
        model, guide = self.merged(params, constants)
        kind = Unscaled if self.unscaled else tolerant
        return kind(model, ("mask",)), kind(guide)


class Pair:
    """A private copy of a model and a guide.

    Modules are split as one nnx graph, so that what they share stays shared. A plain function's parameters
    (``numpyro.param``, ``nnx_module``) are found by running it once; the caller's modules stay as they were.

    Raises:
        ValueError: a device that is not there, or programs that cannot be a pair.
    """

    backend = "numpyro"

    def __init__(self, model: Any, guide: Any, device: str | None = None) -> None:
        check_programs(model, guide)
        self.device = find_device(device)
        modules = [program for program in (model, guide) if isinstance(program, nnx.Module)]
        graph, tables, params, constants = nnx.split(nnx.List(modules), PerDatum, nnx.Param, ...)  # type: ignore[misc]
        functions = [None if isinstance(p, nnx.Module) else p for p in (model, guide)]
        self.structure = Structure(graph, functions[0], functions[1], {})
        self.params: Tree = jax.device_put({"modules": params, "sites": {}, "tables": tables}, self.device)
        self.constants: Tree = jax.device_put(constants, self.device)
        self._made: tuple[Tree, tuple[Any, Any]] | None = None
        self.of_the_model: set[str] = set()
        self.sites: Sites | None = None
        self.draws_refusal: str | None = None
        self.size_refusal = ""
        self.dim = self.given_dim = 0
        self.example: Arrays = NOTHING
        held = jax.tree.leaves(constants, is_leaf=lambda v: isinstance(v, nnx.Variable))
        if any(isinstance(variable, nnx.BatchStat | nnx.RngState) for variable in held):
            raise ValueError(MOVES)

    def __deepcopy__(self, memo: Any) -> Pair:
        """Copy the pair, of which no array and no program ever changes; a device cannot be copied."""
        new = copy(self)
        new.params, new.constants = (jax.tree.map(lambda leaf: leaf, tree) for tree in (self.params, self.constants))
        new._made = None
        return new

    @property
    def programs(self) -> tuple[Any, Any]:
        """The (model, guide) on the pair's parameters, made once for as long as these stay the same."""
        if self._made is None or self._made[0] is not self.params:
            self._made = (self.params, self.structure.merged(self.params, self.constants))
        return self._made[1]

    @property
    def device_name(self) -> str:
        """The name of the pair's device, as ``device=`` takes it."""
        return f"{self.device.platform}:{self.device.id}"

    @property
    def model(self) -> Any:
        """The model on the pair's parameters."""
        return self.programs[0]

    @property
    def guide(self) -> Any:
        """The guide on the pair's parameters; what it shares with the model is one object."""
        return self.programs[1]

    def guide_parts(self) -> list[Any]:
        """The guide and every module inside it, so that what a part can do is seen through a wrapper."""
        guide = self.guide
        if not isinstance(guide, nnx.Module):
            return [guide]
        return [node for _, node in nnx.iter_graph(guide) if isinstance(node, nnx.Module)]

    def prepare(self, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> Sites:
        """Run the pair once on a batch, so that every parameter exists, and describe its sites."""
        batch, where = self.array(x), self.arrays({"index": np.arange(len(x)), **side})
        sites, transforms = {}, {}
        if self.structure.model is not None or self.structure.guide is not None:
            model, guide = (tolerant(program) for program in self.programs)
            with NUMPYRO, StateStays(), explained(batch, remedies=REMEDIES):
                guide_key, model_key = jax.random.split(jax.random.key(seed))
                q = traced(handlers.seed(guide, guide_key), batch, **where)
                replayed = handlers.replay(handlers.seed(model, model_key), trace=q)
                p = traced(replayed, batch, **where)
            check_names_apart(q, p)
            given = {name: site["value"] for name, site in {**p, **q}.items() if site["type"] == "param"}
            warn_of_untrained((self.structure.model, self.structure.guide), given)
            for name, site in {**p, **q}.items():
                if site["type"] == "param":
                    transforms[name] = biject_to(site["kwargs"].get("constraint", constraints.real))
                    sites[name] = _unconstrained(transforms[name], site["value"])
            self.of_the_model = {name for name, site in p.items() if site["type"] == "param"}
            self.structure = Structure(self.structure.graph, self.structure.model, self.structure.guide, transforms)
            self.params = jax.device_put({**self.params, "sites": sites}, self.device)
        self.sites, self.dim, self.example = self._examine(batch, where), x.shape[1], example_of(x, side)
        first = {name: a[:-1] for name, a in where.items()}
        self.size_refusal = of_one_size(self.sites, lambda: self._examine(batch[:-1], first), len(x))
        self.given_dim = where["given"].shape[1] if "given" in where else 0
        return self.sites

    def _examine(self, batch: Array, where: dict[str, Array]) -> Sites:
        """Describe the sites from shapes alone; no number is computed."""
        found: list[Sites] = []

        def look(params: Tree, constants: Tree, batch: Array) -> None:
            programs = self.structure.programs(params, constants)
            found.append(examine(*programs, batch, **where))
            if found[0].scaled and one_scale(*programs, batch, **where):
                self.structure = replace(self.structure, unscaled=True)

        jax.eval_shape(look, self.params, self.constants, batch)
        return replace(found[0], scaled=found[0].scaled and not self.structure.unscaled)

    def trial(self, x: np.ndarray, num_draws: int, seed: int, side: Arrays = NOTHING) -> dict[str, Trial]:
        """Run several times on the same values; return each site's log-densities, by a name for messages."""
        values = self._values(x, seed, {"index": np.arange(len(x)), **side})
        trials = _trial(self.structure, *values, num_draws=num_draws, nesting=self._nesting())
        return {name: Trial(*(np.asarray(a) for a in site)) for name, site in trials.items()}

    def terms(self, x: np.ndarray, request: TermsRequest, seed: int, side: Arrays = NOTHING) -> Any:
        """Evaluate a request on a batch, with the derivatives that it asks for: arrays, as its gradient says."""
        values = self._values(x, seed, {"index": np.arange(len(x)), **side})
        found = _terms(self.structure, *values, request=request, nesting=self._nesting())
        return type(found)(*(np.asarray(a) if isinstance(a, jax.Array) else a for a in found))

    def levels(self, x: np.ndarray, number: int | None, num_draws: int, seed: int, side: Arrays = NOTHING) -> Terms:
        """Estimate the ELBO of a chain of a number of levels from ``num_draws`` of each datum: terms (K, B)."""
        request = TermsRequest(num_draws, levels=LevelsRequest(number))
        return Terms(*self.terms(x, request, seed, side))

    def array(self, x: np.ndarray) -> Array:
        """Make an array one of JAX's default type on the pair's device."""
        return jax.device_put(np.asarray(x, jnp.result_type(float)), self.device)

    def arrays(self, side: Arrays) -> dict[str, Array]:
        """Copy side inputs to the pair's device."""
        given = {name: self.array(a) for name, a in side.items() if name == "given"}
        return {n: jax.device_put(np.asarray(a), self.device) for n, a in side.items() if n != "given"} | given

    @property
    def num_rows(self) -> int | None:
        """Number of data points that have parameters of their own in the pair; None for a pair that serves any data."""
        return min((len(leaf) for leaf in jax.tree.leaves(self.params["tables"])), default=None)

    def of_the_prior(self) -> set[tuple[Any, ...]]:
        """Paths of the parameters that the model's prior has for itself."""
        return of_the_prior(self.structure.model, self.programs)

    def with_prior(self, prior: Any) -> Pair:
        """Make a copy of the pair that has another prior, on the same device; it has not run yet."""
        model, guide = self.structure.merged(self.params, self.constants)
        exchange(model, prior)
        return Pair(model, guide, self.device_name)

    @property
    def num_parameters(self) -> int:
        """Number of trained scalars."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    def state(self) -> dict[str, np.ndarray]:
        """Return every parameter and constant as arrays by name."""
        return {**named("params", self.params), **named("constants", self.constants)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned.

        Raises:
            ValueError: other names or shapes.
        """
        check_shapes({name: value.shape for name, value in self.state().items()}, state)
        self.params = filled("params", self.params, state, self.device)
        self.constants = filled("constants", self.constants, state, self.device)

    def sample(
        self,
        x: np.ndarray,
        num_particles: int,
        seed: int,
        analytic_kl: bool = False,
        side: Arrays = NOTHING,
    ) -> tuple[dict[str, np.ndarray], Terms]:
        """Draw from the guide, (K, B, ...) for each latent site; return the draws and log-densities, (K, B)."""
        require_draws(self, x, num_particles, seed, side)
        options = {"num_particles": num_particles, "nesting": self._nesting(), "analytic_kl": analytic_kl}
        values, terms = _sample(self.structure, *self._values(x, seed, side), **options)
        assert self.sites is not None
        draws = {s.name: value_of_data(s, np.asarray(values[s.name]), num_particles) for s in self.sites.latent}
        log_lik, log_prior, log_guide = (np.asarray(t) for t in terms[:3])
        return draws, Terms(log_lik, log_prior, log_guide)

    def site_terms(self, x: np.ndarray, num_particles: int, seed: int, side: Arrays = NOTHING) -> dict[str, SiteTerms]:
        """Log p and log q of each latent site at draws of the guide, (K, B) each, in the guide's order."""
        require_draws(self, x, num_particles, seed, side)
        options = {"num_particles": num_particles, "nesting": self._nesting()}
        found = _site_terms(self.structure, *self._values(x, seed, side), **options)
        assert self.sites is not None
        return {s.name: SiteTerms(*map(np.asarray, found[s.name][:2])) for s in self.sites.latent}

    def _nesting(self) -> int:
        """The number of plates that the programs nest, once it is known that one is the data's."""
        assert self.sites is not None
        self.sites.check_data()
        return self.sites.nesting

    def _values(self, x: np.ndarray, seed: int, side: Arrays) -> tuple[Any, ...]:
        return self.params, self.constants, self.array(x), self.arrays(side), jax.random.key(seed)

    def posterior(self, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Compute mean (for categories the mode) and standard deviation of q(z | x) by latent site, (B, D) each."""
        moments = _moments(self.structure, *self._values(x, seed, side), nesting=self._nesting())
        assert self.sites is not None
        return {
            site.name: tuple(value_of_data(site, np.asarray(part))[0] for part in moments[site.name])
            for site in self.sites.latent
        }

    def predict(
        self, x: np.ndarray, num_particles: int, seed: int, side: Arrays = NOTHING
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw z ~ q(z | x); return E[x | z], (K, B, P), and the log-weights of z, (K, B)."""
        require_draws(self, x, num_particles, seed, side)
        options, inputs = {"num_particles": num_particles, "nesting": self._nesting()}, self._values(x, seed, side)
        values, means, log_w = jax.tree.map(np.asarray, _predicted(self.structure, *inputs, **options))
        assert self.sites is not None  # they know the order: XLA sorts what has names
        of_x = {site.name: site for site in self.sites.observed if not site.label}
        means = {name: value_of_data(site, means[name], num_particles) for name, site in of_x.items()}
        values = {name: observed_data(site, values[name]) for name, site in of_x.items()}
        return side_by_side(x, values, means, side.get("mask")), log_w

    def decode(self, z: Arrays, seed: int, side: Arrays = NOTHING) -> tuple[np.ndarray, np.ndarray]:
        """Compute E[x | z] and draw x ~ p(x | z), (B, P) each, from values of all latent sites, (B, ...) each."""
        name = generated_site(self.structure.model or self.model, self.sites)
        assert self.sites is not None
        placed = self.sites.in_plates(z)
        codes = {n: self.array(v) if v.dtype.kind != "i" else jax.device_put(v, self.device) for n, v in placed}
        size = len(next(iter(z.values())))
        values = self.structure, self.params, self.constants, codes, self.arrays(side), jax.random.key(seed)
        return self._data_of(*_decode(*values, name=name, size=size))

    def generate(self, size: int, seed: int, side: Arrays = NOTHING) -> tuple[np.ndarray, np.ndarray]:
        """Draw z ~ p(z); return E[x | z] and x ~ p(x | z), (size, P) each."""
        name = generated_site(self.structure.model or self.model, self.sites)
        key = jax.random.key(seed)
        parameters = self.structure, self.params, self.constants
        return self._data_of(*_generate(*parameters, self.arrays(side), key, size=size, name=name))

    def _data_of(self, mean: Array, x: Array) -> tuple[np.ndarray, np.ndarray]:
        """Copy the mean and a draw of the observed site, (B, P) each."""
        own = np.asarray(mean), np.asarray(x)
        if self.sites is None or self.sites.implicit:
            return own
        site = self.sites.observed[0]
        return value_of_data(site, own[0])[0], value_of_data(site, own[1])[0]


def _unconstrained(transform: Any, value: Any) -> Any:
    return transform.inv(value) if isinstance(value, jax.Array | np.ndarray | float) else value


@partial(jax.jit, static_argnames=("structure", "num_particles", "nesting", "analytic_kl"))
def _sample(
    structure: Structure,
    params: Tree,
    constants: Tree,
    x: Array,
    where: dict[str, Array],
    key: Array,
    *,
    num_particles: int,
    nesting: int,
    analytic_kl: bool,
) -> tuple[dict[str, Array], Terms]:
    p, q = run(*structure.programs(params, constants), (x,), where, num_particles, nesting, key)
    (latent, observed), guided = split_sites(p), sites_of(q, observed=False)
    terms = terms_of(latent, observed, guided, num_particles, analytic_kl=analytic_kl)
    return {name: site["value"] for name, site in guided.items()}, terms


@partial(jax.jit, static_argnames=("structure", "num_particles", "nesting"))
def _site_terms(structure: Structure, *values: Any, num_particles: int, nesting: int) -> dict[str, SiteTerms]:
    params, constants, x, where, key = values
    p, q = run(*structure.programs(params, constants), (x,), where, num_particles, nesting, key)
    return site_terms_of(split_sites(p)[0], sites_of(q, observed=False), num_particles)


@partial(jax.jit, static_argnames=("structure", "num_draws", "nesting"), compiler_options=COMPILED_FAST)
def _trial(structure: Structure, *values: Any, num_draws: int, nesting: int) -> dict[str, Trial]:
    params, constants, x, where, key = values
    return trial(partial(structure.programs, params, constants), x, where, key, num_draws, nesting)


@partial(jax.jit, static_argnames=("structure", "request", "nesting"), compiler_options=COMPILED_FAST)
def _terms(
    structure: Structure,
    params: Tree,
    constants: Tree,
    x: Array,
    where: dict[str, Array],
    key: Array,
    *,
    request: TermsRequest,
    nesting: int,
) -> Any:
    model, guide = structure.programs(params, constants)
    options: dict[str, Any] = {"request": request, "max_plate_nesting": nesting, **where}
    return log_terms(model, guide, x, key=key, **options)


@partial(jax.jit, static_argnames=("structure", "nesting"))
def _moments(
    structure: Structure, params: Tree, constants: Tree, x: Array, where: dict[str, Array], key: Array, *, nesting: int
) -> dict[str, tuple[Array, Array]]:
    _, q = run(*structure.programs(params, constants), (x,), where, 1, nesting, key)
    sites = sites_of(q, observed=False)
    found = {name: moments_of(site) for name, site in sites.items()}
    modes = {name: _mode(site["fn"]) for name, site in sites.items() if describe(site).is_categorical}
    return {name: (modes.get(name, mean), jnp.sqrt(variance)) for name, (mean, variance) in found.items()}


def _mode(fn: Any) -> Array:
    """The most likely category of each entry."""
    return jnp.broadcast_to(base_of(fn).probs.argmax(-1), fn.shape())


@partial(jax.jit, static_argnames=("structure", "num_particles", "nesting"))
def _predicted(
    structure: Structure,
    params: Tree,
    constants: Tree,
    x: Array,
    where: dict[str, Array],
    key: Array,
    *,
    num_particles: int,
    nesting: int,
) -> tuple[dict[str, Array], dict[str, Array], Array]:
    p, q = run(*structure.programs(params, constants), (x,), where, num_particles, nesting, key)
    (latent, observed), guided = split_sites(p), sites_of(q, observed=False)
    return (
        {name: site["value"] for name, site in observed.items()},
        {name: moments_of(site)[0] for name, site in observed.items()},
        terms_of(latent, observed, guided, num_particles).log_weights,
    )


@partial(jax.jit, static_argnames=("structure", "name", "size"))
def _decode(
    structure: Structure,
    params: Tree,
    constants: Tree,
    z: dict[str, Array],
    side: dict[str, Array],
    key: Array,
    *,
    name: str,
    size: int,
) -> tuple[Array, Array]:
    model, _ = structure.programs(params, constants)
    conditioned = handlers.seed(handlers.condition(model, z), key)
    site = traced(conditioned, size=size, **side)[name]
    return moments_of(site)[0], site["value"]


@partial(jax.jit, static_argnames=("structure", "size", "name"))
def _generate(
    structure: Structure, params: Tree, constants: Tree, side: dict[str, Array], key: Array, *, size: int, name: str
) -> tuple[Array, Array]:
    model, _ = structure.programs(params, constants)
    site = traced(handlers.seed(model, key), size=size, **side)[name]
    return moments_of(site)[0], site["value"]


def named(prefix: str, tree: Tree) -> dict[str, np.ndarray]:
    """The leaves of a tree under readable names."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join([prefix, *map(_key, path)]): np.asarray(numbers_of(leaf)) for path, leaf in leaves}


def filled(prefix: str, tree: Tree, state: Mapping[str, np.ndarray], device: jax.Device) -> Tree:
    """Replace the leaves of a tree by the arrays of ``state``."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = ["/".join([prefix, *map(_key, path)]) for path, _ in leaves]
    values = [of_kind(leaf, state[name]) for name, (_, leaf) in zip(names, leaves, strict=True)]
    return jax.device_put(jax.tree_util.tree_unflatten(structure, values), device)


def _key(entry: Any) -> str:
    return str(next(getattr(entry, a) for a in ("key", "name", "idx") if hasattr(entry, a)))

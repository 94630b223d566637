"""A model and its guide with parameters of their own: the inside of a fit."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from ..nets.tables import Rows
from ..objectives.request import LevelsRequest, TermsRequest
from ..pairs.inputs import observed_data, side_by_side
from ..pairs.keywords import generated_site, tolerant
from ..pairs.pair import check_shapes, example_of
from ..pairs.priors import exchange
from ..pairs.side_inputs import NOTHING, Arrays
from ..pairs.sites import Sites, value_of_data
from ..pairs.terms import SiteTerms, Terms
from ..pairs.trials import Trial, of_one_size, require_draws
from ..runtime.threads import process_lock
from .checks.examination import examine
from .checks.programs import check_programs
from .checks.reached import buffers, found, in_mode, warn_of_untrained
from .checks.scales import Unscaled, one_scale
from .checks.trials import kept, trial
from .parts import of_the_prior
from .sites import base_of, describe, moments_of
from .terms import log_terms, site_terms_of, terms_of
from .traces import PyroSite, quiet, run, sites_of, split_sites

REHEARSALS = 5
"""Runs that move running statistics before a trial: those of a fresh net do nothing to any axis."""

PYRO = process_lock()
"""Held while a pair is at work: Pyro's handlers and parameter store, and torch's generator, are the process's own."""


def find_device(name: str | None) -> torch.device:
    """Find the device of that name; the CPU by default.

    Raises:
        ValueError: an unknown device, or a GPU that is not there; the message lists what there is.
    """
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        there.append("mps")
    try:
        device = torch.device(name or "cpu")
    except RuntimeError:
        raise ValueError(f"Unknown device {name!r}; on this machine there are {', '.join(there)}.") from None
    if device.type not in {d.split(":")[0] for d in there} or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise ValueError(f"The device {name!r} is not there; on this machine there are {', '.join(there)}.")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"The device {name!r} cannot be used ({reason}); on this machine there are {', '.join(there)}."
        ) from error
    return device


@contextmanager
def forked(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the draws of a block, and restore the caller's random generators after it; one thread at a time."""
    with PYRO, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed looks for every other kind of device first
        yield


@contextmanager
def lending(lent: dict[str, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Put values of one's own into others' tensors within a block: name -> (tensor, own value)."""
    theirs = {name: tensor.data for name, (tensor, _) in lent.items()}
    for tensor, own in lent.values():
        tensor.data = own
    try:
        yield
    finally:
        for name, (tensor, _) in lent.items():
            lent[name] = (tensor, tensor.data)
            tensor.data = theirs[name]


class Pair:
    """A private copy of a model and a guide.

    Modules are copied together, so that what they share stays shared. A plain function's parameters (``pyro.param``,
    ``pyro.module``) live in a parameter store of the pair's own, and modules that it reaches are lent the pair's values
    and mode while the pair is at work: the caller's store and modules stay as they were.

    Raises:
        ValueError: a device that is not there, or programs that cannot be a pair.
    """

    backend = "pyro"

    def __init__(self, model: Any, guide: Any, device: str | None = None) -> None:
        check_programs(model, guide)
        self.device = find_device(device)
        with PYRO:  # no other pair has lent what these reach
            self.programs = copy.deepcopy((model, guide))
        named = zip(("model", "guide"), self.programs, strict=True)
        self.modules = nn.ModuleDict({name: m for name, m in named if isinstance(m, nn.Module)}).to(self.device)
        self.tolerant = tolerant(self.programs[0], ("mask",)), tolerant(self.programs[1])
        self._store: Any = {"params": {}, "constraints": {}}
        self.lent: dict[str, tuple[Tensor, Tensor]] = {}
        self.nets: list[nn.Module] = []
        self.lent_buffers: dict[str, tuple[Tensor, Tensor]] = {}
        self._of_the_model: set[str] = set()
        self.sites: Sites | None = None
        self.draws_refusal: str | None = None
        self.size_refusal = ""
        self.dim = self.given_dim = 0
        self.example: Arrays = NOTHING

    def __deepcopy__(self, memo: dict[int, Any]) -> Pair:
        """Copy the pair; nets that functions reach are the caller's, and are lent the copy's own values."""
        lent = [tensor for tensor, _ in (*self.lent.values(), *self.lent_buffers.values())]
        memo |= {id(theirs): theirs for theirs in (*self.nets, *lent)}
        memo[id(self)] = new = object.__new__(Pair)
        new.__dict__ = copy.deepcopy(self.__dict__, memo)
        return new

    @property
    def device_name(self) -> str:
        """The name of the pair's device, as ``device=`` takes it."""
        return str(self.device)

    @property
    def model(self) -> Any:
        """The model: the trained module, or a function that runs on the trained parameters."""
        return self.programs[0] if isinstance(self.programs[0], nn.Module) else self._bound(0)

    @property
    def guide(self) -> Any:
        """The guide: the trained module, or a function that runs on the trained parameters."""
        return self.programs[1] if isinstance(self.programs[1], nn.Module) else self._bound(1)

    def guide_parts(self) -> list[Any]:
        """The guide and every module inside it, so that what a part can do is seen through a wrapper."""
        return list(self.guide.modules()) if isinstance(self.guide, nn.Module) else [self.guide]

    def _bound(self, number: int) -> Any:
        def program(*args: Any, **kwargs: Any) -> Any:
            with self.active() as programs:
                return programs[number](*args, **kwargs)

        return program

    @contextmanager
    def active(self, *, training: bool = False) -> Iterator[tuple[Any, Any]]:
        """Yield (model, guide), which run on the pair's own parameters within the block, in training mode or not.

        One thread at a time is in such a block, of whatever pair.
        """
        with PYRO:
            self.modules.train(training)
            mode, store = in_mode(self.nets, training), pyro.get_param_store().scope(self._store)
            with mode, lending(self.lent), lending(self.lent_buffers), store:
                yield self.tolerant

    def prepare(self, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> Sites:
        """Run the pair once on a batch, so that every parameter exists, and describe its sites.

        Raises:
            ValueError: the pair does not run on this batch, or ties parameters of the same name.
        """
        before = {name: id(p) for name, p in self.modules.named_parameters()}
        where = self.tensors({"index": np.arange(len(x)), **side})
        with forked(seed, self.device), self.active() as (model, guide), found(self.modules) as nets:
            sites = examine(model, guide, self.tensor(x), **where)
            first = {name: a[:-1] for name, a in where.items()}
            self.size_refusal = of_one_size(sites, lambda: examine(model, guide, self.tensor(x[:-1]), **first), len(x))
            if sites.scaled and one_scale(model, guide, self.tensor(x), **where):
                self.tolerant = Unscaled(self.programs[0], ("mask",)), Unscaled(self.programs[1])
                sites = replace(sites, scaled=False)
            store = {name: (p, p.detach().clone()) for name, p in pyro.get_param_store().named_parameters()}
            touched = poutine.trace(model, param_only=True).get_trace(self.tensor(x), **where)
        after = {name: id(p) for name, p in self.modules.named_parameters()}
        if before != after:
            lost = next(name for name in before if before[name] != after.get(name))
            raise ValueError(
                f"The parameter {lost!r} was replaced when the pair ran: the model and the guide both have a PyroParam "
                "of that name, and Pyro would make one of them. Give them different names."
            )
        for name, (tensor, value) in store.items():
            if id(tensor) not in after.values():
                self.lent[name] = (tensor, value.to(self.device))
        warn_of_untrained(nets, [tensor for tensor, _ in store.values()])
        owners = (getattr(program, "__self__", None) for program in self.programs)  # of bound methods
        inside = [net for owner in owners if isinstance(owner, nn.Module) for net in owner.modules()]
        self.nets = list(dict.fromkeys([*nets, *inside]))
        self.lent_buffers = {name: (b, b.detach().clone().to(self.device)) for name, b in buffers(self.nets).items()}
        self._of_the_model = {f"store.{name}" for name in touched.param_nodes}
        self.sites, self.dim, self.example = sites, x.shape[1], example_of(x, side)
        self.given_dim = where["given"].shape[1] if "given" in where else 0
        return sites

    def trial(self, x: np.ndarray, num_draws: int, seed: int, side: Arrays = NOTHING) -> dict[str, Trial]:
        """Run several times on the same values; return each site's log-densities, by a name for messages."""
        where = self.tensors({"index": np.arange(len(x)), **side})
        assert self.sites is not None
        with torch.no_grad(), forked(seed, self.device), kept(self.buffers()):
            with suppress(Exception):  # of batches that training cannot take, which is another check
                for _ in range(REHEARSALS if self.buffers() else 0):
                    self.rehearse(x, seed, side)
            with self.active() as programs:
                return trial(*programs, self.tensor(x), where, num_draws, self.sites.nesting)

    def terms(self, x: np.ndarray, request: TermsRequest, seed: int, side: Arrays = NOTHING) -> Any:
        """Evaluate a request on a batch, with the derivatives that it asks for: arrays, as its gradient says."""
        assert self.sites is not None
        where, nesting = self.tensors({"index": np.arange(len(x)), **side}), self.sites.nesting
        with torch.enable_grad(), forked(seed, self.device), self.active() as programs:
            found: Any = log_terms(*programs, self.tensor(x), request=request, max_plate_nesting=nesting, **where)
        return type(found)(*(a.detach().cpu().numpy() if isinstance(a, Tensor) else a for a in found))

    def levels(self, x: np.ndarray, number: int | None, num_draws: int, seed: int, side: Arrays = NOTHING) -> Terms:
        """Estimate the ELBO of a chain of a number of levels from ``num_draws`` of each datum: terms (K, B)."""
        request = TermsRequest(num_draws, levels=LevelsRequest(number))
        return Terms(*self.terms(x, request, seed, side))

    def rehearse(self, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> None:
        """Run once as in training, without a step; buffers such as BatchNorm's running statistics move."""
        where = self.tensors({"index": np.arange(len(x)), **side})
        with torch.no_grad(), forked(seed, self.device), self.active(training=True) as (model, guide):
            run(model, guide, (self.tensor(x),), where, 1)

    def tensor(self, x: np.ndarray) -> Tensor:
        """Make an array a tensor of the default type on the pair's device."""
        return torch.tensor(x, dtype=torch.get_default_dtype(), device=self.device)

    def tensors(self, side: Arrays) -> dict[str, Tensor]:
        """Copy side inputs to the pair's device."""
        return {n: self.tensor(a) if n == "given" else torch.as_tensor(a, device=self.device) for n, a in side.items()}

    def buffers(self) -> list[Tensor]:
        """Everything that nets hold besides parameters, such as BatchNorm's running statistics."""
        return [*self.modules.buffers(), *(own for _, own in self.lent_buffers.values())]

    def named_parameters(self) -> dict[str, Tensor]:
        """The trained parameters by name; a shared one stands there once."""
        modules = {n: p for n, p in self.modules.named_parameters() if p.requires_grad}
        return {**modules, **{f"store.{name}": tensor for name, (tensor, _) in self.lent.items()}}

    def tables(self) -> dict[str, nn.Parameter]:
        """The parameters that have a row for each data point, by name."""
        return {name: module.table for name, module in self.row_modules().items()}

    def row_modules(self) -> dict[str, Rows]:
        """The modules that hold the tables, by the tables' names."""
        return {f"{name}.table": m for name, m in self.modules.named_modules() if isinstance(m, Rows)}

    @property
    def num_rows(self) -> int | None:
        """Number of data points that have parameters of their own in the pair; None for a pair that serves any data."""
        return min((len(table) for table in self.tables().values()), default=None)

    def of_the_model(self) -> set[str]:
        """Names of the model's parameters, those included that the guide shares."""
        program = self.programs[0]
        held = {id(p) for p in program.parameters()} if isinstance(program, nn.Module) else set()
        return self._of_the_model | {name for name, p in self.named_parameters().items() if id(p) in held}

    def of_the_prior(self) -> set[str]:
        """Names of the parameters that the model's prior has for itself."""
        return of_the_prior(self.named_parameters(), *self.programs)

    def with_prior(self, prior: Any) -> Pair:
        """Make a copy of the pair that has another prior, on the same device; it has not run yet."""
        model, guide = copy.deepcopy(self.programs)
        exchange(model, prior)
        return Pair(model, guide, self.device_name)

    @property
    def num_parameters(self) -> int:
        """Number of trained scalars."""
        return sum(p.numel() for p in self.named_parameters().values())

    def _values(self) -> dict[str, Tensor]:
        lent = {f"store.{name}": own for name, (_, own) in self.lent.items()}
        lent |= {name: own for name, (_, own) in self.lent_buffers.items()}
        return {**dict(self.modules.named_parameters()), **dict(self.modules.named_buffers()), **lent}

    def state(self) -> dict[str, np.ndarray]:
        """Return every parameter and constant as arrays by name."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self._values().items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned.

        Raises:
            ValueError: other names or shapes.
        """
        values = self._values()
        check_shapes({name: tuple(value.shape) for name, value in values.items()}, state)
        with torch.no_grad():
            for name, value in values.items():
                value.copy_(torch.from_numpy(np.asarray(state[name])))

    @contextmanager
    def _traces(
        self, x: np.ndarray, num_particles: int, seed: int, side: Arrays
    ) -> Iterator[tuple[Sites, poutine.Trace, poutine.Trace]]:
        """Yield the sites and the traces of model and guide."""
        assert self.sites is not None
        self.sites.check_data()
        require_draws(self, x, num_particles, seed, side)
        with torch.no_grad(), forked(seed, self.device), self.active() as (model, guide):
            args, nesting = (self.tensor(x),), self.sites.nesting
            yield self.sites, *run(quiet(model), quiet(guide), args, self.tensors(side), num_particles, nesting)

    def sample(
        self,
        x: np.ndarray,
        num_particles: int,
        seed: int,
        analytic_kl: bool = False,
        side: Arrays = NOTHING,
    ) -> tuple[dict[str, np.ndarray], Terms]:
        """Draw from the guide, (K, B, ...) for each latent site; return the draws and log-densities, (K, B)."""
        with self._traces(x, num_particles, seed, side) as (sites, p, q):
            (latent, observed), guided = split_sites(p), sites_of(q, observed=False)
            terms = terms_of(latent, observed, guided, num_particles, analytic_kl=analytic_kl)
        values = {
            site.name: value_of_data(site, guided[site.name]["value"].cpu().numpy(), num_particles)
            for site in sites.latent
        }
        return values, Terms(*(t.cpu().numpy() for t in terms[:3]))

    def site_terms(self, x: np.ndarray, num_particles: int, seed: int, side: Arrays = NOTHING) -> dict[str, SiteTerms]:
        """Log p and log q of each latent site at draws of the guide, (K, B) each, in the guide's order."""
        with self._traces(x, num_particles, seed, side) as (sites, p, q):
            found = site_terms_of(split_sites(p)[0], sites_of(q, observed=False), num_particles)
        return {s.name: SiteTerms(*(t.cpu().numpy() for t in found[s.name][:2])) for s in sites.latent}

    def posterior(self, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Compute mean (for categories the mode) and standard deviation of q(z | x) by latent site, (B, D) each."""
        with self._traces(x, 1, seed, side) as (sites, _, q):
            moments = {name: _moments(site) for name, site in sites_of(q, observed=False).items()}
        return {
            site.name: tuple(value_of_data(site, part.cpu().numpy())[0] for part in moments[site.name])
            for site in sites.latent
        }

    def predict(
        self, x: np.ndarray, num_particles: int, seed: int, side: Arrays = NOTHING
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw z ~ q(z | x); return E[x | z], (K, B, P), and the log-weights of z, (K, B)."""
        with self._traces(x, num_particles, seed, side) as (sites, p, q):
            latent, observed = split_sites(p)
            log_w = terms_of(latent, observed, sites_of(q, observed=False), num_particles).log_weights
            of_x = {site.name: site for site in sites.observed if not site.label}
            means = {
                name: value_of_data(site, moments_of(observed[name])[0].cpu().numpy(), num_particles)
                for name, site in of_x.items()
            }
            values = {name: observed_data(site, observed[name]["value"].cpu().numpy()) for name, site in of_x.items()}
        return side_by_side(x, values, means, side.get("mask")), log_w.cpu().numpy()

    def decode(self, z: Arrays, seed: int, side: Arrays = NOTHING) -> tuple[np.ndarray, np.ndarray]:
        """Compute E[x | z] and draw x ~ p(x | z), (B, P) each, from values of all latent sites, (B, ...) each."""
        name = generated_site(self.programs[0], self.sites)
        assert self.sites is not None
        placed = self.sites.in_plates(z)
        codes = {n: self.tensor(v) if v.dtype.kind != "i" else torch.tensor(v, device=self.device) for n, v in placed}
        size = len(next(iter(z.values())))
        with torch.no_grad(), forked(seed, self.device), self.active() as (model, _):
            given: Any = poutine.condition(model, codes)
            site = poutine.trace(given).get_trace(size=size, **self.tensors(side)).nodes[name]
            return self._data_of(moments_of(site)[0]), self._data_of(site["fn"].sample())

    def generate(self, size: int, seed: int, side: Arrays = NOTHING) -> tuple[np.ndarray, np.ndarray]:
        """Draw z ~ p(z); return E[x | z] and x ~ p(x | z), (size, P) each."""
        name = generated_site(self.programs[0], self.sites)
        with torch.no_grad(), forked(seed, self.device), self.active() as (model, _):
            site = poutine.trace(model).get_trace(size=size, **self.tensors(side)).nodes[name]
            return self._data_of(moments_of(site)[0]), self._data_of(site["value"])

    def _data_of(self, values: Tensor) -> np.ndarray:
        """Copy values of the site that is generated, (B, P)."""
        own = values.cpu().numpy()
        return own if self.sites is None or self.sites.implicit else value_of_data(self.sites.observed[0], own)[0]


def _moments(site: PyroSite) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a traced site; for categories the mode takes the place of the mean."""
    fn, (mean, variance) = site["fn"], moments_of(site)
    if describe(site).is_categorical:
        mean = base_of(fn).probs.argmax(-1).expand(fn.shape())
    return mean.detach(), variance.sqrt().detach()

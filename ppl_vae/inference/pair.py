"""A model and its guide with parameters of their own: the inside of a fit."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from ..bounds import Terms
from ..objective import Sites
from ..programs import tolerant
from ..results import check_shapes
from .terms import examine, log_terms


def find_device(name: str | None) -> torch.device:
    """The device of that name; the CPU by default.

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
    return device


@contextmanager
def forked(seed: int, device: torch.device) -> Iterator[None]:
    """A block whose draws come from ``seed`` and leave the caller's generators where they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class Pair:
    """A private copy of a model and a guide.

    Modules are copied together, so that what they share stays shared. A plain function's parameters (``pyro.param``,
    ``pyro.module``) live in a parameter store of the pair's own, and modules that it reaches are lent the pair's values
    while the pair is at work: the caller's store and modules stay as they were.

    Raises:
        ValueError: a device that is not there.
    """

    backend = "pyro"

    def __init__(self, model: Any, guide: Any, device: str | None = None) -> None:
        self.device = find_device(device)
        self.model, self.guide = copy.deepcopy((model, guide))
        self._modules = nn.ModuleDict({n: m for n, m in self._programs().items() if isinstance(m, nn.Module)})
        self._modules.to(self.device)
        self._store: Any = {"params": {}, "constraints": {}}
        self._lent: dict[str, tuple[Tensor, Tensor]] = {}

    def _programs(self) -> dict[str, Any]:
        return {"model": self.model, "guide": self.guide}

    @contextmanager
    def active(self) -> Iterator[tuple[Any, Any]]:
        """A block in which (model, guide) run on the pair's own parameters."""
        theirs = {name: tensor.data for name, (tensor, _) in self._lent.items()}
        for tensor, own in self._lent.values():
            tensor.data = own
        try:
            with pyro.get_param_store().scope(self._store):
                yield tolerant(self.model), tolerant(self.guide)
        finally:
            for name, (tensor, _) in self._lent.items():
                self._lent[name] = (tensor, tensor.data)
                tensor.data = theirs[name]

    def prepare(self, x: np.ndarray, seed: int) -> Sites:
        """Run the pair once on a batch, so that every parameter exists; say what its sites are."""
        with forked(seed, self.device), self.active() as (model, guide):
            sites = examine(model, guide, self.tensor(x), index=torch.arange(len(x), device=self.device))
            store = dict(pyro.get_param_store().named_parameters())
        own = {id(p) for p in self._modules.parameters()}
        for name, tensor in store.items():
            if id(tensor) not in own:
                self._lent[name] = (tensor, tensor.detach().clone().to(self.device))
        return sites

    def tensor(self, x: np.ndarray) -> Tensor:
        """An array as a tensor of the default type on the pair's device."""
        return torch.tensor(x, dtype=torch.get_default_dtype(), device=self.device)

    def named_parameters(self) -> dict[str, Tensor]:
        """What is trained, by name; a shared parameter once."""
        modules = {n: p for n, p in self._modules.named_parameters() if p.requires_grad}
        return {**modules, **{f"store.{name}": tensor for name, (tensor, _) in self._lent.items()}}

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(p.numel() for p in self.named_parameters().values())

    def _values(self) -> dict[str, Tensor]:
        lent = {f"store.{name}": own for name, (_, own) in self._lent.items()}
        return {**dict(self._modules.named_parameters()), **dict(self._modules.named_buffers()), **lent}

    def state(self) -> dict[str, np.ndarray]:
        """Every parameter and constant, by name."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self._values().items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what ``state`` gave.

        Raises:
            ValueError: other names or shapes.
        """
        values = self._values()
        check_shapes({name: tuple(value.shape) for name, value in values.items()}, state)
        with torch.no_grad():
            for name, value in values.items():
                value.copy_(torch.from_numpy(np.asarray(state[name])))

    def terms(self, x: np.ndarray, num_particles: int, seed: int, analytic_kl: bool = False) -> Terms:
        """Log-densities of draws from the guide, (K, B), as arrays."""
        with torch.no_grad(), forked(seed, self.device), self.active() as (model, guide):
            terms = log_terms(model, guide, self.tensor(x), num_particles=num_particles, analytic_kl=analytic_kl)
        return Terms(*(t.cpu().numpy() for t in terms[:3]))

    def _traces(self, x: np.ndarray, num_particles: int, seed: int) -> tuple[Any, Any]:
        def stacked(program: Any) -> Any:
            return program if num_particles == 1 else pyro.plate("num_particles", num_particles, dim=-2)(program)

        with torch.no_grad(), forked(seed, self.device), self.active() as (model, guide):
            q = poutine.trace(stacked(guide)).get_trace(self.tensor(x))
            return poutine.trace(poutine.replay(stacked(model), trace=q)).get_trace(self.tensor(x)), q

    def posterior(self, x: np.ndarray, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and standard deviation of q(z | x) for each latent site, (B, D) each."""
        _, q = self._traces(x, 1, seed)
        fns = {name: site["fn"] for name, site in _latent(q).items()}
        return {n: (fn.mean.cpu().numpy(), fn.variance.sqrt().cpu().numpy()) for n, fn in fns.items()}

    def draws(self, x: np.ndarray, num_draws: int, seed: int) -> dict[str, np.ndarray]:
        """Draws from the guide for each latent site, (K, B, D)."""
        _, q = self._traces(x, num_draws, seed)
        values = {name: site["value"].cpu().numpy() for name, site in _latent(q).items()}
        return {name: value if num_draws > 1 else value[None] for name, value in values.items()}

    def reconstruct(self, x: np.ndarray, seed: int) -> np.ndarray:
        """E[x | z] for one draw z ~ q(z | x), (B, P)."""
        p, _ = self._traces(x, 1, seed)
        return _observed(p)["fn"].mean.cpu().numpy()

    def generate(self, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """E[x | z] and x ~ p(x | z) for z ~ p(z), (size, P) each."""
        with torch.no_grad(), forked(seed, self.device), self.active() as (model, _):
            trace = poutine.trace(model).get_trace(size=size)
        site = trace.nodes["x"]
        return site["fn"].mean.cpu().numpy(), site["value"].cpu().numpy()


def _latent(trace: poutine.Trace) -> dict[str, Any]:
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site["is_observed"] and not site_is_subsample(site)
    }


def _observed(trace: poutine.Trace) -> Any:
    return next(s for s in trace.nodes.values() if s["type"] == "sample" and s["is_observed"])

"""What a refusal of a flow advises, followed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import TRAIN, P, follow

from ppl_vae import backends, recipes

Way = Callable[[backends.Backend], Any]
FLOW: dict[str, Any] = {"hidden": (4,), "flow_steps": 1, "flow_hidden": (4,), "flow_context": 2}


def step(name: str, *sizes: Any, **settings: Any) -> Way:
    return lambda b: getattr(b.nets, name)(*sizes, np.random.default_rng(0), **settings).dim


def posterior(dim: int, context: int) -> Way:
    """A posterior of 2 entries and a context of 3 numbers, through a step that is for others; its event shape."""

    def make(b: backends.Backend) -> Any:
        rng = np.random.default_rng(0)
        base = b.conditionals.DiagNormal(b.nets.MLP((P, 2 * 2 + 3), rng))
        q = b.conditionals.Flow(base, 3, [b.nets.Coupling(dim, (4,), rng, context=context)])
        return q(backend_array(b, TRAIN[:3])).event_shape[0]

    return make


def backend_array(b: backends.Backend, x: np.ndarray) -> Any:
    if b.name == "pyro":
        import torch

        return torch.tensor(x)
    import jax.numpy as jnp

    return jnp.asarray(x)


def vampprior(of: Callable[[Any], Any]) -> Way:
    def make(b: backends.Backend) -> Any:
        rng = np.random.default_rng(0)
        base = b.conditionals.DiagNormal(b.nets.MLP((P, 2 * 2 + 3), rng))
        q = b.conditionals.Flow(base, 3, [b.nets.Planar(2, 3, rng)])
        own = b.conditionals.DiagNormal(b.nets.MLP((P, 2 * 2), rng))
        return b.priors.VampPrior(of((q, own)), TRAIN[:3])().event_shape[0]

    return make


def stock(name: str, *numbers: Any) -> Way:
    """A transform of the library as a step of 3 entries, of numbers or arrays."""

    def make(b: backends.Backend) -> Any:
        kind = getattr(importlib.import_module(f"{b.name}.distributions.transforms"), name)
        made = kind(*(backend_array(b, a) for a in numbers))
        return b.nets.Stock(b.nets.MLP((1, 1), np.random.default_rng(0)), lambda *_: made, 3).dim

    return make


def flow_prior(b: backends.Backend) -> Any:
    return b.priors.FlowPrior(2, [b.nets.Coupling(2, (4,), np.random.default_rng(0))])().event_shape[0]


def trains(**settings: Any) -> Way:
    def train(b: backends.Backend) -> Any:
        used = {**FLOW, "latent_dim": 2, "num_pseudo_inputs": 3, **settings}
        recipe = recipes.vae(TRAIN, backend=b.name, **used)
        model, guide = recipe(np.random.default_rng(0))
        own = b.inference.Pair(model, guide)
        own.prepare(TRAIN[:5], 0)
        return own.sites.code_dim

    return train


REMEDIES: dict[str, tuple[Way, ...]] = {
    "is no bijection of the real numbers onto themselves, which every step of a flow should be: take another": (
        stock("ExpTransform"),
        stock("AffineTransform", np.zeros(3), np.ones(3)),
    ),
    "should map (1, {}) to (1, {}), and returns {}: make it for D = {} entries": (
        stock("AffineTransform", np.zeros((2, 1)), np.ones((2, 1))),
        stock("AffineTransform", np.zeros(3), np.ones(3)),
    ),
    "moves some entries by others, and z has {}: take two or more, or Planar or Radial steps": (
        step("Coupling", 1, (4,)),
        step("Coupling", 2, (4,)),
        step("Planar", 1, 2),
        step("Radial", 1, 2),
    ),
    "from a context, of one number at least; got {}: use Coupling or Autoregressive steps, which need none": (
        step("Planar", 2, 0),
        step("Coupling", 2, (4,)),
        step("Autoregressive", 2, (4,)),
    ),
    "is for {} entries and a context of {} numbers, and z has {} entries and the context {}: make it with dim={}": (
        posterior(3, 3),
        posterior(2, 3),
    ),
    "would invert a flow posterior once for each pseudo-input and draw: use a flow as prior, priors.FlowPrior, or": (
        vampprior(lambda both: both[0]),
        flow_prior,
        vampprior(lambda both: both[1]),
    ),
    "Steps in which entries of z move others need latent_dim of at least 2; got {}: raise it, or use": (
        trains(posterior="iaf", latent_dim=1),
        trains(posterior="iaf"),
        trains(posterior="planar", latent_dim=1),
        trains(posterior="radial", latent_dim=1, prior="mixture"),
        trains(posterior="sylvester", latent_dim=1, prior="standard"),
    ),
    "would invert a flow posterior once for each pseudo-input and draw: use prior='flow', 'mixture' or": (
        trains(posterior="coupling", prior="vampprior"),
        trains(posterior="coupling", prior="flow"),
        trains(posterior="coupling", prior="mixture"),
        trains(posterior="coupling"),
        trains(prior="vampprior"),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_of_a_flow_works(says: str, backend: backends.Backend) -> None:
    follow(says, backend, *REMEDIES[says])

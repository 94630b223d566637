"""Transforms of other libraries as steps: their densities, what is known of these, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as npdist
import pyro.distributions as dist
import pyro.distributions.transforms as stock
import pytest
import torch
from flax import nnx
from numpyro.distributions.flows import BlockNeuralAutoregressiveTransform, InverseAutoregressiveTransform
from numpyro.nn import BlockNeuralAutoregressiveNN
from pairs import TRAIN

from ppl_vae import backends, distributions, nets
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.numpyro import nets as numpyro_nets

D, H = 3, 2
P = TRAIN.shape[1]


def zuko_step() -> nets.Stock:
    zuko = pytest.importorskip("zuko")
    return nets.Stock(zuko.flows.MAF(D, H, transforms=1, hidden_features=(8,)).transform, lambda t, h: t(h), D, H)


PYRO: dict[str, Callable[[], nets.Stock]] = {
    "planar": lambda: nets.Stock(stock.planar(D), lambda t, _: t, D, H),
    "conditional planar": lambda: nets.Stock(stock.conditional_planar(D, H), lambda t, h: t.condition(h), D, H),
    "IAF": lambda: nets.Stock(stock.affine_autoregressive(D, [8]), lambda t, _: t, D, H),
    "spline": lambda: nets.Stock(stock.spline(D, count_bins=4), lambda t, _: t, D, H),
    "zuko": zuko_step,
}
INVERTIBLE = {"planar": False, "conditional planar": False, "IAF": True, "spline": True, "zuko": True}


class Arrays(nnx.Module):
    """The weights of a net that is a function."""

    def __init__(self, weights: Any) -> None:
        leaves, self.tree = jax.tree.flatten(weights)
        self.leaves = nnx.List([nnx.Param(leaf) for leaf in leaves])

    def weights(self) -> Any:
        return jax.tree.unflatten(self.tree, [leaf[...] for leaf in self.leaves])


def numpyro_iaf() -> Any:
    net = numpyro_nets.Autoregressive(D, (8,), np.random.default_rng(0)).net

    def make(net: Any, _: Any) -> Any:
        def both(x: Any) -> Any:
            raw = net(x).reshape(*x.shape, 2)
            return raw[..., 0], raw[..., 1]

        return InverseAutoregressiveTransform(both)

    return numpyro_nets.Stock(net, make, D, H)


def numpyro_bnaf() -> Any:
    init, apply = BlockNeuralAutoregressiveNN(D, [4])
    _, weights = init(jax.random.key(0), (D,))
    return numpyro_nets.Stock(
        Arrays(weights), lambda net, _: BlockNeuralAutoregressiveTransform(partial(apply, net.weights())), D, H
    )


NUMPYRO: dict[str, Callable[[], Any]] = {"IAF": numpyro_iaf, "BNAF": numpyro_bnaf}


@pytest.mark.parametrize("name", PYRO)
def test_log_determinants_and_inverses_of_pyro(name: str) -> None:
    torch.manual_seed(0)
    step, (x, h) = PYRO[name](), (torch.randn(4, D), torch.randn(4, H))
    y, log_det = step.forward(x, h)
    for i in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda a, i=i: step.forward(a[None], h[i : i + 1])[0][0], x[i])
        assert abs(torch.linalg.slogdet(jacobian)[1] - log_det[i]) < 1e-5
    copy.deepcopy(step)  # no cache of the library holds what was computed
    assert step.invertible == INVERTIBLE[name]
    if step.invertible:
        torch.testing.assert_close(step.inverse(y.detach().clone(), h), x, atol=1e-4, rtol=1e-4)
        assert (step.known(y, x, h) == x).all()


@pytest.mark.parametrize("name", NUMPYRO)
def test_log_determinants_and_inverses_of_numpyro(name: str) -> None:
    step, rng = NUMPYRO[name](), np.random.default_rng(0)
    x, h = (jnp.asarray(rng.standard_normal((4, d)), jnp.float32) for d in (D, H))

    @jax.jit
    def both(x: Any, h: Any) -> Any:
        jacobian = jax.vmap(jax.jacobian(lambda a, c: step.forward(a[None], c[None])[0][0]))(x, h)
        y, log_det = step.forward(x, h)
        return jacobian, log_det, step.inverse(y, h) if step.invertible else x

    jacobian, log_det, again = both(x, h)
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det, atol=1e-5)
    assert step.invertible == (name == "IAF")
    np.testing.assert_allclose(again, x, atol=1e-4)


def pair(name: str, step: Any) -> Any:
    b, rng = backends.load(name), np.random.default_rng(0)
    base = b.conditionals.DiagNormal(b.nets.MLP((P, 2 * D + H), rng))
    likelihood = b.conditionals.Bernoulli(b.nets.MLP((D, P), rng))
    guide = b.guides.Amortised(b.conditionals.Flow(base, H, [step]))
    return b.models.VAE(b.models.StandardNormal(D), likelihood), guide


STEPS = {**{("pyro", name): made for name, made in PYRO.items()}, **{("numpyro", n): m for n, m in NUMPYRO.items()}}


@pytest.mark.parametrize(("name", "kind"), [("pyro", "planar"), ("pyro", "IAF"), ("numpyro", "BNAF")])
def test_a_site_says_what_is_known_and_trains(name: str, kind: str) -> None:
    """The density of a flow without an inverse: at its own draws. What asks for more is refused by name."""
    b = backends.load(name)
    model, guide = pair(name, STEPS[name, kind]())
    own = b.inference.Pair(model, guide)
    own.prepare(TRAIN[:5], 0)
    (site,) = own.sites.latent
    known = {True: "anywhere", False: "at its own draws"}[guide.posterior.steps[0].invertible]
    assert site.density == known
    fit = b.inference.SVI(b.inference.TraceELBO(), epochs=1, batch_size=20).fit(model, guide, TRAIN[:40])
    assert np.isfinite(fit.history["loss"]).all()
    sticking = b.inference.SVI(b.inference.TraceELBO(stick_the_landing=True), epochs=1, batch_size=20)
    if known == "anywhere":
        assert np.isfinite(sticking.fit(model, guide, TRAIN[:40]).history["loss"]).all()
    else:
        with pytest.raises(UnsuitableObjective, match="is known at its own draws alone"):
            sticking.fit(model, guide, TRAIN[:40])
        with pytest.raises(NotImplementedError, match=r"was asked at another value: use\s+an objective"):
            guide.posterior.steps[0].inverse(TRAIN[:4, :D], TRAIN[:4, :H])


def test_weights_are_trained_and_the_density_is_that_of_the_library() -> None:
    torch.manual_seed(0)
    transform = stock.affine_autoregressive(D, [8])
    base = dist.Normal(torch.zeros(5, D), 1.0).to_event(1)
    q = distributions.Flow(base, [nets.Stock(transform, lambda t, _: t, D)])
    z = q.sample()
    theirs = dist.TransformedDistribution(base, [transform])
    torch.testing.assert_close(q.log_prob(z.clone()), theirs.log_prob(z.clone()), atol=1e-5, rtol=1e-5)
    assert q.density_known == "anywhere"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nets.Stock(torch.nn.Identity(), lambda *_: dist.transforms.ExpTransform(), D), "ExpTransform is no"),
        (lambda: nets.Stock(torch.nn.Identity(), lambda *_: dist.transforms.AbsTransform(), D), "AbsTransform is no"),
        (lambda: numpyro_nets.Stock(Arrays([]), lambda *_: npdist.transforms.ExpTransform(), D), "ExpTransform is no"),
    ],
)
def test_what_is_no_bijection_of_real_vectors_is_refused(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"{text} bijection of the real numbers"):
        make()

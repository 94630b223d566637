"""Guides that are mixtures: densities, bounds by draws from some components, and their gradients, by quadrature."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpyro
import pyro
import pytest
import torch
from flax import nnx
from oracles import gradient, value_of
from pairs import P, common_names, pair, recipe, toy, untrained
from pyro.nn import PyroModule
from scipy.special import logsumexp

from ppl_vae import backends, evaluation, inference, recipes, seeds
from ppl_vae.distributions import SharedMixture
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import MISELBO
from ppl_vae.results import Fit

Backend = backends.Backend
A, X = 3, toy(3)
SETTINGS: dict[str, Any] = {"posterior": "mixture", "components": A, "mixture_hidden": 4, "hidden": ()}


def own_fit(backend: Backend, dim: int = 1, **settings: Any) -> Fit:
    chosen = recipes.vae(toy(), latent_dim=dim, backend=backend.name, **{**SETTINGS, **settings})
    fit = untrained(*chosen(seeds.generator(0, "weights")), backend)
    state = fit.pair.state()
    bias = next(name for name in state if name.endswith("layer.bias") or "layer/bias" in name)
    wider = np.repeat(np.float32([0.0, 0.8]), dim)  # than the cells of a grid
    fit.pair.load_state({**state, bias: state[bias] + wider})
    return fit


class Oracle:
    """The pair's bounds by sums over a grid of z, in float64, with the parameters as leaves."""

    def __init__(self, fit: Fit, dim: int = 1) -> None:
        state = common_names(fit.pair.state())
        self.leaves = {name: torch.tensor(value, dtype=torch.float64).requires_grad_() for name, value in state.items()}
        axis = np.linspace(-9, 9, 361 if dim == 1 else 121)
        grid = np.stack(np.meshgrid(*[axis] * dim), -1).reshape(-1, dim)
        self.z, self.cell = torch.tensor(grid)[:, None], (axis[1] - axis[0]) ** dim
        self.x = torch.tensor(X, dtype=torch.float64)

    def part(self, end: str) -> torch.Tensor:
        return next(leaf for name, leaf in self.leaves.items() if name.endswith(end))

    def log_joint(self) -> torch.Tensor:
        """log p(x, z), (Z, B)."""
        weight, bias = self.part("likelihood.net.layers.0.weight"), self.part("likelihood.net.layers.0.bias")
        log_lik = torch.distributions.Bernoulli(logits=self.z @ weight.T + bias).log_prob(self.x).sum(-1)
        return log_lik + torch.distributions.Normal(0.0, 1.0).log_prob(self.z).sum(-1)

    def log_q(self) -> torch.Tensor:
        """log q_a(z), (A, Z, B)."""
        h = self.x @ self.part("posterior.net.layers.0.weight").T + self.part("posterior.net.layers.0.bias")
        h = (h + self.part("offsets")[:, None]).relu()
        loc, raw = (h @ self.part("layer.weight").T + self.part("layer.bias")).chunk(2, -1)
        scale = torch.nn.functional.softplus(raw) + 1e-3
        return torch.distributions.Normal(loc[:, None], scale[:, None]).log_prob(self.z).sum(-1)

    def mixture(self, which: tuple[int, ...] = tuple(range(A))) -> torch.Tensor:
        """log q(z) of some components, (Z, B)."""
        logits = next((leaf for name, leaf in self.leaves.items() if name.endswith("posterior.logits")), torch.zeros(A))
        return (self.log_q()[list(which)] + logits[list(which)].log_softmax(0)[:, None, None]).logsumexp(0)

    def elbo(self, which: tuple[int, ...] = tuple(range(A))) -> torch.Tensor:
        log_q = self.mixture(which)
        return (log_q.exp() * (self.log_joint() - log_q)).sum() * self.cell

    def of_subsets(self, size: int) -> torch.Tensor:
        return torch.stack([self.elbo(which) for which in itertools.combinations(range(A), size)]).mean()

    def iwae(self) -> torch.Tensor:
        """Of two draws, by a sum over pairs."""
        log_q = self.mixture()
        log_w = self.log_joint() - log_q
        both = torch.logaddexp(log_w[:, None], log_w[None]) - np.log(2)
        return ((log_q[:, None] + log_q[None]).exp() * both).sum() * self.cell**2

    def log_p(self) -> torch.Tensor:
        return (self.log_joint().logsumexp(0) + np.log(self.cell)).sum()

    def slope(self, value: torch.Tensor) -> dict[str, np.ndarray]:
        grads = torch.autograd.grad(value, list(self.leaves.values()), allow_unused=True, materialize_grads=True)
        return {name: grad.numpy() for name, grad in zip(self.leaves, grads, strict=True)}


BOUNDS: dict[str, tuple[str, Any, Callable[[Oracle], torch.Tensor]]] = {
    "A2A": ("pyro numpyro", lambda i: i.MISELBO(A), Oracle.elbo),
    "S2A": ("pyro numpyro", lambda i: i.MISELBO(2), Oracle.elbo),
    "S2A of one": ("pyro", lambda i: i.MISELBO(1), Oracle.elbo),
    "S2S": ("pyro numpyro", lambda i: i.MISELBO(2, density="drawn"), lambda o: o.of_subsets(2)),
    "S2S of one": ("pyro", lambda i: i.MISELBO(1, density="drawn"), lambda o: o.of_subsets(1)),
    "S2S of all": ("pyro", lambda i: i.MISELBO(A, density="drawn"), Oracle.elbo),
    "ELBO": ("pyro", lambda i: i.TraceELBO(2), Oracle.elbo),
    "sticking": ("pyro numpyro", lambda i: i.TraceELBO(stick_the_landing=True), Oracle.elbo),
    "mean field": ("pyro", lambda i: i.TraceMeanFieldELBO(), Oracle.elbo),
    "IWAE": ("pyro", lambda i: i.IWAE(2), Oracle.iwae),
    "DReG": ("pyro numpyro", lambda i: i.DReG(2), Oracle.iwae),
}
LEARNED: dict[str, tuple[str, Any, Callable[[Oracle], torch.Tensor]]] = {
    "scores": ("pyro numpyro", lambda i: i.TraceGraphELBO(2), Oracle.elbo),
    "VIMCO": ("pyro", lambda i: i.VIMCO(2), Oracle.iwae),
}


@pytest.mark.release("numpyro", keep=["S2A", "S2S", "sticking", "DReG"])
@pytest.mark.parametrize("name", [*BOUNDS, *LEARNED])
def test_a_bound_and_its_gradient_are_those_of_quadrature(name: str, backend: Backend) -> None:
    where, make, exact = {**BOUNDS, **LEARNED}[name]
    if backend.name not in where:
        pytest.skip("of one backend: the text is the same on both")
    fit = own_fit(backend, learned_weights=name in LEARNED)
    copies, repeats = 400, 25
    oracle, own, x = Oracle(fit), fit.pair, np.repeat(X, copies, 0)
    objective = make(backend.inference)
    value = exact(oracle)
    slope = oracle.slope(value)
    leaves = list(own.named_parameters() if backend.name == "pyro" else (n for n in own.state() if "params/" in n))
    expected = np.concatenate([np.ravel(slope[next(iter(common_names({leaf: X})))]) for leaf in leaves])
    found = -np.stack([gradient(backend, objective, own, x, seed) for seed in range(repeats)]) / copies
    spread = found.std(0, ddof=1) / np.sqrt(repeats) + 1e-5 * np.abs(expected).max()
    assert np.abs((found.mean(0) - expected) / spread).max() < 4.5
    told = -np.array([value_of(backend, objective, own, x, seed) for seed in range(8)])
    error = told.std(ddof=1) / np.sqrt(len(told)) + 1e-5 * abs(told.mean())
    assert abs(told.mean() - value.item() * copies) / error < 5


@pytest.mark.release("numpyro")
def test_bounds_rise_with_the_number_of_components_up_to_log_p(backend: Backend) -> None:
    oracle = Oracle(own_fit(backend, 2), 2)
    assert oracle.log_q().exp().sum((1, 2)).mul(oracle.cell).detach().numpy() == pytest.approx(len(X), rel=3e-3)
    rising = [oracle.of_subsets(size).item() for size in range(1, A + 1)]
    assert rising[0] < rising[1] < rising[2] < oracle.log_p().item()
    assert rising[2] == pytest.approx(oracle.elbo().item())
    found = [value_of(backend, backend.inference.MISELBO(2), own_fit(backend, 2).pair, np.repeat(X, 4000, 0), 0)]
    assert -found[0] / 4000 == pytest.approx(oracle.elbo().item(), rel=0.01)


@pytest.mark.release("numpyro")
def test_one_component_is_the_plain_objective_to_the_bit(backend: Backend) -> None:
    own = own_fit(backend, components=1).pair
    for density in ("all", "drawn"):
        mine, plain = backend.inference.MISELBO(density=density), backend.inference.TraceELBO()
        np.testing.assert_array_equal(gradient(backend, mine, own, X, 3), gradient(backend, plain, own, X, 3))
        assert value_of(backend, mine, own, X, 3) == value_of(backend, plain, own, X, 3)


def test_backends_agree_on_all_components_and_order_is_nothing(base_noise: None) -> None:
    z, found = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32), {}
    fits = {name: own_fit(backends.load(name), 2) for name in backends.NAMES}
    for name, fit in fits.items():
        b = backends.load(name)
        x = fit.pair.tensor(X) if name == "pyro" else fit.pair.array(X)
        before = fit.guide.posterior(x)
        offsets = next(key for key in fit.pair.state() if "offsets" in key)
        density = np.asarray(before.log_prob(type(x)(z) if name == "pyro" else z).tolist())
        value = value_of(b, b.inference.MISELBO(A), fit.pair, X)
        gradients = gradient(b, b.inference.MISELBO(A), fit.pair, X, 0)
        mean = fit.encode(X)
        fit.pair.load_state({**fit.pair.state(), offsets: fit.pair.state()[offsets][::-1].copy()})
        after = fit.guide.posterior(x).log_prob(type(x)(z) if name == "pyro" else z)
        np.testing.assert_allclose(np.asarray(after.tolist()), density, rtol=1e-5)
        np.testing.assert_allclose(fit.encode(X), mean, rtol=1e-4, atol=1e-6)
        found[name] = density, value, np.linalg.norm(gradients), mean
    for one, other in zip(*found.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5)


def test_components_are_distinct_and_equally_likely() -> None:
    """Components that draw their own number: a datum's draws differ, and each comes up as often."""
    q = SharedMixture(
        torch.zeros(3000, 5),
        torch.eye(5),
        torch.cat([torch.arange(5.0)[None], torch.full((1, 5), -30)]),
        torch.tensor([0.0, -30.0]),
        floor=1e-6,
    )
    for alone in (False, True):
        drawn = q.expand((3, 3000)).strata(alone, True).rsample().round().long()[..., 0]
        assert (drawn.sort(0).values.diff(dim=0) > 0).all()
        counts = torch.stack([(drawn == a).sum(1) for a in range(5)], 1)
        assert (counts - 600).abs().max() < 5 * np.sqrt(600)
    single = torch.bincount(q.rsample().round().long()[:, 0], minlength=5)
    assert (single - 600).abs().max() < 5 * np.sqrt(600)


@pytest.mark.release("numpyro")
@pytest.mark.parametrize("size", [2, A, A + 1])
def test_a_guide_that_does_not_read_x_is_as_one_that_repeats_itself(size: int, backend: Backend) -> None:
    """Its features have no batch of their own: data are no particles, however many there are."""
    if backend.name == "numpyro" and size != A:
        pytest.skip("as many data as components, the case that could be mistaken, stands for the others here")
    x, found = np.repeat(X[:1], size, 0), []
    base, library = (PyroModule, pyro) if backend.name == "pyro" else (nnx.Module, numpyro)
    for repeats in (False, True):
        rng = np.random.default_rng(0)
        likelihood = backend.conditionals.Bernoulli(backend.nets.MLP((2, P), rng))
        posterior = backend.conditionals.Mixture(backend.nets.MLP((P, 4), rng), A, 4, 2, rng, spread=3.0)

        class Guide(base):  # type: ignore[misc, valid-type]
            def __init__(self, posterior: Any, repeats: bool) -> None:
                super().__init__()
                self.posterior, self.repeats = posterior, repeats

            def __call__(self, x: Any) -> None:
                with library.plate("data", len(x), dim=-1):
                    library.sample("z", self.posterior(0 * (x if self.repeats else x[0])))

            forward = __call__

        model = backend.models.VAE(backend.models.StandardNormal(2), likelihood)
        own = untrained(model, Guide(posterior, repeats), backend)
        bounds = [backend.inference.MISELBO(k, density=d) for k in (1, 2) for d in ("all", "drawn")]
        found.append([value_of(backend, bound, own.pair, x, seed=0) for bound in bounds])
    np.testing.assert_allclose(*found, rtol=1e-6)


@pytest.mark.release("numpyro", keep=["True"])
@pytest.mark.parametrize("learned", [False, True])
def test_moments_weights_and_a_mixture_of_mixtures(learned: bool, backend: Backend) -> None:
    fit = own_fit(backend, learned_weights=learned, prior="vampprior", num_pseudo_inputs=2)
    state = fit.pair.state()
    if learned:
        name = next(key for key in state if key.endswith("logits") or "logits" in key)
        fit.pair.load_state({**state, name: np.array([0.0, 1.0, -2.0], np.float32)})
    x = fit.pair.tensor(X) if backend.name == "pyro" else fit.pair.array(X)
    like = type(x) if backend.name == "pyro" else np.asarray
    z = np.linspace(-12, 12, 2401, dtype=np.float32)[:, None, None]
    q = fit.guide.posterior(x)
    p = np.exp(np.asarray(q.log_prob(like(z)).tolist())) * 0.01
    np.testing.assert_allclose(p.sum(0), 1, rtol=1e-3)
    np.testing.assert_allclose((p * z[..., 0]).sum(0), np.asarray(q.mean.tolist())[:, 0], rtol=1e-3, atol=1e-3)
    variance = (p * z[..., 0] ** 2).sum(0) - (p * z[..., 0]).sum(0) ** 2
    np.testing.assert_allclose(variance, np.asarray(q.variance.tolist())[:, 0], rtol=2e-3)
    prior = fit.model.prior
    inner = fit.guide.posterior(prior.pseudo_inputs())
    expected = logsumexp(np.asarray(inner.log_prob(like(z)).tolist()), -1) - np.log(2)
    np.testing.assert_allclose(np.asarray(prior().log_prob(like(z[:, 0])).tolist()), expected, rtol=1e-4, atol=1e-4)


def test_it_trains_recorded_or_not_and_is_evaluated(backend: Backend) -> None:
    chosen = recipe("standard", backend, **{**SETTINGS, "latent_dim": 2, "hidden": (5,)})
    options = {"epochs": 2, "batch_size": 20}
    ways = [{}, {"compile": "trace"}] if backend.name == "pyro" else [{}]
    losses = []
    for way in ways:
        svi = backend.inference.SVI(backend.inference.MISELBO(2), **options, **way)
        fit = svi.fit(*chosen(seeds.generator(0, "weights")), toy())
        losses.append(fit.history["loss"])
    np.testing.assert_allclose(losses[0], losses[-1], rtol=1e-5)
    assert fit.sites.latent[0].components == A and recipes.Recipe.from_dict(chosen.to_dict()) == chosen
    elbo, log_p = evaluation.elbo(fit, X, 20).mean, evaluation.log_likelihood(fit, X, 200).mean
    assert elbo < log_p + 0.5


def test_what_does_not_fit_is_refused(backend: Backend) -> None:
    sites = untrained(*pair("standard", backend), backend).sites
    for objective, where, says in (
        (MISELBO(), sites, "mixture in the guide"),
        (MISELBO(A + 1), own_fit(backend).sites, "of at most 3; got 4"),
        (MISELBO(), own_fit(backend, learned_weights=True).sites, "no pathwise gradient for the site 'z'"),
        (inference.TraceELBO(), own_fit(backend, learned_weights=True).sites, "no pathwise gradient"),
        (inference.BetaTCVAE(), own_fit(backend).sites, "diagonal normal guide"),
    ):
        with pytest.raises(ValueError, match=says):
            objective.check(where)


def test_a_masked_mixture_is_refused(backend: Backend) -> None:
    """Its wrapper has no strata to draw from; the ELBO takes it."""
    model, whole = recipes.vae(toy(), latent_dim=1, backend=backend.name, **SETTINGS)(seeds.generator(0, "weights"))
    library = pyro if backend.name == "pyro" else numpyro
    base = PyroModule if backend.name == "pyro" else nnx.Module

    class Guide(base):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.posterior = whole.posterior

        def forward(self, x: Any) -> None:
            with library.plate("data", len(x), dim=-1):
                library.sample("z", self.posterior(x).mask(x[:, 0] == x[:, 0]))

        def __call__(self, x: Any) -> None:
            return super().__call__(x) if backend.name == "pyro" else self.forward(x)

    own = backend.inference.Pair(model, Guide())
    own.prepare(X, 0)
    with pytest.raises(UnsuitableObjective, match="use TraceELBO"):
        MISELBO(2).check(own.sites)
    backend.inference.TraceELBO(2).check(own.sites)

"""The numbers of a table, each by its formula, and laws that hold across chunks, seeds and settings."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpyro
import optax
import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import PCA, fit_of, loss_of
from pairs import (
    PAIRS,
    STOCK,
    TRAIN,
    VALID,
    P,
    fill,
    pair,
    plain_functions,
    recipe,
    same,
    skip_if_broken,
    toy,
    trained,
    untrained,
)
from pyro.nn import PyroModule, PyroParam

from ppl_vae import backends, evaluation, inference, recipes, schedules
from ppl_vae.errors import NotFiniteLoss, UnsuitableObjective
from ppl_vae.evaluation.likelihood.importance_sampling import Moments
from ppl_vae.pairs.pair import probe
from ppl_vae.pairs.terms import Terms
from ppl_vae.results import Fit


def test_the_elbo_and_its_parts_are_exact_on_pca(backend: backends.Backend) -> None:
    """ELBO = log p - KL(q || posterior); its rate is KL(q || N(0, I)) in closed form; posterior() is the guide's."""
    pca, wrong = PCA(), {"shift": 0.3, "widen": 1.2}
    fit = fit_of(pca, backend, **wrong)
    bound = evaluation.elbo(fit, pca.x, 4000)
    np.testing.assert_allclose(bound.values, pca.log_p() - pca.kl(**wrong), atol=0.15)
    mean, cov = pca.posterior_mean(pca.x) + 0.3, 1.2**2 * pca.cov
    kl = 0.5 * (np.trace(cov) - 2 - np.linalg.slogdet(cov)[1] + (mean**2).sum(-1))
    np.testing.assert_allclose(bound.kl, kl, atol=0.15)
    np.testing.assert_allclose(bound.values, bound.reconstruction - bound.kl)
    assert bound.mean == pytest.approx(bound.values.mean())
    found_mean, found_sd = fit.posterior(pca.x)["z"]
    np.testing.assert_allclose(found_mean, mean, atol=1e-4)
    np.testing.assert_allclose(found_sd, np.broadcast_to(np.sqrt(np.diag(cov)), mean.shape), atol=1e-4)


def test_reconstructions_are_of_the_images_given(backend: backends.Backend) -> None:
    """On PCA the mean of E[x | z] over z ~ q(z | x) is W E[z | x] + m."""
    pca = PCA()
    fit = fit_of(pca, backend)
    means = fit.reconstruct(np.repeat(pca.x, 3000, 0)).reshape(7, 3000, -1).mean(1)
    expected = pca.posterior_mean(pca.x) @ pca.weights.T + pca.mean
    np.testing.assert_allclose(means, expected, atol=5 * np.sqrt((pca.weights**2).sum(1).max() / 3000))


def test_errors_by_their_formulas() -> None:
    rng = np.random.default_rng(0)
    log_w = rng.normal(size=(50, 9))
    w = np.exp(log_w)
    moments = Moments(9)
    moments.add(log_w[:20]), moments.add(log_w[20:])
    np.testing.assert_allclose(moments.log_mean, np.log(w.mean(0)))
    np.testing.assert_allclose(moments.ess, w.sum(0) ** 2 / (w**2).sum(0))
    np.testing.assert_allclose(moments.relative_error, w.std(0, ddof=1) / w.mean(0) / np.sqrt(50), rtol=1e-6)
    result = evaluation.LogLikelihood(rng.normal(size=9), rng.random(9), moments.ess, 50)
    assert result.test_error == pytest.approx(result.values.std(ddof=1) / 3)
    assert result.mean_mc_error == pytest.approx(np.sqrt((result.mc_error**2).sum()) / 9)


def test_active_units_are_judged_by_variance(backend: backends.Backend) -> None:
    """Standard deviations of 0.2 and 0.05: variances of 0.04 and 0.0025 around the threshold of 0.01."""
    net = backend.nets.MLP((P, 4), np.random.default_rng(0))
    x = toy(200)
    gains = np.zeros((4, P))
    gains[0, 0], gains[1, 0] = 0.2 / x[:, 0].std(), 0.05 / x[:, 0].std()
    fill(net.layers[0], gains, np.zeros(4))
    model, _ = pair("standard", backend, latent_dim=2)
    fit = untrained(model, backend.guides.Amortised(backend.conditionals.DiagNormal(net)), backend)
    assert evaluation.active_units(fit, x) == 1


def test_active_codes_are_judged_whatever_their_scale(backend: backends.Backend) -> None:
    """Slots of two codes: one that follows x, one that is the same for all; a codebook of a ten-thousandth."""
    x = toy(200)
    net, book = backend.nets.MLP((P, 2), np.random.default_rng(0)), backend.nets.Codebook(np.array([[-1e-4], [1e-4]]))
    gains = np.zeros((2, P))
    gains[0, 0] = 1.0
    fill(net.layers[0], gains, np.array([-x[:, 0].mean(), 1.0]))
    decoder = backend.nets.MLP((2, P), np.random.default_rng(1))
    model = backend.models.VAE(backend.priors.CodePrior(book, 2), backend.conditionals.Bernoulli(decoder))
    fit = untrained(model, backend.guides.Amortised(backend.conditionals.Nearest(net, book)), backend)
    assert fit.encode(x).var(0).max() < 1e-6 and evaluation.active_units(fit, x) == 1
    first = (x[:, 0] > x[:, 0].mean()).mean()
    assert evaluation.active_units(fit, x, threshold=0.99 * first * (1 - first)) == 1
    assert evaluation.active_units(fit, x, threshold=1.01 * first * (1 - first)) == 0


def test_active_categories_are_judged_by_their_probabilities(backend: backends.Backend) -> None:
    """Against q(z | x) itself; their numbers differ from one x to the next even where it is all but uniform."""
    fit, x = untrained(*pair("categorical", backend), backend), toy(200)
    site = fit.sites.latent[0]
    found = backend.inference.marginals(fit.pair, x, np.zeros((200, *site.event_shape), np.int64))
    variances = np.exp(found.posterior["log_masses"]).reshape(site.num_values or 0, 200, -1).var(1).max(0)
    assert (fit.encode(x).var(0) > 0.01).any() and evaluation.active_units(fit, x) == (variances > 0.01).sum() == 0
    assert evaluation.active_units(fit, x, threshold=0.8 * variances.min()) == len(variances)
    assert evaluation.active_units(fit, x, threshold=1.2 * variances.max()) == 0


def test_more_data_than_a_chunk(backend: backends.Backend) -> None:
    fit = untrained(*pair("vampprior", backend), backend)
    x = toy(2100)
    codes = fit.encode(x)
    assert codes.shape == (2100, 3)
    np.testing.assert_allclose(codes[[0, 1000, 2050, 2099]], fit.encode(x[[0, 1000, 2050, 2099]]), atol=1e-5)
    terms = fit.terms(np.repeat(x[:1], 2100, 0), 2)
    assert terms.log_guide.shape == (2, 2100) and len(np.unique(terms.log_guide)) > 4190, "noise of its own everywhere"
    assert fit.reconstruct(x).shape == (2100, P) and len(np.unique(fit.generate(2100), axis=0)) == 2100


def test_gated_layers_by_hand(backend: backends.Backend) -> None:
    rng = np.random.default_rng(0)
    net = backend.nets.GatedMLP((3, 4, 2), rng)
    parts = [
        np.asarray(p.tolist())
        for layer in (net.values[0], net.gates[0], net.values[1])
        for p in (layer.weight, layer.bias)
    ]
    a, a0, g, g0, w, w0 = parts
    x = rng.normal(size=(5, 3))
    expected = ((x @ a.T + a0) / (1 + np.exp(-(x @ g.T + g0)))) @ w.T + w0
    given = torch.tensor(x, dtype=torch.float32) if backend.name == "pyro" else np.float32(x)
    np.testing.assert_allclose(np.asarray(net(given).tolist()), expected, atol=1e-5)


def test_beta_weighs_the_kl_and_nothing_else(backend: backends.Backend, base_noise: None) -> None:
    """loss(beta) = loss(0) + beta (loss(1) - loss(0)) on fixed noise, and loss(0) is the reconstruction."""
    model, guide = pair("vampprior", backend)
    loss = {
        beta: loss_of(backend, backend.inference.TraceELBO(beta=beta), model, guide, toy(6)) for beta in (0.0, 0.3, 1.0)
    }
    assert loss[0.3] == pytest.approx(loss[0.0] + 0.3 * (loss[1.0] - loss[0.0]), rel=1e-5)
    _, terms = untrained(model, guide, backend).pair.sample(toy(6), 1, 0)
    assert loss[0.0] == pytest.approx(-terms.log_lik.sum(), rel=0.1)


def test_the_closed_form_kl_is_the_mean_of_the_sampled_one(backend: backends.Backend) -> None:
    fit = untrained(*pair("standard", backend), backend)
    closed, sampled = (fit.terms(toy(5), 4000, analytic_kl=a) for a in (True, False))
    assert (closed.log_guide == 0).all() and closed.log_prior.std(0).max() < 1e-4
    mean, sd = fit.posterior(toy(5))["z"]
    np.testing.assert_allclose(-closed.log_prior[0], (0.5 * (sd**2 + mean**2 - 1) - np.log(sd)).sum(-1), rtol=1e-4)
    np.testing.assert_allclose((sampled.log_guide - sampled.log_prior).mean(0), -closed.log_prior[0], atol=0.1)


def test_orders_and_noise_differ_between_seeds_epochs_and_steps(backend: backends.Backend) -> None:
    """At a learning rate of nothing on copies of one image, losses differ by the noise of each step alone."""
    same_image = np.repeat(toy(1), 60, 0)
    options = {"epochs": 2, "batch_size": 10, "learning_rate": 1e-30, "data": same_image}
    steps: list[np.ndarray] = []
    svi = backend.inference.SVI(epochs=2, batch_size=10, learning_rate=1e-30)
    from ppl_vae.training import TrainingData

    run = svi.start(*pair("standard", backend), TrainingData.of(same_image, None), seed=0, device=None)
    for epoch in range(2):
        steps.append(run.epoch(epoch, np.arange(60)))
    assert len(np.unique(np.concatenate(steps))) == 12
    losses = [trained(backend, "standard", seed=s, **options).history["loss"] for s in (0, 1)]
    assert len(np.unique(losses)) == 4
    orders = [order for s in (0, 1) for order in orders_fed(backend, s)]
    assert len({tuple(order) for order in orders}) == 4 and all(sorted(order) == list(range(60)) for order in orders)
    assert not same(*(trained(backend, "standard", seed=s, epochs=1).pair.state() for s in (0, 1)))


def orders_fed(backend: backends.Backend, seed: int) -> list[list[int]]:
    """The orders of the data that the loop hands to the trainer, epoch by epoch."""
    fed: list[list[int]] = []

    class Recording(backend.inference.SVI):
        def start(self, *args: Any, **kwargs: Any) -> Any:
            run = super().start(*args, **kwargs)
            epoch = run.epoch
            run.epoch = lambda number, order: (fed.append(order.tolist()), epoch(number, order))[1]
            return run

    Recording(epochs=2, batch_size=20).fit(*pair("standard", backend), TRAIN, seed=seed)
    return fed


@pytest.mark.parametrize("name", ["xavier_uniform", "xavier_normal"])
def test_xavier_weights_have_their_variance(name: str) -> None:
    """2 / (inputs + outputs), and for the uniform one the limit sqrt(6 / (inputs + outputs))."""
    from ppl_vae import init

    weights = getattr(init, name)(np.random.default_rng(0), 300, 500)
    assert weights.shape == (300, 500)
    assert weights.var() == pytest.approx(2 / 800, rel=0.02) and abs(weights.mean()) < 1e-3
    assert name == "xavier_normal" or np.abs(weights).max() == pytest.approx(np.sqrt(6 / 800), rel=1e-3)


@pytest.mark.release("numpyro")
def test_stock_objectives_take_steps_of_the_right_size(
    backend: backends.Backend, base_noise: None, fresh_programs: None
) -> None:
    """Plain gradient descent shows the scale of a gradient, which Adam hides."""
    optim = partial(torch.optim.SGD, lr=1e-3) if backend.name == "pyro" else optax.sgd(1e-3)
    stock = [STOCK[backend.name][0], STOCK[backend.name][2]]
    ours = trained(backend, loss=backend.inference.TraceELBO(), optim=optim, epochs=1).pair.state()
    for make in stock:
        skip_if_broken(backend, make)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = trained(backend, loss=make(), optim=optim, epochs=1).pair.state()
        start = backend.inference.Pair(*pair("vampprior", backend)).state()
        moved = {n: np.linalg.norm(theirs[n] - start[n]) for n in start}
        expected = {n: np.linalg.norm(ours[n] - start[n]) for n in start}
        assert sum(moved.values()) == pytest.approx(sum(expected.values()), rel=0.3)


@pytest.mark.release("numpyro")
def test_arviz_pairs_each_draw_with_its_own_densities(backend: backends.Backend) -> None:
    fit = trained(backend)
    idata = fit.to_arviz(TRAIN[:4], 25)
    z = np.array(idata.posterior["z"].values[0])
    given = torch.tensor(z) if backend.name == "pyro" else z
    x = torch.tensor(TRAIN[:4]) if backend.name == "pyro" else TRAIN[:4]
    log_lik = np.asarray(fit.model.likelihood(given).log_prob(x).tolist())
    np.testing.assert_allclose(log_lik, idata.log_likelihood["x"].values[0], atol=1e-3)
    prior = np.asarray(fit.model.prior().log_prob(given).tolist())
    np.testing.assert_allclose(prior, idata.sample_stats["log_prior"].values[0], atol=1e-3)


def test_evaluation_refuses_what_training_refuses(backend: backends.Backend) -> None:
    fit = trained(backend)
    likelihoods = (fit.terms, fit.to_arviz, partial(evaluation.log_likelihood, fit), partial(evaluation.elbo, fit))
    for call in likelihoods:
        with pytest.raises(ValueError, match="under a Bernoulli likelihood"):
            call(255 * TRAIN)
    for call in (*likelihoods, fit.encode, fit.reconstruct, fit.draws):
        with pytest.raises(ValueError, match=r"'x' should have shape \(N, 12\); got \(60, 5\)"):
            call(TRAIN[:, :5])
    assert (fit.encode(TRAIN[::-1]) == fit.encode(TRAIN[::-1].copy())).all()
    assert (fit.encode(TRAIN.astype(">f4")) == fit.encode(TRAIN)).all()
    assert (fit.encode(torch.tensor(TRAIN, requires_grad=True)) == fit.encode(TRAIN)).all()


def test_a_fit_knows_its_own_model(backend: backends.Backend, tmp_path: Path) -> None:
    fit = trained(backend)
    path = fit.save(tmp_path / "fit.safetensors", recipe=recipe("vampprior", backend, activation="tanh"))
    with pytest.raises(ValueError, match="give another ELBO than when they were saved"):
        Fit.load(path)
    settings = recipe("vampprior", backend).to_dict()
    with pytest.raises(ValueError, match="starts at training images: make the recipe from the data"):
        recipes.Recipe.from_dict(settings)(np.random.default_rng(0))


def test_fits_of_plain_functions_save_load_and_run(backend: backends.Backend, tmp_path: Path) -> None:
    model, guide, _ = plain_functions(backend)
    fit = backend.inference.SVI(epochs=5, batch_size=20, learning_rate=0.01).fit(model, guide, TRAIN, seed=0)
    path = fit.save(tmp_path / "fit.safetensors")
    loaded = Fit.load(path, pair=(model, guide))
    assert (loaded.encode(TRAIN) == fit.encode(TRAIN)).all()
    for ask in (
        lambda: fit.generate(3),
        lambda: evaluation.prior_draws(fit, 3),
        lambda: evaluation.calibration(fit, 100),
    ):
        with pytest.raises(ValueError, match="To generate, the model should take x=None and size="):
            ask()
    found = fit.check(TRAIN, 25)
    assert found["calibration"].good is None and found["calibration"].says.startswith("To generate, the model should")
    assert found["k-hat"].good is not None and found["active units"].good
    if backend.name == "pyro":
        trace = pyro.poutine.trace(fit.guide).get_trace(torch.tensor(TRAIN))
        assert np.allclose(trace.nodes["z"]["fn"].mean.detach(), fit.encode(TRAIN), atol=1e-5)


def test_a_weight_that_turns_nan_at_the_last_step_stops_the_training(backend: backends.Backend) -> None:
    for options in ({}, {"valid": VALID, "patience": 2}):
        with pytest.raises(NotFiniteLoss, match=r"epoch 0, step 0"):
            trained(backend, "normal", batch_size=60, epochs=1, learning_rate=1e38, learning_rate_factor=1e3, **options)


def test_resuming_tells_optimisers_and_takes_stock_objectives(backend: backends.Backend, tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    if backend.name == "pyro":
        first, second = partial(torch.optim.Adam, lr=1e-2), partial(torch.optim.SGD, lr=1e-2)
        third: Any = partial(torch.optim.Adam, lr=1e-6)
    else:
        first, second, third = optax.adam(1e-2), optax.sgd(1e-2, momentum=0.9), optax.sgd(1e-2)
    trained(backend, optim=first, checkpoint=path, epochs=1)
    for other in (second, third):
        with pytest.raises(ValueError, match="belongs to another training: its 'optim'"):
            trained(backend, optim=other, checkpoint=path, epochs=2, resume=True)
    stock, whole = tmp_path / "stock.checkpoint", None
    make = STOCK[backend.name][0]
    trained(backend, loss=make(), checkpoint=stock, epochs=1)
    whole = trained(backend, loss=make(), epochs=2)
    assert same(trained(backend, loss=make(), checkpoint=stock, epochs=2, resume=True).pair.state(), whole.pair.state())
    assert "0x" not in str(whole.settings)


@pytest.mark.parametrize("name", ["Trace_ELBO", "TraceMeanField_ELBO", "RenyiELBO"])
def test_stock_objectives_are_refused_where_they_are_wrong(backend: backends.Backend, name: str) -> None:
    library = pyro.infer if backend.name == "pyro" else numpyro.infer
    objective = getattr(library, name)(num_particles=2)
    discrete, delta = plain_functions(backend, "discrete"), plain_functions(backend, "delta")
    svi = backend.inference.SVI(objective, epochs=1, batch_size=20)
    with pytest.raises(UnsuitableObjective, match="'z' is a Delta"):
        svi.fit(*delta[:2], TRAIN)
    if backend.name == "numpyro" or name == "RenyiELBO":
        with pytest.raises(UnsuitableObjective, match=r"no pathwise gradient for the site 'z' \(Poisson\)"):
            svi.fit(*discrete[:2], TRAIN)


def test_objects_of_the_wrong_kind(backend: backends.Backend) -> None:
    other = backends.load("numpyro" if backend.name == "pyro" else "pyro").inference
    for loss in ("elbo", backend.inference.TraceELBO, other.TraceELBO(), None):
        with pytest.raises(TypeError, match="'loss' should be an objective such as TraceELBO"):
            backend.inference.SVI(loss)
    with pytest.raises(TypeError, match="'optim' should"):
        trained(backend, optim=optax.adam(1e-3).init if backend.name == "pyro" else partial(torch.optim.SGD, lr=1.0))
    for settings in ({"clip_norm": "a"}, {"epochs": True}, {"learning_rate": np.inf}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            backend.inference.SVI(**settings)
    assert backend.inference.SVI(epochs=np.int64(2)).epochs == 2
    for beta in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="'beta' should be a finite number"):
            backend.inference.TraceELBO(beta=beta)


def test_pyro_params_of_one_name_are_refused() -> None:
    class Program(PyroModule):
        def __init__(self, scale: float, observes: bool) -> None:
            super().__init__()
            self.scale = PyroParam(torch.tensor(scale), constraint=dist.constraints.positive)
            self.observes = observes

        def forward(self, x: torch.Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), self.scale).to_event(1))
                if self.observes:
                    pyro.sample("x", dist.Normal(z[..., :1] + 0 * x, 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match="both have a PyroParam of that name"):
        inference.SVI(epochs=1, batch_size=20).fit(Program(1.0, True), Program(0.1, False), TRAIN)


def test_nets_with_state() -> None:
    """On Pyro a query is in evaluation mode and changes nothing; on NumPyro such nets are refused."""
    from flax import nnx

    from ppl_vae import conditionals, guides

    net = torch.nn.Sequential(
        torch.nn.Linear(P, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 6)
    )
    model, _ = pair("standard", "pyro")
    fit = inference.SVI(epochs=2, batch_size=20).fit(model, guides.Amortised(conditionals.DiagNormal(net)), TRAIN)
    before = fit.pair.state()
    np.testing.assert_allclose(fit.encode(TRAIN)[:10], fit.encode(TRAIN[:10]), atol=1e-5)
    fit.terms(TRAIN, 2), fit.generate(3)
    assert same(before, fit.pair.state())
    b = backends.load("numpyro")

    class Dropping(nnx.Module):
        def __init__(self) -> None:
            self.net = b.nets.MLP((P, 6), np.random.default_rng(0))
            self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

        def __call__(self, x: Any) -> Any:
            return self.dropout(self.net(x))

    model, _ = pair("standard", "numpyro")
    with pytest.raises(ValueError, match="BatchNorm, Dropout"):
        b.inference.SVI(epochs=1, batch_size=20).fit(
            model, b.guides.Amortised(b.conditionals.DiagNormal(Dropping())), TRAIN
        )


def test_deterministic_sites_are_no_data() -> None:
    def model(x: torch.Tensor | None = None, *, size: int = 1) -> None:
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.deterministic("twice", 2 * z, event_dim=1)
            pyro.sample("pixels", dist.Normal(z[..., :1] + torch.zeros(P), 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        w = pyro.param("w", torch.ones(2))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(w + 0 * x[..., :2], 1.0).to_event(1))

    fit = inference.SVI(epochs=1, batch_size=20).fit(model, guide, TRAIN)
    assert fit.generate(3).shape == (3, P) and fit.reconstruct(TRAIN).shape == TRAIN.shape


def test_a_recipe_for_every_pair_can_be_drawn_blank() -> None:
    for name in PAIRS:
        for backend in backends.NAMES:
            own = backends.load(backend).inference.Pair(*recipe(name, backend).skeleton())
            there = backends.load(backend).inference.Pair(*pair(name, backend))
            assert {n: v.shape for n, v in own.state().items()} == {n: v.shape for n, v in there.state().items()}


def test_probe_is_what_it_says() -> None:
    fit = untrained(*pair("standard", "pyro"), backends.load("pyro"))
    value = probe(fit.pair, TRAIN[:3], 5)
    _, terms = fit.pair.sample(TRAIN[:3], 1, 5)
    assert isinstance(terms, Terms) and value == pytest.approx(terms.log_weights.mean())
    assert schedules.value(1.0, 3) == 1.0

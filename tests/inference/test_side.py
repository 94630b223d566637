"""What goes beside x: masks of the pixels that were seen, and side information, against closed forms and limits."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import torch
from numpyro import handlers
from oracles import PCA, SCALE, fit_of
from pairs import SMALL, D, P, common_names, fill, pair, toy, untrained

from ppl_vae import backends, evaluation, recipes, strategies
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.results import Fit

RNG = np.random.default_rng(5)
MASK = RNG.random((7, 5)) < 0.6
MASK[:, 0] = True


def marginal(pca: PCA, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(log p(x_seen), x with E[x_hidden | x_seen] filled in) of each row, in closed form."""
    cov = pca.weights @ pca.weights.T + SCALE**2 * np.eye(len(pca.mean))
    filled, log_p = pca.x.astype(float), []
    for row, seen in zip(filled, mask, strict=True):
        inside = cov[np.ix_(seen, seen)]
        log_p.append(scipy.stats.multivariate_normal(pca.mean[seen], inside).logpdf(row[seen]))
        gain = cov[np.ix_(~seen, seen)] @ np.linalg.inv(inside)
        row[~seen] = pca.mean[~seen] + gain @ (row[seen] - pca.mean[seen])
    return np.array(log_p), filled


def test_what_was_seen_has_its_marginal_density(backend: backends.Backend) -> None:
    """log p(x_seen) of pPCA, whatever stands where nothing was seen."""
    pca = PCA()
    exact, _ = marginal(pca, MASK)
    fit = fit_of(pca, backend, widen=1.5)
    hidden = np.where(MASK, pca.x, np.nan)
    found = evaluation.log_likelihood(fit, hidden, 20_000, mask=MASK)
    np.testing.assert_allclose(found.values, exact, atol=0.1)
    assert (np.abs(found.values - exact) < 5 * found.mc_error + 1e-3).all()
    other = evaluation.log_likelihood(fit, np.where(MASK, pca.x, 1e6), 20_000, mask=MASK)
    np.testing.assert_array_equal(found.values, other.values)


def test_a_mask_that_hides_nothing_changes_nothing(backend: backends.Backend) -> None:
    pca = PCA()
    fit = fit_of(pca, backend, shift=0.2)
    plain, masked = (evaluation.elbo(fit, pca.x, 5, **side) for side in ({}, {"mask": np.ones((7, 5), bool)}))  # type: ignore[arg-type]
    np.testing.assert_allclose(plain.values, masked.values, rtol=1e-5)


def test_imputation_is_the_conditional_mean(backend: backends.Backend) -> None:
    """E[x_hidden | x_seen] of pPCA; its draws have that mean and stay what was seen."""
    pca = PCA()
    _, exact = marginal(pca, MASK)
    fit = fit_of(pca, backend, widen=1.5)
    hidden = np.where(MASK, pca.x, np.nan)
    filled = fit.impute(hidden, num_particles=20_000)
    np.testing.assert_allclose(filled, exact, atol=0.12)
    np.testing.assert_array_equal(filled[MASK], pca.x[MASK])
    draws = fit.impute(hidden, num_particles=20_000, num_draws=2000, seed=1)
    assert draws.shape == (2000, 7, 5)
    np.testing.assert_allclose(draws.mean(0), exact, atol=0.25)
    assert (draws[:, ~MASK].std(0) > SCALE * 0.9).all()
    np.testing.assert_array_equal(draws[:, MASK], np.broadcast_to(pca.x[MASK], (2000, MASK.sum())))


def half_seen(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Toy images with half of their pixels hidden, and which were seen."""
    mask = np.random.default_rng(1).random((count, P)) < 0.5
    return np.where(mask, toy(count), np.nan).astype(np.float32), mask


@pytest.mark.release("pyro", keep=["amortised"])
@pytest.mark.parametrize("guide", ["amortised", "semi-amortised", "per-datapoint"])
def test_a_half_seen_table_trains_and_imputes(guide: str, backend: backends.Backend) -> None:
    """Better than each pixel's own frequency among those that were seen; the hidden values cannot have helped."""
    x, mask = half_seen(400)
    if backend.name == "numpyro" and guide != "amortised":
        pytest.skip("the same path as the amortised guide; compiling takes long")
    settings: dict[str, Any] = {"latent_dim": 2, "hidden": (16,), "guide": guide, "refinement_steps": 2}
    recipe = recipes.vae(x, backend=backend.name, **settings)
    steps = {
        "amortised": {"epochs": 60},
        "semi-amortised": {"epochs": 30},
        "per-datapoint": {"epochs": 20, "local_steps": 20},
    }[guide]
    svi = backend.inference.SVI(batch_size=50, learning_rate=1e-2, **steps)
    fit = svi.fit(*recipe(np.random.default_rng(0)), x, mask=mask)
    truth = toy(400)
    filled = fit.impute(x, num_particles=50)
    frequency = np.broadcast_to(np.nanmean(x, 0), x.shape)
    ours, theirs = (float(((a - truth)[~mask] ** 2).mean()) for a in (filled, frequency))
    assert ours < 0.93 * theirs  # complete data would give 0.81
    assert fit.settings["data"]["side"]


def test_what_is_hidden_is_never_read(backend: backends.Backend) -> None:
    """The same weights to the bit whatever stands in the hidden places."""
    x, mask = half_seen(40)
    svi = backend.inference.SVI(epochs=2, batch_size=20)
    recipe = recipes.vae((P,), backend=backend.name, **SMALL)
    fits = [
        svi.fit(
            *recipe(np.random.default_rng(0)), np.where(mask, x, other), mask=mask, valid=x[:9], valid_mask=mask[:9]
        )
        for other in (np.nan, 7.0)
    ]
    for name, value in fits[0].pair.state().items():
        np.testing.assert_array_equal(value, fits[1].pair.state()[name])
    np.testing.assert_array_equal(*(fit.history["valid_elbo"] for fit in fits))


def test_a_vampprior_starts_at_incomplete_images(backend: backends.Backend) -> None:
    x, mask = half_seen(40)
    recipe = recipes.vae(x, prior="vampprior", backend=backend.name, **SMALL)
    fit = backend.inference.SVI(epochs=1, batch_size=20).fit(*recipe(np.random.default_rng(0)), x, mask=mask)
    assert np.isfinite(fit.history["loss"]).all()


def linear(backend: backends.Backend, *, pixels: int = 4, extra: int = 2) -> tuple[Fit, dict[str, np.ndarray]]:
    """z ~ N(0, I), x = W z + V c + m + SCALE * noise, with a guide that is wide."""
    rng = np.random.default_rng(2)
    maps = {n: rng.normal(size=(pixels, k)) for n, k in (("w", 2), ("v", extra))} | {"m": rng.normal(size=pixels)}
    decoder = backend.nets.MLP((2 + extra, pixels), rng)
    fill(decoder.layers[0], np.hstack([maps["w"], maps["v"]]), maps["m"])
    encoder = backend.nets.MLP((pixels + extra, 4), rng)
    gain = np.linalg.solve(np.eye(2) + maps["w"].T @ maps["w"] / SCALE**2, maps["w"].T) / SCALE**2
    weight = np.zeros((4, pixels + extra))
    weight[:2] = np.hstack([gain, -gain @ maps["v"]])
    fill(encoder.layers[0], weight, np.concatenate([-gain @ maps["m"], [0.0, 0.0]]))
    prior = backend.models.Unconditional(backend.models.StandardNormal(2))
    model = backend.models.ConditionalVAE(prior, backend.conditionals.Normal(decoder, scale=SCALE))
    own = backend.inference.Pair(model, backend.guides.Amortised(backend.conditionals.DiagNormal(encoder)))
    own.prepare(np.zeros((3, pixels), np.float32), 0, {"given": np.zeros((3, extra))})
    return Fit(own, {}, {}), maps


def test_the_conditional_density_is_exact(backend: backends.Backend) -> None:
    """log p(x | c) = N(x; V c + m, W W^T + SCALE^2) by importance sampling, and the images that it generates."""
    fit, maps = linear(backend)
    c = np.random.default_rng(3).normal(size=(6, 2)).astype(np.float32)
    cov = maps["w"] @ maps["w"].T + SCALE**2 * np.eye(4)
    mean = c @ maps["v"].T + maps["m"]
    x = (mean + np.random.default_rng(4).multivariate_normal(np.zeros(4), cov, 6)).astype(np.float32)
    exact = [scipy.stats.multivariate_normal(m, cov).logpdf(row) for m, row in zip(mean, x, strict=True)]
    found = evaluation.log_likelihood(fit, x, 20_000, given=c)
    np.testing.assert_allclose(found.values, exact, atol=0.1)
    images = fit.generate(given=np.repeat(c[:1], 20_000, 0), mean=False)
    np.testing.assert_allclose(images.mean(0), mean[0], atol=0.06)
    np.testing.assert_allclose(np.cov(images.T), cov, atol=0.15)


def values_of(layer: Any) -> list[np.ndarray]:
    """Copies of a linear layer's weight and bias, on either backend."""
    values = (layer.weight, layer.bias)
    return [v.detach().numpy().copy() if hasattr(v, "detach") else np.array(v[...]) for v in values]


def test_without_weights_on_c_it_is_the_vae(backend: backends.Backend) -> None:
    """The limit: nets that ignore c give log-densities of the pair without it."""
    recipe = recipes.vae(toy(), given_dim=3, backend=backend.name, **SMALL)
    model, guide = recipe(np.random.default_rng(0))
    for net in (model.likelihood.net, guide.posterior.net):
        layer = net.layers[0]
        weight, bias = values_of(layer)
        weight[:, -3:] = 0
        fill(layer, weight, bias)
    own = backend.inference.Pair(model, guide)
    own.prepare(toy(4), 0, {"given": np.zeros((4, 3))})
    fit = Fit(own, {}, {})
    plain = recipes.vae(toy(), backend=backend.name, **SMALL)(np.random.default_rng(1))
    for net, ours in ((plain[0].likelihood.net, model.likelihood.net), (plain[1].posterior.net, guide.posterior.net)):
        for number, (into, source) in enumerate(zip(net.layers, ours.layers, strict=True)):
            w, b = values_of(source)
            fill(into, w[:, : w.shape[1] - 3] if number == 0 else w, b)
    reference = untrained(*plain, backend)
    x, c = toy(9), np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    a, b = fit.terms(x, 3, given=c), reference.terms(x, 3)
    for one, other in zip(a[:3], b[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_conditional_pairs_agree_across_backends(base_noise: None, fresh_programs: None, float64: None) -> None:
    """The same weights and noise: the same log-densities, with a mask beside the side information."""
    c, mask = RNG.normal(size=(6, 2)), RNG.random((6, P)) < 0.7
    found = []
    for backend in map(backends.load, backends.NAMES):
        pair = recipes.conditional_vae(toy(), 2, backend=backend.name, **SMALL)(np.random.default_rng(0))
        own = backend.inference.Pair(*pair)
        own.prepare(toy(4), 0, {"given": c[:4]})
        found.append((Fit(own, {}, {}).terms(toy(6), 2, given=c, mask=mask), common_names(own.state())))
    (a, mine), (b, theirs) = found
    assert mine.keys() == theirs.keys()
    for one, other in zip(a[:3], b[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.release("numpyro")
def test_a_conditional_pair_learns_what_c_says(tmp_path: Path, backend: backends.Backend) -> None:
    """Two kinds of images told apart by c: generated ones are of the kind asked for; saved and loaded alike."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    x = (rng.random((300, P)) < np.where(labels[:, None] == np.arange(P) % 2, 0.9, 0.1)).astype(np.float32)
    c = np.eye(2, dtype=np.float32)[labels]
    recipe = recipes.conditional_vae(x, 2, backend=backend.name, latent_dim=D, hidden=(16,))
    svi = backend.inference.SVI(epochs=25, batch_size=50, learning_rate=1e-2, patience=25)
    fit = svi.fit(*recipe(rng), x, given=c, valid=x[:50], valid_given=c[:50])
    images = fit.generate(given=np.eye(2))
    expected = np.where(np.arange(2)[:, None] == np.arange(P) % 2, 0.9, 0.1)
    np.testing.assert_allclose(images, expected, atol=0.2)
    again = Fit.load(fit.save(tmp_path / "c.safetensors", recipe=recipe))
    np.testing.assert_array_equal(again.encode(x[:5], given=c[:5]), fit.encode(x[:5], given=c[:5]))
    result = evaluation.evaluate(fit, x[:40], 20, given=c[:40], train=x, train_side={"given": c})
    assert result.log_p.mean > -12 * 0.45
    assert abs(result.train_elbo - result.elbo.mean) < 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask": np.ones((40, P), int)}, "should be boolean"),
        ({"mask": np.ones((40, P - 1), bool)}, r"of shape \(40, 12\); got dtype bool and shape \(40, 11\)"),
        ({"mask": np.zeros((40, P), bool)}, "hides every pixel"),
        ({"valid_mask": np.ones((5, P), bool)}, "go with validation data: pass valid="),
        ({"given": np.zeros(40)}, r"labels go in as np.eye\(num_classes\)\[labels\]"),
        ({"given": np.zeros((39, 2))}, "a row of numbers for each of the 40"),
        ({"given": np.full((40, 2), np.nan)}, "'given' holds NaN"),
        ({"given": np.zeros((40, 2)), "valid": toy(5)}, "pass both given= and valid_given="),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], said: str) -> None:
    backend = backends.load("pyro")
    recipe = recipes.vae((P,), given_dim=2 if "given" in options else 0, **SMALL)
    with pytest.raises(ValueError, match=said):
        backend.inference.SVI(epochs=1, batch_size=20).fit(*recipe(np.random.default_rng(0)), toy(40), **options)


def test_nan_without_a_mask_says_how_to_mask() -> None:
    x, mask = half_seen(40)
    backend = backends.load("pyro")
    pair = recipes.vae((P,), **SMALL)(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"mask=np.isfinite\("):
        backend.inference.SVI(epochs=1, batch_size=20).fit(*pair, x)
    wrong = mask.copy()
    wrong[~mask] = True
    with pytest.raises(ValueError, match="NaN or infinite values, first at row"):
        backend.inference.SVI(epochs=1, batch_size=20).fit(*pair, x, mask=wrong)


def test_side_information_is_asked_for_and_refused(backend: backends.Backend) -> None:
    fit, _ = linear(backend)
    with pytest.raises(ValueError, match="conditional on 2 numbers for each datum; 'given' has 0"):
        fit.encode(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="conditional on 2 numbers"):
        fit.generate(3)
    with pytest.raises(ValueError, match="trained without side information; 'given' has 2 columns"):
        fit_of(PCA(), backend).encode(PCA().x, given=np.zeros((7, 2)))


@pytest.mark.parametrize(
    "settings",
    [
        {"given_dim": 2, "prior": "vampprior"},
        {"given_dim": 2, "latents": "categorical"},
        {"conditional_prior": True},
        {"given_dim": 2, "conditional_prior": True, "prior": "mixture"},
        {"given_dim": -1},
    ],
)
def test_recipes_that_cannot_be_conditional(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="given_dim"):
        recipes.vae(toy(), **{**SMALL, **settings})


def test_fits_of_other_masks_are_not_compared() -> None:
    _, mask = half_seen(40)
    backend = backends.load("pyro")
    pair = recipes.vae((P,), **SMALL)(np.random.default_rng(0))
    svi = backend.inference.SVI(epochs=1, batch_size=20)
    fits = {str(i): svi.fit(*pair, np.where(m, toy(40), np.nan), mask=m) for i, m in enumerate((mask, mask[::-1]))}
    with pytest.raises(ValueError, match="bounds on different data are not comparable"):
        evaluation.compare(fits, toy(5), num_particles=2)


@pytest.mark.parametrize("latents", ["gaussian", "bernoulli"])
def test_every_strategy_takes_a_mask(latents: str) -> None:
    """One epoch with a mask that hides nothing gives the weights of one without, whatever is maximised."""
    trained = []
    for name in strategies.STRATEGIES:
        if latents != "gaussian" and strategies.recipe_settings(name):  # of Gaussian latents, or with their own
            continue
        if name == "gan":  # of a model without a density, which a mask could not leave out of
            continue
        recipe = recipes.vae(toy(20), latents=latents, **SMALL, **strategies.recipe_settings(name))
        svi = strategies.svi(name, "pyro", epochs=1, batch_size=10)
        masks = (None, np.ones((20, P), bool))
        try:
            fits = [svi.fit(*recipe(np.random.default_rng(0)), toy(20), mask=m) for m in masks]
        except UnsuitableObjective:  # of the other kind of latents
            continue
        trained.append(name)
        for key, value in fits[0].pair.state().items():
            np.testing.assert_allclose(value, fits[1].pair.state()[key], rtol=1e-4, atol=1e-6, err_msg=f"{name} {key}")
    assert len(trained) >= 8


@pytest.mark.release("numpyro")
def test_refinement_and_gradients_take_what_is_beside(backend: backends.Backend) -> None:
    """On pPCA with half of x hidden, refinement finds the posterior of what was seen; its gradient is then flat."""
    pca = PCA()
    fit = fit_of(pca, backend, shift=0.5)
    refined = fit.refine(pca.x, mask=MASK, steps=200)
    index = np.arange(7)
    mean = refined.encode(pca.x, mask=MASK, index=index)
    for row, seen, found in zip(pca.x, MASK, mean, strict=True):
        w = pca.weights[seen]
        exact = np.linalg.solve(np.eye(2) + w.T @ w / SCALE**2, w.T @ (row[seen] - pca.mean[seen]) / SCALE**2)
        np.testing.assert_allclose(found, exact, atol=0.05)
    objectives = {"ELBO": backend.inference.TraceELBO(4)}
    reports = [
        evaluation.gradient_report(f, objectives, pca.x, repeats=8, mask=MASK, **({} if f is fit else {"index": index}))
        for f in (fit, refined)
    ]
    before, after = (report.loc[("ELBO", "guide"), "norm"] for report in reports)
    assert after < 0.3 * before


def test_a_masked_array_is_not_read_without_its_mask() -> None:
    pair = recipes.vae((P,), **SMALL)(np.random.default_rng(0))
    masked = np.ma.masked_array(toy(40), toy(40) > 0)
    with pytest.raises(ValueError, match=r"'data' is a masked array: pass data.filled\(0\), and what was seen"):
        backends.load("pyro").inference.SVI(epochs=1, batch_size=20).fit(*pair, masked)


def test_a_program_that_takes_no_mask_is_refused_one(backend: backends.Backend) -> None:
    """Its hidden places would count as zeros. A guide may do without."""
    model, guide = recipes.vae((P,), backend=backend.name, **SMALL)(np.random.default_rng(0))
    x, mask = half_seen(40)
    svi = backend.inference.SVI(epochs=1, batch_size=20)
    with pytest.raises(ValueError, match="takes no 'mask'"):
        svi.fit(lambda x=None, *, size=1: model(x, size=size), guide, x, mask=mask)
    if backend.name == "pyro":
        fit = svi.fit(model, lambda x: guide(x), x, mask=mask)
        assert np.isfinite(fit.history["loss"]).all()


@pytest.mark.parametrize("conditional", [False, True])
def test_side_information_goes_with_models_that_have_a_use_for_it(conditional: bool, backend: backends.Backend) -> None:
    settings = {"given_dim": 2} if conditional else {"guide": "per-datapoint"}
    pair = recipes.vae(toy(40), backend=backend.name, **SMALL, **settings)(np.random.default_rng(0))
    svi = backend.inference.SVI(epochs=1, batch_size=20)
    with pytest.raises(ValueError, match="ConditionalVAE is conditional" if conditional else "VAE has no use for"):
        svi.fit(*pair, toy(40), given=None if conditional else np.zeros((40, 2)))


def test_draws_of_what_is_hidden_are_drawn_each_for_itself(backend: backends.Backend) -> None:
    """From one particle, pixels of probability 1/2: the variance of a draw is 1/4, and they are not copies."""
    model, guide = recipes.vae((P,), backend=backend.name, latent_dim=2, hidden=())(np.random.default_rng(0))
    layer = model.likelihood.net.layers[0]
    fill(layer, np.zeros((P, 2)), np.zeros(P))
    fit = untrained(model, guide, backend)
    mask = np.zeros((3, P), bool)
    mask[:, 0] = True
    draws = fit.impute(toy(3), mask=mask, num_particles=1, num_draws=400)
    np.testing.assert_allclose(draws[:, :, 1:].mean(0), 0.5, atol=5 * 0.5 / 20)
    assert len(np.unique(draws[:, 0], axis=0)) > 350


def test_a_training_does_not_go_on_with_another_validation_mask(tmp_path: Path) -> None:
    pair = recipes.vae((P,), **SMALL)(np.random.default_rng(0))
    svi = backends.load("pyro").inference.SVI(epochs=1, batch_size=20)
    valid, masks = np.zeros((5, P)), [np.ones((5, P), bool), np.eye(5, P) == 0]
    options: dict[str, Any] = {"valid": valid, "checkpoint": tmp_path / "c", "resume": True}
    svi.fit(*pair, toy(40), valid_mask=masks[0], **options)
    with pytest.raises(ValueError, match="it saw other data"):
        svi.fit(*pair, toy(40), valid_mask=masks[1], **options)


def test_rows_of_masked_data_are_those_of_the_same_mask() -> None:
    x, mask = half_seen(40)
    pair = recipes.vae(x, guide="per-datapoint", **SMALL)(np.random.default_rng(0))
    fit = backends.load("pyro").inference.SVI(epochs=1, batch_size=20).fit(*pair, x, mask=mask)
    assert fit.encode(x, mask=mask).shape == (40, D)
    with pytest.raises(ValueError, match="say which of the training data these are"):
        fit.encode(np.nan_to_num(x))


def test_arviz_holds_what_was_seen() -> None:
    pca = PCA()
    hidden = np.where(MASK, pca.x, np.nan)
    observed = fit_of(pca, backends.load("pyro")).to_arviz(hidden, 5, mask=MASK).observed_data["x"].values
    np.testing.assert_array_equal(np.isnan(observed), ~MASK)


@pytest.mark.parametrize("guide", ["amortised", "semi-amortised"])
def test_a_guide_does_not_see_what_is_hidden(guide: str, backend: backends.Backend) -> None:
    """Called as a program, past the filling-in of a fit: the same draw whatever stands in the hidden places."""
    settings: dict[str, Any] = {**SMALL, "guide": guide, "refinement_steps": 1, "backend": backend.name}
    _, program = recipes.vae(toy(), **settings)(np.random.default_rng(0))
    mask = np.random.default_rng(1).random((6, P)) < 0.5
    draws = []
    for hidden in (0.0, 1.0):
        x = np.where(mask, toy(6), hidden).astype(np.float32)
        if backend.name == "pyro":
            torch.manual_seed(0)
            draws.append(program(torch.as_tensor(x), mask=torch.as_tensor(mask)).detach().numpy())
        else:
            draws.append(np.asarray(handlers.seed(program, 0)(jnp.asarray(x), mask=jnp.asarray(mask))))
    np.testing.assert_array_equal(*draws)


def test_an_unknown_keyword_is_no_side_input(backend: backends.Backend) -> None:
    """Whatever reads data refuses it: a mask under a wrong name would be left out in silence."""
    fit, x = untrained(*pair("standard", backend), backend), toy(4)
    given = {
        "fit": fit,
        "fits": {"a": fit, "b": fit},
        "x": x,
        "test": x,
        "train": x,
        "batch_sizes": (2,),
        "pair": fit.pair,
        "steps": 2,
    }
    given["objectives"] = {"ELBO": backend.inference.TraceELBO()}
    chains = (kind(num_warmup=2, num_samples=4).run for kind in (backend.inference.HMC, backend.inference.NUTS))
    asked = [*chains, *(getattr(where, name) for where in (evaluation, fit) for name in dir(where) if name[0] != "_")]
    reading = [f for f in asked if inspect.isroutine(f) and "side" in inspect.signature(f).parameters]
    assert len(reading) > 25
    for function in reading:
        takes = inspect.signature(function).parameters.values()
        own = {p.name: given[p.name] for p in takes if p.name in given and p.kind is not p.KEYWORD_ONLY}
        with pytest.raises(TypeError, match=r"Unknown keyword 'msak' \(did you mean 'mask'\?\)"):
            function(**own, msak=np.ones_like(x, bool))

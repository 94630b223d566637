"""Images half hidden: closed forms and sampled answers beside sums over every 3 x 3 image."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.stats
from oracles import PCA, SCALE, fit_of
from pairs import common_names

from ppl_vae import backends, baselines, evaluation, init
from ppl_vae.data.regions import put_together, region
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.results import Fit

SHAPE, P = (3, 3), 9
IMAGES = np.array(list(itertools.product([0.0, 1.0], repeat=P)), np.float32)
HIDDEN = np.array([True, False, True, True, False, True, False, False, True])
BEFORE, AFTER, BETWEEN = np.argsort(~HIDDEN, kind="stable"), np.argsort(HIDDEN, kind="stable"), np.arange(P)
SEEN = IMAGES[::37][:, ~HIDDEN]


def as_array(values: np.ndarray, backend: backends.Backend) -> Any:
    if backend.name == "pyro":
        import torch

        return torch.tensor(values, dtype=torch.get_default_dtype())
    import jax.numpy as jnp

    return jnp.asarray(values)


def of_images(kind: str, backend: backends.Backend, order: np.ndarray = BEFORE) -> Any:
    """A model of whole images with some structure."""
    rng = np.random.default_rng(0)
    if kind == "mixture":
        model = backend.models.MixtureOfBernoullis(3, IMAGES[rng.integers(512, size=9)], rng)
        logits = as_array(np.array([0.3, -0.5, 0.1]), backend)
        if backend.name == "pyro":
            model.logits.data = logits
            model.pixel_logits.data *= 3
        else:
            model.logits[...] = logits
            model.pixel_logits[...] = 3 * model.pixel_logits[...]
        return model
    net = backend.nets.MADE(P, (16,), rng, order=order)
    if backend.name == "pyro":
        for layer in net.layers:
            layer.weight.data *= 3
    else:
        for layer in net.layers:
            layer.weight[...] = 3 * layer.weight[...]
    return backend.models.Autoregressive(net)


def log_p(images: Any, backend: backends.Backend, x: np.ndarray = IMAGES) -> np.ndarray:
    return np.asarray(images().log_prob(as_array(x, backend)).tolist())


@cache
def enumerated(kind: str, name: str, order: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """log p(x_seen), and E[x_hidden | x_seen], of the rows of SEEN by sums over all 512 images."""
    backend = backends.load(name)
    joint = log_p(of_images(kind, backend, np.array(order)), backend)
    fits = (IMAGES[None, :, ~HIDDEN] == SEEN[:, None]).all(-1)
    each = np.where(fits, joint, -np.inf)
    total = np.logaddexp.reduce(each, 1)
    return total, np.exp(each - total[:, None]) @ IMAGES[:, HIDDEN]


KINDS = {"mixture": BEFORE, "hidden last": AFTER, "hidden first": BEFORE, "in between": BETWEEN}
KNOWN = ("mixture", "hidden last")
"""Those whose conditional is known in closed form."""


def completion(kind: str, backend: backends.Backend) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    order = KINDS[kind]
    name = "mixture" if kind == "mixture" else "autoregressive"
    model = backend.models.Completion(of_images(name, backend, order), HIDDEN)
    return model, enumerated(name, backend.name, tuple(order.tolist()))


def guess(model: Any, phi: np.ndarray, backend: backends.Backend, x: np.ndarray = SEEN) -> Fit:
    """The product of Bernoullis phi (N, H), as it is."""
    posterior = backend.conditionals.Bernoulli(backend.nets.Rows(init.bernoulli_rows(phi)))
    return Fit.untrained(backend.inference.Pair(model, backend.guides.PerDatapoint(posterior)), x)


@pytest.mark.parametrize("kind", ["mixture", "autoregressive"])
def test_probabilities_sum_to_one(kind: str, backend: backends.Backend) -> None:
    for order in (BEFORE, AFTER):
        assert np.logaddexp.reduce(log_p(of_images(kind, backend, order), backend)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("hidden", [(), (7,), (16, 5)])
def test_an_output_depends_on_what_precedes_it_alone(hidden: tuple[int, ...], backend: backends.Backend) -> None:
    """By flips of each input: everything that follows it may change, and with enough units does; nothing else."""
    net = backend.nets.MADE(P, hidden, np.random.default_rng(1), order=BETWEEN[::-1] if hidden else AFTER)
    images = as_array(np.concatenate([IMAGES[:1] + np.eye(P), IMAGES[:1]]), backend)
    out = np.asarray(net(images).tolist())
    changed = np.abs(out[:-1] - out[-1]) > 1e-7  # (input, output)
    rank = np.argsort(net.order)
    assert not changed[rank[:, None] >= rank].any()
    if not hidden:
        assert changed[rank[:, None] < rank].all()
    assert changed.any(1)[net.order[0]] and changed.any(0)[net.order[-1]]


@pytest.mark.parametrize("kind", KNOWN)
def test_the_exact_answer_is_that_of_enumeration(kind: str, backend: backends.Backend) -> None:
    """Every weight is p(x_seen), and the draws have the conditional's mean."""
    model, (exact, mean) = completion(kind, backend)
    fit = Fit.untrained(backend.inference.Pair(model, backend.guides.ExactCompletion(model)), SEEN)
    found = evaluation.log_likelihood(fit, SEEN, 5)
    np.testing.assert_allclose(found.values, exact, atol=1e-4)
    np.testing.assert_allclose(found.ess, 5, rtol=1e-4)
    draws = fit.draws(SEEN, 2000)["z"]
    assert (np.abs(draws.mean(0) - mean) < 5 * np.sqrt(mean * (1 - mean) / 2000) + 1e-3).all()
    if kind == "mixture":
        np.testing.assert_allclose(fit.posterior(SEEN)["z"][0], mean, atol=1e-4)
    whole = put_together(HIDDEN, draws[0], SEEN)
    np.testing.assert_array_equal(whole[:, HIDDEN], draws[0])
    np.testing.assert_array_equal(whole[:, ~HIDDEN], SEEN)


@pytest.mark.release("numpyro", keep=["in between"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_elbo_is_above_the_exact_answer_and_its_gap_is_the_kl(kind: str, backend: backends.Backend) -> None:
    """By every value of the hidden pixels: ELBO = log p(seen) - KL(q || p(z | seen)), and importance weights agree."""
    model, (exact, _) = completion(kind, backend)
    phi = np.random.default_rng(2).uniform(0.2, 0.8, (len(SEEN), HIDDEN.sum()))
    fit = guess(model, phi, backend)
    z = np.array(list(itertools.product([0.0, 1.0], repeat=5)), np.float32)
    name = "mixture" if kind == "mixture" else "autoregressive"
    images = of_images(name, backend, KINDS[kind])
    joint = np.stack([log_p(images, backend, put_together(HIDDEN, z, row)) for row in SEEN])  # (N, 32)
    log_q = (z * np.log(phi)[:, None] + (1 - z) * np.log1p(-phi)[:, None]).sum(-1)
    elbo = (np.exp(log_q) * (joint - log_q)).sum(1)
    kl = (np.exp(log_q) * (log_q - joint + exact[:, None])).sum(1)
    np.testing.assert_allclose(elbo, exact - kl, atol=1e-4)
    terms = fit.terms(SEEN, 4000)
    error = terms.log_weights.std(0) / np.sqrt(4000)
    assert (np.abs(terms.log_weights.mean(0) - elbo) < 5 * error).all()
    found = evaluation.log_likelihood(fit, SEEN, 4000)
    assert (np.abs(found.values - exact) < 5 * found.mc_error + 1e-3).all()
    assert (elbo < exact).all()


@pytest.mark.release("numpyro", keep=["in between"])
@pytest.mark.parametrize("kind", ["mixture", "in between"])
def test_hidden_pixels_move_by_gibbs_sampling_within_annealing(kind: str, backend: backends.Backend) -> None:
    """Their prior is no product, and nobody has to know their conditional: log p(x_seen), from both sides."""
    model, (exact, _) = completion(kind, backend)
    fit = guess(model, np.full((len(SEEN), HIDDEN.sum()), 0.5), backend)
    np.testing.assert_allclose(evaluation.exact_log_likelihood(fit, SEEN), exact, atol=1e-4)
    for start in ("prior", "guide"):
        found = evaluation.ais(fit, SEEN, evaluation.Annealing(30, 40, start=start), max_configurations=0)
        assert (np.abs(found.values - exact) < 5 * found.mc_error + 1e-3).all() and (found.mc_error > 0).any()
    if kind == "in between":  # an order in which no z comes before every x: nothing is simulated
        with pytest.raises(ValueError, match="make it with such an order"):
            evaluation.bdmc(fit, 4)
        return
    both = evaluation.bdmc(fit, 40, evaluation.Annealing(30, 8))
    assert abs(both.gap) < 4 * both.gap_error + 0.2
    slack = both.upper.values - evaluation.exact_log_likelihood(fit, both.x)
    assert slack.mean() > -4 * slack.std() / np.sqrt(40)


def test_reinforce_finds_a_better_phi_than_the_guesses(backend: backends.Backend) -> None:
    model, (exact, _) = completion("mixture", backend)
    truth = IMAGES[::37][:, HIDDEN]
    starts = {"half": np.full_like(truth, 0.5), "ones": np.full_like(truth, 0.95), "truth": 0.05 + 0.9 * truth}
    values = {name: evaluation.elbo(guess(model, phi, backend), SEEN, 2000).values for name, phi in starts.items()}
    posterior = backend.conditionals.Bernoulli(backend.nets.Rows(np.zeros_like(truth)))
    loss = backend.inference.TraceGraphELBO(8, baseline=baselines.LeaveOneOut())
    svi = backend.inference.SVI(loss, epochs=300, batch_size=len(SEEN), freeze_model=True, local_learning_rate=0.05)
    fit = svi.fit(model, backend.guides.PerDatapoint(posterior), SEEN)
    fitted = evaluation.elbo(fit, SEEN, 2000).values
    assert all(fitted.mean() > guessed.mean() for guessed in values.values())
    assert (fitted > np.max(list(values.values()), 0) - 0.1).all() and (fitted < exact + 0.05).all()
    before, after = (
        {n: v for n, v in common_names(f.pair.state()).items() if "images" in n}
        for f in (guess(model, starts["half"], backend), fit)
    )
    assert before and all(np.array_equal(before[n], after[n]) for n in before), "the model stays as it is"


def test_probabilities_of_nought_and_one_are_certain(backend: backends.Backend) -> None:
    """0 log 0 = 0: the ELBO is log p(z, x) of the one image that is left, and its draws are that image."""
    model, (exact, _) = completion("mixture", backend)
    truth = IMAGES[::37]
    fit = guess(model, truth[:, HIDDEN].astype(float), backend)
    terms = fit.terms(SEEN, 20)
    np.testing.assert_allclose(terms.log_guide, 0, atol=1e-40)
    expected = log_p(of_images("mixture", backend), backend, truth)
    np.testing.assert_allclose(terms.log_weights, np.tile(expected, (20, 1)), atol=1e-4)
    assert (expected < exact).all()
    np.testing.assert_array_equal(fit.draws(SEEN, 3)["z"], np.tile(truth[:, HIDDEN], (3, 1, 1)))
    with pytest.raises(ValueError, match="a probability of 0 or 1 has an infinite logit, and init.bernoulli_rows"):
        backend.nets.Rows(np.array([[0.0, np.inf]]))
    for wrong in (np.array([[1.2]]), np.array([[-0.1]])):
        with pytest.raises(ValueError, match=r"'probabilities' should be in \[0, 1\]"):
            init.bernoulli_rows(wrong)


@pytest.mark.release("numpyro", keep=["autoregressive"])
@pytest.mark.parametrize("kind", ["mixture", "autoregressive"])
def test_a_model_without_latents_is_trained_by_its_likelihood(kind: str, backend: backends.Backend) -> None:
    """To the frequencies of few images: log p of the data rises to minus their entropy, and no draw changes it."""
    rng = np.random.default_rng(3)
    x = np.repeat(IMAGES[[0, 73, 300, 511]], [10, 20, 30, 40], 0)
    entropy = -sum(p * np.log(p) for p in (0.1, 0.2, 0.3, 0.4))
    model = backend.models.FullyVisible(
        backend.models.MixtureOfBernoullis(8, x, rng)
        if kind == "mixture"
        else backend.models.Autoregressive(backend.nets.MADE(P, (32,), rng))
    )
    svi = backend.inference.SVI(epochs=300, batch_size=100, learning_rate=0.05)
    fit = svi.fit(model, backend.guides.Empty(), x)
    found = evaluation.evaluate(fit, x, 3)
    assert found.log_p.mean == pytest.approx(-entropy, abs=0.05)
    assert found.log_p.mean < -entropy + 1e-3, "the entropy is the best that there is"
    np.testing.assert_allclose(found.log_p.values, found.elbo.values, atol=1e-4)
    assert found.log_p.mean_mc_error < 1e-6 and found.active_units == 0 and found.elbo.kl.max() == 0
    images = fit.generate(4000, mean=False)
    frequencies = [(images == x[i]).all(1).mean() for i in (0, 10, 30, 60)]
    np.testing.assert_allclose(frequencies, [0.1, 0.2, 0.3, 0.4], atol=0.05)


@pytest.mark.parametrize("kind", ["mixture", "autoregressive"])
def test_both_backends_have_the_same_densities_and_weights(kind: str) -> None:
    ours, theirs = (of_images(kind, backends.load(name)) for name in backends.NAMES)
    np.testing.assert_allclose(
        log_p(ours, backends.load("pyro")), log_p(theirs, backends.load("numpyro")), rtol=1e-4, atol=1e-5
    )


@pytest.mark.release("numpyro")
def test_the_conditional_density_of_the_hidden_pixels(backend: backends.Backend) -> None:
    """log p(x_hidden | x_seen) of pPCA; q for what was seen is fitted, from a wide guide."""
    pca = PCA()
    cov = pca.weights @ pca.weights.T + SCALE**2 * np.eye(len(pca.mean))
    mask = np.arange(len(pca.mean)) < 2
    seen = scipy.stats.multivariate_normal(pca.mean[mask], cov[np.ix_(mask, mask)]).logpdf(pca.x[:, mask])
    exact = pca.log_p() - seen
    masks = np.tile(mask, (len(pca.x), 1))
    fit = fit_of(pca, backend, widen=1.5)
    found = evaluation.conditional_log_likelihood(fit, pca.x, masks, 4000)
    assert (np.abs(found.values - exact) < 5 * found.mc_error + 1e-3).all()
    np.testing.assert_allclose(found.seen.values, seen, atol=0.1)
    assert (found.mc_error >= found.seen.mc_error).all() and (found.ess <= found.whole.ess).all()
    assert found.seen.ess.mean() > evaluation.log_likelihood(fit, pca.x, 4000, mask=masks).ess.mean()
    again = evaluation.conditional_log_likelihood(fit, pca.x, masks, 4000, refined=fit.refine(pca.x, mask=masks))
    np.testing.assert_array_equal(found.values, again.values)
    for wrong, what in ((np.ones_like(masks), "nothing"), (np.zeros_like(masks), "all")):
        masks[1] = wrong[1]
        with pytest.raises(ValueError, match=f"hides {what} of row 1"):
            evaluation.conditional_log_likelihood(fit, pca.x, masks)
    with pytest.raises(ValueError, match="should be boolean, true where a pixel was seen"):
        evaluation.conditional_log_likelihood(fit, pca.x, mask)


def test_regions() -> None:
    assert region((2, 3), "top").reshape(2, 3).tolist() == [[True] * 3, [False] * 3]
    assert region((2, 3), "left").reshape(2, 3).tolist() == [[True, False, False]] * 2
    for shape in ((2, 3), (28, 28)):
        quadrants = [region(shape, f"{a} {b}") for a in ("top", "bottom") for b in ("left", "right")]
        np.testing.assert_array_equal(np.sum(quadrants, 0), 1)
        np.testing.assert_array_equal(region(shape, "top left", "bottom left"), region(shape, "left"))
    for names in ((), ("middle",)):
        with pytest.raises(ValueError, match="The regions of an image are 'top left'"):
            region((2, 2), *names)
    with pytest.raises(ValueError, match=r"'shape' should be \(H, W\)"):
        region((8, 8, 3), "top")


def test_bad_input(backend: backends.Backend) -> None:
    images = of_images("autoregressive", backend, BETWEEN)
    for hidden, message in (
        (np.ones(P, bool), "hides every pixel: at least one should be seen"),
        (np.zeros(P, bool), "hides no pixel: at least one should be hidden"),
        (np.ones(P), r"'hidden' should be boolean, true where a pixel is hidden, of shape \(9,\)"),
        (HIDDEN[:-1], r"of shape \(9,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            backend.models.Completion(images, hidden)
    with pytest.raises(ValueError, match="'order' should hold each of 0..8 once"):
        backend.nets.MADE(P, (4,), np.random.default_rng(0), order=[0] * P)
    model = backend.models.Completion(images, HIDDEN)
    with pytest.raises(ValueError, match="the pixels given come before all others in its order"):
        Fit.untrained(backend.inference.Pair(model, backend.guides.ExactCompletion(model)), SEEN)
    known = images().conditional(BETWEEN < 2, as_array(IMAGES[:2, :2], backend))
    with pytest.raises(ValueError, match="Some pixels are known already"):
        known.conditional(BETWEEN < 1, as_array(IMAGES[:2, :1], backend))
    svi = backend.inference.SVI(backend.inference.IWAE(2), epochs=1, batch_size=2)
    with pytest.raises(UnsuitableObjective, match="IWAE is made for latents, and the model has none"):
        svi.fit(backend.models.FullyVisible(images), backend.guides.Empty(), IMAGES[:4])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        backend.inference.SVI(epochs=1, batch_size=2).fit(
            backend.models.FullyVisible(images), backend.guides.Empty(), 2 * IMAGES[:4]
        )

"""Adversarial variational Bayes: the critic of x and z learns a known ratio, the value an exact ELBO, all else refuses.

The model is linear and normal, so that log p(x), p(z | x) and, of a normal guide, every term are known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import apart, common_names, distance, fill, recipe, toy

from ppl_vae import backends, bounds, evaluation, objectives, seeds
from ppl_vae.arrays import contrast
from ppl_vae.critics import Critic, JointCritic
from ppl_vae.errors import DoubtfulLikelihood, UnsuitableObjective
from ppl_vae.pairs.terms import Latents, Terms
from ppl_vae.players import Sizes, View
from ppl_vae.results import Fit

WIDTH, SCALE = 3, 0.7
WEIGHT = np.random.default_rng(3).normal(size=(WIDTH, 1))
MARGINAL = WEIGHT @ WEIGHT.T + SCALE**2 * np.eye(WIDTH)
VARIANCE = 1 / (1 + (WEIGHT**2).sum() / SCALE**2)
"""of p(z | x)"""


def data(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, 1)) @ WEIGHT.T + SCALE * rng.normal(size=(count, WIDTH))).astype(np.float32)


def log_p(x: np.ndarray) -> np.ndarray:
    return -0.5 * (np.einsum("ni,ij,nj->n", x, np.linalg.inv(MARGINAL), x) + np.linalg.slogdet(2 * np.pi * MARGINAL)[1])


def posterior_mean(x: np.ndarray) -> np.ndarray:
    return x @ WEIGHT * VARIANCE / SCALE**2


def linear(net: Any) -> Any:
    return net[0] if hasattr(net, "__getitem__") else net.layers[0]


def programs(backend: backends.Backend, posterior: Any) -> tuple[Any, Any]:
    """The linear model, and a guide of that posterior."""
    decoder = backend.nets.MLP((1, WIDTH), np.random.default_rng(0))
    fill(linear(decoder), WEIGHT, np.zeros(WIDTH))
    likelihood = backend.conditionals.Normal(decoder, scale=SCALE)
    return backend.models.VAE(backend.models.StandardNormal(1), likelihood), backend.guides.Amortised(posterior)


def implicit(backend: backends.Backend, seed: int = 0) -> Any:
    rng, nets = np.random.default_rng(seed), backend.nets
    return backend.conditionals.Implicit(nets.MLP((WIDTH, 16), rng), nets.MLP((16 + 2, 16, 1), rng), 2)


def normal(backend: backends.Backend) -> Any:
    """A guide N(0.3 x_0, 0.5^2)."""
    net = backend.nets.MLP((WIDTH, 2), np.random.default_rng(0))
    raw = np.log(np.expm1(0.5 - 1e-3))
    fill(linear(net), np.array([[0.3, 0.0, 0.0], [0.0, 0.0, 0.0]]), np.array([0.0, raw]))
    return backend.conditionals.DiagNormal(net)


def adversarial(backend: backends.Backend, loss: Any, rate: float = 2e-3, **settings: Any) -> Any:
    critic = Critic((32, 32), learning_rate=3e-3, betas=(0.5, 0.9))
    options = {"epochs": 40, "batch_size": 100, "learning_rate": rate, "freeze_model": True, "critic": critic}
    return backend.inference.Adversarial(loss, **{**options, **settings})


def moments_elbo(fit: Fit, x: np.ndarray) -> float:
    """The ELBO of normals with the moments of the guide's draws: no guide with these moments has a larger one."""
    z = fit.draws(x, 300)["z"][..., 0]
    loc, variance = z.mean(0), z.var(0)
    kl = 0.5 * ((variance + (loc - posterior_mean(x)[:, 0]) ** 2) / VARIANCE - 1 + np.log(VARIANCE / variance))
    return float((log_p(x) - kl).mean())


@pytest.fixture(scope="module", params=["pyro", "numpyro"])
def fitted(request: pytest.FixtureRequest) -> tuple[backends.Backend, Fit, np.ndarray]:
    """An implicit guide that was trained with adaptive contrast."""
    backend, x = backends.load(request.param), data(300)
    loss = backend.inference.AVB(8)
    return backend, adversarial(backend, loss, epochs=40).fit(*programs(backend, implicit(backend)), x), x


@pytest.mark.release("numpyro")
def test_its_value_is_below_log_p_and_its_draws_are_the_posteriors(fitted: Any) -> None:
    """With adaptive contrast the claim is no more than log p(x), and close, as the moments of the draws say too."""
    _, fit, x = fitted
    claims = -fit.history["loss"][-10:]
    error = claims.std() / len(claims) ** 0.5
    assert log_p(x).mean() - 0.4 < claims.mean() < log_p(x).mean() + 4 * error
    assert log_p(x).mean() - 0.1 < moments_elbo(fit, x) < log_p(x).mean()


def test_log_p_of_a_guide_without_a_density(fitted: Any) -> None:
    """By the normal fitted to its draws, and by annealing from the prior: both the exact one."""
    backend, fit, x = fitted
    found = evaluation.log_likelihood(fit, x[:40], 200, proposal="normal")
    assert np.abs(found.values - log_p(x[:40])).max() < 0.05
    if backend.name == "pyro":  # the rest is neutral
        annealed = evaluation.ais(fit, x[:10], evaluation.Annealing(30, 8, num_steps=3))
        assert annealed.mean == pytest.approx(log_p(x[:10]).mean(), abs=0.15)
        judged = evaluation.evaluate(fit, x[:40], num_particles=100)
        assert np.isnan(judged.elbo.mean) and judged.log_p.mean == pytest.approx(log_p(x[:40]).mean(), abs=0.05)


def test_log_p_that_annealing_is_above_says_so() -> None:
    """Draws beside the posterior: importance sampling is low, a warning says so, and its advice helps."""
    backend, x = backends.load("pyro"), data(10)
    fit = Fit.untrained(backend.inference.Pair(*programs(backend, implicit(backend))), x)
    with pytest.warns(DoubtfulLikelihood, match=r"On 8 of the data .* nats above it: the draws miss the posterior"):
        judged = evaluation.evaluate(fit, x, num_particles=100)
    assert judged.log_p.mean < log_p(x).mean() - 1
    annealed = evaluation.ais(fit, x, evaluation.Annealing(30, 8, num_steps=3))
    assert annealed.mean == pytest.approx(log_p(x).mean(), abs=0.15)


REFUSED = {
    "log_likelihood": lambda fit, x: evaluation.log_likelihood(fit, x, 2),
    "elbo": lambda fit, x: evaluation.elbo(fit, x),
    "diagnose": lambda fit, x: evaluation.diagnose(fit, x, 100),
    "gaps": lambda fit, x: evaluation.gaps(fit, x),
    "levels": lambda fit, x: evaluation.levels(fit, x),
    "refine": lambda fit, x: fit.refine(x),
    "impute": lambda fit, x: fit.impute(x),
    "conditional_log_likelihood": lambda fit, x: evaluation.conditional_log_likelihood(fit, x, np.eye(WIDTH) < 1),
    "method='importance'": lambda fit, x: fit.draws(x, 2, method="importance"),
    "diagnostics": lambda fit, x: fit.draws(x, 5).diagnostics(),
    "ais from the guide": lambda fit, x: evaluation.ais(fit, x, evaluation.Annealing(start="guide")),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_reads_log_q_is_refused_by_name(fitted: Any, what: str) -> None:
    _, fit, x = fitted
    with pytest.raises(UnsuitableObjective, match=rf"^{what}.*known\s+nowhere: use "):
        REFUSED[what](fit, x[:WIDTH])


def test_what_reads_draws_alone_works(fitted: Any) -> None:
    _, fit, x = fitted
    assert np.abs(fit.encode(x) - posterior_mean(x)).mean() < 0.15
    assert fit.reconstruct(x).shape == x.shape and fit.generate(3).shape == (3, WIDTH)
    assert evaluation.active_units(fit, x) == 1
    assert np.isnan(fit.draws(x, 2).log_weights).all()


@pytest.mark.parametrize(
    ("name", "adaptive", "steps"), [("pyro", False, 1), ("pyro", False, 5), ("numpyro", False, 5), ("pyro", True, 1)]
)
def test_the_critic_learns_the_ratio_of_a_known_guide(name: str, adaptive: bool, steps: int) -> None:
    """Of a normal guide that stands still, against the prior or against the normal of its own moments.

    Five steps for each of the guide learn as much in a fifth of the epochs.
    """
    backend = backends.load(name)
    x, loss = data(300), backend.inference.AVB(8, adaptive_contrast=adaptive)
    critic = Critic((32, 32), learning_rate=3e-3, betas=(0.5, 0.9), steps=steps)
    training = adversarial(backend, loss, rate=1e-12, epochs=30 if adaptive else 60 // steps, critic=critic)
    fit = training.fit(*programs(backend, normal(backend)), x)
    assert fit.critic is not None
    loc, exact = 0.3 * x[:, :1], evaluation.elbo(fit, x, 100).mean
    claimed = -fit.history["loss"][-10 // steps :].mean()
    if adaptive:
        assert exact - 0.3 < claimed < exact - 0.05  # the moments of eight draws are not those of q
        return
    z = loc + 0.5 * np.random.default_rng(1).normal(size=loc.shape)
    known = (-0.5 * ((z - loc) / 0.5) ** 2 - np.log(0.5) + 0.5 * z**2)[:, 0]
    assert np.corrcoef(fit.critic(x, z), known)[0, 1] > 0.9 and np.abs(fit.critic(x, z) - known).mean() < 0.2
    assert claimed == pytest.approx(exact, abs=0.15)


SMALL = {"posterior": "implicit", "implicit_noise": 3, "implicit_hidden": (5,), "implicit_context": 4}


def test_a_killed_training_goes_on_and_a_fit_is_saved(tmp_path: Path) -> None:
    """The end of a resumed training is that of a whole one, to the bit; it has no validation ELBO."""
    backend, own = backends.load("pyro"), recipe("standard", "pyro", **SMALL)
    made, loss, fits = own(seeds.generator(0, "weights")), backend.inference.AVB(3), []
    for epochs, path in ((1, "run"), (2, "run"), (2, "whole")):
        training = adversarial(backend, loss, epochs=epochs, freeze_model=False, batch_size=30)
        fits.append(training.fit(*made, toy(), valid=toy(9), checkpoint=tmp_path / path, resume=True))
    assert apart(*fits[1:]) == 0.0
    assert np.isfinite(fits[2].history["valid_log_lik"]).all() and "valid_elbo" not in fits[2].history
    fits[2].save(tmp_path / "fit", recipe=own)
    np.testing.assert_allclose(Fit.load(tmp_path / "fit").encode(toy(4)), fits[2].encode(toy(4)), rtol=1e-6)


def test_the_backends_start_from_the_same_numbers() -> None:
    """Weights from NumPy, and the mean of draws that are always the same."""
    states, means = [], []
    for name in ("pyro", "numpyro"):
        pair = backends.load(name).inference.Pair(*recipe("standard", name, **SMALL)(seeds.generator(0, "weights")))
        fit = Fit.untrained(pair, toy(4))
        states.append({n: v for n, v in common_names(pair.state()).items() if n.startswith("guide")})
        means.append(fit.encode(toy(4)))
    assert distance(*states) < 1e-6
    np.testing.assert_allclose(*means, rtol=1e-4, atol=1e-5)


def test_values_are_those_of_numpy_on_all_sides() -> None:
    """The bound and the critic's loss, given the same arrays; and one draw's sums by hand."""
    import jax
    import torch

    rng = np.random.default_rng(0)
    z, noise, x, lik = (rng.normal(size=s) for s in ((4, 5, 2), (4, 5, 2), (5, 3), (4, 5)))
    critic = JointCritic(Critic((6,)), adaptive=True)
    state = critic.init(Sizes(3, 2), rng)

    def found(z: Any, noise: Any, x: Any, lik: Any, net: Any) -> Any:
        latents, own = Latents(z, noise=noise), state._replace(learned=net)
        view, terms = View(x, lik, latents), Terms(lik, -0.5 * z.sum(-1) ** 2, lik + np.nan, latents=latents)
        return objectives.AVB(4).bound(terms, critic.output(own, view)).sum(), critic.loss(own, view)[0]

    arrays = (z, noise, x, lik, state.learned)
    right = [float(a) for a in found(*arrays)]
    in_torch = found(*map(torch.tensor, arrays[:4]), {n: torch.tensor(a) for n, a in state.learned.items()})
    for ours in (in_torch, jax.jit(found)(*arrays)):
        assert [float(a) for a in ours] == pytest.approx(right, rel=1e-5)
    rows = np.concatenate([np.broadcast_to(x, (4, 5, 3)), z, (z**2).mean(-1)[..., None]], -1)
    for net in (critic.net, Critic((4, 3), outputs=2)):
        joint = JointCritic(net)
        own = joint.init(Sizes(3, 2), rng).learned
        np.testing.assert_allclose(joint.logits(own, x, z), net.logits(own, rows), err_msg="x is read once")
    standard, log_r = contrast.standardised(z)
    loc, scale = z.mean(0), np.sqrt(z.var(0) + contrast.FLOOR)
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-12)
    by_hand = (-0.5 * ((z - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(log_r, by_hand)
    terms = Terms(lik, lik, lik)
    np.testing.assert_allclose(bounds.learned_kl(terms, 0 * lik + 1.0, beta=2.0), (lik - 2).mean(0))


@pytest.mark.parametrize("loss", [objectives.WAE(), objectives.InfoVAE(alpha=1.0)])
def test_objectives_without_a_kl_take_it(loss: Any) -> None:
    backend = backends.load("pyro")
    fit = backend.inference.SVI(loss, epochs=2, batch_size=50).fit(*programs(backend, implicit(backend)), data(100))
    assert np.isfinite(fit.history["loss"]).all()

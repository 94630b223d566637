"""Laws of hierarchies: a linear model whose marginal and posteriors are known, its limits, recipes and evaluation."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import SMALL, P, command, common_names, fill, toy, untrained, write_images
from pairs import fit as fit_by_command

from ppl_vae import backends, evaluation, inference, objectives, recipes, seeds
from ppl_vae.errors import SampledKL
from ppl_vae.mcmc import kernel_of
from ppl_vae.results import Fit

W, S1, SX = 0.8, 0.6, 0.5
"""z1 | z2 ~ N(W z2, S1^2), and the scale of x | z."""
A, B = np.array([0.7, -1.1, 0.4]), np.array([0.5, 0.2, -0.9])
"""E[x | z] = A z1, or with skip connections A z1 + B z2."""
GUIDES = ("top-down", "bottom-up", "ladder")


def normal(backend: backends.Backend, weight: Any, scale: float, bias: Any = 0.0) -> Any:
    """The normal whose mean is linear, (1, inputs), and whose scale is constant."""
    weight = np.atleast_2d(weight)
    net = backend.nets.MLP((weight.shape[1], 2), np.random.default_rng(0))
    scale -= backend.conditionals.SCALE_FLOOR
    raw = scale + np.log(-np.expm1(-scale))
    fill(net.layers[0], np.concatenate([weight, 0 * weight]), np.array([bias, raw]))
    return backend.conditionals.DiagNormal(net)


def linear(backend: backends.Backend, weight: np.ndarray) -> Any:
    net = backend.nets.MLP((weight.shape[1], weight.shape[0]), np.random.default_rng(0))
    fill(net.layers[0], weight, np.zeros(len(weight)))
    return net


def linear_pair(backend: backends.Backend, guide: str, *, skip: bool = False) -> tuple[Any, Any]:
    """The linear model, with a guide that is the exact posterior."""
    given, h = backend.conditionals, np.stack([A, B if skip else 0 * B], 1)
    likelihood = given.Normal(linear(backend, h if skip else h[:, :1]), scale=SX)
    p1 = normal(backend, [W], S1)
    model = backend.models.Hierarchy(backend.priors.StandardNormal(1), [p1], likelihood, skip=skip)
    joint = np.linalg.inv([[W**2 + S1**2, W], [W, 1.0]])
    covariance = np.linalg.inv(joint + h.T @ h / SX**2)
    gain = covariance @ h.T / SX**2  # E[z1, z2 | x]
    if guide == "bottom-up":
        above = W / (W**2 + S1**2)
        q1, q2 = normal(backend, gain[0], covariance[0, 0] ** 0.5), normal(backend, [above], (1 - W * above) ** 0.5)
        return model, backend.guides.BottomUp(q1, q2)
    q2 = normal(backend, gain[1], covariance[1, 1] ** 0.5)
    if guide == "ladder":
        return model, backend.guides.TopDown(q2, [given.Merged(normal(backend, A / (A @ A), SX / (A @ A) ** 0.5), p1)])
    precision = 1 / S1**2 + A @ A / SX**2
    features = linear(backend, A[None] / SX**2 / precision)
    on_z2 = (W / S1**2 - (A @ B / SX**2 if skip else 0)) / precision
    return model, backend.guides.TopDown(q2, [given.Beside(features, normal(backend, [on_z2, 1.0], precision**-0.5))])


def log_p(x: np.ndarray, *, skip: bool = False) -> np.ndarray:
    """The log-density of N(0, H C H^T + SX^2 I)."""
    h = np.stack([A, B if skip else 0 * B], 1)
    covariance = h @ np.array([[W**2 + S1**2, W], [W, 1.0]]) @ h.T + SX**2 * np.eye(3)
    quadratic = np.einsum("np,pq,nq->n", x, np.linalg.inv(covariance), x)
    return -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariance)[1])


X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


@pytest.mark.release("numpyro", keep=["ladder-False", "top-down-True"])
@pytest.mark.parametrize(("guide", "skip"), [*((name, False) for name in GUIDES), ("top-down", True)])
def test_every_draw_of_an_exact_guide_knows_the_marginal(backend: backends.Backend, guide: str, skip: bool) -> None:
    """Top-down, bottom-up and ladder reach the same optimum: log p(x, z) - log q(z | x) = log p(x) for all z."""
    fit = untrained(*linear_pair(backend, guide, skip=skip), backend, X)
    _, terms = fit.pair.sample(X, 7, 0)
    np.testing.assert_allclose(terms.log_weights, np.tile(log_p(X, skip=skip), (7, 1)), atol=2e-4)


@pytest.mark.parametrize("guide", ["top-down", "ladder"])
def test_at_the_optimum_the_landing_sticks(backend: backends.Backend, guide: str) -> None:
    """There the path has no gradient for the guide in any draw, and the score, which the ELBO keeps, has one."""
    if backend.name == "numpyro" and guide == "top-down":
        return  # compiling takes most of the time, and the ladder shares more
    own = untrained(*linear_pair(backend, guide), backend, X).pair
    mine = {name for name, owner in backend.inference.owners(own).items() if owner == "guide"}

    def largest(objective: Any) -> float:
        drawn = backend.inference.draw_gradients(own, objective, X, np.tile(np.arange(4), (2, 1)), range(2))
        return max(float(np.abs(grads[name]).max()) for grads, _ in drawn for name in mine)

    o = backend.inference
    assert largest(o.TraceELBO()) > 0.05
    assert largest(o.TraceELBO(stick_the_landing=True)) < 1e-3
    if backend.name == "pyro":  # the same code decides on either side, and compiling takes most of the time
        assert largest(o.DReG(3)) < 1e-3


def test_a_ladder_that_x_says_nothing_to_is_the_prior(backend: backends.Backend) -> None:
    model, guide = linear_pair(backend, "ladder")
    guide.lower[0].posterior = normal(backend, A, 1e6)
    fit = untrained(model, guide, backend, X)
    assert abs(evaluation.levels(fit, X)["z1"].kl) < 1e-5


def pair_of(backend: backends.Backend, images: Any = None, **settings: Any) -> tuple[Any, Any]:
    recipe = recipes.hierarchy(toy(), backend=backend.name, **{**SMALL, **settings})
    return recipe(seeds.generator(0, "weights"))


def test_one_level_is_the_vae_to_the_bit(backend: backends.Backend) -> None:
    one = untrained(*pair_of(backend, latent_levels=1), backend)
    plain = untrained(*recipes.vae(toy(), backend=backend.name, **SMALL)(seeds.generator(0, "weights")), backend)
    (z1, terms), (z, others) = (fit.pair.sample(toy(4), 3, 0) for fit in (one, plain))
    assert (z1["z1"] == z["z"]).all() and (terms.log_weights == others.log_weights).all()


def test_a_vampprior_of_one_component_is_the_posterior_there(backend: backends.Backend) -> None:
    """Of the top level: the KL of x = u is 0. It has no closed form for C > 1, and that of z1 has one."""
    fit = untrained(*pair_of(backend, prior="vampprior", num_pseudo_inputs=1), backend)
    u = np.asarray(fit.model.prior.pseudo_inputs().tolist(), np.float32)
    found = evaluation.levels(fit, u)
    assert abs(found["z2"].kl) < 1e-5 and found["z2"].active_units is None
    assert list(found) == ["z2", "z1"] and found["z1"].kl > 0
    assert fit.sites.sampled_kl == ("z2",)


@pytest.mark.parametrize("guide", ["top-down", "ladder"])
def test_backends_have_the_same_weights_and_posteriors(guide: str) -> None:
    """Of three levels; the lower posteriors at given values of the level above."""
    sides = [backends.load(name) for name in backends.NAMES]
    fits = [untrained(*pair_of(b, guide=guide, latent_levels=3), b) for b in sides]
    states = [common_names(fit.pair.state()) for fit in fits]
    assert states[0].keys() - states[1].keys() == {"model.prior.loc"}  # a constant, which NumPyro's has not
    for name, value in states[1].items():
        np.testing.assert_array_equal(value, states[0][name], err_msg=name)
    z = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    for level in range(2):
        found = []
        for fit in fits:
            array = fit.pair.tensor if fit.backend == "pyro" else fit.pair.array
            normal = fit.guide.lower[level](array(z), array(toy(4))).base_dist
            found.append([np.asarray(part.tolist()) for part in (normal.loc, normal.scale)])
        np.testing.assert_allclose(*found, atol=1e-5)
    decoded = [fit.decode(np.random.default_rng(2).normal(size=(4, 9)).astype(np.float32)) for fit in fits]
    np.testing.assert_allclose(*decoded, atol=1e-5)


@pytest.mark.release("numpyro")
def test_levels_add_up_and_noise_above_activates_nothing(backend: backends.Backend) -> None:
    """A level that follows one above, which does not depend on x, does not depend on x either."""
    model, guide = linear_pair(backend, "top-down")
    guide.posterior = normal(backend, 0 * A, 1.0)
    guide.lower[0] = backend.conditionals.Beside(linear(backend, 0 * A[None]), normal(backend, [2.0, 1.0], 0.1))
    x = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
    fit = untrained(model, guide, backend, x)
    found = evaluation.levels(fit, x)
    assert [level.active_units for level in found.values()] == [0, 0]
    total = evaluation.elbo(fit, x, 50).kl.mean()
    assert abs(found["z2"].kl) < 1e-5
    assert found["z1"].kl == pytest.approx(total, rel=0.05)


def test_a_fit_is_saved_resumed_and_evaluated(tmp_path: Path) -> None:
    recipe = recipes.hierarchy(toy(), prior="vampprior", guide="ladder", **SMALL)
    made = lambda: recipe(seeds.generator(0, "weights"))  # noqa: E731
    loss = objectives.TraceMeanFieldELBO
    svi = lambda epochs: inference.SVI(getattr(inference, loss.__name__)(), epochs=epochs, batch_size=20)  # noqa: E731
    with pytest.warns(SampledKL, match="'z2' has no"):
        whole = svi(2).fit(*made(), toy())
        svi(1).fit(*made(), toy(), checkpoint=tmp_path / "part")
        again = svi(2).fit(*made(), toy(), checkpoint=tmp_path / "part", resume=True)
    np.testing.assert_array_equal(whole.encode(toy(5)), again.encode(toy(5)))
    whole.save(tmp_path / "fit", recipe=recipe)
    loaded = Fit.load(tmp_path / "fit")
    np.testing.assert_array_equal(whole.encode(toy(5)), loaded.encode(toy(5)))
    assert list(loaded.draws(toy(5), 2)) == ["z2", "z1"] and loaded.generate(3).shape == (3, P)
    found = evaluation.evaluate(loaded, toy(20), 10)
    row = evaluation.Evaluation.from_dict(found.to_dict()).row()
    assert row["kl_z1"] + row["kl_z2"] == pytest.approx(row["kl"], abs=0.5)
    assert row["active_units"] == row["active_units_z1"] + row["active_units_z2"]


def test_a_pixelcnn_of_all_levels_is_normalised_and_the_same_on_both_backends(float64: None) -> None:
    """log p(x, z1, z2) less log p(z1, z2) of every image of 2 x 3 pixels at a few latents; each level matters."""
    every = np.array(list(itertools.product(range(2), repeat=6)), float)
    settings = {"latent_dim": 2, "hidden": (5,), "pixel_channels": 4, "pixel_layers": 2, "num_pseudo_inputs": 3}
    rng = np.random.default_rng(0)
    z = {name: np.tile(rng.normal(size=(3, 1, 2)), (1, len(every), 1)) for name in ("z2", "z1")}
    swapped = {"z2": z["z1"], "z1": z["z2"]}
    found = []
    for backend in map(backends.load, backends.NAMES):
        recipe = recipes.pixel_hvae((2, 3), backend=backend.name, prior="standard", **settings)
        own = untrained(*recipe(seeds.generator(0, "weights")), backend, every).pair
        joint, other = (kernel_of(own).log_joint(own, every, values, {}) for values in (z, swapped))
        log_prior = np.logaddexp.reduce(joint, 1)
        lower = joint - log_prior[:, None] - (other - np.logaddexp.reduce(other, 1)[:, None])
        assert np.abs(lower).max() > 1e-3
        prior = own.model.prior, own.model.conditionals[0]
        found.append(joint)
        if backend.name == "pyro":
            top, below = (own.tensor(z[name][:, 0]) for name in ("z2", "z1"))
            exact = prior[0]().log_prob(top) + prior[1](top).log_prob(below)
            np.testing.assert_allclose(log_prior, exact.detach(), atol=1e-10)
    np.testing.assert_allclose(*found, atol=1e-9)


def test_the_command_line_trains_a_pixelcnn_of_two_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = write_images(tmp_path) / "images.npy"
    pixels = ("--likelihood", "pixelcnn", "--pixel-layers", 1, "--pixel-channels", 3)
    fit_by_command(x, tmp_path / "run", "--program", "hierarchy", "--guide", "ladder", "--prior", "vampprior", *pixels)
    assert command("evaluate", tmp_path / "run", "--num-particles", 2, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["levels"]) == ["z2", "z1"] and set(found["levels"]["z1"]) == {"kl", "active_units"}
    assert command("evaluate", tmp_path / "run", "--num-particles", 2) == 0
    assert "level z2" in capsys.readouterr().out

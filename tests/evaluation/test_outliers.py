"""Laws of outlier scores and of latent traversals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pairs import D, P, pair, toy, untrained

from ppl_vae import backends, evaluation, inference, recipes, seeds
from ppl_vae.results import Fit


@pytest.fixture(scope="module")
def fit() -> Fit:
    """A fit on binary images with structure."""
    made = recipes.vae(toy(), latent_dim=2, hidden=(16,))
    return inference.SVI(epochs=60, batch_size=20, learning_rate=1e-2).fit(
        *made(seeds.generator(0, "weights")), toy(), seed=0
    )


def test_scores_are_the_parts_of_the_bound(fit: Fit) -> None:
    x = toy(15, seed=3)
    parts = evaluation.elbo(fit, x, 40, seed=2)
    scores = {s: evaluation.outlier_scores(fit, x, s, num_particles=40, seed=2) for s in ("elbo", "rate", "log_p")}
    np.testing.assert_array_equal(scores["elbo"], -parts.values)
    np.testing.assert_array_equal(scores["rate"], parts.kl)
    np.testing.assert_array_equal(scores["log_p"], -evaluation.log_likelihood(fit, x, 40, seed=2).values)
    assert scores["log_p"].mean() < scores["elbo"].mean()  # log p >= ELBO


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.integers(0, 6, 30).astype(float), rng.integers(2, 9, 20).astype(float)
    pairs = (outside > inside[:, None]) + 0.5 * (outside == inside[:, None])
    assert evaluation.outlier_auc(inside, outside) == pytest.approx(pairs.mean())
    assert evaluation.outlier_auc(outside, inside) == pytest.approx(1 - pairs.mean())
    for wrong in (np.array([]), np.array([np.nan]), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="'outside' should be finite scores"):
            evaluation.outlier_auc(inside, wrong)


def test_noise_is_found_and_the_same_data_are_not(fit: Fit) -> None:
    x = toy(60)
    others = {"same": x, "noise": (np.random.default_rng(0).random((60, P)) < 0.5).astype(float)}
    table = evaluation.outlier_table(fit, x, others, scores=("elbo",), num_particles=20)
    auc = table.set_index("images")["auc"]
    assert auc["same"] == pytest.approx(0.5) and auc["noise"] > 0.6
    own = evaluation.outlier_scores(fit, x, num_particles=20)
    assert table["mean_inside"].unique() == pytest.approx([own.mean()])
    with pytest.raises(ValueError, match="'others' is empty"):
        evaluation.outlier_table(fit, x, {})
    with pytest.raises(ValueError, match="'score' should be one of elbo, log_p, rate; got 'kl'"):
        evaluation.outlier_scores(fit, x, "kl")  # type: ignore[arg-type]


def test_a_traversal_moves_one_dimension_and_leaves_the_others(backend: backends.Backend) -> None:
    made = untrained(*pair("standard", backend), backend)
    start, values = np.array([0.5, -1.0, 2.0]), [-2.0, 0.5, 1.5]
    moved = evaluation.traverse(made, start, values=values, dimensions=[2, 0])
    assert moved.images.shape == (2, 3, P)
    for row, d in enumerate([2, 0]):
        for column, value in enumerate(values):
            z = start.copy()
            z[d] = value
            np.testing.assert_allclose(moved.images[row, column], made.decode(z[None])[0], atol=1e-6)
    whole = evaluation.traverse(made, start)
    assert whole.images.shape == (D, 9, P) and whole.values.tolist() == np.linspace(-3, 3, 9).tolist()
    assert whole.dimensions.tolist() == [0, 1, 2] and start.tolist() == [0.5, -1.0, 2.0]


def test_a_traversal_of_a_conditional_pair_keeps_what_is_given() -> None:
    given = np.eye(2)[np.arange(20) % 2]
    made = recipes.conditional_vae((P,), 2, latent_dim=2, hidden=(5,))(np.random.default_rng(0))
    conditional = Fit.untrained(inference.Pair(*made), toy(20), given=given)
    moved = evaluation.traverse(conditional, np.zeros(2), given=given[1])
    expected = conditional.decode(np.zeros((1, 2)), given=given[1:2])[0]
    np.testing.assert_allclose(moved.images[0, 4], expected, atol=1e-6)
    assert evaluation.prior_draws(conditional, 3, given=given[:3]).shape == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"start": np.zeros(2)}, "'start' should hold 3 finite numbers"),
        ({"start": np.full(3, np.nan)}, "'start' should hold 3 finite numbers"),
        ({"values": []}, "'values' should be finite numbers"),
        ({"values": [np.inf]}, "'values' should be finite numbers"),
        ({"dimensions": [3]}, "'dimensions' should be integers from 0 to 2"),
        ({"dimensions": []}, "'dimensions' should be integers from 0 to 2"),
        ({"dimensions": [0.5]}, "'dimensions' should be integers from 0 to 2"),
    ],
)
def test_traversals_that_cannot_be_are_refused(arguments: dict[str, Any], said: str) -> None:
    made = untrained(*pair("standard", "pyro"), backends.load("pyro"))
    with pytest.raises(ValueError, match=said):
        evaluation.traverse(made, **{"start": np.zeros(3), **arguments})


def test_discrete_latents_do_not_move() -> None:
    made = untrained(*pair("bernoulli", "pyro"), backends.load("pyro"))
    with pytest.raises(ValueError, match="the site 'z' is Bernoulli"):
        evaluation.traverse(made, np.zeros(3))


def test_draws_from_the_prior_are_those_of_the_prior(backend: backends.Backend) -> None:
    standard, mixture = (untrained(*pair(name, backend), backend) for name in ("standard", "mixture"))
    z = evaluation.prior_draws(standard, 4000)
    assert np.abs(z.mean(0)).max() < 4 / np.sqrt(4000) and np.abs(z.var(0) - 1).max() < 4 * np.sqrt(2 / 4000)
    np.testing.assert_array_equal(z, evaluation.prior_draws(standard, 4000))
    assert not np.array_equal(z, evaluation.prior_draws(standard, 4000, seed=1))
    assert evaluation.prior_mean(standard, toy(10)).tolist() == [0, 0, 0]
    centres = np.asarray(mixture.model.prior.loc.detach() if backend.name == "pyro" else mixture.model.prior.loc[...])
    found = evaluation.prior_mean(mixture, toy(10))
    assert np.abs(found - centres.mean(0)).max() < 4 * np.sqrt(1 + centres.var(0).max()) / np.sqrt(1000)
    with pytest.raises(ValueError, match="'size' should be an integer of at least 1"):
        evaluation.prior_draws(standard, 0)

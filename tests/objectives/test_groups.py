"""Codes that do not tell the group: by hand, at the null, on both backends, and in a training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from pairs import P, toy

from ppl_vae import backends, inference, recipes, schedules, seeds
from ppl_vae.divergences import group_mmd, mmd
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import (
    IWAE,
    BetaTCVAE,
    DReG,
    FactorVAE,
    GroupMMD,
    InfoVAE,
    LatentsRequest,
    Objective,
    TraceMeanFieldELBO,
)
from ppl_vae.pairs.terms import Latents, Terms

X, S = toy(8), (np.arange(8)[:, None] % 3 == 0).astype(np.float32)


def by_hand(z: np.ndarray, group: np.ndarray, width: float) -> float:
    """The U-statistic of two groups with k = exp(-|a - b|^2 / h), pair by pair."""
    means = {}
    for g, h in ((0, 0), (1, 1), (0, 1)):
        pairs = [(i, j) for i in np.flatnonzero(group == g) for j in np.flatnonzero(group == h) if i != j]
        means[g, h] = np.mean([np.exp(-((z[i] - z[j]) ** 2).sum() / width) for i, j in pairs])
    return float(means[0, 0] + means[1, 1] - 2 * means[0, 1])


def test_it_is_the_u_statistic_of_the_groups() -> None:
    """Pair by pair; that of the groups apart; of three groups the mean of the pairs; 0 on average at the null."""
    rng = np.random.default_rng(0)
    z, three = rng.normal(size=(12, 3)), np.eye(3)[rng.permutation(np.repeat(np.arange(3), 4))]
    two = three[:, :1]
    assert group_mmd(z, two, kernel="rbf", bandwidth=1.5) == pytest.approx(by_hand(z, two[:, 0], 1.5), abs=1e-12)
    parts = [z[three[:, g] == 1] for g in range(3)]
    assert group_mmd(z, two) == pytest.approx(mmd(np.concatenate(parts[1:]), parts[0]), abs=1e-12)
    pairs = [mmd(parts[g], parts[h]) for g, h in ((0, 1), (0, 2), (1, 2))]
    assert group_mmd(z, three) == pytest.approx(np.mean(pairs), abs=1e-12)
    null = group_mmd(rng.normal(size=(4000, 12, 3)), two)
    assert null.shape == (4000,) and abs(null.mean()) < 4 * null.std() / 4000**0.5 and (null < 0).any()
    with pytest.raises(ValueError, match=r"'groups' should be \(B, G\)"):
        group_mmd(z, two[:, 0])


@pytest.mark.parametrize("of_one", [0, 1])
def test_a_group_that_is_not_there_counts_as_zero(of_one: int) -> None:
    """Whatever library: 0 and a gradient of 0, no NaN; a third group leaves the other pair."""
    z = np.random.default_rng(1).normal(size=(6, 2))
    groups = np.zeros((6, 1))
    groups[:of_one] = 1
    tensor = torch.tensor(z, requires_grad=True)
    value = group_mmd(tensor, torch.tensor(groups))
    value.backward()
    assert group_mmd(z, groups) == 0 == value.item() and not tensor.grad.any()
    if of_one:
        slope = jax.grad(lambda z: group_mmd(z, jnp.asarray(groups)))(jnp.asarray(z))
        assert not np.asarray(slope).any()
    three = np.eye(3)[[0, 0, 0, 1, 1, 2]]
    assert group_mmd(z, three) == pytest.approx(mmd(z[:3], z[3:5]) / 3, abs=1e-12)


def prepared(backend: backends.Backend) -> Any:
    made = recipes.conditional_vae((P,), 1, latent_dim=2, hidden=(6,), backend=backend.name)
    own = backend.inference.Pair(*made(seeds.generator(0, "weights")))
    own.prepare(X, 0, {"given": S})
    return own


@pytest.mark.usefixtures("base_noise", "float64")
def test_it_is_the_objective_less_the_penalty() -> None:
    """On the draws of a pair by hand, and the same on both backends."""
    bounds = []
    for name in backends.NAMES:
        objective = IWAE(2)
        around = GroupMMD(objective, strength=7.0)
        terms = prepared(backends.load(name)).terms(X, around.request, 0, {"given": S})
        latents = Latents(z=np.array(terms.latents.z.tolist()), groups=np.array(terms.latents.groups.tolist()))
        terms = terms._replace(latents=latents)
        penalty = np.mean([mmd(each[S[:, 0] == 0], each[S[:, 0] == 1]) for each in latents.z])
        found = around.bound(terms)
        np.testing.assert_allclose(found, objective.bound(terms) - 7.0 * penalty, rtol=1e-9)
        bounds.append(found)
    np.testing.assert_allclose(*bounds, rtol=1e-9)


@pytest.mark.parametrize("objective", [TraceMeanFieldELBO(beta=0.5), InfoVAE(strength=3.0), BetaTCVAE(num_data=9)])
def test_it_composes(objective: Objective) -> None:
    """Of terms by hand, whatever the objective asks of the codes."""
    rng = np.random.default_rng(0)
    z, loc = rng.normal(size=(1, 8, 2)), rng.normal(size=(8, 2))
    around = GroupMMD(objective, strength=7.0)
    asked = around.request.latents
    assert (
        asked is not None
        and asked.groups == 1
        and replace(asked, groups=0) == (objective.request.latents or LatentsRequest())
    )
    terms = Terms(*rng.normal(size=(3, 1, 8)), latents=Latents(z, loc, np.exp(loc), z[:, ::-1], groups=S))
    np.testing.assert_allclose(around.bound(terms), objective.bound(terms) - 7.0 * group_mmd(z[0], S), rtol=1e-9)
    assert not around.per_datum and not around.is_bound and GroupMMD(IWAE(3), strength=0.0).is_bound


def test_a_training_takes_the_group_out_of_the_codes() -> None:
    """Half of the data are their group: codes of the two part without the penalty, and hardly with it."""
    s = (np.arange(120)[:, None] % 2).astype(np.float32)
    x = np.where(np.arange(P) < 6, s, toy(120)).astype(np.float32)
    gaps = []
    for strength in (0.0, schedules.Linear(0.0, 100.0, over=5)):
        made = recipes.conditional_vae((P,), 1, latent_dim=2, hidden=(8,))
        svi = inference.SVI(GroupMMD(strength=strength), epochs=15, batch_size=40, learning_rate=0.02)
        fit = svi.fit(*made(seeds.generator(0, "weights")), x, given=s)
        z = fit.encode(x, given=s)
        gaps.append(float(np.linalg.norm(z[s[:, 0] == 1].mean(0) - z[s[:, 0] == 0].mean(0))))
    assert gaps[1] < 0.3 * gaps[0]


def test_what_does_not_fit_is_refused() -> None:
    own = prepared(backends.load("pyro"))
    for objective, how in ((FactorVAE(), "with a critic"), (GroupMMD(), "on groups already")):
        with pytest.raises(ValueError, match=f"trains {how}"):
            GroupMMD(objective)
    with pytest.raises(UnsuitableObjective, match="needs the plain gradient through the draws, and DReG"):
        GroupMMD(DReG(2)).check(own.sites)
    with pytest.raises(ValueError, match="'strength' should be"):
        GroupMMD(strength=-1.0)
    with pytest.raises(ValueError, match="'kernel' should be one of imq, rbf"):
        GroupMMD(kernel="gauss")
    made = recipes.conditional_vae((P,), 1, latent_dim=2, hidden=(6,))
    svi = inference.SVI(GroupMMD(), epochs=1, batch_size=4)
    for groups, message in ((0.5 * S, "should be 0 or 1; row 0 holds"), (0 * S, r"they have \[8, 0\]")):
        with pytest.raises(ValueError, match=message):
            svi.fit(*made(seeds.generator(0, "weights")), X, given=groups)

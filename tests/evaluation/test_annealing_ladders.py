"""Laws of annealed runs that adapt: ladders by the share of effective chains, starts from a mixture's components."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from oracles import PCA, WRONG, fit_of
from pairs import untrained

from ppl_vae import backends, evaluation
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.evaluation import Annealing
from ppl_vae.evaluation.certificates import ANNEALED, IMPORTANCE
from ppl_vae.mcmc.annealing import Annealed, adapted, annealing_steps, ladder
from ppl_vae.results import Fit

NOISE = 0.3
ROW = np.array([0.6, 1.0])
"""x = z_2 ROW + noise: z_1 stays as the prior has it."""


def mixture_fit(
    backend: backends.Backend, loc: np.ndarray, scale: float, gain: np.ndarray, shift: Any = 0.0, width: float = 1.0
) -> Fit:
    """z ~ 1/C sum_c N(loc_c, scale^2), x | z ~ N(z gain, NOISE^2); a guide about the z that x tells, moved."""
    if backend.name == "pyro":
        import pyro as library
        import pyro.distributions as dist
        from torch import tensor

        from ppl_vae.distributions import DiagNormalMixture

        def array(a: Any) -> Any:
            return tensor(np.asarray(a, np.float32))
    else:
        import numpyro as library  # type: ignore[no-redef]
        import numpyro.distributions as dist
        from jax.numpy import asarray as array

        from ppl_vae.numpyro.distributions import DiagNormalMixture  # type: ignore[assignment]
    means, scales = np.asarray(loc, np.float32), np.full(np.shape(loc), scale, np.float32)
    weight = gain.astype(np.float32)
    inverse, moved = np.linalg.pinv(gain).astype(np.float32), np.broadcast_to(shift, 2).astype(np.float32)
    std = width * np.sqrt(np.diag(np.linalg.inv(np.eye(2) / scale**2 + gain @ gain.T / NOISE**2))).astype(np.float32)

    def model(x: Any = None, *, size: int = 1) -> Any:
        with library.plate("data", size if x is None else len(x), dim=-1):
            z = library.sample("z", DiagNormalMixture(array(means), array(scales)))
            return library.sample("x", dist.Normal(z @ array(weight), NOISE).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with library.plate("data", len(x), dim=-1):
            library.sample("z", dist.Normal(x @ array(inverse) + array(moved), array(std)).to_event(1))

    x = draws_of(means, scale, gain, 4)
    return untrained(model, guide, backend, x)


def draws_of(loc: np.ndarray, scale: float, gain: np.ndarray, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    z = loc[rng.integers(len(loc), size=size)] + scale * rng.normal(size=(size, loc.shape[1]))
    return (z @ gain + NOISE * rng.normal(size=(size, gain.shape[1]))).astype(np.float32)


def exact(loc: np.ndarray, scale: float, gain: np.ndarray, x: np.ndarray) -> np.ndarray:
    """log p(x): a mixture of normals, one for each component."""
    cov = scale**2 * gain.T @ gain + NOISE**2 * np.eye(gain.shape[1])
    parts = [scipy.stats.multivariate_normal(m @ gain, cov).logpdf(x) for m in loc]
    return np.logaddexp.reduce(parts, 0) - np.log(len(loc))


TWO, SMALL = np.array([[4.0, 0.0], [-4.0, 0.0]]), 0.5
BLIND = np.stack([0 * ROW, ROW])
"""x says nothing of z_1: its posterior has both modes, alike."""


def test_a_mode_that_the_guide_misses_is_found_from_components() -> None:
    """Importance sampling, and chains from the guide, are low by log 2, and the verdict says so."""
    x = draws_of(TWO, SMALL, BLIND, 20)
    fit, log_p = mixture_fit(backends.load("pyro"), TWO, SMALL, BLIND, TWO[0]), exact(TWO, SMALL, BLIND, x)
    found = evaluation.certify(fit, x, 200, Annealing(26, 40, 2, "adaptive"), size=20)
    assert set(found.estimates) == {IMPORTANCE, ANNEALED["components"], ANNEALED["guide"]}
    low = {name: float((log_p - e.values).mean()) for name, e in found.estimates.items()}
    assert low[IMPORTANCE] == pytest.approx(np.log(2), abs=0.1) == low[ANNEALED["guide"]]
    assert abs(low[ANNEALED["components"]]) < 0.1 and found.best == ANNEALED["components"]
    assert found.verdict.startswith("unsettled: on simulated data annealing from components is"), "chains do not cross"


MANY = 6.0 * np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2)
SEEN = np.array([[1.0, 0.2, 0.5], [0.0, 1.0, -0.4]])


@pytest.mark.release("numpyro")
def test_few_chains_find_one_component_of_many(backend: backends.Backend) -> None:
    """Eight chains from the prior seldom start at the right one of 36; those from components do."""
    x = draws_of(MANY, SMALL, SEEN, 20)
    fit, log_p = mixture_fit(backend, MANY, SMALL, SEEN), exact(MANY, SMALL, SEEN, x)
    found = evaluation.ais(fit, x, Annealing(26, 8, 2, "adaptive", "components"))
    assert (np.abs(found.values - log_p) < 5 * found.mc_error + 0.1).all() and found.mc_error.max() < 1
    if backend.name == "pyro":
        assert evaluation.ais(fit, x, Annealing(26, 8, 2, "adaptive")).mean < log_p.mean() - 2


def test_weights_have_the_mean_p_of_x_on_a_ladder_that_adapts(backend: backends.Backend) -> None:
    """Also on the crudest of ladders, with a guide that is off."""
    x = draws_of(TWO, 1.5, SEEN, 3)
    fit, log_p = mixture_fit(backend, TWO, 1.5, SEEN, 0.3, 2.0), exact(TWO, 1.5, SEEN, x)
    found = evaluation.ais(fit, x, Annealing(11, 500, 2, "adaptive", "components"))
    ratio = np.exp(found.log_weights - log_p)
    assert (np.abs(ratio.mean(0) - 1) < 4 * ratio.std(0) / np.sqrt(500)).all()


def test_every_increment_keeps_the_same_share_of_chains() -> None:
    """Where the spread is known, whatever ladder it was measured on, and each datum has its own."""
    beta, scale = ladder("adaptive", 4001), np.array([1.0, 30.0])
    spread = np.sqrt(scale) / (beta[:-1, None] + 0.02)
    run = Annealed(*[np.zeros((4000, 2))] * 4, spread)
    run = run._replace(log_step=np.log(0.1 + beta[1:, None]) * np.ones(2))
    found, log_step = adapted(beta, run)
    assert (found[0] == 0).all() and (found[-1] == 1).all() and (np.diff(found, axis=0) > 0).all()
    lengths = np.diff(found, axis=0) * np.interp(found[:-1, 0], beta[:-1], spread[:, 0])[:, None]
    middle = lengths[400:-400] / lengths.mean(0)
    assert np.ptp(middle[:, 0]) < 0.35 and abs(middle - 1).max() < 0.25  # a tenth stays as it was
    np.testing.assert_allclose(found[:, 0], found[:, 1], atol=1e-9)  # a common factor changes nothing
    np.testing.assert_allclose(log_step, np.log(0.1 + found[1:]), atol=0.01)
    still, _ = adapted(beta, run._replace(spread=0 * spread))
    np.testing.assert_allclose(still[:, 0], beta)
    steps = annealing_steps(found, log_step)
    np.testing.assert_allclose(steps.reversed().beta[:-1], found[1:-1][::-1])
    assert not steps.reversed().beta[-1].any() and steps.increment.shape == (4000, 2)


def test_an_adaptive_ladder_is_closer_than_a_sigmoid_of_as_many() -> None:
    """Data that say much: most of the path from the prior is at small beta."""
    pca = PCA(2, 60)
    fit = fit_of(pca, backends.load("pyro"), **WRONG)
    gaps = {name: evaluation.bdmc(fit, 100, Annealing(12, 8, 2, name)).gap for name in ("sigmoid", "adaptive")}
    assert 0 < gaps["adaptive"] < 0.8 * gaps["sigmoid"]


def test_bad_settings(backend: backends.Backend) -> None:
    with pytest.raises(ValueError, match="found from the spread of chains, and there is one: use 'num_chains'"):
        Annealing(schedule="adaptive", num_chains=1)
    assert Annealing(5, schedule="adaptive").betas[1] == 0.25**4
    with pytest.raises(UnsuitableObjective, match="ais from components asks for a prior that is a mixture of diagonal"):
        evaluation.ais(fit_of(PCA(), backend), PCA().x, Annealing(start="components"))

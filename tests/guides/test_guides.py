"""Per-datapoint and semi-amortised guides: the other ways to q(z), on the pair that stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpyro.infer
import pyro.infer
import pytest
from oracles import PCA
from pairs import D, P, common_names, distance, pair, plain_functions, recipe, toy

from ppl_vae import backends, baselines, evaluation, init
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.results import Fit
from ppl_vae.training import rowwise_adam

N = 60


def local_pca(backend: backends.Backend, pca: PCA, *, wrong: float = 0.0) -> tuple[Any, Any]:
    """Probabilistic PCA and a full-covariance guide with a row for each of its images."""
    dim = len(pca.cov)
    start = init.standard_rows(len(pca.x), dim, full_covariance=True)
    start[:, :dim] += wrong * np.random.default_rng(0).normal(size=(len(pca.x), dim))
    guide = backend.guides.PerDatapoint(backend.conditionals.FullNormal(backend.nets.Rows(start), dim))
    return pca.pair(backend)[0], guide


def gap(pca: PCA, fit: Fit) -> np.ndarray:
    """KL(q || posterior) of each image, in closed form from the fit's moments: log p(x) - ELBO, without noise."""
    dim = len(pca.cov)
    table = np.asarray(next(v for n, v in fit.pair.state().items() if n.endswith("table") or "table" in n), float)
    precision = np.linalg.inv(pca.cov)
    result = []
    for row, mean in zip(table, pca.posterior_mean(pca.x), strict=True):
        tril = np.zeros((dim, dim))
        tril[np.tril_indices(dim)] = row[dim:]
        np.fill_diagonal(tril, np.log1p(np.exp(np.diag(tril))) + 1e-3)
        cov, off = tril @ tril.T, row[:dim] - mean
        logs = np.linalg.slogdet(pca.cov)[1] - np.linalg.slogdet(cov)[1]
        result.append(0.5 * (np.trace(precision @ cov) - dim + off @ precision @ off + logs))
    return np.array(result)


def inner(backend: backends.Backend, steps: int, **options: Any) -> Any:
    """An inner loop of so many steps on one batch, the model left as it is."""
    loss = backend.inference.TraceELBO(4, stick_the_landing=True)
    settings = {"local_tolerance": 1e-7, "freeze_model": True, "batch_size": 7, "epochs": 1}
    return backend.inference.SVI(loss, **{**settings, "local_steps": steps, **options})


def test_the_inner_loop_ends_at_the_exact_posterior(backend: backends.Backend) -> None:
    """Full covariance, so that the family holds the posterior: mean, covariance and bound are then exact."""
    pca = PCA()
    fit = inner(backend, 1500).fit(*local_pca(backend, pca), pca.x)
    assert gap(pca, fit).max() < 5e-3
    mean, sd = fit.posterior(pca.x)["z"]
    np.testing.assert_allclose(mean, pca.posterior_mean(pca.x), atol=0.05)
    np.testing.assert_allclose(sd, np.broadcast_to(np.sqrt(np.diag(pca.cov)), sd.shape), atol=0.05)
    np.testing.assert_allclose(evaluation.elbo(fit, pca.x, 200).values, pca.log_p(), atol=0.02)


def test_the_inner_loop_never_lowers_the_bound(backend: backends.Backend) -> None:
    """The exact gap of every image, loop after loop, from a start that is wrong for each.

    The bound is measured by 32 draws, so that close to the optimum an image may lose what they cannot see.
    """
    pca = PCA()
    model, guide = local_pca(backend, pca, wrong=2.0)
    gaps = [gap(pca, Fit(backend.inference.Pair(model, guide), {}, {}))]
    for seed in range(6):
        fit = inner(backend, 40).fit(model, guide, pca.x, seed=seed)
        model, guide = fit.model, fit.guide
        gaps.append(gap(pca, fit))
        assert (gaps[-1] < gaps[-2] + 0.02).all()
    assert (np.diff([g.mean() for g in gaps]) < 0.005).all()
    assert gaps[0].mean() > 1.0 and gaps[-1].mean() < 0.05


def test_a_diagonal_family_ends_at_its_own_best(backend: backends.Backend) -> None:
    """The best diagonal Gaussian has the posterior's mean and the precision's diagonal; its gap has a closed form."""
    pca = PCA()
    guide = backend.guides.PerDatapoint(
        backend.conditionals.DiagNormal(backend.nets.Rows(init.standard_rows(len(pca.x), 2)))
    )
    fit = inner(backend, 1500).fit(pca.pair(backend)[0], guide, pca.x)
    precision = np.linalg.inv(pca.cov)
    mean, sd = fit.posterior(pca.x)["z"]
    np.testing.assert_allclose(mean, pca.posterior_mean(pca.x), atol=0.1)
    np.testing.assert_allclose(sd, np.broadcast_to(1 / np.sqrt(np.diag(precision)), sd.shape), atol=0.06)
    exact = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert (pca.log_p() - evaluation.elbo(fit, pca.x, 4000).values).mean() == pytest.approx(exact, abs=0.03)


def test_refining_closes_the_gap_and_leaves_the_model_alone(backend: backends.Backend) -> None:
    """From a wrong encoder to log p(x), on data that were never trained on; what is refined stays as it was."""
    pca = PCA()
    own = backend.inference.Pair(*pca.pair(backend, shift=0.8, widen=1.5))
    own.prepare(pca.x, 0)
    fit = Fit(own, {}, {})
    before = own.state()
    refined = fit.refine(pca.x, steps=600, tolerance=1e-6)
    assert evaluation.elbo(fit, pca.x, 500).mean < pca.log_p().mean() - 0.5
    np.testing.assert_allclose(evaluation.elbo(refined, pca.x, 100).values, pca.log_p(), atol=0.05)
    assert all((before[name] == value).all() for name, value in own.state().items())
    model = {n: v for n, v in common_names(refined.pair.state()).items() if n.startswith("model")}
    assert model and all((common_names(before)[n] == v).all() for n, v in model.items())
    assert not refined.generalises and fit.generalises


def test_refining_a_bernoulli_guide(backend: backends.Backend) -> None:
    """Discrete latents by scores: the refined bound beats the encoder's and stays below log p(x)."""
    own = backend.inference.Pair(*pair("bernoulli", backend))
    own.prepare(toy(4), 0)
    fit, x = Fit(own, {}, {}), toy(12, seed=4)
    refined = fit.refine(x, steps=200)
    before, after = evaluation.elbo(fit, x, 500), evaluation.elbo(refined, x, 500)
    assert after.mean > before.mean + 0.02
    assert after.mean < evaluation.log_likelihood(fit, x, 4000).mean + 0.02


@pytest.mark.parametrize(("program", "guide"), [("hierarchy", "top-down"), ("semi-supervised", "semi-supervised")])
def test_a_guide_of_several_latents_is_not_refined(backend: backends.Backend, program: str, guide: str) -> None:
    """Its ``posterior`` is that of one of them: the refusal told of sites that nobody wrote, or there was none."""
    labels = {"given_dim": 2} if program == "semi-supervised" else {}
    own = backend.inference.Pair(*pair("standard", backend, program=program, guide=guide, **labels))
    side: Any = {"given": np.array([[0.0], [1.0], [-1.0], [1.0]])} if labels else {}
    fit = Fit.untrained(own, toy(4), **side)
    with pytest.raises(ValueError, match=r"guide's one posterior, guide\.posterior\.net, and \w+ has no such"):
        fit.refine(toy(4), **side)
    assert np.isfinite(evaluation.log_likelihood(fit, toy(4), 3, **side).values).all()


@pytest.mark.release("numpyro")
def test_a_training_with_an_inner_loop_beats_the_joint_one_per_epoch(backend: backends.Backend) -> None:
    """The classical one has converged rows after one epoch; the joint one comes to the same end, later."""
    pca, bounds = PCA(), {}
    for steps, epochs in ((0, 1), (200, 1), (0, 250)):
        svi = backend.inference.SVI(epochs=epochs, batch_size=5, learning_rate=1e-4, local_steps=steps)
        fit = svi.fit(*local_pca(backend, pca, wrong=2.0), pca.x, valid=pca.x[:2])
        bounds[steps, epochs] = evaluation.elbo(fit, pca.x, 200).mean
        assert "valid_elbo" not in fit.history
    assert bounds[200, 1] > bounds[0, 1] + 5
    assert abs(bounds[0, 250] - bounds[200, 1]) < 0.5


@pytest.mark.release("numpyro", keep=["7"])
@pytest.mark.parametrize("steps", [0, 7])
def test_an_interrupted_training_ends_where_the_whole_one_does(
    backend: backends.Backend, steps: int, tmp_path: Path
) -> None:
    """The rows' moments are in the checkpoint; a last batch may be shorter."""
    programs = pair("standard", backend, guide="per-datapoint")
    options = {"batch_size": 25, "local_steps": steps}
    whole = backend.inference.SVI(epochs=4, **options).fit(*programs, toy(), seed=3)
    path = tmp_path / "c"
    backend.inference.SVI(epochs=2, **options).fit(*programs, toy(), seed=3, checkpoint=path)
    again = backend.inference.SVI(epochs=4, **options).fit(*programs, toy(), seed=3, checkpoint=path, resume=True)
    for name, value in whole.pair.state().items():
        assert (value == again.pair.state()[name]).all(), name
    np.testing.assert_array_equal(whole.history["loss"], again.history["loss"])


def test_a_step_touches_the_rows_of_its_batch_only(backend: backends.Backend) -> None:
    """One step of one batch of 10: ten rows move, and every other is as it was, to the bit."""
    programs = pair("standard", backend, guide="per-datapoint")
    own = backend.inference.Pair(*programs)
    own.prepare(toy(4), 0)
    before = next(v for n, v in common_names(own.state()).items() if "table" in n)
    from ppl_vae.training import TrainingData

    run = backend.inference.SVI(batch_size=10).start(*programs, TrainingData.of(toy(), None), seed=0, device=None)
    order = np.random.default_rng(0).permutation(N)
    run.epoch(0, order[:10])
    after = next(v for n, v in common_names(run.pair.state()).items() if "table" in n)
    moved = (before != after).any(1)
    assert set(np.flatnonzero(moved)) == set(order[:10])


def test_rows_move_as_under_adam() -> None:
    """Beside torch's Adam on dense rows that are all visited in each step."""
    import torch

    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=(5, 3)), rng.normal(size=(20, 5, 3))
    p = torch.nn.Parameter(torch.tensor(start))
    adam = torch.optim.Adam([p], lr=0.07)
    ours, moments = start.copy(), rowwise_adam.Moments(np.zeros((5, 3)), np.zeros((5, 3)), np.zeros((5, 1)))
    for g in grads:
        p.grad = torch.tensor(g)
        adam.step()
        step, moments = rowwise_adam.adam(g, moments, 0.07)
        ours += step
    np.testing.assert_allclose(ours, p.detach().numpy(), rtol=1e-6)


@pytest.mark.release(keep=["False-{'guide': 'semi-amortised'}", "True-{'guide': 'per-datapoint'}"])
@pytest.mark.parametrize("settings", [{"guide": "per-datapoint"}, {"guide": "semi-amortised"}], ids=str)
@pytest.mark.parametrize("full", [False, True])
def test_the_backends_start_level_and_train_alike(
    settings: dict[str, Any], full: bool, base_noise: None, float64: None, fresh_programs: None
) -> None:
    """Same weights and noise: the same state and the same loss after two epochs."""
    states, starts = [], []
    for name in backends.NAMES:
        b = backends.load(name)
        programs = pair("standard", b, full_covariance=full, **settings)
        svi = b.inference.SVI(b.inference.TraceELBO(2), epochs=2, batch_size=20)
        fit = svi.fit(*programs, toy(), seed=1)
        start = b.inference.Pair(*programs).state()
        drop = "prior.loc"
        starts.append({n: v for n, v in common_names(start).items() if drop not in n})
        states.append({n: v for n, v in common_names(fit.pair.state()).items() if drop not in n})
        states[-1]["loss"] = fit.history["loss"]
    assert distance(*starts) == 0.0
    assert distance(*states) < 1e-7


@pytest.mark.release("numpyro", keep=["per-datapoint-True"])
@pytest.mark.parametrize(("guide", "full"), [("per-datapoint", True), ("semi-amortised", False)])
def test_saved_fits_come_back(backend: backends.Backend, guide: str, full: bool, tmp_path: Path) -> None:
    options = {"guide": guide, "full_covariance": full}
    fit = backend.inference.SVI(epochs=1, batch_size=20).fit(*pair("standard", backend, **options), toy())
    path = fit.save(tmp_path / "f", recipe=recipe("standard", backend, **options))
    again = Fit.load(path)
    np.testing.assert_array_equal(again.encode(toy()), fit.encode(toy()))
    np.testing.assert_array_equal(again.terms(toy(), 3).log_lik, fit.terms(toy(), 3).log_lik)


def test_rows_are_found_by_their_index(backend: backends.Backend) -> None:
    """Any part of the training data, in any order, has its own parameters."""
    fit = backend.inference.SVI(epochs=3, batch_size=20).fit(*pair("standard", backend, guide="per-datapoint"), toy())
    index = np.array([7, 3, 50])
    np.testing.assert_array_equal(fit.encode(toy()[index], index=index), fit.encode(toy())[index])
    assert fit.reconstruct(toy()[index], index=index).shape == (3, P)
    assert fit.draws(toy()[index], 4, index=index)["z"].shape == (4, 3, D)
    values = evaluation.log_likelihood(fit, toy()[index], 2000, index=index).values
    assert (values > evaluation.elbo(fit, toy()[index], 200, index=index).values).all()
    assert evaluation.elbo(fit, toy()).values.shape == (N,)


def test_a_model_without_the_keywords_of_the_house_is_refined_under(backend: backends.Backend) -> None:
    ppl = pyro if backend.name == "pyro" else numpyro
    inner_model, guide = pair("standard", backend)
    base = type(inner_model).__mro__[1]

    class Own(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.prior, self.likelihood = inner_model.prior, inner_model.likelihood

        def __call__(self, x: Any) -> Any:
            if backend.name == "pyro":
                return super().__call__(x)
            return self.forward(x)

        def forward(self, x: Any) -> Any:
            with ppl.plate("data", len(x), dim=-1):
                return ppl.sample("x", self.likelihood(ppl.sample("z", self.prior())), obs=x)

    own = Own()
    semi = backend.guides.SemiAmortised(guide.posterior, own, num_steps=2)
    fit = backend.inference.SVI(epochs=1, batch_size=20).fit(own, semi, toy())
    assert np.isfinite(fit.history["loss"]).all()


@pytest.mark.release("numpyro")
def test_semi_amortised_limits_and_gains(backend: backends.Backend) -> None:
    """No steps: the encoder itself. More steps: closer to the exact posterior, from a wrong encoder."""
    pca = PCA()
    model, guide = pca.pair(backend, shift=0.5, widen=1.5)
    bounds = []
    for steps in (0, 2, 6):
        semi = backend.guides.SemiAmortised(guide.posterior, model, num_steps=steps, step_size=0.04)
        own = backend.inference.Pair(model, semi)
        own.prepare(pca.x, 0)
        bounds.append(evaluation.elbo(Fit(own, {}, {}), pca.x, 400).mean)
    plain = backend.inference.Pair(model, guide)
    plain.prepare(pca.x, 0)
    assert bounds[0] == pytest.approx(evaluation.elbo(Fit(plain, {}, {}), pca.x, 400).mean, abs=1e-4)
    assert bounds[0] < bounds[1] - 0.05 and bounds[1] < bounds[2] - 0.05 and bounds[2] < pca.log_p().mean()


def test_the_encoders_gradient_goes_through_the_steps(base_noise: None, float64: None, fresh_programs: None) -> None:
    """With fixed noise the loss is a function of the encoder's weights: its finite differences are the gradient."""
    import torch

    b = backends.load("pyro")
    own = b.inference.Pair(*pair("standard", b, guide="semi-amortised", refinement_steps=3))
    own.prepare(toy(4), 0)
    loss, x = b.inference.TraceELBO(), own.tensor(toy(5))
    weight = own.guide.posterior.net.layers[-1].bias

    def value() -> torch.Tensor:
        with own.active() as (model, guide):
            return loss.differentiable_loss(model, guide, x)

    (gradient,) = torch.autograd.grad(value(), weight)
    numeric = torch.zeros_like(weight)
    with torch.no_grad():
        for i in range(len(weight)):
            for sign in (1, -1):
                weight[i] += sign * 1e-5
                numeric[i] += sign * value() / 2e-5
                weight[i] -= sign * 1e-5
    np.testing.assert_allclose(gradient.numpy(), numeric.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.release("numpyro")
def test_bad_input(backend: backends.Backend) -> None:
    inference = backend.inference
    local = pair("standard", backend, guide="per-datapoint")
    fit = inference.SVI(epochs=1, batch_size=20).fit(*local, toy())
    with pytest.raises(ValueError, match=r"parameters for the 60 data points .* fit\.refine\(x\)"):
        fit.encode(toy(60, seed=9))
    with pytest.raises(ValueError, match=r"parameters for the 60 data points"):
        fit.terms(toy()[:10])
    with pytest.raises(ValueError, match=r"positions in 0\.\.59.*got 0\.\.60"):
        fit.terms(toy(2), index=np.array([0, 60]))
    with pytest.raises(ValueError, match="should hold 2 integers"):
        fit.terms(toy(2), index=np.array([0.5, 1.0]))
    with pytest.raises(ValueError, match="made for 60 data points; there are 30"):
        inference.SVI(epochs=1, batch_size=10).fit(*local, toy(30))
    with pytest.raises(ValueError, match="needs a guide that serves validation data"):
        inference.SVI(epochs=1, batch_size=10, patience=1).fit(*local, toy(), valid=toy(10))
    with pytest.raises(ValueError, match="'local_steps' is for per-datapoint guides"):
        inference.SVI(epochs=1, batch_size=10, local_steps=3).fit(*pair("standard", backend), toy())
    with pytest.raises(ValueError, match="'local_steps' should be an integer"):
        inference.SVI(local_steps=-1)
    with pytest.raises(ValueError, match="has no use for a baseline that follows"):
        loss = inference.TraceGraphELBO(baseline=baselines.RunningAverage())
        discrete = pair("bernoulli", backend, guide="per-datapoint")
        inference.SVI(loss, epochs=1, batch_size=10, local_steps=3).fit(*discrete, toy())
    with pytest.raises(UnsuitableObjective, match="a dream has no row"):
        inference.SVI(inference.WakeSleep(), epochs=1, batch_size=10).fit(*local, toy())
    with pytest.raises(UnsuitableObjective, match="no sum over data, so no datum has a bound of its own"):
        inference.SVI(inference.CapacityELBO(), epochs=1, batch_size=10, local_steps=3).fit(*local, toy())
    with pytest.raises(ValueError, match="refines under a model of its own"):
        _, semi = pair("standard", backend, guide="semi-amortised")
        inference.SVI(epochs=1, batch_size=10).fit(pair("standard", backend)[0], semi, toy())
    with pytest.raises(ValueError, match="The recipe makes another pair"):
        amortised = inference.SVI(epochs=1, batch_size=20).fit(*pair("standard", backend), toy())
        amortised.refine(toy(8), steps=10).save(Path("unwritten"), recipe=recipe("standard", backend))
    assert not Path("unwritten").exists()
    with pytest.raises(ValueError, match=r"shape \(N, W\)"):
        backend.nets.Rows(np.zeros(3))
    with pytest.raises(ValueError, match="an encoder, and a per-datapoint guide has no|has no encoder"):
        recipe("vampprior", backend, guide="per-datapoint")
    with pytest.raises(ValueError, match="made for training images"):
        import ppl_vae.recipes

        ppl_vae.recipes.vae((2, 2), guide="per-datapoint")
    with pytest.raises(ValueError, match="'posterior' should be conditionals.DiagNormal"):
        backend.guides.SemiAmortised(pair("bernoulli", backend)[1].posterior, local[0])
    with pytest.raises(ValueError, match="differentiates the bound by its draws"):
        recipe("bernoulli", backend, guide="semi-amortised")
    with pytest.raises(ValueError, match=r"guide\.posterior\.net, and .* has no such: use"):
        own = inference.Pair(local[0], lambda x: None)
        inference.localised(own, toy())


@pytest.mark.release("numpyro", keep=["True-functions"])
@pytest.mark.parametrize("kind", ["modules", "functions"])
@pytest.mark.parametrize("stock", [False, True])
def test_a_frozen_model_stays_and_the_guide_learns(backend: backends.Backend, kind: str, stock: bool) -> None:
    """What the two share belongs to the model: of a VampPrior's pair nothing is left to train."""
    loss = backend.inference.TraceELBO()
    if stock:
        loss = (pyro.infer if backend.name == "pyro" else numpyro.infer).Trace_ELBO()
    programs = pair("standard", backend) if kind == "modules" else plain_functions(backend)[:2]
    own = backend.inference.Pair(*programs)
    own.prepare(toy(4), 0)
    start = own.state()
    svi = backend.inference.SVI(loss, epochs=3, batch_size=20, learning_rate=0.01, freeze_model=True)
    end = svi.fit(*programs, toy(), seed=0).pair.state()
    if kind == "modules":
        start, end = common_names(start), common_names(end)
    moved = {name for name, value in start.items() if (end[name] != value).any()}
    assert moved and all("encoder" in name or name.startswith("guide") for name in moved)
    if kind == "modules":
        with pytest.raises(ValueError, match="has no parameter of its own, so that nothing would learn"):
            svi.fit(*pair("vampprior", backend), toy(), seed=0)


def test_stock_objectives_train_rows_too(backend: backends.Backend) -> None:
    """Sparse gradients reach the rows through Pyro's and NumPyro's own ELBO."""
    if backend.name == "pyro":
        from pyro.infer import Trace_ELBO
    else:
        from numpyro.infer import Trace_ELBO
    pca = PCA()
    programs = local_pca(backend, pca, wrong=2.0)
    fit = backend.inference.SVI(Trace_ELBO(), epochs=100, batch_size=5, freeze_model=True).fit(*programs, pca.x)
    start = gap(pca, Fit(backend.inference.Pair(*programs), {}, {}))
    assert gap(pca, fit).mean() < start.mean() / 10
    with pytest.raises(ValueError, match="which the stock Trace_ELBO does not give"):
        backend.inference.SVI(Trace_ELBO(), epochs=1, batch_size=20, local_steps=3).fit(
            *pair("standard", backend, guide="per-datapoint"), toy()
        )

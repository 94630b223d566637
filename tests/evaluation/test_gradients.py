"""The noise of gradients: moments, owners, and laws that variances and signal-to-noise ratios obey."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import PCA, bernoulli, fit_of, value_of
from pairs import D, pair, plain_functions, plain_modules, toy, untrained, weights_of
from pyro.nn import PyroModule

from ppl_vae import backends, evaluation, plots, seeds
from ppl_vae.baselines import LeaveOneOut, Neural, RunningAverage
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.evaluation.gradients import Moments
from ppl_vae.results import Fit

X = toy(6)


def discrete(backend: backends.Backend) -> Fit:
    return untrained(*bernoulli(backend), backend)


def moments(fit: Fit, objective: Any, x: np.ndarray, repeats: int) -> Moments:
    """Those of the whole gradient, as one vector."""
    result = Moments()
    index = np.broadcast_to(np.arange(len(x)), (repeats, len(x)))
    inference = backends.load(fit.backend).inference
    for gradients, _ in inference.draw_gradients(fit.pair, objective, x, index, range(repeats)):
        result.add(np.concatenate([a.reshape(len(a), -1) for a in gradients.values()], 1))
    return result


@pytest.mark.parametrize("sizes", [[1] * 9, [5, 4], [2, 1, 6], [9]])
def test_streaming_moments_are_numpys(sizes: list[int]) -> None:
    values = 1e6 + np.random.default_rng(0).normal(size=(9, 4))
    values[:, 2] = 0.1
    streamed = Moments()
    for part in np.split(values, np.cumsum(sizes)[:-1]):
        streamed.add(part)
    np.testing.assert_allclose(streamed.mean, values.mean(0), rtol=1e-15)
    np.testing.assert_allclose(streamed.variance, values.var(0, ddof=1), rtol=1e-6, atol=1e-20)
    assert streamed.variance[2] == 0.0, "no noise is no noise"


def test_summaries_without_noise_or_signal_are_numbers() -> None:
    def summary(*rows: list[float]) -> dict[str, float]:
        result = Moments()
        result.add(np.array(rows))
        return result.summary()

    some = summary([1.0, 3.0, 0.0], [3.0, 3.0, 0.0])
    assert some["snr"] == pytest.approx(2 / np.sqrt(2)), "of the entry that varies"
    assert some["variance"] == pytest.approx(2 / 3) and some["log_variance"] == pytest.approx(np.log(2 / 3))
    assert some["mean_error"] == pytest.approx(1.0) and some["norm"] == pytest.approx(np.sqrt(13))
    silent, nothing = summary([2.0], [2.0]), summary([0.0], [0.0])
    assert silent["snr"] == np.inf and silent["log_variance"] == -np.inf and silent["variance"] == 0
    assert nothing["snr"] == 0.0 and nothing["log_variance"] == -np.inf


def test_the_mean_is_the_exact_gradient(backend: backends.Backend) -> None:
    fit, inference = discrete(backend), backend.inference
    exact = moments(fit, inference.TraceEnumELBO(), X, 2)
    assert (exact.variance == 0).all()
    drawn = moments(fit, inference.TraceGraphELBO(4, baseline=LeaveOneOut()), X, 400)
    noise = drawn.variance.sum() / drawn.count
    assert ((drawn.mean - exact.mean) ** 2).sum() < 4 * noise
    assert noise < 0.01 * (exact.mean**2).sum(), "or the law above says nothing"


def test_the_gradient_is_uphill_and_per_datum(backend: backends.Backend, float64: None) -> None:
    """f(theta + e g) - f(theta - e g) = 2 e ||g||^2, with f the exact ELBO per datum."""
    fit, exact, rng = discrete(backend), backend.inference.TraceEnumELBO(), np.random.default_rng(0)
    state = {name: value + 0.1 * rng.normal(size=value.shape) for name, value in fit.pair.state().items()}
    fit.pair.load_state(state)  # away from the kink of a ReLU whose bias is 0
    drawn = backend.inference.draw_gradients(fit.pair, exact, X, np.arange(6)[None], [0])
    gradients = {name: values[0] for name, values in next(drawn)[0].items()}
    assert set(gradients) <= set(state)
    bounds = []
    for step in (1e-4, -1e-4):
        fit.pair.load_state({n: v + step * gradients.get(n, 0 * v) for n, v in state.items()})
        bounds.append(-value_of(backend, exact, fit.pair, X, 0) / len(X))
    squares = sum((g**2).sum() for g in gradients.values())
    assert bounds[0] - bounds[1] == pytest.approx(2e-4 * squares, rel=1e-4)


def test_k_particles_have_a_kth_of_the_variance(backend: backends.Backend) -> None:
    fit = fit_of(pca := PCA(), backend, shift=0.3, widen=0.8)
    objectives = evaluation.over_draws({"ELBO": backend.inference.TraceELBO}, (1, 4))
    report = evaluation.gradient_report(fit, objectives, pca.x, repeats=400)
    for owner in ("model", "guide"):
        one, four = report.loc[("ELBO 1", owner)], report.loc[("ELBO 4", owner)]
        assert 3.0 < one["variance"] / four["variance"] < 5.3, owner
        assert one["variance_per_draw"] == one["variance"] and four["variance_per_draw"] == 4 * four["variance"]
        assert four["snr"] > 1.5 * one["snr"]
        assert abs(one["norm"] - four["norm"]) < 4 * (one["mean_error"] + four["mean_error"])
    assert (report["variance_second"] == report["variance"] * report["seconds"]).all()
    assert (report["seconds"] > 0).all()
    np.testing.assert_allclose(report["log_variance"], np.log(report["variance"]))


def test_leaving_one_out_is_quieter_than_plain_reinforce(backend: backends.Backend) -> None:
    inference = backend.inference
    objectives = {
        "plain": inference.TraceGraphELBO(4),
        "leave-one-out": inference.TraceGraphELBO(4, baseline=LeaveOneOut()),
        "enumeration": inference.TraceEnumELBO(),
    }
    report = evaluation.gradient_report(discrete(backend), objectives, X, repeats=100)
    variance, snr = report["variance"], report["snr"]
    assert variance["leave-one-out", "guide"] < variance["plain", "guide"] / 3
    assert snr["leave-one-out", "guide"] > snr["plain", "guide"]
    assert variance["leave-one-out", "model"] == pytest.approx(variance["plain", "model"], rel=1e-4), "the same draws"
    assert (variance["enumeration"] == 0).all() and (report.loc["enumeration", "log_variance"] == -np.inf).all()
    assert (snr["enumeration"] == np.inf).all()
    assert (report.loc["enumeration", "num_draws"] == 2**D).all(), "every configuration is computed"


@pytest.mark.parametrize("baseline", [RunningAverage(), Neural(hidden=(8,), learning_rate=0.01)], ids=repr)
def test_baselines_that_follow_a_training_are_brought_up_to_date(backend: backends.Backend, baseline: Any) -> None:
    """The exact gradient in the mean, with less noise than without a baseline."""
    fit, inference = discrete(backend), backend.inference
    exact = moments(fit, inference.TraceEnumELBO(), X, 2).mean
    plain, quiet = (moments(fit, inference.TraceGraphELBO(1, baseline=b), X, 400) for b in (None, baseline))
    assert ((quiet.mean - exact) ** 2).sum() < 3 * quiet.variance.sum() / 400
    assert quiet.variance.sum() < plain.variance.sum() / 3


def test_at_the_exact_posterior_the_guide_is_silent(backend: backends.Backend) -> None:
    pca = PCA()
    objectives = {
        "plain": backend.inference.TraceELBO(),
        "sticking": backend.inference.TraceELBO(stick_the_landing=True),
    }
    variance = evaluation.gradient_report(fit_of(pca, backend), objectives, pca.x, repeats=20)["variance"]
    assert variance["sticking", "guide"] < 1e-6 * variance["plain", "guide"]
    assert variance["sticking", "model"] == pytest.approx(variance["plain", "model"], rel=1e-4)


@pytest.mark.release("numpyro")
def test_tighter_bounds_drown_the_guides_signal_unless_doubly_reparameterised(backend: backends.Backend) -> None:
    """Rainforth et al., 2018: the IWAE's signal-to-noise falls with K for the guide, and rises for the model."""
    pca, inference = PCA(), backend.inference
    objectives = evaluation.over_draws({"IWAE": inference.IWAE, "DReG": inference.DReG}, (1, 32))
    fit = fit_of(pca, backend, shift=0.2, widen=1.2)
    snr = evaluation.gradient_report(fit, objectives, pca.x, repeats=300)["snr"]
    assert snr["IWAE 32", "guide"] < snr["IWAE 1", "guide"] / 2
    assert snr["DReG 32", "guide"] > snr["DReG 1", "guide"] * 0.9
    assert snr["IWAE 32", "model"] > 2 * snr["IWAE 1", "model"]


@pytest.mark.release("pyro", keep=["{'repeats': 600, 'draws': True}"])
@pytest.mark.parametrize("settings", [{"repeats": 600}, {"repeats": 600, "draws": True}], ids=str)
def test_the_variance_falls_with_the_batch(backend: backends.Backend, settings: dict[str, Any]) -> None:
    """Without replacement the mean of B of N has variance S^2 (1/B - 1/N); draws add theirs, which falls as 1/B."""
    draws = settings.pop("draws", False)
    x = toy(60)
    objectives = {"it": backend.inference.TraceGraphELBO(16, baseline=LeaveOneOut())}
    objectives = objectives if draws else {"it": backend.inference.TraceEnumELBO()}
    fit = discrete(backend)
    report = [evaluation.gradient_report(fit, objectives, x, batch_size=size, **settings) for size in (2, 8)]
    ratio = report[0]["variance"] / report[1]["variance"]
    expected = 4.0 if draws else (1 / 2 - 1 / 60) / (1 / 8 - 1 / 60)
    assert (np.abs(ratio / expected - 1) < 0.25).all()
    assert [part["batch_size"].unique().tolist() for part in report] == [[2], [8]]
    whole = evaluation.gradient_report(fit, objectives, x, repeats=50)
    assert (whole["variance"] < report[1]["variance"] / 3).all() and (whole["batch_size"] == 60).all()


@pytest.mark.parametrize("name", ["standard", "vampprior"])
def test_backends_agree(name: str) -> None:
    reports = {}
    for b in map(backends.load, backends.NAMES):
        fit = untrained(*pair(name, b), b)
        objectives = {"IWAE": b.inference.IWAE(4), "DReG": b.inference.DReG(4)}
        reports[b.name] = evaluation.gradient_report(fit, objectives, X, repeats=400)
    ours, theirs = reports.values()
    assert list(ours.index) == list(theirs.index) and list(ours.columns) == list(theirs.columns)
    assert (ours["parameters"] == theirs["parameters"]).all() and (ours["num_draws"] == 4).all()
    assert (np.abs(ours["log_variance"] - theirs["log_variance"]) < 0.25).all()
    assert (np.abs(ours["norm"] - theirs["norm"]) < 3 * (ours["mean_error"] + theirs["mean_error"])).all()
    np.testing.assert_allclose(ours["snr"], theirs["snr"], rtol=0.3)


def owners_of(fit: Fit) -> dict[str, set[str]]:
    """Owner -> the names of its parameters, each sorted under one owner only."""
    owners = backends.load(fit.backend).inference.owners(fit.pair)
    return {owner: {name for name in owners if owners[name] == owner} for owner in owners.values()}


def test_whose_the_parameters_of_modules_are(backend: backends.Backend) -> None:
    standard = owners_of(untrained(*pair("standard", backend), backend))
    assert set(standard) == {"model", "guide"}
    assert all("likelihood" in name for name in standard["model"])
    assert all("posterior" in name for name in standard["guide"])
    fit = untrained(*pair("vampprior", backend), backend)
    vamp = owners_of(fit)
    assert set(vamp) == {"model", "shared"}
    assert all("posterior" in name for name in vamp["shared"]) and len(vamp["shared"]) == len(standard["guide"])
    assert all("likelihood" in name or "inputs" in name for name in vamp["model"])
    report = evaluation.gradient_report(fit, {"ELBO": backend.inference.TraceELBO()}, X, repeats=2)
    assert list(report.index) == [("ELBO", "model"), ("ELBO", "shared")]
    assert report["parameters"].sum() == fit.num_parameters


def test_whose_the_parameters_of_functions_are(backend: backends.Backend) -> None:
    model, guide, modules = plain_functions(backend)
    fit = untrained(model, guide, backend)
    owners = owners_of(fit)
    assert set(owners) == {"model", "guide"}
    assert all("decoder" in name or "scale" in name for name in owners["model"])
    assert all("encoder" in name for name in owners["guide"])
    before = [weights_of(m) for m in modules]
    report = evaluation.gradient_report(fit, {"ELBO": backend.inference.TraceELBO()}, X, repeats=5)
    assert (report["norm"] > 0).all() and report["parameters"].sum() == fit.num_parameters
    assert all(
        (a == b).all() for old, m in zip(before, modules, strict=True) for a, b in zip(old, weights_of(m), strict=True)
    )


def test_parameters_of_single_data_are_the_guides(backend: backends.Backend) -> None:
    """Each row follows its own datum: the guide's gradient on a batch is zero elsewhere."""
    fit = untrained(*pair("standard", backend), backend).refine(X, steps=3)
    tables = owners_of(fit)["guide"]
    assert len(tables) == 1 and "table" in next(iter(tables))
    elbo, places = backend.inference.TraceELBO(), np.array([5, 4, 3, 2, 1, 0])
    drawn = backend.inference.draw_gradients(fit.pair, elbo, X, np.array([[0, 2], [0, 2]]), [0, 1], {"index": places})
    for gradients, _ in drawn:
        assert (np.abs(gradients[next(iter(tables))]).sum((0, 2)) > 0).tolist() == [
            False,
            False,
            False,
            True,
            False,
            True,
        ]
    report = evaluation.gradient_report(fit, {"ELBO": elbo}, X, repeats=3, batch_size=2)
    assert report.loc[("ELBO", "guide"), "parameters"] == X.shape[0] * 2 * 3
    one = evaluation.gradient_report(fit, {"ELBO": elbo}, X[4:], repeats=3, index=np.array([4, 5]))
    assert (one["norm"] > 0).all()
    with pytest.raises(ValueError, match="index="):
        evaluation.gradient_report(fit, {"ELBO": elbo}, X[4:], repeats=3)


def tied(backend: backends.Backend, own: float = 1.0) -> tuple[Any, Any]:
    """Functions with a scale of both, a location of the model and a shift of the guide."""
    ppl, d, ones = (pyro, dist, torch.ones) if backend.name == "pyro" else (numpyro, npdist, jnp.ones)
    positive = d.constraints.positive

    def model(x: Any) -> None:
        loc, scale = ppl.param("loc", ones(1)), ppl.param("scale", own * ones(1), constraint=positive)
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", d.Normal(loc, scale).to_event(1))
            ppl.sample("x", d.Normal(z + 0 * x, 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        shift, scale = ppl.param("shift", ones(1)), ppl.param("scale", own * ones(1), constraint=positive)
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", d.Normal(x[..., :1] + shift, scale).to_event(1))

    return model, guide


def test_a_parameter_that_both_functions_name_is_shared(backend: backends.Backend) -> None:
    fit = untrained(*tied(backend), backend)
    assert {owner: len(names) for owner, names in owners_of(fit).items()} == {"model": 1, "guide": 1, "shared": 1}
    assert all(name.endswith("scale") for name in owners_of(fit)["shared"])
    assert not pyro.get_param_store()


def test_modules_of_the_same_name_are_not_shared() -> None:
    """Pyro's store knows a module's parameters by attribute, and takes two nets of one name for one."""
    backend = backends.load("pyro")
    rng = np.random.default_rng(0)

    class Program(PyroModule):
        def __init__(self, out: int) -> None:
            super().__init__()
            self.net = backend.nets.MLP((2, out), rng)

    class Model(Program):
        def forward(self, x: torch.Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.net(z), 1.0).to_event(1), obs=x)

    class Guide(Program):
        def forward(self, x: torch.Tensor) -> None:
            scale = pyro.param("scale", torch.ones(2), constraint=dist.constraints.positive)
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(self.net(x), scale).to_event(1))

    fit = untrained(Model(2), Guide(2), backend, X[:, :2])
    assert owners_of(fit)["guide"] == {"guide.net.layers.0.weight", "guide.net.layers.0.bias", "store.scale"}
    assert owners_of(fit)["model"] == {"model.net.layers.0.weight", "model.net.layers.0.bias"}


def test_nothing_of_the_callers_is_touched(backend: backends.Backend) -> None:
    fit, inference = untrained(*pair("vampprior", backend), backend), backend.inference
    stock = pyro.infer.RenyiELBO(num_particles=2) if backend.name == "pyro" else numpyro.infer.RenyiELBO()
    objectives = {"ours": inference.TraceELBO(), "stock": stock}
    grads = []
    if backend.name == "pyro":
        for p in fit.pair.named_parameters().values():
            p.grad = torch.full_like(p, 7.0)
        grads = [p.grad for p in fit.pair.named_parameters().values()]
    torch.manual_seed(3)
    np.random.seed(3)
    random, numpys, state = torch.get_rng_state(), np.random.get_state()[1].copy(), fit.pair.state()
    x = X.copy()
    reports = [evaluation.gradient_report(fit, objectives, x, repeats=4, batch_size=3, seed=s) for s in (0, 0, 1)]
    assert (torch.get_rng_state() == random).all() and (np.random.get_state()[1] == numpys).all()
    assert all((value == state[name]).all() for name, value in fit.pair.state().items())
    assert np.array_equal(x, X) and not pyro.get_param_store()
    if backend.name == "pyro":
        assert all(p.grad is g for p, g in zip(fit.pair.named_parameters().values(), grads, strict=True))
        assert all((g == 7.0).all() for g in grads)
    timeless = [report.drop(columns=["seconds", "variance_second"]) for report in reports]
    pd.testing.assert_frame_equal(timeless[0], timeless[1])
    assert (timeless[0]["variance"] != timeless[2]["variance"]).all()


@pytest.mark.release("numpyro")
def test_stock_objectives_agree_with_their_relatives(backend: backends.Backend) -> None:
    """One of them with a differentiable loss, and on Pyro one without."""
    fit, inference = untrained(*pair("standard", backend), backend), backend.inference
    stock = pyro.infer if backend.name == "pyro" else numpyro.infer
    objectives = {
        "ELBO": inference.TraceELBO(),
        "stock ELBO": stock.Trace_ELBO(),
        "Renyi": inference.RenyiELBO(3, alpha=0.5),
        "stock Renyi": stock.RenyiELBO(alpha=0.5, num_particles=3),
    }
    report = evaluation.gradient_report(fit, objectives, X, repeats=200)
    for name in ("ELBO", "Renyi"):
        ours, theirs = report.loc[name], report.loc[f"stock {name}"]
        assert (np.abs(ours["log_variance"] - theirs["log_variance"]) < 0.3).all()
        assert (np.abs(ours["norm"] - theirs["norm"]) < 3 * (ours["mean_error"] + theirs["mean_error"])).all()
        assert (ours["num_draws"] == theirs["num_draws"]).all()


@pytest.mark.filterwarnings("ignore")
def test_a_stock_objective_that_does_not_reach_plain_modules_is_refused() -> None:
    fit, backend = untrained(*plain_modules(*pair("standard", "pyro")), backends.load("pyro")), backends.load("pyro")
    with pytest.raises(UnsuitableObjective, match="left every gradient empty"):
        evaluation.gradient_report(fit, {"stock": pyro.infer.RenyiELBO(0.0, num_particles=2)}, X, repeats=2)
    report = evaluation.gradient_report(fit, {"ours": backend.inference.IWAE(2)}, X, repeats=2)
    assert (report["norm"] > 0).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"repeats": 1}, ValueError, "'repeats' should be an integer of at least 2; got 1"),
        ({"repeats": 2.5}, ValueError, "'repeats' should be an integer of at least 2; got 2.5"),
        ({"batch_size": 7}, ValueError, "'batch_size' should be an integer of between 1 and the 6 rows of x; got 7"),
        ({"batch_size": 0}, ValueError, "'batch_size' should be an integer"),
        ({"objectives": {}}, ValueError, "'objectives' should be a mapping"),
        ({"objectives": [1]}, ValueError, "'objectives' should be a mapping"),
        ({"objectives": {"a": "IWAE"}}, TypeError, r"objectives\['a'\] should be an objective of .* got 'IWAE'"),
        ({"x": X[:, :4]}, ValueError, "'x' should have shape"),
        ({"x": X + 5}, ValueError, "under a Bernoulli likelihood"),
    ],
    ids=str,
)
def test_bad_input(backend: backends.Backend, change: dict[str, Any], error: type[Exception], message: str) -> None:
    fit = untrained(*pair("standard", backend), backend)
    given = {"objectives": {"ELBO": backend.inference.TraceELBO()}, "x": X, "repeats": 2, **change}
    with pytest.raises(error, match=message):
        evaluation.gradient_report(fit, **given)


def test_what_does_not_fit_the_pair_is_refused(backend: backends.Backend) -> None:
    other = backends.load("numpyro" if backend.name == "pyro" else "pyro")
    stock = pyro.infer.RenyiELBO() if backend.name == "pyro" else numpyro.infer.Trace_ELBO()
    for objective, error, message in (
        (backend.inference.IWAE(4), UnsuitableObjective, "IWAE has no pathwise gradient for the site 'z'"),
        (stock, UnsuitableObjective, "has no pathwise gradient for the site 'z'"),
        (other.inference.TraceELBO(), TypeError, f"of the ppl_vae package for {backend.name}"),
    ):
        with pytest.raises(error, match=message):
            evaluation.gradient_report(discrete(backend), {"a": objective}, X, repeats=2)
    unprepared = Fit(backend.inference.Pair(*pair("standard", backend)), {}, {})
    with pytest.raises(ValueError, match="has not run yet"):
        evaluation.gradient_report(unprepared, {"a": backend.inference.TraceELBO()}, X, repeats=2)


def test_a_gradient_that_is_not_finite_is_an_error(backend: backends.Backend) -> None:
    fit = untrained(*pair("standard", backend), backend)
    fit.pair.load_state({name: np.full_like(value, np.nan) for name, value in fit.pair.state().items()})
    with pytest.raises((FloatingPointError, ValueError), match=r"NaN or infinite|found invalid values"):
        evaluation.gradient_report(fit, {"ELBO": backend.inference.TraceELBO()}, X, repeats=2)


def table(values: dict[str, tuple[int, float, float]], owners: tuple[str, ...] = ("model", "guide")) -> pd.DataFrame:
    rows = {
        (name, owner): {"num_draws": draws, "variance": variance, "snr": snr}
        for name, (draws, variance, snr) in values.items()
        for owner in owners
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["objective", "owner"])


def test_names_with_a_common_stem_are_a_line_against_the_draws() -> None:
    report = table({"IWAE 9": (9, 1.0, 0.3), "IWAE 1": (1, 9.0, 0.9), "exact": (1, 0.0, np.inf)})
    for per_draw, factor in ((False, np.array([1.0, 1.0])), (True, np.array([1.0, 9.0]))):
        figure = plots.gradient_noise(report, per_draw=per_draw)
        assert len(figure.axes) == 4
        line, below = figure.axes[1].lines[0], figure.axes[3].lines[0]
        assert line.get_label() == "IWAE" and line.get_xdata().tolist() == [1, 9]
        np.testing.assert_allclose(line.get_ydata(), np.log(np.array([9.0, 1.0]) * factor))
        np.testing.assert_allclose(below.get_ydata(), np.array([0.9, 0.3]) / np.sqrt(factor))
        assert "no noise: exact" in figure.axes[0].get_xlabel()
    assert [axes.get_title() for axes in figure.axes[:2]] == ["model's parameters", "guide's parameters"]


def test_several_batch_sizes_stand_in_one_report() -> None:
    fit = discrete(backends.load("pyro"))
    losses = {"ELBO": backends.load("pyro").inference.TraceGraphELBO(2)}
    report = evaluation.gradient_report(fit, losses, X, repeats=20, batch_size=[2, 6])
    assert set(report.index.get_level_values("objective")) == {"ELBO, batch 2", "ELBO, batch 6"}
    alone = evaluation.gradient_report(fit, losses, X, repeats=20, batch_size=2)
    assert list(report["variance"].iloc[:2]) == list(alone["variance"])
    figure = plots.gradient_noise(report, against="batch_size")
    assert figure.axes[0].get_xlabel() == "batch size" and len(figure.axes[0].lines) == 1


def test_enumeration_costs_every_configuration() -> None:
    inference = backends.load("pyro").inference
    report = evaluation.gradient_report(
        discrete(backends.load("pyro")), {"exact": inference.TraceEnumELBO()}, X, repeats=2
    )
    assert set(report["num_draws"]) == {8}


def test_other_names_are_points() -> None:
    report = table({"plain 4": (4, np.e, 0.1), "exact": (1, 0.0, np.inf)}, ("model", "guide", "shared"))
    figure = plots.gradient_noise(report, title="on something")
    assert len(figure.axes) == 6 and figure.get_suptitle() == "on something"
    assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [pytest.approx(1.0)]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["plain 4", "exact"]
    assert "no noise" in [t.get_text() for t in figure.axes[3].texts]


@pytest.mark.parametrize("spoil", [lambda t: t.reset_index(), lambda t: t.drop(columns="snr"), lambda t: t.iloc[:0]])
def test_figures_refuse_other_tables(spoil: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    with pytest.raises(ValueError, match=r"should be what evaluation\.gradient_report returned"):
        plots.gradient_noise(spoil(table({"a": (1, 1.0, 1.0)})))


def test_batches_are_drawn_afresh_without_replacement() -> None:
    from ppl_vae.evaluation.gradients import _batches

    index = _batches(9, 4, 50, 0)
    assert index.shape == (50, 4) and all(len(set(rows)) == 4 for rows in index.tolist())
    assert len({tuple(rows) for rows in index.tolist()}) > 40
    assert (np.bincount(index.ravel(), minlength=9) > 10).all()
    assert (index == _batches(9, 4, 50, 0)).all() and seeds.derive(0, "batch", 1) != seeds.derive(0, "gradient", 1)

"""Steps that are recorded as a graph give the numbers of steps that run in Python, or run in Python and say so."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import DISCRETE, EXACT, PAIRS, P, normalised, recipe, toy
from torch import nn

from ppl_vae import baselines, conditionals, guides, models, recipes, schedules
from ppl_vae.errors import MixedRows
from ppl_vae.inference import IWAE, SVI, VIMCO, VQELBO, DReG, TraceELBO, TraceGraphELBO, WakeSleep, WakeWake
from ppl_vae.inference.svi.recorded_step import NotTraceable
from ppl_vae.results import Fit
from ppl_vae.training import TrainingData

X = toy(50)
WARM_UP = schedules.Linear(0.0, 1.0, over=3)


def both(pair: Any, loss: Any, **settings: Any) -> list[Fit]:
    """Trained eagerly and from a graph, with a shorter last batch; a fallback is an error."""
    options = {"epochs": 3, "batch_size": 20, "learning_rate": 0.01, **settings}
    beside = {name: options.pop(name) for name in ("mask", "given") if name in options}
    fits = []
    for compile in (False, "trace"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", NotTraceable)
            fits.append(SVI(loss, compile=compile, **options).fit(*pair, X, **beside))
    return fits


def assert_same(fits: list[Fit]) -> None:
    eager, traced = fits
    np.testing.assert_allclose(traced.history["loss"], eager.history["loss"], rtol=1e-6)
    for name, value in eager.pair.state().items():
        np.testing.assert_allclose(traced.pair.state()[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.release(keep=["standard", "vampprior-data", "full-vampprior", "levels", "categorical", "vq", "flow"])
@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_trains_to_the_same_weights(name: str) -> None:
    """Draw for draw, those with scores too: a graph draws what the program draws."""
    loss = TraceGraphELBO(3, baseline=baselines.LeaveOneOut()) if name in DISCRETE else TraceELBO(2, beta=WARM_UP)
    loss = VQELBO() if EXACT.get(name) == "VQELBO" else loss
    assert_same(both(recipe(name, "pyro")(np.random.default_rng(0)), loss))


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("vampprior", IWAE(4)),
        ("vampprior", DReG(4)),
        ("vampprior", TraceELBO(stick_the_landing=True)),
        ("bernoulli", VIMCO(4)),
        ("bernoulli", WakeWake(4)),
        ("bernoulli", WakeSleep(4)),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_objectives_with_gradients_of_their_own(name: str, loss: Any) -> None:
    assert_same(both(recipe(name, "pyro")(np.random.default_rng(0)), loss))


def test_a_schedule_is_no_constant_of_the_graph() -> None:
    """With the same draws, an annealed and a constant weight end apart, on both paths alike."""
    pair = recipe("standard", "pyro")(np.random.default_rng(0))
    annealed, constant = (both(pair, TraceELBO(beta=beta))[1] for beta in (WARM_UP, 1.0))
    assert np.abs(annealed.history["loss"] - constant.history["loss"])[0] > 0.1


class Idle(guides.Amortised):
    """With a parameter that no loss depends on."""

    def __init__(self, posterior: Any) -> None:
        super().__init__(posterior)
        self.idle = nn.Parameter(torch.ones(3))


def test_what_the_loss_does_not_reach_stays() -> None:
    """Weight decay moves it no more than in an eager step."""
    model, guide = recipe("standard", "pyro")(np.random.default_rng(0))
    optim = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5)
    fits = both((model, Idle(guide.posterior)), TraceELBO(), optim=optim)
    assert_same(fits)
    np.testing.assert_array_equal(fits[1].guide.idle.detach(), 1.0)


def test_a_graph_for_each_shape_of_batch() -> None:
    """The shorter last batch has its own; neither is recorded again."""
    svi = SVI(epochs=1, batch_size=20, compile="trace")
    run = svi.start(*recipe("standard", "pyro")(np.random.default_rng(0)), TrainingData.of(X), seed=0, device=None)
    run.epoch(0, np.arange(50))
    graphs = dict(run.traced.graphs)
    run.epoch(1, np.arange(50))
    assert len(graphs) == 2 and None not in graphs.values() and run.traced.graphs == graphs


def test_what_is_beside_the_data_is_an_input() -> None:
    mask = np.random.default_rng(1).random((50, P)) < 0.6
    given = np.random.default_rng(2).normal(size=(50, 2))
    pair = recipes.conditional_vae(X, 2, latent_dim=3, hidden=(8,))(np.random.default_rng(0))
    assert_same(both(pair, TraceELBO(), mask=mask, given=given))


def test_refinement_within_the_guide_and_clipping_and_frozen_models() -> None:
    pair = recipe("standard", "pyro", guide="semi-amortised", refinement_steps=2)(np.random.default_rng(0))
    assert_same(both(pair, TraceELBO(), clip_norm=0.5))
    fits = both(recipe("standard", "pyro")(np.random.default_rng(0)), TraceELBO(), freeze_model=True)
    assert_same(fits)
    before = recipe("standard", "pyro")(np.random.default_rng(0))[0].likelihood.net.layers[0].weight
    torch.testing.assert_close(fits[1].model.likelihood.net.layers[0].weight, before)


def test_a_stock_objective_reads_its_loss_and_runs_step_by_step() -> None:
    pair = recipe("standard", "pyro")(np.random.default_rng(0))
    with pytest.warns(NotTraceable, match="trying to get value out of a tracing tensor"):
        fit = SVI(pyro.infer.Trace_ELBO(), epochs=1, batch_size=20, compile="trace").fit(*pair, X)
    assert np.isfinite(fit.history["loss"]).all()


def test_modules_that_differ_in_training_are_traced_so() -> None:
    """Dropout's draws are operations of the graph, too."""
    posterior = conditionals.DiagNormal(nn.Sequential(nn.Linear(P, 8), nn.Dropout(0.5), nn.Linear(8, 4)))
    likelihood = conditionals.Bernoulli(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, P)))
    assert_same(both((models.VAE(models.StandardNormal(2), likelihood), guides.Amortised(posterior)), TraceELBO()))


def test_recording_leaves_no_trace_in_running_statistics() -> None:
    assert_same(both(normalised(), TraceELBO()))


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    pair = recipe("vampprior", "pyro")(np.random.default_rng(0))
    options: dict[str, Any] = {"batch_size": 20, "compile": "trace"}
    whole = SVI(epochs=4, **options).fit(*pair, X)
    checkpoint = tmp_path / "c"
    SVI(epochs=2, **options).fit(*pair, X, checkpoint=checkpoint)
    resumed = SVI(epochs=4, **options).fit(*pair, X, checkpoint=checkpoint, resume=True)
    for name, value in whole.pair.state().items():
        np.testing.assert_array_equal(resumed.pair.state()[name], value)


class Branching(guides.Amortised):
    """What comes next depends on a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if x.mean() > 0.4 else x + 1)


class Foreign(guides.Amortised):
    """Noise that is not torch's: a graph would draw it once and for all."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = np.random.default_rng(int(x.sum())).normal(size=x.shape[0])  # reads a value behind torch's back
        return super().forward(x + torch.as_tensor(noise, dtype=x.dtype)[:, None])


class Behind(guides.Amortised):
    """A number that the program reads from NumPy: the graph would keep the first batch's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x * float(x.numpy()[0].sum()))


@pytest.mark.filterwarnings("ignore::ppl_vae.errors.MixedRows")
@pytest.mark.parametrize(
    ("wrap", "said"), [(Branching, "."), (Foreign, "."), (Behind, "other gradients than the program")]
)
def test_what_cannot_be_recorded_runs_step_by_step_after_one_warning(wrap: type, said: str) -> None:
    model, guide = recipe("standard", "pyro")(np.random.default_rng(0))
    pair = model, wrap(guide.posterior)
    eager = SVI(epochs=2, batch_size=20).fit(*pair, X)
    with pytest.warns(NotTraceable, match=f"runs step by step, as with compile=False: .*{said}") as caught:
        fallen = SVI(epochs=2, batch_size=20, compile="trace").fit(*pair, X)
    assert [warning.category for warning in caught if warning.category is not MixedRows] == [NotTraceable]
    np.testing.assert_array_equal(fallen.history["loss"], eager.history["loss"])


class Counting(guides.Amortised):
    """A warm-up over a million runs by a count of its own, of which two runs differ by less than rounding."""

    runs = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        return super().forward(x * min(1.0, 0.5 + self.runs / 1e6))


def test_a_count_in_python_is_not_recorded() -> None:
    model, guide = recipe("standard", "pyro")(np.random.default_rng(0))
    svi = SVI(epochs=1, batch_size=20, compile="trace")
    with pytest.warns(NotTraceable, match="changes a Python number"):
        fit = svi.fit(model, Counting(guide.posterior), X)
    assert fit.guide.runs > len(X) / svi.batch_size


@pytest.mark.parametrize(
    ("name", "loss", "settings", "said"),
    [
        (
            "bernoulli",
            TraceGraphELBO(2, baseline=baselines.RunningAverage()),
            {},
            "a baseline learns on the pair's draws",
        ),
        ("standard", TraceELBO(), {"guide": "per-datapoint", "num_images": 50}, "an optimiser for its rows"),
        ("standard", IWAE(4, chunk=2), {}, "draws come in chunks"),
    ],
)
def test_what_is_known_not_to_be_recorded(name: str, loss: Any, settings: dict[str, Any], said: str) -> None:
    pair = recipe(name, "pyro", **settings)(np.random.default_rng(0))
    with pytest.warns(NotTraceable, match=said):
        fit = SVI(loss, epochs=1, batch_size=20, compile="trace").fit(*pair, X)
    np.testing.assert_array_equal(fit.history["loss"], SVI(loss, epochs=1, batch_size=20).fit(*pair, X).history["loss"])


def test_parameters_outside_modules_run_step_by_step() -> None:
    def model(x: torch.Tensor) -> None:
        logits = pyro.param("logits", torch.zeros(P))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=logits + z).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        loc = pyro.param("loc", torch.zeros(1))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    with pytest.warns(NotTraceable, match="parameters outside its modules"):
        fit = SVI(epochs=1, batch_size=20, compile="trace").fit(model, guide, X)
    assert np.isfinite(fit.history["loss"]).all()


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the graph cannot be compiled, the step runs in Python."""

    def without(*_: object, **__: object) -> None:
        raise RuntimeError("no C++ compiler was found")

    monkeypatch.setattr(torch, "compile", without)
    pair = recipe("standard", "pyro")(np.random.default_rng(0))
    with pytest.warns(NotTraceable, match="no C.. compiler was found"):
        fit = SVI(epochs=1, batch_size=20, compile="inductor").fit(*pair, X)
    np.testing.assert_array_equal(fit.history["loss"], SVI(epochs=1, batch_size=20).fit(*pair, X).history["loss"])


@pytest.mark.parametrize("wrong", [True, "jit", 1])
def test_unknown_ways_to_compile(wrong: Any) -> None:
    with pytest.raises(ValueError, match="'compile' should be False, 'trace' or 'inductor'"):
        SVI(compile=wrong)

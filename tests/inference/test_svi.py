"""Training: what it trains, what it leaves alone, how it stops, and how it goes on."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpyro
import optax
import pyro
import pyro.distributions as dist
import pytest
import torch
from flax import nnx
from pairs import EXACT, PAIRS, STOCK, TRAIN, VALID, P, fill, pair, recipe, same, skip_if_broken, toy, trained
from pyro.nn import PyroParam, PyroSample

from ppl_vae import backends, data, schedules
from ppl_vae.errors import NotFiniteLoss
from ppl_vae.inference.traces import quiet, run
from ppl_vae.pairs.keywords import inner, tolerant
from ppl_vae.results import Fit
from ppl_vae.runtime import storage


def weights(program: Any) -> list[np.ndarray]:
    """Copies of everything that a module holds."""
    if isinstance(program, torch.nn.Module):
        return [t.detach().numpy().copy() for t in program.state_dict().values()]
    return [np.array(leaf) for leaf in jax.tree.leaves(nnx.state(program))]


@pytest.mark.release("numpyro", keep=["standard", "vampprior-means", "categorical"])
@pytest.mark.parametrize("name", PAIRS)
def test_every_parameter_moves_and_constants_do_not(backend: backends.Backend, name: str) -> None:
    model, guide = pair(name, backend)
    before = backend.inference.Pair(model, guide)
    loss = getattr(backend.inference, EXACT.get(name, "TraceELBO"))()
    fit = trained(backend, name, loss=loss)
    trainable = (
        set(before.named_parameters()) if backend.name == "pyro" else {n for n in before.state() if n[:6] == "params"}
    )
    for key, value in before.state().items():
        moved = (fit.pair.state()[key] != value).any()
        assert moved == (key in trainable), key
    assert (name == "vampprior-data") == any("inputs" in n and n not in trainable for n in before.state())
    assert fit.history["loss"][-1] < fit.history["loss"][0]


@pytest.mark.release("numpyro", keep=["vampprior", "vampprior-means"])
@pytest.mark.parametrize("name", ["vampprior", "vampprior-data", "vampprior-means", "gated"])
def test_the_shared_encoder_stays_shared(backend: backends.Backend, name: str) -> None:
    fit = trained(backend, name)
    assert fit.model.prior.posterior is fit.guide.posterior
    x, u = TRAIN[:5], np.asarray(fit.model.prior.pseudo_inputs().tolist())
    mean, _ = fit.posterior(u)["z"]
    prior = fit.model.prior()
    np.testing.assert_allclose(np.asarray(prior.mean.tolist()), mean.mean(0), atol=1e-5)
    assert fit.encode(x).shape == (5, 3)


def test_a_shared_encoder_is_counted_once(backend: backends.Backend) -> None:
    encoder, decoder, inputs = (12 * 8 + 8) + (8 * 6 + 6), (3 * 8 + 8) + (8 * 12 + 12), 5 * 12
    assert trained(backend).num_parameters == encoder + decoder + inputs
    assert trained(backend, "vampprior-data").num_parameters == encoder + decoder


def test_fit_leaves_its_inputs_and_the_callers_generators_alone(backend: backends.Backend) -> None:
    model, guide = pair("vampprior", backend)
    train = TRAIN.copy()
    before = weights(model), weights(guide)
    pyro.get_param_store().clear()
    pyro.param("mine", torch.ones(1))
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    fit = backend.inference.SVI(epochs=2, batch_size=20).fit(model, guide, train)
    fit.generate(2), fit.terms(train, 2)
    assert (states[0] == torch.get_rng_state()).all()
    assert (states[1] == np.random.get_state()[1]).all() and states[2] == random.getstate()
    assert all(
        (a == b).all()
        for old, new in zip(before, (weights(model), weights(guide)), strict=True)
        for a, b in zip(old, new, strict=True)
    )
    assert (train == TRAIN).all()
    assert list(pyro.get_param_store()) == ["mine"]
    pyro.get_param_store().clear()


def test_same_seed_same_numbers_whatever_a_callback_samples(backend: backends.Backend) -> None:
    seen = []

    def observe(epoch: int, metrics: dict[str, float], fit: Fit) -> None:
        seen.append((epoch, metrics["loss"], fit.generate(3, seed=epoch).shape, fit.terms(TRAIN, 2).log_lik.shape))
        torch.rand(5), np.random.rand(5)

    plain, again, observed = (
        trained(backend, seed=1),
        trained(backend, seed=1),
        trained(backend, seed=1, callback=observe),
    )
    other = trained(backend, seed=2)
    assert same(plain.pair.state(), again.pair.state()) and same(plain.pair.state(), observed.pair.state())
    assert not same(plain.pair.state(), other.pair.state())
    assert [s[0] for s in seen] == [0, 1, 2] and seen[0][2:] == ((3, P), (2, 60))


def test_two_fits_in_one_process_both_train(backend: backends.Backend) -> None:
    first, second = trained(backend, epochs=5), trained(backend, epochs=5)
    assert same(first.pair.state(), second.pair.state())
    assert first.history["loss"][-1] < first.history["loss"][0] - 0.3


@pytest.mark.release("numpyro", keep=["standard-3", "vampprior-0", "vampprior-data-1", "vampprior-data-2"])
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("name", ["standard", "vampprior", "vampprior-data"])
def test_stock_objectives_move_every_parameter_in_two_fits(backend: backends.Backend, name: str, number: int) -> None:
    skip_if_broken(backend, STOCK[backend.name][number])
    before = backend.inference.Pair(*pair(name, backend)).state()
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # stock objectives warn of their own business
            fit = trained(backend, name, loss=STOCK[backend.name][number](), epochs=6)
        still = [n for n, v in fit.pair.state().items() if (v == before[n]).all()]
        assert all("prior.loc" in n or "constants" in n or "prior.inputs" in n for n in still)
        assert len(still) <= 1
        assert fit.history["loss"][-1] < fit.history["loss"][0] - 0.1


def test_a_stock_objective_and_ours_take_the_same_gradient_step(
    base_noise: None, fresh_programs: None, backend: backends.Backend
) -> None:
    stock, ours = (
        trained(backend, loss=loss, epochs=1)
        for loss in (STOCK[backend.name][0](), None or backend.inference.TraceELBO())
    )
    for name, value in ours.pair.state().items():
        np.testing.assert_allclose(stock.pair.state()[name], value, atol=2e-5, err_msg=name)


def test_our_objective_fits_pyros_svi() -> None:
    model, guide = pair("vampprior", "pyro")
    with pyro.get_param_store().scope():
        svi = pyro.infer.SVI(
            model, guide, pyro.optim.Adam({"lr": 0.01}), loss=backends.load("pyro").inference.TraceELBO()
        )
        losses = [svi.step(torch.tensor(TRAIN)) for _ in range(40)]
        assert svi.evaluate_loss(torch.tensor(TRAIN)) < losses[0] - 30
    module = backends.load("pyro").inference.TraceELBO()(model, guide)
    assert module(torch.tensor(TRAIN)).requires_grad


def test_our_objective_fits_numpyros_svi() -> None:
    b = backends.load("numpyro")
    model, guide = b.inference.as_functions(*pair("vampprior", "numpyro"))
    svi = numpyro.infer.SVI(model, guide, optax.adam(0.01), loss=b.inference.TraceELBO())
    result = svi.run(jax.random.key(0), 40, TRAIN, progress_bar=False)
    assert result.losses[-1] < result.losses[0] - 30
    tied = b.inference.as_functions(*pair("vampprior", "numpyro"))[0]
    assert list(numpyro.handlers.trace(numpyro.handlers.seed(tied, 0)).get_trace(TRAIN)) == [
        "pair$params",
        "data",
        "z",
        "x",
    ]


@pytest.mark.release("numpyro")
def test_dynamic_binarisation_is_fresh_in_each_epoch(backend: backends.Backend) -> None:
    """With nets that ignore their inputs, the loss is linear in the pixels: it tells which pixels were fed."""
    rng = np.random.default_rng(0)
    grey, bias = rng.random((60, P)).astype(np.float32), rng.normal(size=P)
    model, guide = pair("standard", backend)
    fill(guide.posterior.net.layers[-1], np.zeros((6, 8)), np.zeros(6))
    fill(model.likelihood.net.layers[-1], np.zeros((P, 8)), bias)
    svi = backend.inference.SVI(backend.inference.TraceMeanFieldELBO(), epochs=40, batch_size=25, learning_rate=1e-30)
    losses = {
        rule: svi.fit(model, guide, data.from_arrays(grey, toy(20), toy(20), binarisation=rule)).history["loss"]
        for rule in ("none", "dynamic", "threshold")
    }
    error = np.sqrt((grey * (1 - grey) * bias**2).sum()) / 60
    np.testing.assert_allclose(losses["none"], losses["none"][0], rtol=1e-5)
    np.testing.assert_allclose(losses["threshold"], losses["threshold"][0], rtol=1e-5)
    expected = losses["none"][0] + ((grey - (grey > 0.5)) @ bias).mean()
    assert losses["threshold"][0] == pytest.approx(expected, rel=1e-4)
    assert losses["dynamic"].std(ddof=1) == pytest.approx(error, rel=0.5)
    assert abs(losses["dynamic"].mean() - losses["none"][0]) < 4 * error / np.sqrt(40)


def test_warm_up_weighs_the_kl(backend: backends.Backend, base_noise: None, fresh_programs: None) -> None:
    """With one batch per epoch, the loss of epoch t is that of the constant beta(t) on the same weights."""
    schedule = schedules.Linear(0.0, 1.0, over=2)
    still = {"learning_rate": 1e-30, "batch_size": 60, "epochs": 3}
    objective = backend.inference.TraceMeanFieldELBO
    losses = trained(backend, "standard", loss=objective(beta=schedule), **still).history["loss"]
    betas = (0.0, 0.5, 1.0)
    constant = [trained(backend, "standard", loss=objective(beta=beta), **still).history["loss"] for beta in betas]
    np.testing.assert_allclose(losses, np.diagonal(constant), rtol=1e-5)
    np.testing.assert_array_less(constant[:-1], constant[1:])


@pytest.mark.release("numpyro", keep=["5"])
@pytest.mark.parametrize("over", [5, 60])
def test_early_stopping_counts_after_warm_up_and_restores_the_best(backend: backends.Backend, over: int) -> None:
    """The best of all epochs; under a long warm-up it lies within it, for the pair has begun to learn by heart."""
    loss = backend.inference.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=over))
    fit = trained(backend, loss=loss, valid=VALID, patience=3, epochs=400, learning_rate=0.03)
    valid = fit.history["valid_elbo"]
    best = int(np.argmax(valid))
    assert max(best + 1, over) + 3 == len(valid) < 400
    assert over == 5 or best < over - 1
    from ppl_vae.pairs.chunks import sample_in_chunks
    from ppl_vae.seeds import derive

    assert sample_in_chunks(fit.pair, VALID, 1, derive(0, "valid"))[1].log_weights.mean() == pytest.approx(valid[best])


def test_a_learning_rate_factor_of_zero_moves_nothing(backend: backends.Backend) -> None:
    svi = backend.inference.SVI(epochs=2, batch_size=20, learning_rate_factor=schedules.Linear(0.0, 0.0, over=1))
    fit = svi.fit(*pair("standard", backend), TRAIN)
    assert same(fit.pair.state(), backend.inference.Pair(*pair("standard", backend)).state())


@pytest.mark.release("numpyro", keep=["vampprior-data", "full"])
@pytest.mark.parametrize("name", ["vampprior", "vampprior-data", "mixture", "normal", "full", "vampprior-means"])
def test_save_and_load(backend: backends.Backend, name: str, tmp_path: Path) -> None:
    fit = trained(backend, name, valid=VALID)
    path = fit.save(tmp_path / "fit.safetensors", recipe=recipe(name, backend))
    loaded = Fit.load(path)
    assert same(fit.pair.state(), loaded.pair.state()) and loaded.backend == backend.name
    assert (fit.generate(4) == loaded.generate(4)).all() and (fit.encode(TRAIN) == loaded.encode(TRAIN)).all()
    assert all((fit.history[n] == loaded.history[n]).all() for n in fit.history) and loaded.settings == fit.settings
    if name.startswith("vamp"):
        assert loaded.model.prior.posterior is loaded.guide.posterior
    with pytest.raises(ValueError, match="do not fit the pair"):
        Fit.load(path, pair=pair("standard", backend, hidden=(9,)))
    fit.save(path)
    with pytest.raises(ValueError, match=r"without a recipe: pass pair="):
        Fit.load(path)
    assert same(Fit.load(path, pair=pair(name, backend)).pair.state(), fit.pair.state())


class Interrupted(Exception):
    pass


@pytest.mark.release("numpyro", keep=["Interrupted"])
@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
def test_resuming_equals_an_uninterrupted_run_to_the_bit(
    backend: backends.Backend, error: type[BaseException], tmp_path: Path
) -> None:
    loss = backend.inference.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=3))
    options: dict[str, Any] = {
        "loss": loss,
        "valid": VALID,
        "patience": 4,
        "epochs": 9,
        "seed": 5,
        "checkpoint_every": 2,
    }
    whole = trained(backend, **options)

    def interrupt(epoch: int, *_: Any) -> None:
        if epoch == 4:
            raise error

    path = tmp_path / "run.checkpoint"
    with pytest.raises(error):
        trained(backend, checkpoint=path, callback=interrupt, **options)
    assert storage.read(path)[1]["epochs_done"] == 4
    seen: list[int] = []
    resumed = trained(backend, checkpoint=path, resume=True, callback=lambda epoch, *_: seen.append(epoch), **options)
    assert seen[0] == 4
    assert same(whole.pair.state(), resumed.pair.state())
    assert all((whole.history[n] == resumed.history[n]).all() for n in ("loss", "valid_elbo"))
    again = trained(backend, checkpoint=path, resume=True, **options)
    assert same(whole.pair.state(), again.pair.state())
    longer = trained(backend, checkpoint=path, resume=True, **{**options, "epochs": 10})
    assert len(longer.history["loss"]) <= 10
    with pytest.raises(ValueError, match=r"belongs to another training: its 'seed' is 5, here it is 6"):
        trained(backend, checkpoint=path, resume=True, **{**options, "seed": 6})
    with pytest.raises(ValueError, match="it saw other data"):
        trained(backend, checkpoint=path, resume=True, data=toy(60, seed=9), **options)
    with pytest.raises(ValueError, match="epochs behind it, more than the 2 asked for"):
        trained(backend, checkpoint=path, resume=True, **{**options, "epochs": 2})
    svi = backend.inference.SVI(loss, epochs=20, batch_size=20, learning_rate=0.01, patience=4)
    with pytest.raises(ValueError, match="belongs to another model"):
        other = pair("vampprior", backend, activation="tanh")
        svi.fit(*other, TRAIN, valid=VALID, seed=5, checkpoint=path, resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["run.checkpoint"]


def test_a_loss_that_turns_nan_names_the_step_and_keeps_the_checkpoint(
    backend: backends.Backend, tmp_path: Path
) -> None:
    path = tmp_path / "run.checkpoint"
    trained(backend, "normal", checkpoint=path, epochs=1)
    good = path.read_bytes()
    with pytest.raises(NotFiniteLoss, match=r"epoch \d+, step \d+; the last good checkpoint is .*run.checkpoint"):
        trained(backend, "normal", checkpoint=path, learning_rate=1e18, epochs=20, checkpoint_every=50)
    assert path.read_bytes() == good
    with pytest.raises(NotFiniteLoss, match="no checkpoint was asked for"):
        trained(backend, "normal", learning_rate=1e18, epochs=20)


def test_fit_to_arviz(backend: backends.Backend) -> None:
    fit = trained(backend)
    idata = fit.to_arviz(TRAIN[:4], 25)
    assert idata.posterior["z"].shape == (1, 25, 4, 3) and idata.posterior["z"].dims[2:] == ("datum", "z_dim")
    assert idata.log_likelihood["x"].shape == (1, 25, 4) and idata.observed_data["x"].shape == (4, P)


def test_the_last_shorter_batch_counts_by_its_size(backend: backends.Backend) -> None:
    fit = trained(backend, batch_size=50, epochs=1, learning_rate=1e-30)
    one = trained(backend, batch_size=60, epochs=1, learning_rate=1e-30)
    assert fit.history["loss"][0] == pytest.approx(one.history["loss"][0], rel=0.05)


def test_a_net_is_no_statement_of_a_step_and_what_pyro_knows_stays_one() -> None:
    """SVI trains torch's parameters: ``pyro.module`` at each access of a net would be a tenth of a step."""
    x = torch.from_numpy(toy(4))
    model, guide = pair("standard", "pyro")

    def params(program: Any) -> set[str]:
        return set(run(program, quiet(guide), (x,), {}, 1)[0].param_nodes)

    assert params(quiet(model)) == set() and "likelihood$$$net.layers.0.weight" in params(model)
    assert inner(quiet(model)) is model and params(quiet(tolerant(model))) == set()

    handle = model.register_forward_hook(lambda *_: None)
    assert quiet(model) is model
    handle.remove()
    model.temperature = PyroParam(torch.tensor(2.0), constraint=dist.constraints.positive)
    assert quiet(model) is model
    del model.temperature
    model.shift = PyroSample(dist.Normal(0.0, 1.0))
    assert quiet(model) is model

"""Two players: the critic learns a known log-ratio, the pair is the VAE where it does not listen, all resumes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from pairs import D, apart, pair, prepared, recipe, toy

from ppl_vae import backends, critics, data, recipes, seeds
from ppl_vae.critics import Critic
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.inference.svi.recorded_step import NotTraceable
from ppl_vae.pairs.terms import Latents
from ppl_vae.players import Sizes, View
from ppl_vae.training import TrainingData

SMALL = Critic(hidden=(16, 16), learning_rate=1e-2)
OBJECTIVES = ("FactorVAE", "AAE", "WAEGAN")
CORRELATION = 0.7


def correlated(count: int, seed: int) -> np.ndarray:
    factor = np.linalg.cholesky([[1.0, CORRELATION], [CORRELATION, 1.0]])
    return np.random.default_rng(seed).normal(size=(count, 2)) @ factor.T


def known_ratio(z: np.ndarray) -> np.ndarray:
    """log N(z; 0, C) - log N(z; 0, I)."""
    inverse = np.linalg.inv([[1.0, CORRELATION], [CORRELATION, 1.0]])
    quadratic = np.einsum("ni,ij,nj->n", z, inverse - np.eye(2), z)
    return -0.5 * quadratic - 0.5 * np.log(1 - CORRELATION**2)


def trained_critic(backend: backends.Backend, steps: int) -> Any:
    """A critic that has told correlated codes from independent ones, as a function of codes."""
    settings, rng, batches = Critic((32, 32), learning_rate=3e-3, betas=(0.9, 0.999)), np.random.default_rng(0), []
    for step in range(steps):
        batches.append((correlated(200, step + 1), rng.normal(size=(200, 2))))
    if backend.name == "pyro":
        from ppl_vae.inference.svi.players import RunningPlayer

        running = RunningPlayer(settings, Sizes(0, 2), seeds.generator(0, "critic"), torch.device("cpu"))
        for codes, others in batches:
            codes, others = (torch.tensor(a, dtype=torch.float32) for a in (codes, others))
            running.step(View(codes, codes, Latents(codes), others))
        net = running.fixed.learned
        metrics = np.array(list(running.metrics().values()))
        return lambda z: settings.logits(net, torch.tensor(z, dtype=torch.float32)).numpy(), metrics
    from ppl_vae.numpyro.inference.svi.players import advance, init

    def step(state: Any, batch: Any) -> Any:
        state, metrics = advance(settings, state, View(batch[0], batch[0], Latents(batch[0]), batch[1]))
        return state, jnp.stack(metrics)

    stacked = [jnp.asarray(a, jnp.float32) for a in map(np.stack, zip(*batches, strict=True))]
    state, metrics = jax.lax.scan(step, init(settings, Sizes(0, 2), seeds.generator(0, "critic")), tuple(stacked))
    return lambda z: np.asarray(settings.logits(state.known.learned, jnp.asarray(z))), np.asarray(metrics).mean(0)


def test_the_critic_learns_the_log_ratio(backend: backends.Backend) -> None:
    """Of two Gaussians: its values, the total correlation that is their mean, and its accuracy, Bayes's."""
    critic, (loss, accuracy) = trained_critic(backend, 600)
    z = correlated(4000, 0)
    known, learned = known_ratio(z), critic(z)
    assert np.corrcoef(known, learned)[0, 1] > 0.95
    assert learned.mean() == pytest.approx(-0.5 * np.log(1 - CORRELATION**2), abs=0.08)
    bayes = 0.5 * ((known > 0).mean() + (known_ratio(np.random.default_rng(1).normal(size=(4000, 2))) < 0).mean())
    assert bayes - 0.06 < accuracy < bayes + 0.02 and 0.4 < loss < np.log(2)


def test_a_critic_of_two_samples(backend: backends.Backend) -> None:
    """Its ratio is the known one at other codes, and on both backends the same; more steps go on from fewer."""
    settings = Critic((32, 32), learning_rate=3e-3, betas=(0.9, 0.999))
    samples = correlated(9000, 0), np.random.default_rng(5).normal(size=(7000, 2))
    ratio = critics.train(settings, *samples, steps=600, batch_size=200, backend=backend.name)
    z = correlated(4000, 1)
    assert abs(ratio(z) - known_ratio(z)).mean() < 0.25 * abs(known_ratio(z)).mean()
    assert ratio(z).mean() == pytest.approx(-0.5 * np.log(1 - CORRELATION**2), abs=0.1)
    assert {name: a.shape for name, a in ratio.history.items()} == dict.fromkeys(critics.Critic.metrics, (600,))
    other = critics.train(settings, *samples, steps=20, batch_size=200, backend=backend.name)
    for name, values in other.history.items():  # the same weights and batches
        np.testing.assert_array_equal(values, ratio.history[name][:20])
    pyro = critics.train(settings, *samples, steps=20, batch_size=200, backend="pyro")
    np.testing.assert_allclose(other.history["critic_loss"], pyro.history["critic_loss"], rtol=1e-3)
    np.testing.assert_allclose(other(z[:9].reshape(3, 3, 2)), pyro(z[:9]).reshape(3, 3), atol=2e-3)
    for arguments, message in (
        ((samples[0][:, 0], samples[1]), r"'codes' should have shape \(N, D\)"),
        ((samples[0], samples[1] * np.nan), "'others' should have shape .*, with finite numbers"),
        ((samples[0], samples[1][:, :1]), r"one D; got \(9000, 2\) and \(7000, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            critics.train(settings, *arguments, steps=2, backend=backend.name)
    for setting in ("steps", "batch_size"):
        with pytest.raises(ValueError, match=f"'{setting}' should be an integer of at least 1; got 0"):
            critics.train(settings, *samples, **{setting: 0})


def test_loss_and_accuracy_are_the_same_in_three_libraries() -> None:
    rng = np.random.default_rng(0)
    net, codes, others = SMALL.init(Sizes(0, 3), rng).learned, rng.normal(size=(9, 3)), rng.normal(size=(7, 3)) + 0.5
    loss, accuracy = SMALL.classify(net, codes, others)
    ours, theirs = SMALL.logits(net, codes), SMALL.logits(net, others)
    by_hand = 0.5 * (np.log1p(np.exp(-ours)).mean() + np.log1p(np.exp(theirs)).mean())
    assert loss == pytest.approx(by_hand)
    assert accuracy == pytest.approx(0.5 * ((ours > 0).mean() + (theirs <= 0).mean()))
    h = np.array([[1.0, -2.0, 0.5]])
    for layer in range(2):
        h = h @ net[f"weight_{layer}"].T + net[f"bias_{layer}"]
        h = np.maximum(h, 0.2 * h)
    assert SMALL.logits(net, np.array([1.0, -2.0, 0.5])) == pytest.approx((h @ net["weight_2"].T).item())
    for array in (torch.tensor, jnp.asarray):
        found = SMALL.classify({n: array(a) for n, a in net.items()}, array(codes), array(others))
        assert [float(a) for a in found] == pytest.approx([loss, accuracy], rel=1e-5)


def test_two_outputs_are_a_softmax_of_two_classes_and_a_slope_is_a_slope() -> None:
    """Torch's own layers and cross-entropy, in loss and in gradients."""
    critic, rng = Critic(hidden=(8, 7), outputs=2, slope=0.02), np.random.default_rng(0)
    start = critic.init(Sizes(0, 3), rng).learned
    layers = [(3, 8), (8, 7), (7, 2)]
    assert [start[f"weight_{i}"].shape for i in range(3)] == [(out, inp) for inp, out in layers]
    net = {name: torch.tensor(a, requires_grad=True) for name, a in start.items()}
    codes, others = (torch.tensor(rng.normal(size=(count, 3)) - 1) for count in (9, 9))
    loss, _ = critic.classify(net, codes, others)
    theirs = torch.nn.Sequential()
    for i, (inp, out) in enumerate(layers):
        theirs.extend([torch.nn.Linear(inp, out, dtype=torch.float64), torch.nn.LeakyReLU(0.02)][: 1 if i == 2 else 2])
        theirs[-1 if i == 2 else -2].load_state_dict({k: net[f"{k}_{i}"].detach() for k in ("weight", "bias")})
    classes = torch.tensor([0] * 9 + [1] * 9)
    expected = torch.nn.functional.cross_entropy(theirs(torch.cat([codes, others])), classes)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    loss.backward()
    expected.backward()
    for i in range(3):
        torch.testing.assert_close(net[f"weight_{i}"].grad, theirs[2 * i].weight.grad)
    jax_loss, _ = critic.classify({n: jnp.asarray(a) for n, a in start.items()}, *map(jnp.asarray, (codes, others)))
    assert float(jax_loss) == pytest.approx(expected.item(), rel=1e-5)


def test_permuted_codes_keep_each_dimension_and_break_the_rest(backend: backends.Backend) -> None:
    """The sample of every dimension is the guide's own; rows are not."""
    own, x = prepared(backend), toy(40)
    if backend.name == "pyro":
        from ppl_vae.inference.svi.players import permuted_codes

        with own.active() as (_, guide):
            torch.manual_seed(0)
            z = permuted_codes(guide, own.tensor(x), {}, 2).numpy()
    else:
        from ppl_vae.numpyro.inference.svi.players import permuted_codes

        _, guide = own.structure.programs(own.params, own.constants)
        z = np.asarray(permuted_codes(guide, own.array(x), {}, 2, jax.random.key(0)))
    assert z.shape == (2, 40, D)
    loc, scale = own.posterior(x, 0)["z"]
    for dim in range(D):
        assert abs(z[..., dim].mean() - loc[:, dim].mean()) < 4 * np.sqrt((scale**2).mean() / 80 + loc.var() / 80)
    rows = (z - loc) / scale
    assert np.abs(rows).mean() > 0.9  # not the rows' own draws, whose mean is 0.80


@pytest.mark.release("numpyro", keep=["AAE"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_trains_and_tells_of_its_critic(backend: backends.Backend, name: str) -> None:
    objective = getattr(backend.inference, name)(2)
    training = backend.inference.Adversarial(objective, critic=SMALL, epochs=3, batch_size=20)
    model, guide = pair("standard", backend)
    fit = training.fit(model, guide, toy(70), seed=0)
    assert fit.history["critic_accuracy"].shape == (3,) and (fit.history["critic_accuracy"] <= 1).all()
    assert np.isfinite(fit.history["loss"]).all() and np.isfinite(fit.history["critic_loss"]).all()
    assert fit.critic is not None and fit.critic(fit.encode(toy(5))).shape == (5,)
    again = training.fit(model, guide, toy(70), seed=0)
    np.testing.assert_array_equal(fit.history["loss"], again.history["loss"])
    np.testing.assert_array_equal(fit.history["critic_loss"], again.history["critic_loss"])


@pytest.mark.release("numpyro")
def test_at_strength_zero_it_is_the_vae(backend: backends.Backend) -> None:
    """The critic learns beside it and is not listened to; on NumPyro its draws are no one else's, to the bit."""
    inference, own = backend.inference, pair("standard", backend)
    shared = {"epochs": 3, "batch_size": 20, "learning_rate": 0.01}
    plain = inference.SVI(inference.TraceMeanFieldELBO(), **shared).fit(*own, toy(60))
    training = inference.Adversarial(inference.FactorVAE(strength=0.0), critic=SMALL, **shared)
    still = training.fit(*own, toy(60))
    loud = inference.Adversarial(inference.FactorVAE(strength=20.0), critic=SMALL, **shared).fit(*own, toy(60))
    assert still.history["critic_loss"][0] != still.history["critic_loss"][-1]
    if backend.name == "numpyro":
        assert apart(still, plain) < 1e-6 < apart(loud, plain)
    else:  # other draws, of the same law
        np.testing.assert_allclose(still.history["loss"], plain.history["loss"], rtol=0.1)


@pytest.mark.release("numpyro")
def test_factor_vae_takes_the_correlation_out(backend: backends.Backend) -> None:
    """The total correlation that another estimator sees falls, and the critic is left with less to tell apart."""
    inference, own, x = backend.inference, pair("standard", backend), toy(200)
    shared = {"critic": Critic((32, 32), learning_rate=3e-3), "epochs": 60, "batch_size": 50, "learning_rate": 5e-3}
    found = {}
    for strength in (0.0, 30.0):
        training = inference.Adversarial(inference.FactorVAE(strength=strength), **shared)
        fit = training.fit(*own, x)
        correlation = np.corrcoef(fit.encode(x).T) - np.eye(D)
        found[strength] = (np.abs(correlation).max(), fit.history["critic_accuracy"][-10:].mean())
    assert found[30.0][0] < 0.8 * found[0.0][0] and found[30.0][1] < found[0.0][1]


@pytest.mark.release("numpyro", keep=["FactorVAE"])
@pytest.mark.parametrize("name", ["FactorVAE", "AAE"])
def test_the_pair_climbs_against_the_critic_as_it_was(backend: backends.Backend, name: str) -> None:
    """However far the critic moves in a step, the pair's gradient of that step is of the critic before it."""
    plain = partial(torch.optim.SGD, lr=0.1) if backend.name == "pyro" else optax.sgd(0.1)
    fits = []
    for rate in (1e-9, 1.0):
        critic, objective = Critic(hidden=(16, 16), learning_rate=rate), getattr(backend.inference, name)(strength=20.0)
        training = backend.inference.Adversarial(objective, critic=critic, optim=plain, epochs=1, batch_size=40)
        fits.append(training.fit(*pair("standard", backend), toy(40)))
    assert apart(*fits) == 0.0


def test_rows_of_single_data_points(backend: backends.Backend) -> None:
    """Another batch's codes are drawn from the rows of that batch."""
    own = recipes.vae(toy(50), guide="per-datapoint", latent_dim=D, hidden=(8,), backend=backend.name)
    training = backend.inference.Adversarial(critic=SMALL, epochs=2, batch_size=20)
    fit = training.fit(*own(seeds.generator(0, "weights")), toy(50))
    assert np.isfinite(fit.history["loss"]).all() and np.isfinite(fit.history["critic_loss"]).all()


@pytest.mark.release("numpyro", keep=["True"])
@pytest.mark.parametrize("streamed", [False, True])
def test_another_batch_brings_what_is_beside_it(
    backend: backends.Backend, streamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether in memory or on the disk, where what is in memory is a block: x and its side information go together."""
    where = "ppl_vae.inference.svi.run" if backend.name == "pyro" else "ppl_vae.numpyro.inference.svi.step"
    calls = []

    def checked(guide: Any, x: Any, side: dict[str, Any], draws: int, *rest: Any) -> Any:
        calls.append(draws)
        fits = (side["given"] == x[:, :3]).all(-1)[None, :, None]
        codes = 0 * x[None, :, :D] + 1.0
        return torch.where(fits, codes, torch.nan) if backend.name == "pyro" else jnp.where(fits, codes, jnp.nan)

    monkeypatch.setattr(f"{where}.permuted_codes", checked)
    x = toy(90)
    np.save(tmp_path / "x.npy", x.astype(np.uint8))
    own = recipes.conditional_vae(x, given_dim=3, latent_dim=D, hidden=(8,), backend=backend.name)
    training = backend.inference.Adversarial(critic=Critic((7,)), epochs=2, batch_size=20)
    seen = data.stream(tmp_path / "x.npy") if streamed else x
    fit = training.fit(*own(seeds.generator(0, "weights")), seen, given=x[:, :3])
    assert calls and np.isfinite(fit.history["critic_loss"]).all()


def test_a_recorded_step_has_no_critic() -> None:
    training = backends.load("pyro").inference.Adversarial(critic=SMALL, epochs=1, batch_size=20, compile="trace")
    with pytest.warns(NotTraceable, match="step by step, as with compile=False: a critic learns on the pair's draws"):
        training.fit(*pair("standard", "pyro"), toy(40))


@pytest.mark.release("numpyro", keep=["FactorVAE"])
@pytest.mark.parametrize("name", ["FactorVAE", "WAEGAN"])
def test_a_killed_training_goes_on(backend: backends.Backend, name: str, tmp_path: Path) -> None:
    """Weights, both optimisers and the critic: the end is that of the uninterrupted training, to the bit."""
    objective, file = getattr(backend.inference, name)(), tmp_path / "run.checkpoint"
    settings = {"loss": objective, "critic": SMALL, "batch_size": 20}
    whole = backend.inference.Adversarial(epochs=4, **settings).fit(*pair("standard", backend), toy(60))
    backend.inference.Adversarial(epochs=2, **settings).fit(*pair("standard", backend), toy(60), checkpoint=file)
    training = backend.inference.Adversarial(epochs=4, **settings)
    resumed = training.fit(*pair("standard", backend), toy(60), checkpoint=file, resume=True)
    for column in ("loss", "critic_loss", "critic_accuracy"):
        np.testing.assert_array_equal(resumed.history[column], whole.history[column])
    assert apart(resumed, whole) == 0.0
    z = np.ones((3, D), np.float32)
    assert resumed.critic is not None and whole.critic is not None
    np.testing.assert_array_equal(resumed.critic(z), whole.critic(z))
    other = backend.inference.Adversarial(loss=objective, critic=Critic((8,)), batch_size=20, epochs=4)
    with pytest.raises(ValueError, match="critic"):
        other.fit(*pair("standard", backend), toy(60), checkpoint=file, resume=True)


def test_replicas_have_critics_of_their_own(backend: backends.Backend) -> None:
    training = backend.inference.Adversarial(backend.inference.FactorVAE(), critic=SMALL, epochs=2, batch_size=20)
    fits = training.fit_seeds(recipe("standard", backend), toy(60), seeds=(0, 3), strengths=(2.0, 9.0))
    assert [fit.settings["seed"] for fit in fits] == [0, 3, 0, 3]
    alone = backend.inference.Adversarial(
        backend.inference.FactorVAE(strength=9.0), critic=SMALL, epochs=2, batch_size=20
    ).fit(*pair("standard", backend, 3), toy(60), seed=3)
    assert apart(fits[3], alone) < 1e-4
    for column in ("loss", "critic_loss"):
        np.testing.assert_allclose(fits[3].history[column], alone.history[column], rtol=1e-3)
    assert len({round(float(fit.history["critic_loss"][-1]), 5) for fit in fits}) == 4


@pytest.mark.release("numpyro")
def test_streams_and_dynamic_data(backend: backends.Backend, tmp_path: Path) -> None:
    """Another batch is read from the disk, too, and drawn afresh where data are."""
    np.save(tmp_path / "x.npy", toy(80).astype(np.uint8))
    stream = data.stream(tmp_path / "x.npy")
    split = data.load("digits").subset(train=60, valid=10, test=10)
    training = backend.inference.Adversarial(critic=SMALL, epochs=2, batch_size=20)
    assert np.isfinite(training.fit(*pair("standard", backend), stream).history["critic_loss"]).all()
    own = recipes.vae(split, latent_dim=2, hidden=(8,), backend=backend.name)(seeds.generator(0, "weights"))
    assert np.isfinite(training.fit(*own, split).history["critic_loss"]).all()


def test_what_is_refused(backend: backends.Backend) -> None:
    inference, own = backend.inference, pair("standard", backend)
    with pytest.raises(UnsuitableObjective, match=r"a critic .*: use inference.Adversarial\(FactorVAE\(\.\.\.\)\)"):
        inference.SVI(inference.FactorVAE(), epochs=1, batch_size=20).fit(*own, toy(40))
    with pytest.raises(UnsuitableObjective, match="TraceELBO has no use for one: use SVI"):
        inference.Adversarial(inference.TraceELBO(), epochs=1, batch_size=20).fit(*own, toy(40))
    with pytest.raises(ValueError, match="a batch would have a single row"):
        inference.Adversarial(epochs=1, batch_size=1).fit(*own, toy(40))
    with pytest.raises(UnsuitableObjective, match="no pathwise gradient for the site 'z'"):
        inference.Adversarial(epochs=1, batch_size=20).fit(*pair("bernoulli", backend), toy(40))
    for call, message in (
        (lambda: Critic(hidden=(0,)), "'hidden' should be numbers, each an integer"),
        (lambda: Critic(learning_rate=0.0), "'learning_rate' should be a finite number above 0"),
        (lambda: Critic(betas=(0.5, 1.0)), "'betas' should be numbers, each in"),
        (lambda: Critic(slope=-0.1), "'slope' should be in"),
        (lambda: Critic(outputs=3), "'outputs' should be 1, or 2"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_shorter_epoch(backend: backends.Backend) -> None:
    """``epoch_size`` takes a random part of the data each time: other data in each epoch, all of them in the end."""
    svi = backend.inference.SVI(epochs=6, batch_size=20, epoch_size=40)
    seen: list[np.ndarray] = []
    loop = svi._loop(*pair("standard", backend), TrainingData.of(toy(100)), 0, None, None)
    for epoch in range(12):
        order = loop.order(epoch)
        assert len(set(order)) == len(order) == 40
        seen.append(order)
    assert len(set(np.concatenate(seen))) == 100 and set(seen[0]) != set(seen[1])
    fit = svi.fit(*pair("standard", backend), toy(100))
    assert fit.history["loss"].shape == (6,) and np.isfinite(fit.history["loss"]).all()
    below = "an integer of at least 'batch_size', 20; got "
    for size, message in (
        (10, f"{below}10"),
        (40.5, "at least 1; got 40.5"),
        (200, "only 100 data points"),
    ):
        with pytest.raises(ValueError, match=message):
            backend.inference.SVI(batch_size=20, epoch_size=size).fit(*pair("standard", backend), toy(100))


def test_a_shorter_epoch_with_a_shorter_last_batch() -> None:
    """What fills the last batch is no datum: the data of an epoch count once each, and no other."""
    inference = backends.load("numpyro").inference
    svi = inference.SVI(epochs=1, batch_size=20, epoch_size=50)
    loop = svi._loop(*pair("standard", "numpyro"), TrainingData.of(toy(90)), 0, None, None)
    order = loop.order(0)
    _, parts = loop.run.plan(0, order)
    rows = np.concatenate([np.ravel(part.rows) for part in parts])
    assert sorted(rows[rows < 90]) == sorted(order)

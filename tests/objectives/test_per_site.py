"""A strategy for each site of one program, beside enumeration of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import gradient, names_of_the_guide, prepared_net, two_layers, value_of
from pairs import pair, toy, untrained

from ppl_vae import backends, baselines, inference, objectives, schedules
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import Enumerate, MeasureValued, PerSite, Relax, Reparameterise, Score
from ppl_vae.runtime import storage

OF_Z1 = {
    "enumerated": Enumerate(),
    "scored": Score(),
    "left out": Score(baselines.LeaveOneOut()),
    "followed": Score(baselines.RunningAverage()),
    "flipped": MeasureValued(),
}


PAIRS = [
    ("enumerated", "enumerated"),
    ("enumerated", "flipped"),
    ("scored", "enumerated"),
    ("scored", "flipped"),
    ("left out", "enumerated"),
    ("left out", "scored"),
    ("followed", "enumerated"),
    ("enumerated", "followed"),
    ("flipped", "enumerated"),
    ("flipped", "left out"),
]


def dependent_layers(backend: backends.Backend) -> Any:
    """The net of two layers with weights three times as large, and a prior that is not uniform.

    Otherwise the second layer hardly depends on the first, and log p of it is the same for all values.
    """
    own = prepared_net("two layers", backend)
    state = {name: 3.0 * value for name, value in own.state().items()}
    (prior,) = (name for name, value in state.items() if value.shape == (2,) and "prior" in name)
    own.load_state({**state, prior: np.array([1.5, -2.0], np.float32)})
    return own


def told(backend: backends.Backend, strategies: Any) -> Any:
    """PerSite whose baselines predict what is wrong, another number for each datum."""

    class Told(backend.inference.PerSite):  # type: ignore[misc, name-defined]
        def bound(self, terms: Any, *predicted: Any) -> Any:
            wrong = np.linspace(-9.0, 3.0, terms.log_lik.shape[-1], dtype=np.float32)
            like = terms.log_lik.new_tensor(wrong) if backend.name == "pyro" else wrong
            return super().bound(terms, *(like for _ in self.players))

    return Told(strategies, num_particles=2)


@pytest.mark.release(
    "numpyro", keep=["enumerated-enumerated", "scored-enumerated", "followed-enumerated", "flipped-left out"]
)
@pytest.mark.parametrize(("z1", "z2"), PAIRS)
def test_any_two_strategies_have_the_exact_gradient(backend: backends.Backend, z1: str, z2: str) -> None:
    """Of a net of two layers, three bits above which two stand."""
    own, exact = dependent_layers(backend), backend.inference.TraceEnumELBO()
    names = [site.name for site in own.sites.latent]
    strategies = dict(zip(names, (OF_Z1[z1], OF_Z1[z2]), strict=True))
    objective = (
        told(backend, strategies) if "followed" in (z1, z2) else backend.inference.PerSite(strategies, num_particles=2)
    )
    if z1 == z2 == "enumerated":
        objective = backend.inference.PerSite(strategies)
        ours, theirs = (gradient(backend, o, own, toy(4), 0) for o in (objective, exact))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
        return
    x = np.repeat(toy(3), 100, 0)
    drawn = np.stack([gradient(backend, objective, own, x, seed) for seed in range(150)])
    error = drawn.std(0, ddof=1) / np.sqrt(len(drawn)) + 1e-5 * np.abs(drawn).max()  # and rounding
    away = np.abs(drawn.mean(0) - gradient(backend, exact, own, x, 0)) / error
    assert away.max() < 4.0, "of each parameter, so that one that is wrong is not lost among those that are not"
    value = np.mean([value_of(backend, objective, own, np.repeat(toy(4), 100, 0), seed) for seed in range(4)]) / 100
    assert value == pytest.approx(value_of(backend, exact, own, toy(4), 0), rel=0.02)


@pytest.mark.release("numpyro", keep=["True"])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_all_scored_is_reinforce_but_for_what_a_draw_cannot_change(
    backend: backends.Backend, leave_one_out: bool
) -> None:
    """The whole f at both layers is TraceGraphELBO's; without log q of the first one, the second alone differs."""
    own = prepared_net("two layers", backend)
    first, second = (site.name for site in own.sites.latent)
    guide, baseline = names_of_the_guide(own), baselines.LeaveOneOut() if leave_one_out else None
    theirs = gradient(backend, backend.inference.TraceGraphELBO(3, baseline=baseline), own, toy(4), 0)
    whole = Score(baseline, rao_blackwellised=False)
    for strategy, equal in ((whole, True), (Score(baseline), False)):
        objective = backend.inference.PerSite({first: strategy, second: strategy}, num_particles=3)
        ours = gradient(backend, objective, own, toy(4), 0)
        np.testing.assert_allclose(ours[~guide], theirs[~guide], rtol=1e-4, atol=1e-4)
        assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-4) is equal
    at_first = backend.inference.PerSite({first: Score(baseline), second: whole}, num_particles=3)
    np.testing.assert_allclose(gradient(backend, at_first, own, toy(4), 0), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.release("numpyro")
def test_a_relaxed_site_beside_an_enumerated_one(backend: backends.Backend) -> None:
    """The top layer relaxed: hard draws, whose mean is the bound, and the guide's gradient nearly that of it."""
    own, exact = prepared_net("two layers", backend), backend.inference.TraceEnumELBO()
    bottom, top = (site.name for site in own.sites.latent)
    ours = backend.inference.PerSite({bottom: Enumerate(), top: Relax(0.5, straight_through=True)})
    x, guide = np.repeat(toy(4), 200, 0), names_of_the_guide(own)
    value = np.mean([value_of(backend, ours, own, x, seed) for seed in range(4)]) / 200
    assert value == pytest.approx(value_of(backend, exact, own, toy(4), 0), rel=0.01)
    a = np.mean([gradient(backend, ours, own, x, seed)[guide] for seed in range(4)], 0)
    b = gradient(backend, exact, own, x, 0)[guide]
    assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.9
    with pytest.raises(UnsuitableObjective, match="model's order"):  # the model draws the top layer first
        PerSite({bottom: Relax(), top: Enumerate()}).check(own.sites)


@pytest.mark.parametrize("straight_through", [True, False])
def test_all_relaxed_is_gumbel_softmax(backend: backends.Backend, straight_through: bool) -> None:
    own, settings = prepared_net("bernoulli", backend), {"temperature": 0.3, "straight_through": straight_through}
    of_all = backend.inference.GumbelSoftmax(2, **settings)
    ours = backend.inference.PerSite({"z": Relax(**settings)}, num_particles=2)
    for seed in (0, 1):
        a, b = (gradient(backend, objective, own, toy(4), seed) for objective in (ours, of_all))
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert ours.is_bound is of_all.is_bound is straight_through


def test_of_one_site_a_baseline_is_that_of_reinforce(backend: backends.Backend) -> None:
    """The same steps, and the same state behind them."""
    average, states = baselines.RunningAverage(), []
    for loss in (
        backend.inference.TraceGraphELBO(2, baseline=average),
        backend.inference.PerSite({"z": Score(average)}, num_particles=2),
    ):
        fit = backend.inference.SVI(loss, epochs=2, batch_size=20).fit(*pair("bernoulli", backend), toy(40), seed=1)
        states.append(fit.pair.state())
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_each_site_has_a_baseline_of_its_own_that_a_checkpoint_keeps(backend: backends.Backend, tmp_path: Path) -> None:
    """A net for the lower layer and an average for the upper one; to the bit."""
    names = [site.name for site in prepared_net("two layers", backend).sites.latent]
    each = (baselines.Neural(hidden=(4,)), baselines.RunningAverage())
    loss = backend.inference.PerSite({name: Score(of) for name, of in zip(names, each, strict=True)})
    with pytest.raises(ValueError, match=r"PerSite: Neural\(.*\) follows the training, and this call does not know"):
        gradient(backend, loss, prepared_net("two layers", backend), toy(4), 0)
    programs, path, ends = two_layers(backend), tmp_path / "c", []
    for epochs, options in ((2, {}), (1, {"checkpoint": path}), (2, {"checkpoint": path, "resume": True})):
        svi = backend.inference.SVI(loss, epochs=epochs, batch_size=20)
        ends.append(svi.fit(*programs, toy(40), seed=3, **options).pair.state())
    assert all((value == ends[2][name]).all() for name, value in ends[0].items())
    kept = [name for name in storage.read(path)[0] if "baseline of" in name]
    averages = {name: storage.read(path)[0][name] for name in kept if name.endswith("sum")}
    assert len(averages) == 2 and len({float(value) for value in averages.values()}) == 2, "of different signals"
    assert any(names[0] in name and "weight_1" in name for name in kept)


@pytest.mark.release("numpyro", keep=["of_k1"])
@pytest.mark.parametrize("of_k", [Enumerate(), Score()])
def test_a_weighted_site_is_that_of_a_beta(backend: backends.Backend, of_k: Any) -> None:
    """The whole KL weighted: the value of GumbelSoftmax with that beta; half of a weight of 2 and of 0 is that of 1."""
    own, x = prepared_net("bernoulli", backend), np.repeat(toy(4), 200, 0)
    make = backend.inference.PerSite
    tempered = backend.inference.GumbelSoftmax(2, beta=3.0, temperature=0.5, straight_through=True)
    threefold = make({"z": of_k}, weights={"z": 3.0})
    value = value_of(backend, threefold, own, x, 0)
    assert value == pytest.approx(value_of(backend, tempered, own, x, 0), rel=0.02)
    none, one, two = (gradient(backend, make({"z": of_k}, weights={"z": w}), own, toy(4), 0) for w in (0.0, 1.0, 2.0))
    np.testing.assert_allclose((none + two) / 2, one, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one, gradient(backend, make({"z": of_k}), own, toy(4), 0), rtol=1e-5, atol=1e-6)
    assert make({"z": of_k}, weights={"z": 1.0}).is_bound and not threefold.is_bound


def test_an_enumerated_site_weighs_its_terms_by_q_whatever_their_weight(backend: backends.Backend) -> None:
    """A weighted lower layer beside an enumerated upper one: the exact gradient, by scores."""
    own = dependent_layers(backend)
    first, second = (site.name for site in own.sites.latent)
    make, x = backend.inference.PerSite, np.repeat(toy(3), 100, 0)
    settings = {"weights": {first: 0.5, second: 2.0}}
    exact = gradient(backend, make({first: Enumerate(), second: Enumerate()}, **settings), own, x, 0)
    flipped = make({first: MeasureValued(), second: Enumerate()}, **settings)
    drawn = np.stack([gradient(backend, flipped, own, x, seed) for seed in range(60)])
    error = drawn.std(0, ddof=1) / np.sqrt(len(drawn)) + 1e-5 * np.abs(drawn).max()
    assert (np.abs(drawn.mean(0) - exact) / error).max() < 4.5


def test_a_path_alone_is_the_elbo(backend: backends.Backend) -> None:
    own = untrained(*pair("standard", backend), backend).pair
    ours = backend.inference.PerSite({"z": Reparameterise()}, num_particles=3)
    a, b = (gradient(backend, objective, own, toy(4), 0) for objective in (ours, backend.inference.TraceELBO(3)))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_it_trains_and_its_temperature_follows_its_schedule(backend: backends.Backend) -> None:
    cooled = Relax(schedules.Linear(1.0, 0.25, over=4))
    objective = PerSite({"z": cooled})
    assert objective.warm_up == 4 and objective.at(2).strategies == (("z", Relax(0.625)),)
    warmed = PerSite({"z": Score()}, weights={"z": schedules.Linear(9.0, 1.0, over=4)})
    assert warmed.warm_up == 4 and warmed.at(2).weights == (("z", 5.0),) and warmed.request.gradient.weights[0][1] == 1
    backend.inference.SVI(warmed, epochs=1, batch_size=20).fit(*pair("bernoulli", backend), toy(40))
    for strategy in (cooled, Score(), Enumerate()):
        svi = backend.inference.SVI(PerSite({"z": strategy}), epochs=2, batch_size=20, learning_rate=0.02)
        fit = svi.fit(*pair("bernoulli", backend), toy(40))
        assert fit.history["loss"][1] < fit.history["loss"][0]


@pytest.mark.parametrize(
    ("strategies", "kind", "message"),
    [
        ({}, "standard", "takes a strategy for each latent site of the pair, 'z'; got some for none"),
        ({"z": Score(), "y": Score()}, "standard", "'z'; got some for 'z', 'y'"),
        ({"z": Enumerate()}, "standard", r"PerSite, Enumerate\(\) cannot enumerate the site 'z'"),
        ({"z": Relax()}, "standard", r"PerSite, Relax\(.*\) is for discrete latents"),
        ({"z": MeasureValued()}, "standard", r"PerSite, MeasureValued\(\) is for discrete latents"),
        ({"z": MeasureValued()}, "categorical", r"PerSite, MeasureValued\(\) is for Bernoulli latents"),
        ({"z": Reparameterise()}, "bernoulli", r"PerSite, Reparameterise\(\) has no pathwise gradient"),
    ],
)
def test_a_strategy_that_does_not_fit_is_refused(
    backend: backends.Backend, strategies: Any, kind: str, message: str
) -> None:
    sites = untrained(*pair(kind, backend), backend).pair.sites
    with pytest.raises(UnsuitableObjective, match=message):
        PerSite(strategies).check(sites)
    if kind == "bernoulli":
        with pytest.raises(UnsuitableObjective, match="configurations a datum, more than 3: give one of them Score"):
            PerSite({"z": Enumerate()}, max_configurations=3).check(sites)


def test_bad_settings() -> None:
    for strategies, message in (
        ({"z": "score"}, r"the strategy of 'z' should be Enumerate\(\), Score\(\).*; got 'score'"),
        (Score(), r"'strategies' should be strategies by site, .*; got Score"),
        ("z", r"'strategies' should be strategies by site, .*; got 'z'"),
    ):
        with pytest.raises(TypeError, match=message):
            PerSite(strategies)
    with pytest.raises(ValueError, match="leaving one out, for 'z', needs num_particles of at least 2; got 1"):
        PerSite({"z": Score(baselines.LeaveOneOut())})
    with pytest.raises(TypeError, match=r"'baseline' should be None or one of ppl_vae.baselines: .*; got True"):
        Score(True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'weights' are of sites that have a strategy; got some for 'y'"):
        PerSite({"z": Score()}, weights={"y": 1.0})
    for weights in (2.0, None, "z", [2.0]):
        with pytest.raises(TypeError, match="'weights' should be weights by site, such as {'y': 2.0}; got"):
            PerSite({"z": Score()}, weights=weights)
    with pytest.raises(ValueError, match="the weight of 'z' should be .*; got -1.0"):
        PerSite({"z": Score()}, weights={"z": -1.0})
    with pytest.raises(ValueError, match="leave 'chunk' at None"):
        PerSite({"z": Score()}, num_particles=2, chunk=1)
    for make in (lambda: Score(rao_blackwellised=1), lambda: Relax(0.0), lambda: Relax(averaged=-1)):
        with pytest.raises(ValueError, match="should be"):
            make()
    assert inference.PerSite({"z": Score()}) == inference.adopt(objectives.PerSite([("z", Score())]))

"""Comparisons: what the columns mean, what is refused, and that an interrupted study ends as an uninterrupted one."""

from __future__ import annotations

import csv
import dataclasses
import html.parser
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pairs import P, pair, recipe, toy

from ppl_vae import backends, data, evaluation, strategies
from ppl_vae.evaluation import Cell, Study, evaluations
from ppl_vae.evaluation.studies import study
from ppl_vae.results import Fit
from ppl_vae.runtime import memory
from ppl_vae.training import BaseSVI

TRAIN, TEST = toy(60), toy(30, seed=1)
SPLIT = data.from_arrays(TRAIN, toy(20, seed=2), TEST)
CLOCKS = ("seconds", "seconds_per_step", "seconds_to_target", "peak_memory")
HISTORY = {
    "loss": np.array([9.0, 8.0, 7.5]),
    "valid_elbo": np.array([-10.0, -8.0, -8.5]),
    "seconds": np.array([10.0, 2.0, 3.0]),
    "memory": np.array([50.0, 80.0, 60.0]),
}
SETTINGS = {"svi": {"batch_size": 25}, "data": {"sizes": {"train": 60}, "fingerprint": "a" * 64}}


def fit(
    name: str = "standard", history: Any = None, settings: Any = None, *, backend: str = "pyro", seed: int = 0
) -> Fit:
    """An untrained fit with a history and settings made by hand."""
    own = backends.load(backend).inference.Pair(*pair(name, backend, seed))
    own.prepare(np.full((4, P), 0.5, np.float32), 0)
    return Fit(own, HISTORY if history is None else history, SETTINGS if settings is None else settings)


def without_clocks(table: pd.DataFrame) -> pd.DataFrame:
    """The table without what a clock or the system measured, and what depends on rows that are not in every table."""
    others = (*CLOCKS, "log_p_difference", "difference_error")
    return table.drop(columns=[c for c in table if c.removesuffix("_sd") in others])


# The columns


def test_seconds_and_memory_are_those_of_the_history() -> None:
    row = evaluation.compare({"a": fit()}, TEST, num_particles=2).loc["a"]
    assert row["seconds"] == 15.0
    assert row["seconds_per_step"] == 3.0 / 3  # the median epoch, three steps of at most 25 images out of 60
    assert row["peak_memory"] == 80.0
    assert row["objective"] == -7.5


def test_by_default_every_fit_reaches_the_target() -> None:
    slow = {**HISTORY, "valid_elbo": np.array([-12.0, -11.0, -9.0]), "seconds": np.array([1.0, 1.0, 4.0])}
    fits = {"quick": fit(), "slow": fit(history=slow)}
    table = evaluation.compare(fits, TEST, num_particles=2)
    assert table.attrs["target"] == -9.0  # the lower of the two best, -8 and -9
    assert list(table["seconds_to_target"]) == [12.0, 6.0]
    table = evaluation.compare(fits, TEST, num_particles=2, target=-8.2)
    assert table.attrs["target"] == -8.2
    assert table.loc["quick", "seconds_to_target"] == 12.0 and math.isnan(table.loc["slow", "seconds_to_target"])


def test_a_target_that_a_seed_did_not_reach_has_no_mean() -> None:
    slow = {**HISTORY, "valid_elbo": np.array([-12.0, -11.0, -9.0])}
    table = evaluation.compare({"a": [fit(), fit(history=slow)], "b": fit()}, TEST, num_particles=2, target=-8.2)
    assert math.isnan(table.loc["a", "seconds_to_target"]) and table.loc["b", "seconds_to_target"] == 12.0


def test_what_a_fit_does_not_tell_is_nan() -> None:
    table = evaluation.compare({"told": fit(), "bare": fit(history={}, settings={})}, TEST, num_particles=2)
    for column in ("objective", "seconds_per_step", "seconds_to_target", "peak_memory", "train_elbo"):
        assert math.isnan(table.loc["bare", column]), column
    assert table.attrs["target"] == -8.0


def test_the_elbo_of_training_images_is_theirs(backend: backends.Backend) -> None:
    one, kinds = fit(backend=backend.name), [np.full((40, P), value, np.float32) for value in (0, 1)]
    for x, other in (kinds, kinds[::-1]):
        row = evaluation.compare({"a": one}, other, train=x, num_particles=2, elbo_particles=400).loc["a"]
        assert row["train_elbo"] == pytest.approx(evaluation.elbo(one, x, 400, seed=7).mean, abs=0.02)
        assert abs(row["train_elbo"] - row["elbo"]) > 0.1


def scored_by_the_elbo(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The images of which ``evaluate`` will have asked for the ELBO."""
    seen: list[np.ndarray] = []
    whole = evaluations.elbo
    monkeypatch.setattr(evaluations, "elbo", lambda fit, x, *a, **k: seen.append(x.x) or whole(fit, x, *a, **k))
    return seen


def test_no_more_than_a_thousand_training_images_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scored_by_the_elbo(monkeypatch)
    images = toy(1500)
    evaluation.evaluate(fit(), TEST, 2, train=images, elbo_particles=1)
    scored = next(x for x in seen if len(x) != len(TEST))
    assert len(scored) == 1000 and {row.tobytes() for row in scored} <= {row.tobytes() for row in images}
    evaluation.evaluate(fit(), TEST, 2, train=images, elbo_particles=1, seed=1)
    assert not np.array_equal(scored, [x for x in seen if len(x) == 1000][-1])


def test_intensities_are_drawn_before_they_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scored_by_the_elbo(monkeypatch)
    grey = np.random.default_rng(0).random((50, P)).astype(np.float32)
    dynamic = {**SETTINGS, "data": {**SETTINGS["data"], "binarisation": "dynamic"}}
    for settings, values in ((dynamic, {0.0, 1.0}), (SETTINGS, set(np.unique(grey).tolist()))):
        seen.clear()
        evaluation.evaluate(fit(settings=settings), TEST, 2, train=grey, elbo_particles=1)
        scored = next(x for x in seen if len(x) == 50)
        assert set(np.unique(scored).tolist()) == values
        assert abs(scored.mean() - grey.mean()) < 0.06


def test_seeds_are_summed_up_by_mean_and_deviation() -> None:
    later = {**HISTORY, "seconds": 2 * HISTORY["seconds"], "memory": HISTORY["memory"] + 10}
    table = evaluation.compare({"a": [fit(), fit(history=later, seed=1)]}, TEST, train=TRAIN, num_particles=2)
    row = table.loc["a"]
    assert row["seconds"] == 22.5 and row["seconds_sd"] == pytest.approx(np.std([15, 30], ddof=1))
    assert row["peak_memory"] == 85.0 and row["peak_memory_sd"] == pytest.approx(np.std([80, 90], ddof=1))
    assert row["train_elbo_sd"] > 0 and row["kl_sd"] > 0 and row["objective_sd"] == 0


def test_an_evaluation_is_told_whole_by_its_numbers() -> None:
    one = evaluation.evaluate(fit(history={**HISTORY, "loss": np.array([])}), TEST, 5, train=TRAIN)
    again = evaluation.Evaluation.from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False)))
    pd.testing.assert_frame_equal(evaluation.compare({"a": one}), evaluation.compare({"a": again}))
    assert np.array_equal(one.log_p.values, again.log_p.values) and np.array_equal(one.elbo.kl, again.elbo.kl)
    assert math.isnan(again.objective) and again.data == one.data and again.likelihood == "Bernoulli"


# What is refused


def test_bounds_on_other_data_are_not_compared() -> None:
    other = {**SETTINGS, "data": {**SETTINGS["data"], "fingerprint": "b" * 64}}
    with pytest.raises(ValueError, match=r"different data are not comparable: 'one' .*aaaaaaaa.*'two' .*bbbbbbbb"):
        evaluation.compare({"one": fit(), "two": fit(settings=other)}, TEST)
    evaluated = evaluation.evaluate(fit(settings=other), TEST, 2)
    with pytest.raises(ValueError, match="different data are not comparable"):
        evaluation.compare({"seeds": [fit(), evaluated]}, TEST)


def test_bounds_under_other_likelihoods_are_not_compared(backend: backends.Backend) -> None:
    fits = {"grey": fit("normal", backend=backend.name), "binary": fit(backend=backend.name)}
    with pytest.raises(
        ValueError, match=r"different likelihoods are not comparable: 'grey' has Normal, 'binary' has Ber"
    ):
        evaluation.compare(fits, TEST)


def test_backends_are_compared_and_what_is_not_told_is_not_refused() -> None:
    fits = {"pyro": fit(), "numpyro": fit(backend="numpyro"), "bare": fit(settings={})}
    table = evaluation.compare(fits, TEST, num_particles=50)
    assert len(table) == 3 and table["log_p"].std() < 0.3  # the same weights


def test_a_difference_is_taken_image_by_image_and_seed_by_seed() -> None:
    group = [evaluation.evaluate(fit(seed=seed), TEST, 5) for seed in (0, 1)]
    shifted = [
        dataclasses.replace(e, log_p=dataclasses.replace(e.log_p, values=e.log_p.values - shift))
        for e, shift in zip(group, (1.0, 1.5), strict=True)
    ]
    mean, error = evaluation.difference(shifted, group)
    assert mean == pytest.approx(-1.25) and error == pytest.approx(np.std([1, 1.5], ddof=1) / np.sqrt(2))
    assert evaluation.difference(group, group) == (0.0, 0.0)
    one, other = group
    paired = one.log_p.values - other.log_p.values
    mean, error = evaluation.difference([one], [other])
    assert mean == pytest.approx(paired.mean()) and error == pytest.approx(paired.std(ddof=1) / np.sqrt(len(TEST)))
    with pytest.raises(ValueError, match="same seeds"):
        evaluation.difference([one], group)


def test_evaluations_on_other_test_data_or_draws_are_not_compared() -> None:
    one, other = (evaluation.evaluate(fit(), x, 2) for x in (TEST, toy(30, seed=5)))
    with pytest.raises(ValueError, match="different test data are not comparable"):
        evaluation.compare({"one": one, "other": other})
    with pytest.raises(ValueError, match="different test data are not comparable"):
        evaluation.difference([one], [other])
    with pytest.raises(ValueError, match=r"different numbers of draws for log p\(x\)"):
        evaluation.compare({"one": one, "more": (more := evaluation.evaluate(fit(), TEST, 3))})
    with pytest.raises(ValueError, match=r"different numbers of draws for log p\(x\)"):
        evaluation.difference([one], [more])
    with pytest.raises(ValueError, match="different likelihoods"):
        evaluation.difference([one], [dataclasses.replace(one, likelihood="Normal")])


def test_a_number_that_one_seed_does_not_have_is_no_mean_of_the_others() -> None:
    one = evaluation.evaluate(fit(), TEST, 2)
    unknown = dataclasses.replace(one.log_p, values=np.full(len(TEST), np.nan))
    row = evaluation.compare({"a": [one, dataclasses.replace(one, log_p=unknown)]}).loc["a"]
    assert math.isnan(row["log_p"]) and math.isnan(row["log_p_sd"]) and row["elbo"] == pytest.approx(one.elbo.mean)


@pytest.mark.release("numpyro")
def test_the_training_elbo_of_rows_is_that_of_their_own_images(backend: backends.Backend) -> None:
    """Other images, or the same in another order, have no rows; a refined fit has rows for the test images only."""
    svi = backend.inference.SVI(epochs=2, batch_size=20)
    own = svi.fit(*pair("standard", backend, guide="per-datapoint"), TRAIN)
    same, other = (
        evaluation.evaluate(own, TEST, 2, train=x, refined=own.refine(TEST, steps=10)) for x in (TRAIN, TRAIN[::-1])
    )
    assert same.train_elbo == pytest.approx(evaluation.elbo(own, TRAIN, 200).mean, abs=0.3)
    assert math.isnan(other.train_elbo)
    refined = own.refine(TEST, steps=10)
    told = evaluation.evaluate(refined, TEST, 2, train=TRAIN)
    assert math.isnan(told.train_elbo)
    assert told.elbo.mean == evaluation.elbo(refined, TEST, 10).mean, "its rows are for these: not refined again"
    evaluation.compare({"rows": own, "refined": refined}, TEST, num_particles=2)  # trained on the same data


# Memory


def test_a_training_tells_its_memory(backend: backends.Backend) -> None:
    svi = backend.inference.SVI(epochs=3, batch_size=20)
    history = svi.fit(*pair("standard", backend), TRAIN).history
    assert history["memory"].shape == (3,) and (history["memory"] >= 0).all()


def test_the_peak_is_that_of_the_block() -> None:
    peak = memory.PeakMemory()
    large = np.ones(60 * memory.MIB // 8)
    del large
    first = peak.read()
    peak.restart()
    second = peak.read()
    assert 55 < first < 120
    if memory.CLEAR_REFS.exists():
        assert second < 30
    assert memory.PeakMemory().read() < 30 or not memory.CLEAR_REFS.exists()


def test_a_gpu_is_asked_for_its_own_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: asked.append(device))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * memory.MIB)
    peak = memory.PeakMemory(torch.device("cuda"))
    assert peak.read() == 3.0 and asked == [torch.device("cuda")]

    class Accelerator:
        platform = "gpu"

        def memory_stats(self) -> dict[str, int]:
            return {"peak_bytes_in_use": 5 * memory.MIB}

    assert memory.PeakMemory(Accelerator()).read() == 5.0


# Strategies


def test_every_strategy_is_made_on_both_backends(backend: backends.Backend) -> None:
    for spelling in strategies.spellings():
        name = spelling.replace("-N", "-3")
        svi = strategies.svi(name, backend.name, epochs=2)
        assert svi.epochs == 2 and isinstance(svi, BaseSVI), name
    for names in strategies.USUAL.values():
        assert all(strategies.find(name) for name in names)


@pytest.mark.parametrize(
    ("name", "library"), [("per-datapoint-3", "pyro"), ("per-datapoint-3", "numpyro"), ("semi-amortised-2", "pyro")]
)
def test_strategies_with_a_guide_of_their_own_are_compared(name: str, library: str, tmp_path: Path) -> None:
    pair_of = recipe("standard", library, **strategies.recipe_settings(name))
    own = Cell(name, library, pair_of, strategies.svi(name, library, epochs=2, batch_size=20))
    done = make(tmp_path, own, seeds=(0,))
    table = done.run(progress=False)
    assert list(table["note"]) == [""] and table[["log_p", "elbo", "train_elbo"]].notna().all(axis=None)
    assert (table["elbo"] < table["log_p"]).all()
    kept = done.results()[0].fit()
    assert kept.generalises == (name == "semi-amortised-2")
    own_rows = kept.terms(TRAIN, 50, index=np.arange(len(TRAIN)))
    assert own_rows.log_weights.mean() == pytest.approx(table.loc[name, "train_elbo"], abs=0.15)
    evaluation.write_report(done)


def test_the_number_is_the_strategys() -> None:
    assert strategies.svi("iwae-7", "pyro").loss.num_particles == 7
    assert strategies.svi("rloo-3", "pyro").loss.num_particles == 3
    assert strategies.svi("beta-4", "pyro").loss.beta == 4.0
    assert strategies.svi("miwae-3", "pyro").loss.num_groups == 3
    own = strategies.svi("per-datapoint-3", "pyro", patience=5)
    assert own.local_steps == 3 and own.patience is None  # early stopping needs a guide that serves other data
    assert strategies.svi("iwae", "pyro").loss == strategies.svi("iwae-5", "pyro").loss


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("iwea-5", "did you mean 'iwae'"),
        ("iwae-0", "at least 1"),
        ("iwae-2.5", "Unknown|whole number"),
        ("enumeration-3", "takes no number"),
        ("5", "there are elbo-N"),
    ],
)
def test_unknown_strategies_are_refused(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        strategies.find(name)


# Studies


def cell(name: str, backend: str = "pyro", *, pair_name: str = "standard", **settings: Any) -> Cell:
    options = {"epochs": 2, "batch_size": 20, **settings}
    return Cell(name, backend, recipe(pair_name, backend), strategies.svi(name, backend, **options))


def make(folder: Path, *cells: Cell, seeds: tuple[int, ...] = (0, 1), split: data.Split = SPLIT) -> Study:
    return Study(folder, split, cells, seeds, num_particles=10, elbo_particles=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study that ran without interruption, on both backends, with a strategy that is refused."""
    names = ("elbo", "iwae-3", "enumeration")
    cells = [cell(name, backend) for backend in backends.NAMES for name in names]
    done = make(tmp_path_factory.mktemp("study"), *cells)
    done.run(progress=False)
    return done


def test_the_table_has_a_row_for_every_cell_and_is_that_of_compare(whole: Study) -> None:
    table = whole.table()
    expected = [f"{name} ({b})" for b in backends.NAMES for name in ("elbo", "iwae-3", "enumeration")]
    assert list(table.index) == expected
    row = table.loc["iwae-3 (numpyro)"]
    assert (row["strategy"], row["backend"], row["seeds"], row["note"]) == ("iwae-3", "numpyro", 2, "")
    svi = strategies.svi("iwae-3", "numpyro", epochs=2, batch_size=20)
    fits = svi.fit_seeds(recipe("standard", "numpyro"), SPLIT, seeds=(0, 1))
    alone = evaluation.compare({"a": fits}, TEST, train=SPLIT.train, num_particles=10, elbo_particles=2).loc["a"]
    for column in ("log_p", "log_p_sd", "elbo", "train_elbo", "objective", "active_units", "parameters"):
        assert row[column] == pytest.approx(alone[column], rel=1e-4), column  # as one program: rounding


def test_a_strategy_that_is_refused_keeps_its_row_with_the_reason(whole: Study) -> None:
    row = whole.table().loc["enumeration (pyro)"]
    assert row["seeds"] == 0 and math.isnan(row["log_p"])
    assert row["note"].startswith("Seeds 0, 1: refused: TraceEnumELBO cannot enumerate the site 'z'")
    assert whole.remaining == 0


def test_the_difference_is_from_the_best(whole: Study) -> None:
    table = whole.table()
    assert table["log_p_difference"].max() == 0 and table["log_p_difference"].idxmax() == table["log_p"].idxmax()
    expected = table["log_p"] - table["log_p"].max()
    np.testing.assert_allclose(table["log_p_difference"].dropna(), expected.dropna(), atol=1e-9)


def test_what_is_done_is_not_done_again(whole: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseSVI, "fit", lambda *_, **__: pytest.fail("it trained again"))
    pd.testing.assert_frame_equal(whole.run(progress=False), whole.table())


def test_every_fit_is_kept_and_its_checkpoint_is_not(whole: Study) -> None:
    for result in whole.results():
        assert not (result.folder / study.CHECKPOINT).exists()
        if result.evaluation:
            again = evaluation.evaluate(result.fit(), TEST, 10, elbo_particles=2)
            assert again.log_p.mean == pytest.approx(result.evaluation.log_p.mean, abs=1e-4)
            assert len(result.history["loss"]) == 2 and set(result.images()) >= {"reconstructions", "generations"}


def strike_after(patch: pytest.MonkeyPatch, backend: backends.Backend, count: float) -> list[int]:
    """Let Ctrl-C strike after so many epochs on the whole data; those that were trained, as they come."""
    epochs: list[int] = []
    start = backend.inference.SVI.start

    def started(*args: Any, **options: Any) -> Any:
        run = start(*args, **options)
        train = run.epoch

        def epoch(number: int, order: np.ndarray) -> np.ndarray:
            if len(order) == len(TRAIN):  # not the step that is thrown away
                if len(epochs) == count:
                    raise KeyboardInterrupt
                epochs.append(number)
            return train(number, order)

        run.epoch = epoch
        return run

    patch.setattr(backend.inference.SVI, "start", started)
    return epochs


@pytest.mark.release(keep=["pyro-1", "pyro-6", "numpyro-3"])
@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_an_interrupted_study_ends_as_an_uninterrupted_one(
    count: int, tmp_path: Path, whole: Study, backend: backends.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("elbo", "iwae-3", "enumeration")
    interrupted = make(tmp_path, *(cell(name, backend.name) for name in names))
    with monkeypatch.context() as patch:
        strike_after(patch, backend, count)
        with pytest.raises(KeyboardInterrupt):
            interrupted.run(progress=False)
    kept = {r.folder / study.RESULT: (r.folder / study.RESULT).read_bytes() for r in interrupted.results()}
    trained = [r for r in interrupted.results() if r.evaluation]
    assert len(trained) == count // 2 and interrupted.remaining == 6 - len(kept)
    with monkeypatch.context() as patch:
        epochs = strike_after(patch, backend, math.inf)
        table = interrupted.run(progress=False)
    assert len(epochs) == 2 * 2 * 2 - count  # strategies that train x seeds x epochs; none is trained twice
    assert all(path.read_bytes() == content for path, content in kept.items())
    expected = whole.table()
    expected = expected[expected["backend"] == backend.name].set_index("strategy", drop=False)
    pd.testing.assert_frame_equal(without_clocks(table), without_clocks(expected), check_names=False)


def test_a_loss_that_becomes_nan_is_a_row(tmp_path: Path) -> None:
    bad = cell("elbo", learning_rate=1e30)
    table = make(tmp_path, dataclasses.replace(bad, strategy="hot"), cell("elbo"), seeds=(0,)).run(progress=False)
    assert table.loc["hot", "note"].startswith("Seed 0: failed: Training stopped")
    assert "checkpoint" not in table.loc["hot", "note"] and table.loc["elbo", "seeds"] == 1


def test_a_study_of_nothing_but_failures_is_a_table_and_a_report(tmp_path: Path) -> None:
    only = make(tmp_path, cell("enumeration"), seeds=(0,))
    table = only.run(progress=False)
    assert list(table["seeds"]) == [0] and "cannot enumerate" in table["note"].iloc[0]
    assert "cannot enumerate" in evaluation.write_report(only).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: dataclasses.replace(s, cells=[cell("elbo", learning_rate=0.5)]), "svi.learning_rate is 0.001, here"),
        (lambda s: dataclasses.replace(s, cells=[cell("elbo", pair_name="gated")]), "recipe.prior is 'standard', here"),
        (lambda s: dataclasses.replace(s, data=SPLIT.subset(50)), "data.sizes.train is 60, here it is 50"),
        (lambda s: dataclasses.replace(s, num_particles=11), "num_particles is 10, here it is 11"),
    ],
    ids=["rate", "pair", "data", "particles"],
)
def test_a_folder_with_other_settings_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    first = make(tmp_path, cell("elbo"), seeds=(0,))
    first.run(progress=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=f"{said}.*another folder"):
        change(first).run(progress=False)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.release("numpyro")
def test_what_settings_cannot_say_is_told_apart(backend: backends.Backend, tmp_path: Path) -> None:
    """An optimiser in a closure, a recipe that is a function: by where the one leads and what the other draws."""
    import optax
    import torch

    def study_of(rate: float, latent_dim: int) -> Study:
        if backend.name == "pyro":
            optim: Any = lambda p: torch.optim.Adam(p, lr=rate)  # noqa: E731
        else:
            optim = optax.adam(rate)
        svi = backend.inference.SVI(epochs=1, batch_size=20, optim=optim)
        own = lambda rng: recipe("standard", backend, latent_dim=latent_dim)(rng)  # noqa: E731
        return make(tmp_path, Cell("own", backend.name, own, svi), seeds=(0,))

    study_of(1e-3, 2).run(progress=False)
    study_of(1e-3, 2).run(progress=False)
    with pytest.raises(ValueError, match=r"its cell\.svi\.optim is .* steps to"):
        study_of(1e-1, 2).run(progress=False)
    with pytest.raises(ValueError, match="its weights is"):
        study_of(1e-3, 3).run(progress=False)
    with pytest.raises(ValueError, match="its weights is"):
        study_of(1e-3, 3).table()


def test_names_that_a_folder_cannot_hold_stay_apart(tmp_path: Path) -> None:
    one = make(tmp_path, cell("elbo"), seeds=(0,))
    spaced = [dataclasses.replace(one.cells[0], strategy=name) for name in ("IWAE 5", "IWAE, 5")]
    folders = {training.folder for training in make(tmp_path, *spaced)._trainings()}
    assert len(folders) == 4
    with pytest.raises(ValueError, match="would share a folder: rename one"):
        make(tmp_path, *(dataclasses.replace(one.cells[0], strategy=name) for name in ("elbo", "ELBO")))
    with pytest.raises(ValueError, match="is said to be on numpyro, but its SVI is that of ppl_vae.inference"):
        dataclasses.replace(one.cells[0], backend="numpyro")


def test_one_wrong_cell_does_not_stop_the_others(tmp_path: Path) -> None:
    """Whatever a training refuses is the reason in its row."""
    rows = recipe("standard", "pyro", guide="per-datapoint")
    wrong = Cell("rows", "pyro", rows, strategies.svi("wake-sleep", "pyro", batch_size=20))
    table = make(tmp_path, wrong, cell("elbo"), seeds=(0,)).run(progress=False)
    assert "a dream has no row" in table.loc["rows", "note"] and table.loc["elbo", "seeds"] == 1


def test_a_history_with_nan_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.PeakMemory, "read", lambda self: math.nan)
    table = make(tmp_path, cell("elbo"), seeds=(0,)).run(progress=False)
    assert math.isnan(table.loc["elbo", "peak_memory"])


def test_other_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path, cell("elbo"), seeds=(0,))
    first.run(progress=False)
    monkeypatch.setattr(study, "versions", lambda: {"torch": "0.1"})
    with pytest.raises(ValueError, match=r"libraries\.torch is .*, here it is '0.1'"):
        first.run(progress=False)


def test_seeds_and_strategies_may_be_added(tmp_path: Path) -> None:
    make(tmp_path, cell("elbo"), seeds=(0,)).run(progress=False)
    more = make(tmp_path, cell("elbo"), cell("stl"), seeds=(0, 1))
    assert more.remaining == 3
    assert list(more.run(progress=False)["seeds"]) == [2, 2]


def test_a_pair_without_a_recipe_that_is_saved_keeps_its_numbers(tmp_path: Path) -> None:
    def own(rng: np.random.Generator) -> tuple[Any, Any]:
        return recipe("tanh", "pyro")(rng)

    class Wrong:
        """Says of itself that it is another pair than the one that it makes."""

        def __call__(self, rng: np.random.Generator) -> tuple[Any, Any]:
            return own(rng)

        def to_dict(self) -> dict[str, Any]:
            return recipe("standard", "pyro").to_dict()

    svi = strategies.svi("elbo", "pyro", epochs=1, batch_size=20)
    cells = [Cell("a function", "pyro", own, svi), Cell("another's name", "pyro", Wrong(), svi)]
    done = make(tmp_path, *cells, seeds=(0,))
    table = done.run(progress=False)
    assert table.loc["a function", "log_p"] == table.loc["another's name", "log_p"]
    for result in done.results():
        with pytest.raises(FileNotFoundError):
            result.fit()


def test_a_study_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one cell"):
        make(tmp_path)
    with pytest.raises(ValueError, match="at least one seed"):
        make(tmp_path, cell("elbo"), seeds=())
    with pytest.raises(ValueError, match=r"seed should be there once; got 1 twice"):
        make(tmp_path, cell("elbo"), seeds=(1, 1))
    with pytest.raises(ValueError, match=r"cell should be there once; got \('elbo', 'pyro'\) twice"):
        make(tmp_path, cell("elbo"), cell("elbo"))
    with pytest.raises(ValueError, match="nothing of the study is done"):
        evaluation.write_report(make(tmp_path, cell("elbo")))


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    done = make(tmp_path, cell("elbo"), seeds=(0,))
    done.run(progress=False)
    path = next(tmp_path.rglob(study.RESULT))
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=r"result\.json is damaged"):
        done.table()


# The report


class Page(html.parser.HTMLParser):
    """The references, the elements and the words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]

    def handle_data(self, text: str) -> None:
        self.words += text


@pytest.fixture(scope="module")
def report(whole: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return evaluation.write_report(whole, folder, title="A <title>", command="ppl-vae compare & more").parent


def test_the_page_needs_nothing_beside_it(report: Path) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.references and all(r.startswith("data:image/png;base64,") for r in page.references)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text and "@import" not in text
    assert len(page.references) == len(list((report / "figures").glob("*.png"))) == 3  # rows of 12 are no images


def test_the_page_says_what_was_compared_on_what(report: Path, whole: Study) -> None:
    page = Page((report / "index.html").read_text(encoding="utf-8"))
    for name in ("elbo", "iwae-3", "enumeration", "pyro", "numpyro", "A <title>", "ppl-vae compare & more"):
        assert name in page.words, name
    table = whole.table()
    assert (
        f"{table['log_p'].max():.2f}" in page.words
        and f"Highest test log p(x): {table['log_p'].idxmax()}" in page.words
    )
    assert SPLIT.fingerprint() in page.words and "60 training, 20 validation and 30 test rows" in page.words
    assert "cannot enumerate the site 'z'" in page.words
    import torch

    assert torch.__version__ in page.words and "learning_rate" in page.words


def test_an_objective_that_is_no_bound_is_flagged(tmp_path: Path) -> None:
    done = make(tmp_path, cell("elbo"), cell("beta-4"), seeds=(0,))
    table = done.run(progress=False)
    assert list(table["is_bound"]) == [True, False]
    text = evaluation.write_report(done).read_text(encoding="utf-8")
    assert text.count('<td class="no">no</td>') == 1
    assert text.index("beta-4") and "★" in text


def test_the_tables_hold_what_the_page_shows(report: Path, whole: Study) -> None:
    table = pd.read_csv(report / "table.csv", index_col="name", keep_default_na=False, na_values=[""])
    expected = whole.table()
    np.testing.assert_allclose(table["log_p"], expected["log_p"])
    assert list(table.index) == list(expected.index)
    with open(report / "cells.csv", encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert [(c["strategy"], c["backend"], c["seed"]) for c in cells] == [
        (r.strategy, r.backend, str(r.seed)) for r in whole.results()
    ]
    records = json.loads((report / "results.json").read_text())
    assert [r["settings"]["cell"]["strategy"] for r in records] == [c["strategy"] for c in cells]
    means = {
        name: np.mean([r["log_p"] for r in records if r["strategy"] == name and r["backend"] == "pyro"])
        for name in ("elbo", "iwae-3")
    }
    for name, mean in means.items():
        assert expected.loc[f"{name} (pyro)", "log_p"] == pytest.approx(mean)
    assert all(len(r["history"]["valid_elbo"]) == 2 for r in records if not r["note"])


def test_the_noise_of_gradients_is_that_of_the_pairs_own_report(whole: Study, tmp_path: Path) -> None:
    """At the first training's parameters, for every strategy of the same pair that is not refused; in the page."""
    reports = evaluation.study_gradients(whole, repeats=4, images=20)
    done = [r for r in whole.results() if r.evaluation is not None]
    assert set(reports) == {r.backend for r in done}
    for backend, report in reports.items():
        first = next(r for r in done if r.backend == backend)
        losses = {c.strategy: c.svi.loss for c in whole.cells if c.backend == backend and c.strategy != "enumeration"}
        own = evaluation.gradient_report(first.fit(), losses, TRAIN[:20], repeats=4)
        clocks = ["seconds", "variance_second"]
        pd.testing.assert_frame_equal(report.drop(columns=clocks), own.drop(columns=clocks))
        assert len(losses) > 1 and "enumeration" not in report.index.get_level_values("objective")
    page = evaluation.write_report(whole, tmp_path, gradients=reports)
    for backend, report in reports.items():
        written = pd.read_csv(tmp_path / f"gradients-{backend}.csv", index_col=["objective", "owner"])
        np.testing.assert_allclose(written["variance"], report["variance"])
        assert (tmp_path / "figures" / f"gradients-{backend}.png").exists()
    assert "How noisy each strategy" in page.read_text(encoding="utf-8")


def test_the_noise_of_objectives_that_look_at_codes(tmp_path: Path) -> None:
    """They know the number of data that they were trained on; one with a critic is left out."""
    done = make(tmp_path, cell("elbo"), cell("beta-tc-2"), cell("factor-2"), seeds=(0,))
    done.run(progress=False)
    (report,) = evaluation.study_gradients(done, repeats=3, images=20).values()
    assert list(dict.fromkeys(report.index.get_level_values("objective"))) == ["elbo", "beta-tc-2"]
    first = next(r for r in done.results() if r.strategy == "elbo").fit()
    told = backends.load("pyro").inference.BetaTCVAE(strength=2.0, num_data=len(TRAIN))
    own = evaluation.gradient_report(first, {"beta-tc-2": told}, TRAIN[:20], repeats=3)
    np.testing.assert_allclose(report.loc["beta-tc-2"]["variance"], own["variance"], rtol=1e-5)


def test_images_are_drawn_where_they_can_be(tmp_path: Path) -> None:
    images = data.from_arrays(TRAIN.reshape(-1, 4, 3), toy(20, seed=2).reshape(-1, 4, 3), TEST.reshape(-1, 4, 3))
    done = make(tmp_path, cell("elbo"), seeds=(0,), split=images)
    done.run(progress=False)
    evaluation.write_report(done)
    assert (tmp_path / "figures" / "images.png").exists()
    originals = done.results()[0].images()["originals"]
    np.testing.assert_array_equal(originals, images.test[: len(originals)])


def test_weights_of_a_seed_are_those_of_fit_seeds(whole: Study) -> None:
    fits = strategies.svi("elbo", "pyro", epochs=2, batch_size=20).fit_seeds(
        recipe("standard", "pyro"), SPLIT, seeds=(1,)
    )
    kept = next(r for r in whole.results() if (r.strategy, r.backend, r.seed) == ("elbo", "pyro", 1)).fit()
    ours = fits[0].pair.state()
    assert all(np.array_equal(value, ours[name]) for name, value in kept.pair.state().items())

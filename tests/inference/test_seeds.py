"""Several seeds at once: each is the training of that seed, on NumPyro within one program, vmapped or mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import P, apart, pair, recipe, toy

from ppl_vae import backends, baselines, data, schedules
from ppl_vae.numpyro.inference.svi.replicas import Replicas
from ppl_vae.numpyro.inference.svi.step import scan_steps
from ppl_vae.results import Fit

X, VALID = toy(70), toy(30, 1)
SEEDS = (0, 3, 4)


@pytest.mark.release("numpyro", keep=["vampprior-data"])
@pytest.mark.parametrize("name", ["standard", "vampprior-data", "bernoulli"])
def test_a_replica_is_the_fit_of_its_seed(backend: backends.Backend, name: str) -> None:
    """To 1e-4 after 20 steps, with a shorter last batch in each epoch of four; no two are alike at the start."""
    inference = backend.inference
    discrete = name == "bernoulli"
    loss = inference.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=3))
    loss = inference.TraceGraphELBO(2, baseline=baselines.Neural(hidden=(4,))) if discrete else loss
    svi = inference.SVI(loss, epochs=5, batch_size=20, learning_rate=0.01, clip_norm=5.0)
    whole = recipe(name, backend)
    fits = svi.fit_seeds(whole, X, seeds=SEEDS, valid=VALID)
    assert [fit.settings["seed"] for fit in fits] == list(SEEDS)
    for seed, fit in zip(SEEDS, fits, strict=True):
        alone = svi.fit(*pair(name, backend, seed), X, seed=seed, valid=VALID)
        assert apart(fit, alone) < 1e-4
        for column in ("loss", "valid_elbo"):
            np.testing.assert_allclose(fit.history[column], alone.history[column], rtol=1e-3)
    first = [fit.history["loss"][0] for fit in fits]
    assert len({round(value, 4) for value in first}) == len(SEEDS)


@pytest.mark.slow
def test_a_strength_is_a_number_to_the_program(backend: backends.Backend, fresh_programs: None) -> None:
    """Every strength and seed is the fit of that strength and seed, and on NumPyro all of them share one program."""
    inference = backend.inference
    for loss, field in ((inference.TraceELBO(), "beta"), (inference.BetaTCVAE(), "strength")):
        svi = inference.SVI(loss, epochs=2, batch_size=20)
        fits = svi.fit_seeds(recipe("standard", backend), X[:60], seeds=(0, 3), strengths=(1.0, 6.0))
        assert [fit.settings["seed"] for fit in fits] == [0, 3, 0, 3]
        for s, fit in zip((1.0, 1.0, 6.0, 6.0), fits, strict=True):
            assert f"{field}={s}" in fit.settings["svi"]["loss"]
        before = programs_of_steps()
        strong = inference.SVI(loss.with_weight(6.0), epochs=2, batch_size=20)
        alone = strong.fit(*pair("standard", backend, 3), X[:60], seed=3)
        assert apart(fits[3], alone) < 1e-4 and apart(fits[1], alone) > 1e-3
        once = programs_of_steps()
        inference.SVI(loss.with_weight(2.5), epochs=2, batch_size=20).fit(*pair("standard", backend, 3), X[:60])
        assert programs_of_steps() == once and (backend.name == "pyro" or once == before + 1)
    with pytest.raises(ValueError, match="'strengths' should be different numbers, at least one; got"):
        svi.fit_seeds(recipe("standard", backend), X, seeds=(0,), strengths=(1.0, 1.0))
    with pytest.raises(ValueError, match="IWAE has no strength to vary"):
        inference.SVI(inference.IWAE()).fit_seeds(recipe("standard", backend), X, seeds=(0,), strengths=(1.0,))


def programs_of_steps() -> int:
    return scan_steps._cache_size()


def test_the_program_of_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vmapped, as it is there, it is the program that is mapped on a CPU."""
    backend = backends.load("numpyro")
    svi = backend.inference.SVI(epochs=3, batch_size=20)
    mapped = svi.fit_seeds(recipe("vampprior", backend), X, seeds=SEEDS)
    make = Replicas.__init__

    def vmapped(self: Replicas, runs: Any) -> None:
        make(self, runs)
        self.vmapped = True

    monkeypatch.setattr(Replicas, "__init__", vmapped)
    for one, other in zip(mapped, svi.fit_seeds(recipe("vampprior", backend), X, seeds=SEEDS), strict=True):
        assert 0 < apart(one, other) < 1e-4


def test_what_is_beside_the_data_and_dynamic_binarisation() -> None:
    """Each replica draws its own images from the intensities, and reads its batch's masks."""
    backend = backends.load("numpyro")
    rng = np.random.default_rng(0)
    split = data.from_arrays(rng.random((60, P)), rng.random((5, P)), rng.random((5, P)), binarisation="dynamic")
    svi = backend.inference.SVI(epochs=3, batch_size=20)
    options: dict[str, Any] = {"mask": rng.random((60, P)) < 0.7}
    fits = svi.fit_seeds(recipe("standard", backend), split, seeds=SEEDS, **options)
    for seed, fit in zip(SEEDS, fits, strict=True):
        assert apart(fit, svi.fit(*pair("standard", backend, seed), split, seed=seed, **options)) < 1e-4


def test_each_stops_for_itself(backend: backends.Backend) -> None:
    """A replica that has stopped keeps its best weights while the others go on."""
    svi = backend.inference.SVI(epochs=200, batch_size=20, learning_rate=0.01, patience=2)
    fits = svi.fit_seeds(recipe("standard", backend), X, seeds=SEEDS, valid=VALID)
    lengths = [len(fit.history["loss"]) for fit in fits]
    assert len(set(lengths)) > 1 and max(lengths) < 200
    for fit in fits:
        assert len(fit.history["loss"]) == int(np.argmax(fit.history["valid_elbo"])) + 1 + 2


def test_an_interrupted_training_of_seeds_goes_on_to_the_same_bits(backend: backends.Backend, tmp_path: Path) -> None:
    """Stopped within an epoch's callbacks, where some seeds have saved it and others have not."""

    def run(checkpoint: Path | None, fail: bool = False) -> list[Fit]:
        def callback(epoch: int, metrics: Any, fit: Fit) -> None:
            if fail and epoch == 1 and fit.settings["seed"] == SEEDS[1]:
                raise KeyboardInterrupt

        svi = backend.inference.SVI(epochs=4, batch_size=20)
        options: dict[str, Any] = {"callback": callback, "checkpoint": checkpoint, "resume": True}
        return svi.fit_seeds(recipe("standard", backend), X, seeds=SEEDS, **options)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", fail=True)
    assert len(list((tmp_path / "cut").glob("seed-*.checkpoint"))) >= 2
    for fit, expected in zip(run(tmp_path / "cut"), whole, strict=True):
        for name, value in expected.pair.state().items():
            np.testing.assert_array_equal(fit.pair.state()[name], value)
        np.testing.assert_array_equal(fit.history["loss"], expected.history["loss"])


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_that_are_none_or_the_same(seeds: tuple[int, ...], backend: backends.Backend) -> None:
    with pytest.raises(ValueError, match="'seeds' should be different integers, at least one"):
        backend.inference.SVI(epochs=1, batch_size=20).fit_seeds(recipe("standard", backend), X, seeds=seeds)


def test_arrays_of_seeds_and_strengths(backend: backends.Backend, tmp_path: Path) -> None:
    """As NumPy gives them; strengths that are close have checkpoints of their own, which are found again."""
    svi = backend.inference.SVI(backend.inference.BetaTCVAE(), epochs=1, batch_size=20)
    strengths = np.array([0.0, 1e-7, 0.1234567, 0.1234568, 5.0])
    settings: dict[str, Any] = {"seeds": np.arange(1), "strengths": strengths, "checkpoint": tmp_path}
    fits = svi.fit_seeds(recipe("standard", backend), X[:40], **settings)
    assert sorted(path.name for path in tmp_path.glob("*.checkpoint")) == [
        f"strength-{s}-seed-0.checkpoint" for s in ("0", "0.1234567", "0.1234568", "1e-07", "5")
    ]
    assert "strength=5.0," in fits[-1].settings["svi"]["loss"]
    plain = {**settings, "seeds": [0], "strengths": [5], "resume": True}
    (again,) = svi.fit_seeds(recipe("standard", backend), X[:40], **plain)
    assert again.history["seconds"][0] == fits[-1].history["seconds"][0]

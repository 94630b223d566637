"""Data go through a pair in chunks that cover each row once, and a data set is checked once, whoever asks about it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import P, pair, toy, untrained

from ppl_vae import backends, evaluation, seeds
from ppl_vae.errors import OutOfMemory
from ppl_vae.evaluation import Annealing
from ppl_vae.mcmc.samplers import HMC
from ppl_vae.pairs import inputs
from ppl_vae.pairs.chunks import CHUNK_VARIABLE, concatenate, in_chunks
from ppl_vae.results import Fit

NAMED = untrained(*pair("standard", "pyro"), backends.load("pyro"))
LEVELS = untrained(*pair("levels", "pyro"), backends.load("pyro"))
X = toy(11)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 40), size=st.integers(1, 50), each=st.integers(1, 4))
def test_chunks_cover_every_row_once_in_order_and_are_of_equal_length(count: int, size: int, each: int) -> None:
    x = np.arange(2.0 * count).reshape(count, 2)
    side, beside = {"given": 10 * x}, {"z": np.arange(count)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CHUNK_VARIABLE, str(size))
        with in_chunks(NAMED.pair, x, side, rows_each=each, doing="here") as chunks:
            found = list(chunks)
    assert len({len(chunk) for chunk in found}) == 1 and len(found[0]) <= max(1, size // each)
    assert len(found) == -(-count // min(count, max(1, size // each))), "as few as hold so many"
    kept = concatenate(chunk.keep((chunk.x, chunk.side, chunk.rows_of(beside))) for chunk in found)
    np.testing.assert_array_equal(kept[0], x)
    np.testing.assert_array_equal(kept[1]["given"], 10 * x)
    np.testing.assert_array_equal(kept[2]["z"], np.arange(count))
    columns = concatenate((chunk.keep(chunk.x.T, axis=-1) for chunk in found), axis=1)
    np.testing.assert_array_equal(columns, x.T)


def test_the_seed_of_a_chunk_is_derived_from_its_purpose_and_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHUNK_VARIABLE, "4")
    with in_chunks(NAMED.pair, X, seed=5, purpose="impute", doing="here") as chunks:
        found = [(chunk.seed, chunk.seed_of("a", 1)) for chunk in chunks]
    expected = [(seeds.derive(5, "impute", i), seeds.derive(5, "impute", i, "a", 1)) for i in range(3)]
    assert found == expected
    with in_chunks(NAMED.pair, X, seed=5, doing="here") as chunks:
        assert [chunk.seed for chunk in chunks] == [seeds.derive(5, i) for i in range(3)]


def test_results_are_those_of_the_chunks_asked_one_by_one(
    backend: backends.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pair asked by hand about rows 0-3, 4-7 and 7-10, of which row 7 was covered before."""
    monkeypatch.setenv(CHUNK_VARIABLE, "4")
    fit, by_hand = untrained(*pair("standard", backend), backend), []
    for number, (rows, seen) in enumerate([(slice(0, 4), 0), (slice(4, 8), 0), (slice(7, 11), 1)]):
        by_hand.append(fit.pair.predict(X[rows], 1, seeds.derive(3, "chunk", number))[0][0, seen:])
    np.testing.assert_array_equal(fit.reconstruct(X, seed=3), np.concatenate(by_hand))


def test_memory_that_runs_out_in_the_body_names_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHUNK_VARIABLE, "30")
    rows = rf"the environment variable {CHUNK_VARIABLE} \(here 30\)"
    said = rf"^Out of memory in the sum: lower {rows} or 'draws' \(here 7\)"
    options: dict[str, Any] = {"doing": "in the sum", "settings": {"draws": 7}}
    with pytest.raises(OutOfMemory, match=said), in_chunks(NAMED.pair, X, **options) as chunks:
        next(chunks)
        raise MemoryError
    with pytest.raises(ValueError, match="^a bug$"), in_chunks(NAMED.pair, X, doing="in the sum"):
        raise ValueError("a bug")


# One check


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often fits read all values of data for a check: the number of rows -> the number of times."""
    counts: Counter[int] = Counter()
    scan = inputs.checked

    def counted(pair: Any, x: Any, *what: str, **side: Any) -> Any:
        counts[len(x)] += 1
        return scan(pair, x, *what, **side)

    monkeypatch.setattr(inputs, "checked", counted)
    return counts


ASKED = {
    "evaluate": lambda fit, x: evaluation.evaluate(fit, x, 3),
    "evaluate, with gaps": lambda fit, x: evaluation.evaluate(
        fit, x, 3, refined=fit, gaps=Annealing(num_temperatures=3, num_chains=2, num_steps=1)
    ),
    "compare": lambda fit, x: evaluation.compare({"a": fit, "b": [NAMED, fit]}, x, num_particles=2),
    "gaps": lambda fit, x: evaluation.gaps(fit, x, 3, elbo_particles=2, refined=fit),
    "diagnose": lambda fit, x: evaluation.diagnose(fit, x, 25),
    "kl_by_dimension": evaluation.kl_by_dimension,
    "elbo_surgery": evaluation.elbo_surgery,
    "rate_distortion": lambda fit, x: evaluation.rate_distortion({"a": fit, "b": fit}, x),
    "outlier_table": lambda fit, x: evaluation.outlier_table(fit, x, {"few": toy(3)}, num_particles=2),
    "draws": lambda fit, x: fit.draws(x, 2, method=HMC(num_samples=1, num_warmup=1, num_chains=2, num_steps=1)),
}


@pytest.mark.filterwarnings("ignore::ppl_vae.errors.Divergence")
@pytest.mark.parametrize("name", ASKED)
def test_data_are_checked_once(name: str, scans: Counter[int]) -> None:
    ASKED[name](NAMED, X)
    assert scans[len(X)] == 1


@pytest.mark.parametrize("method", ["posterior", "reconstruct", "terms"])
def test_checked_data_stand_for_data_and_their_side_inputs(method: str, scans: Counter[int]) -> None:
    mask = np.random.default_rng(0).random(X.shape) < 0.7
    data = NAMED.checked(X, mask=mask)
    once, by_itself = (getattr(NAMED, method)(x, **side) for x, side in ((data, {}), (X, {"mask": mask})))
    for a, b in zip(*(v.values() if isinstance(v, dict) else v for v in (once, by_itself)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert scans[len(X)] == (2 if method == "terms" else 1)


def test_digests_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guide with parameters for each datum knows its own data by their digest."""
    local = NAMED.refine(X, steps=2)
    read, digest = [], inputs.digest

    def counted(*parts: Any) -> str:
        read.append(len(parts))
        return digest(*parts)

    monkeypatch.setattr(inputs, "digest", counted)
    data = local.checked(X)
    evaluation.log_likelihood(local, data, 2), local.encode(data), local.terms(data)
    assert len(read) == 1


def test_positions_belong_to_the_fit_that_they_were_asked_of() -> None:
    """Of two guides with parameters for each datum, one of half the data of the other: each finds its own rows."""
    local = NAMED.refine(X, steps=2)
    half = X[::2]
    index = np.arange(len(X))[::2]
    data = local.checked(half, index=index)
    np.testing.assert_array_equal(local.encode(data), local.encode(X)[::2])
    other = local.refine(data, steps=2)
    np.testing.assert_array_equal(other.encode(data), other.encode(half))
    np.testing.assert_array_equal(local.encode(data.take(slice(2))), local.encode(X)[[0, 2]])


def test_what_another_pair_asks_for_is_checked_again(scans: Counter[int]) -> None:
    """Values that suit a Bernoulli likelihood need not suit levels, nor those that an encoder takes a likelihood."""
    grey = np.full((5, P), 0.3)
    data = NAMED.checked(grey)
    with pytest.raises(ValueError, match="levels"):
        LEVELS.terms(data)
    assert scans[5] == 2
    anything = NAMED.checked(grey + 1, likely=False)
    assert NAMED.encode(anything).shape == (5, 3)
    with pytest.raises(ValueError, match="Bernoulli"):
        NAMED.terms(anything)


def test_checked_data_come_without_side_inputs() -> None:
    data = NAMED.checked(X)
    with pytest.raises(ValueError, match="without 'given' and 'mask'"):
        Fit.encode(NAMED, data, mask=np.ones(X.shape, bool))

"""Data larger than memory: streamed from the disk, they give what the same data give in memory."""

from __future__ import annotations

import inspect
import io
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.lib.format import write_array_header_1_0
from pairs import P, command, fit, one_line, pair, recipe, same_weights, toy, weights

from ppl_vae import backends, data, evaluation, recipes
from ppl_vae.cli.options import DATA
from ppl_vae.data import Split, Stream
from ppl_vae.data.stored import stored
from ppl_vae.errors import OutOfMemory
from ppl_vae.numpyro.inference.svi.streaming import binarised
from ppl_vae.pairs.inputs import digest
from ppl_vae.results import Fit
from ppl_vae.training import TrainingData
from ppl_vae.training.prefetch import read_ahead

ROOT = Path(__file__).parents[2]
X, VALID = toy(70), toy(30, seed=1)
GREY = np.random.default_rng(3).integers(0, 256, (80, 4, 3), dtype=np.uint8)


def shards(folder: Path, x: np.ndarray, *cuts: int) -> Path:
    """A folder with x in shards that end at the cuts."""
    folder.mkdir(parents=True)
    for number, part in enumerate(np.split(x, cuts)):
        np.save(folder / f"{number:02}.npy", part)
    return folder


def streamed(folder: Path, x: np.ndarray, **options: Any) -> Stream:
    return data.stream(shards(folder, x, len(x) // 3, len(x) // 2), **options)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# What is read


def test_rows_are_asked_for_by_one_index(tmp_path: Path) -> None:
    """Of any integers; one for each axis would be two rows."""
    x = streamed(tmp_path / "x", np.repeat(X, 5, 0))
    np.testing.assert_array_equal(x[np.array([7, 200], np.uint8)], np.repeat(X, 5, 0)[[7, 200]])
    for wrong in ((3, 5), (slice(2), slice(3))):
        with pytest.raises(IndexError, match="by one index"):
            x[wrong]


def test_a_system_that_gives_less_than_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Linux does beyond 2 GiB: what is missing is asked for again."""
    x = streamed(tmp_path / "x", X)
    read = io.FileIO.readinto

    class Sparing(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            return read(self, memoryview(buffer)[:100])

    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Sparing(path))
    np.testing.assert_array_equal(x[:], X)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "<f4", ">f4", "f8", "f2"])
def test_rows_are_those_of_the_array(dtype: str, tmp_path: Path) -> None:
    """By any index, from one file and from shards, in C order and whatever the order of the bytes."""
    x = (GREY if dtype == "uint8" else GREY > 99 if dtype == "bool" else GREY / 255 - 0.3).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    expected = data.from_arrays(x, x[:1], x[:1], binarisation="none").train
    rng = np.random.default_rng(0)
    indices = (3, -1, slice(None), slice(70, 2, -7), [5, 5, 4], rng.permutation(80), rng.random(80) < 0.3, [])
    for path in (tmp_path / "x.npy", shards(tmp_path / "s", x, 1, 30, 30 + 1)):
        stream = data.stream(path, at_once=7)
        assert stream.shape == expected.shape and stream.dtype == np.float32 and len(stream) == 80
        for index in indices:
            np.testing.assert_array_equal(stream[index], expected[index])
        np.testing.assert_array_equal(np.asarray(stream), expected)
        assert [len(block) for _, block in stream.blocks()] == [7] * 11 + [3]
        assert digest(stream, None) == digest(expected, None)
    with pytest.raises(IndexError, match=r"0\.\.79; got 80"):
        stream[[80]]


@pytest.mark.parametrize("rule", data.BINARISATIONS)
def test_a_split_is_that_of_the_array(rule: Any, tmp_path: Path) -> None:
    """The same parts, images drawn once among them, under every rule; and so is a subset of it."""
    x = (GREY > 128).astype(np.uint8) if rule == "fixed" else GREY
    np.save(tmp_path / "x.npy", x)
    rng, whole = np.random.default_rng(0), data.load(tmp_path / "x.npy", binarisation=rule)
    for split in (
        data.load(tmp_path / "x.npy", binarisation=rule, stream=True),
        data.load(shards(tmp_path / "s", x, 50)),
    ):
        split = split.with_binarisation(rule)
        for one, other in ((whole, split), (whole.subset(9, 3, 5), split.subset(9, 3, 5))):
            assert one.fingerprint() == other.fingerprint()
            for part, size in one.sizes.items():
                stream, rows = getattr(other, part), rng.permutation(size)
                assert isinstance(stream, Stream)
                np.testing.assert_array_equal(stream[rows], getattr(one, part)[rows])


def test_rows_drawn_alone_are_those_of_the_whole_draw() -> None:
    """Under dynamic binarisation a block of a stream gets the noise that its rows get in memory."""
    key, p = jax.random.key(3), np.random.default_rng(0).random((50, P), np.float32)
    rows = np.random.default_rng(1).permutation(50)[:20]
    np.testing.assert_array_equal(binarised(key, p[rows], rows), jax.random.bernoulli(key, p)[rows])
    far = np.array([0, 2**32 // P, 2**40])  # in 32 bits, entries of the last two would be those of row 0
    drawn = np.stack(
        [np.asarray(binarised(jax.random.key(i), np.full((3, P), 0.5, np.float32), far)) for i in range(200)]
    )
    assert np.abs(drawn.mean(0) - 0.5).max() < 0.5 * 5 / np.sqrt(200)
    assert np.abs(np.corrcoef(drawn.reshape(200, -1).T) - np.eye(3 * P)).max() < 5 / np.sqrt(200)


# Training


def test_training_is_that_of_the_array(backend: backends.Backend, tmp_path: Path) -> None:
    """To the bit: losses, validation, weights and fingerprint, with a last block and a last batch that are shorter."""
    svi = backend.inference.SVI(epochs=2, batch_size=10)
    one = svi.fit(*pair("vampprior", backend), X[:65], valid=VALID)
    train = streamed(tmp_path / "train", X[:65], at_once=25)
    other = svi.fit(*pair("vampprior", backend), train, valid=streamed(tmp_path / "valid", VALID, at_once=7))
    assert same(one.pair.state(), other.pair.state())
    np.testing.assert_array_equal(one.history["loss"], other.history["loss"])
    np.testing.assert_array_equal(one.history["valid_elbo"], other.history["valid_elbo"])
    assert one.settings["data"]["fingerprint"] == other.settings["data"]["fingerprint"]
    for ask in (
        lambda fit, x: fit.encode(x),
        lambda fit, x: fit.terms(x, 3).log_lik,
        lambda fit, x: fit.reconstruct(x),
        lambda fit, x: evaluation.log_likelihood(fit, x, 5).values,
        lambda fit, x: evaluation.evaluate(fit, x, 5, train=x).train_elbo,
    ):
        np.testing.assert_array_equal(ask(other, train), ask(other, X[:65]))


def test_rows_of_their_own_and_side_information_go_along(backend: backends.Backend, tmp_path: Path) -> None:
    given = np.eye(2)[np.arange(60) % 2]
    stream, svi = streamed(tmp_path / "x", X[:60], at_once=30), backend.inference.SVI(epochs=2, batch_size=10)
    settings: dict[str, Any] = {"guide": "per-datapoint", "num_images": 60, "given_dim": 2}
    fits = [svi.fit(*pair("standard", backend, **settings), x, given=given) for x in (X[:60], stream)]
    assert same(fits[0].pair.state(), fits[1].pair.state())
    np.testing.assert_array_equal(fits[1].encode(stream, given=given), fits[0].encode(X[:60], given=given))


def split_of(tmp_path: Path, *, stream: bool) -> Split:
    np.save(tmp_path / "x.npy", GREY)
    split = data.load(tmp_path / "x.npy", binarisation="dynamic", stream=stream)
    if stream:
        for part in split.pixels.values():
            object.__setattr__(part, "at_once", 28)
    return split


def test_dynamic_binarisation_of_a_stream(tmp_path: Path) -> None:
    """NumPyro draws the same images as in memory. Pyro draws others, afresh in each epoch, with the same mean."""
    splits = [split_of(tmp_path, stream=stream) for stream in (False, True)]
    backend = backends.load("numpyro")
    svi = backend.inference.SVI(epochs=2, batch_size=14)
    fits = [svi.fit(*pair("standard", backend), split) for split in splits]
    assert same(fits[0].pair.state(), fits[1].pair.state())
    backend, start = backends.load("pyro"), {"seed": 0, "device": None}
    run = backend.inference.SVI(batch_size=14).start(*pair("standard", backend), TrainingData.of(splits[1]), **start)
    seen = np.zeros((2, *splits[0].train.shape))
    for draw in range(400):
        for x, index in run._batches(np.arange(len(splits[0].train))):
            seen[draw % 2][index] += x.numpy() / 200
    error = np.sqrt(0.25 / 200)
    assert set(np.unique(x)) <= {0.0, 1.0} and np.abs(seen - splits[0].train).max() < 5.5 * error
    assert (seen[0] != seen[1]).any()


def test_an_interrupted_training_goes_on_to_the_same_bits(backend: backends.Backend, tmp_path: Path) -> None:
    """Also in memory: the fingerprint is that of the values. Other data are refused."""
    stream = streamed(tmp_path / "x", X, at_once=20)
    options: dict[str, Any] = {"checkpoint": tmp_path / "c", "resume": True}

    def train(x: Any, epochs: int, **options: Any) -> Fit:
        return backend.inference.SVI(epochs=epochs, batch_size=10).fit(*pair("standard", backend), x, **options)

    train(stream, 1, **options)
    train(X, 2, **options)
    assert same(train(stream, 3, **options).pair.state(), train(stream, 3).pair.state())
    with pytest.raises(ValueError, match="data"):
        train(streamed(tmp_path / "y", X[::-1], at_once=20), 4, **options)


def test_replicas_read_one_after_the_other(fresh_programs: None, tmp_path: Path) -> None:
    """And each tells the seconds of its own compilation, which its callback's are not."""
    backend = backends.load("numpyro")
    svi = backend.inference.SVI(epochs=1, batch_size=10)
    stream = streamed(tmp_path / "x", X, at_once=30)
    both = svi.fit_seeds(recipe("standard", backend), stream, seeds=[3, 4], callback=lambda *a: a[2].encode(X))
    assert all(0 <= fit.history["compilation"][0] <= fit.history["seconds"][0] for fit in both)
    alone = svi.fit(*pair("standard", backend, 4), X, seed=4)
    assert same(both[1].pair.state(), alone.pair.state())


# Reading ahead


def test_one_part_is_read_ahead_and_no_more() -> None:
    started, reading = [], threading.Event()

    def read(part: int) -> int:
        started.append(part)
        reading.set()
        return part

    parts = read_ahead(read, range(5))
    with closing(parts):
        assert next(parts) == 0
        reading.clear()
        for part in range(1, 4):
            assert next(parts) == part
        assert max(started) <= 4
    assert threading.active_count() == 1 or not any(t.name.startswith("ahead") for t in threading.enumerate())


def test_what_reading_raises_comes_to_the_caller_and_the_thread_ends(backend: backends.Backend, tmp_path: Path) -> None:
    """A shard that is cut between two epochs, one that goes, and Ctrl-C."""
    folder = shards(tmp_path / "x", X, 40)
    stream = data.stream(folder, at_once=20)

    def spoil(how: str) -> Any:
        def callback(epoch: int, metrics: Any, fit: Fit) -> None:
            if how == "cut":
                os.truncate(folder / "01.npy", 500)
            elif how == "gone":
                (folder / "01.npy").unlink()
            else:
                raise KeyboardInterrupt

        return callback

    svi, options = backend.inference.SVI(epochs=2, batch_size=10), {"checkpoint": tmp_path / "c"}
    for how, error, match in (
        ("Ctrl-C", KeyboardInterrupt, None),
        ("cut", ValueError, "01.npy' has changed since it was opened"),
        ("gone", ValueError, "01.npy' has disappeared"),
    ):
        with pytest.raises(error, match=match):
            svi.fit(*pair("standard", backend), stream, callback=spoil(how), **options)
        assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())
        np.save(folder / "01.npy", X[40:])
        stream = data.stream(folder, at_once=20)
    resumed = svi.fit(*pair("standard", backend), stream, resume=True, **options)
    assert same(resumed.pair.state(), svi.fit(*pair("standard", backend), X).pair.state())


# Memory


def test_memory_is_bounded_by_blocks(tmp_path: Path) -> None:
    """What NumPy holds while a set of 40 blocks is checked and trained on: a few blocks, whatever their number."""
    x = np.random.default_rng(0).random((40 * 150, 400), np.float32)
    stream, block = streamed(tmp_path / "x", x, at_once=150), 150 * 400 * 4
    backend = backends.load("pyro")
    model = recipes.vae(stream, likelihood="normal", latent_dim=2, hidden=(4,))(np.random.default_rng(0))
    svi = backend.inference.SVI(epochs=1, batch_size=50)
    svi.fit(*model, x[:50])  # what is made on a first use
    tracemalloc.start()
    fit = svi.fit(*model, stream, valid=stream)
    evaluation.log_likelihood(fit, stream, 2)
    assert tracemalloc.get_traced_memory()[1] < 10 * block
    tracemalloc.stop()


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA limits what a process may write to on Linux only")
def test_four_times_the_memory_is_streamed_and_does_not_load(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "benchmarks" / "larger_than_memory.py"), "--epochs", "1"]
    options = [
        "--limit",
        "32",
        "--backends",
        "pyro",
        "--kinds",
        "stream",
        "whole",
        "--out",
        str(tmp_path / "rows.json"),
    ]
    done = subprocess.run([*command, *options, "--folder", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "rows.json").read_text())
    stream, limited, whole = report["rows"]
    assert report["data"] >= 4 * report["limit"] and stream["limit"] == limited["limit"] == 32
    assert "MemoryError" in limited["failed"] and stream["peak"] < 32 < 4 * 32 < whole["peak"]
    assert stream["loss"] == whole["loss"]


def test_memory_that_runs_out_while_reading_says_what_to_lower(
    backend: backends.Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = streamed(tmp_path / "x", X, at_once=20)
    whole = Stream.__getitem__

    def read(self: Stream, rows: Any) -> np.ndarray:
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError
        return whole(self, rows)

    monkeypatch.setattr(Stream, "__getitem__", read)
    with pytest.raises(OutOfMemory, match="epoch 0: lower 'batch_size'"):
        backend.inference.SVI(epochs=1, batch_size=10).fit(*pair("standard", backend), stream)


# What is no data


def header_only(path: Path) -> None:
    with path.open("wb") as file:
        write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (9, 3)})
        file.write(bytes(50))


BAD = {
    "no shards": (lambda d: d.mkdir(), ValueError, "holds no .npy file"),
    "widths": (lambda d: (shards(d, X), np.save(d / "z.npy", X[:, 1:])), ValueError, r"'z.npy' has \(11,\)"),
    "dtypes": (lambda d: (shards(d, X), np.save(d / "z.npy", X > 0)), ValueError, "of bool: save them alike"),
    "objects": (lambda d: shards(d, np.full((3, 2), None)), TypeError, "refused because it can run code"),
    "integers": (lambda d: shards(d, GREY.astype(int)), TypeError, r"dtype int64.*astype\(np.float32\)"),
    "columns": (lambda d: shards(d, np.asfortranarray(X)), ValueError, "stored by columns"),
    "one image": (lambda d: shards(d, X[0]), ValueError, r"should hold images.*got \(12,\)"),
    "nothing": (lambda d: shards(d, X[:0]), ValueError, r"should hold images.*got \(0, 12\)"),
    "cut": (lambda d: (d.mkdir(), header_only(d / "x.npy")), ValueError, "truncated or damaged.*takes 236 bytes"),
    "text": (lambda d: (d.mkdir(), (d / "x.npy").write_text("0, 1")), ValueError, "is no NumPy file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_streamed_is_refused_when_it_is_opened(name: str, tmp_path: Path) -> None:
    make, error, match = BAD[name]
    make(tmp_path / "x")
    for opened in (data.stream, data.load):
        with pytest.raises(error, match=match):
            opened(tmp_path / "x")


def test_other_paths_and_settings_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X)
    np.save(tmp_path / "x.npy", X)
    for path, options, error, match in (
        ("x.npz", {}, ValueError, "Only a .npy file or a folder"),
        ("y.npy", {}, FileNotFoundError, "does not exist"),
        ("x.npy", {"at_once": 0}, ValueError, "at least 1; got 0"),
        ("x.npy", {"at_once": 2.5}, ValueError, "at least 1; got 2.5"),
        ("x.npy", {"scale": 0.0}, ValueError, "positive number; got 0.0"),
    ):
        with pytest.raises(error, match=match):
            data.stream(tmp_path / path, **options)
    with pytest.raises(ValueError, match="'digits' is read into memory"):
        data.load("digits", stream=True)
    assert repr(stored(tmp_path / "x.npy")) == f"Stored('{tmp_path}/x.npy', shape=(70, 12), dtype=float32)"


def test_bad_values_are_named_by_their_row(backend: backends.Backend, tmp_path: Path) -> None:
    """In blocks, before the first step."""
    svi = backend.inference.SVI(epochs=1, batch_size=10)
    x = X.copy()
    for value, match in ((np.nan, "NaN.*row 47, column 3"), (1.5, r"\[0, 1\].*at \[47, 3\]")):
        x[47, 3] = value
        stream = streamed(tmp_path / f"{value}", x, at_once=20)
        with pytest.raises(ValueError, match=match):
            svi.fit(*pair("standard", backend), stream)
        with pytest.raises(ValueError, match=match):
            svi.fit(*pair("standard", backend), X, valid=stream)
        with pytest.raises(ValueError, match=r"\[0, 1\].*at \[47, 3\]\): binarisation='dynamic'"):
            data.from_arrays(stored(tmp_path / f"{value}", 20), X[:1], X[:1], binarisation="dynamic")
    with pytest.raises(ValueError, match="levels.*1.5 at row 47, column 3"):
        svi.fit(*pair("levels", backend), stream)
    stream = streamed(tmp_path / "good", X)
    with pytest.raises(ValueError, match="'data' is a stream: pass np.asarray"):
        svi.fit(*pair("standard", backend), stream, mask=X > 0)
    with pytest.raises(ValueError, match=r"\(N, 12\).*\(70, 6\)"):
        svi.fit(*pair("standard", backend), X, valid=streamed(tmp_path / "narrow", X[:, :6]))


# The command line


def test_the_options_of_data_are_those_of_load() -> None:
    known = {name: p.default for name, p in inspect.signature(data.load).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert known == {("seed" if n == "data_seed" else n): v for n, v in DATA.items() if n != "data"}


def test_a_streamed_run_is_the_run_in_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By --stream and by a folder; and every command that reads data reads them there."""
    x = (GREY > 128).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    folder = shards(tmp_path / "s", x, 30)
    fit(tmp_path / "x.npy", tmp_path / "memory", "--prior", "vampprior")
    fit(tmp_path / "x.npy", tmp_path / "file", "--prior", "vampprior", "--stream")
    fit(folder, tmp_path / "folder", "--prior", "vampprior", "--figures")
    assert same_weights(tmp_path / "memory", tmp_path / "file")
    assert same(weights(tmp_path / "memory"), weights(tmp_path / "folder"))
    for run in ("memory", "file", "folder"):
        options = ("--num-particles", 5, "--quiet")
        assert command("evaluate", tmp_path / run, *options) == 0
        assert command("encode", tmp_path / run, "--out", tmp_path / f"{run}.npy", "--quiet") == 0
        assert command("reconstruct", tmp_path / run, "--part", "test", "--out", tmp_path / "r.npy", "--quiet") == 0
    for run in ("file", "folder"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{run}.npy"), np.load(tmp_path / "memory.npy"))
        ours, theirs = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in (run, "memory"))
        assert ours["log_p"] == theirs["log_p"] and ours["data"]["fingerprint"] == theirs["data"]["fingerprint"]
    assert command("encode", tmp_path / "memory", "--data", folder, "--out", tmp_path / "z.npy", "--quiet") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), np.load(tmp_path / "memory.npy"))
    np.save(folder / "02.npy", x[:, 1:])
    assert command("evaluate", tmp_path / "folder") == 2
    assert "save them alike" in one_line(capsys)

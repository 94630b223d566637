"""What goes wrong, made to happen: kills, full disks, damaged and hostile files, two writers, no memory, no GPU.

Faults of downloads and of the cache (no network, a wrong checksum, a cut, a full disk, no permission, two processes)
are made to happen in ``test_data_sets.py``; a loss that becomes NaN in ``test_svi.py``, ``test_compare.py`` and
``test_cli.py``; checkpoints of other settings, data and models in ``test_svi.py``.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from pairs import pair, toy, untrained
from safetensors.numpy import save

from ppl_vae import backends, data, errors, evaluation, recipes, strategies
from ppl_vae.cli import main
from ppl_vae.errors import InUse, OutOfMemory
from ppl_vae.evaluation import Cell, Study
from ppl_vae.inference.svi.run import PyroRun
from ppl_vae.numpyro.inference.svi.run import NumPyroRun
from ppl_vae.pairs.chunks import CHUNK_VARIABLE
from ppl_vae.results import Fit
from ppl_vae.runtime import locks, storage
from ppl_vae.runtime.locks import only_writer

Script = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[2]
TRAIN = toy(60)
TINY = ("--hidden", "6", "--latent-dim", "2", "--batch-size", "16", "--quiet")


def trained(backend: backends.Backend, *, epochs: int = 2, **options: Any) -> Fit:
    svi = backend.inference.SVI(epochs=epochs, batch_size=20)
    return svi.fit(*pair("standard", backend), TRAIN, **options)


def command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ppl-vae: error: ")
    return line


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Another process, which ends well."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def forked(script: Script, tmp_path: Path) -> Script:
    """The same, as a fork of a process that has imported the libraries."""

    def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "script.py"
        path.write_text(code, encoding="utf-8")
        done = script(path, *map(str, arguments))
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    np.save(tmp_path / "images.npy", toy(60).astype(np.uint8))
    return tmp_path / "images.npy"


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


# --- kill -9 ---


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the attempts are forks")
def test_kills_are_survived(tmp_path: Path, script: Script) -> None:
    """At least 20 by default; PPL_VAE_KILLS=500 asks for more."""
    kills = os.environ.get("PPL_VAE_KILLS", "24")
    done = script(ROOT / "benchmarks" / "kills.py", "--kills", kills, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr + done.stdout
    tallies = json.loads((tmp_path / "kills.json").read_text(encoding="utf-8"))
    assert sum(tally["kills"] for tally in tallies) >= int(kills) - 1
    assert {tally["job"] for tally in tallies} == {"fit, pyro", "study, pyro", "table, pyro", "fit, numpyro"}
    assert all(tally["kills"] and tally["ended"] for tally in tallies)
    assert sum(tally["while_saving"] for tally in tallies)


def test_what_a_killed_process_left_is_removed_by_who_alone_writes(tmp_path: Path, images: Path) -> None:
    path, part = tmp_path / "a.checkpoint", tmp_path / ".a.checkpoint.abc.part"
    other = tmp_path / ".b.checkpoint.abc.part"  # of another training, which may be at work
    part.write_bytes(b"half")
    other.write_bytes(b"half")
    trained(backends.load("pyro"), epochs=1, checkpoint=path)
    assert not part.exists() and other.exists()
    run = tmp_path / "run"
    run.mkdir()
    (run / "figures").mkdir()
    left = [run / f".{name}.abc.part" for name in ("settings.json", "history.csv", "fit.safetensors")]
    left.append(run / "figures" / ".training.png.abc.part")
    for part in left:
        part.write_bytes(b"half")
    assert command("fit", "--data", images, "--out", run, *TINY, "--epochs", 1) == 0
    assert not [path for path in run.rglob(".*")]
    assert {"fit.safetensors", "settings.json", "figures"} <= {path.name for path in run.iterdir()}


# --- a full disk ---

FULL_DISK = """
import resource, sys
from ppl_vae.cli import main
data, out = sys.argv[1:]
options = ["--data", data, "--out", out, "--hidden", "60", "--latent-dim", "2", "--batch-size", "16", "--quiet"]
assert main(["fit", *options, "--epochs", "1"]) == 0
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # room for the settings, and for no checkpoint
assert main(["fit", "--resume", "--out", out, "--epochs", "3", "--quiet"]) == 2
"""


@pytest.mark.slow
def test_a_full_disk_while_saving(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], forked: Script
) -> None:
    """One line names the file; what was there is whole; with room again, the end is that of a whole training."""
    run = tmp_path / "run"
    done = forked(FULL_DISK, images, run)
    (line,) = done.stderr.splitlines()
    assert f"{run / 'checkpoint.safetensors'}: File too large; nothing was written" in line and "make room" in line
    assert storage.read(run / "checkpoint.safetensors")[1]["epochs_done"] == 1
    assert not [p for p in run.iterdir() if p.name.startswith(".")]
    assert command("fit", "--resume", "--out", run, "--quiet") == 0
    whole = ("--hidden", 60, "--latent-dim", 2, "--batch-size", 16, "--epochs", 3, "--quiet")
    assert command("fit", "--data", images, "--out", tmp_path / "whole", *whole) == 0
    ours, theirs = (storage.read(folder / "fit.safetensors")[0] for folder in (run, tmp_path / "whole"))
    assert same(ours, theirs)


def test_a_place_that_cannot_be_written(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "afile").write_text("mine")
    assert command("fit", "--data", images, "--out", tmp_path / "afile" / "run", *TINY, "--epochs", 1) == 2
    assert "afile" in one_line(capsys) and (tmp_path / "afile").read_text() == "mine"


# --- damaged files ---


def test_any_flipped_bit_and_any_cut_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    written = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3, np.int64)}, {"kind": "x", "n": [1.5]}
    storage.write(path, *written)
    whole, found = path.read_bytes(), 0
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(errors.UnreadableFile):
            storage.read(path)
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << 5 * place % 8
        path.write_bytes(flipped)
        try:
            arrays, header = storage.read(path)
        except errors.UnreadableFile:
            found += 1
        else:  # a name of the record of the checksum itself
            assert same(arrays, written[0]) and header == written[1]
    assert found > 0.95 * len(whole)


@pytest.mark.parametrize("name", ["checkpoint", "fit"])
def test_a_flipped_weight_is_refused(
    name: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another number in the last bits passes every other check."""
    run = tmp_path / "run"
    assert command("fit", "--data", images, "--out", run, *TINY, "--epochs", 1) == 0
    path = run / f"{name}.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-4] ^= 1
    path.write_bytes(damaged)
    arguments = ("fit", "--resume", "--out", run, "--epochs", 2) if name == "checkpoint" else ("evaluate", run)
    assert command(*arguments) == 2
    assert "checksum differs" in one_line(capsys) and path.name in repr(path)
    assert path.read_bytes() == damaged


DEEP = "[" * 100_000
HEADERS: dict[str, bytes] = {
    "longer than the file": (2**40).to_bytes(8, "little") + b"{}",
    "no JSON": (8).to_bytes(8, "little") + b"import o",
    "outside of the file": (63).to_bytes(8, "little")
    + b'{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}        ',
    "no header of ours": save({"w": np.zeros(2)}),
    "not JSON in ours": save({"w": np.zeros(2)}, {"ppl_vae": "__import__('os').getcwd()"}),
    "a list in ours": save({"w": np.zeros(2)}, {"ppl_vae": "[1, 2]"}),
    "too deep in ours": save({"w": np.zeros(2)}, {"ppl_vae": DEEP}),
    "no kind in ours": save({"w": np.zeros(2)}, {"ppl_vae": "{}"}),
    "nothing but a kind of fit": save({"w": np.zeros(2)}, {"ppl_vae": '{"kind": "fit"}'}),
    "nothing but a kind of checkpoint": save({"w": np.zeros(2)}, {"ppl_vae": '{"kind": "checkpoint"}'}),
}


@pytest.mark.parametrize("name", HEADERS)
def test_wrong_headers(name: str, backend: backends.Backend, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(HEADERS[name])
    with pytest.raises(errors.UnreadableFile, match=r"a\.safetensors"):
        Fit.load(path)
    with pytest.raises(errors.UnreadableFile, match=r"a\.safetensors"):
        trained(backend, checkpoint=path, resume=True)
    assert path.read_bytes() == HEADERS[name]


def test_a_fit_is_no_checkpoint_and_a_checkpoint_no_fit(backend: backends.Backend, tmp_path: Path) -> None:
    fit = trained(backend, epochs=1, checkpoint=tmp_path / "checkpoint")
    fit.save(tmp_path / "fit")
    with pytest.raises(errors.UnreadableFile, match="is a checkpoint, not a fit"):
        Fit.load(tmp_path / "checkpoint")
    with pytest.raises(errors.UnreadableFile, match="is a 'fit', not a checkpoint"):
        trained(backend, checkpoint=tmp_path / "fit", resume=True)


def test_a_checkpoint_of_another_backend_or_version(backend: backends.Backend, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    trained(backend, epochs=1, checkpoint=path)
    (other,) = (backends.load(name) for name in backends.NAMES if name != backend.name)
    with pytest.raises(ValueError, match="belongs to another training: its '(optim|backend)' is"):
        trained(other, checkpoint=path, resume=True)
    arrays, header = storage.read(path)
    assert header["versions"]["ppl_vae"] and header["versions"]["torch"] == torch.__version__.partition("+")[0]
    for name in ("ppl_vae", "torch"):
        storage.write(path, arrays, {**header, "versions": {**header["versions"], name: "0.0.1"}})
        with pytest.raises(ValueError, match=rf"written with {name} 0\.0\.1, and here is \d.*go on with that version"):
            trained(backend, checkpoint=path, resume=True)
    storage.write(path, arrays, header)
    assert len(trained(backend, checkpoint=path, resume=True).history["loss"]) == 2


# --- files that ask to run code ---


class Bomb:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_no_file_of_weights_or_data_runs_code(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb, run = Bomb(tmp_path / "it ran"), tmp_path / "run"
    assert command("fit", "--data", images, "--out", run, *TINY, "--epochs", 1) == 0
    torch.save({"w": bomb}, tmp_path / "w.pt")
    np.save(tmp_path / "objects.npy", np.array([bomb], dtype=object))
    np.savez(tmp_path / "objects.npz", images=np.array([bomb], dtype=object))
    pickles = [pickle.dumps(bomb), *((tmp_path / name).read_bytes() for name in ("w.pt", "objects.npy", "objects.npz"))]
    for content in pickles:
        for name in ("checkpoint.safetensors", "fit.safetensors", "settings.json"):
            whole = (run / name).read_bytes()
            (run / name).write_bytes(content)
            resumed = ("fit", "--resume", "--out", run, "--epochs", 2)
            assert command(*(("evaluate", run) if name == "fit.safetensors" else resumed)) == 2
            assert name in one_line(capsys)
            (run / name).write_bytes(whole)
        for suffix in ("npy", "npz"):
            (tmp_path / f"x.{suffix}").write_bytes(content)
            assert command("fit", "--data", tmp_path / f"x.{suffix}", "--out", tmp_path / "new") == 2
            assert f"x.{suffix}" in one_line(capsys)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    "change", [{"backend": "os"}, {"recipe": {"shape": [2], "hidden": [2], "activation": "system"}}]
)
def test_names_in_a_header_are_looked_up_and_not_run(change: dict[str, Any], tmp_path: Path) -> None:
    path, recipe = tmp_path / "a.safetensors", recipes.vae((2, 2), latent_dim=2, hidden=(3,))
    untrained(*recipe(np.random.default_rng(0)), backends.load("pyro"), toy(4)[:, :4]).save(path, recipe=recipe)
    arrays, header = storage.read(path)
    storage.write(path, arrays, {**header, **change})
    with pytest.raises(ValueError, match=r"(?i)unknown.*there are|activation"):
        Fit.load(path)


# --- two writers ---

HOLDER = """
import sys
from pathlib import Path
from ppl_vae.runtime.locks import only_writer
with only_writer(Path(sys.argv[1]), folder=sys.argv[2] == "folder"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path: Path) -> Any:
    """Start another process that holds the lock of a file or a folder."""
    processes: list[subprocess.Popen[str]] = []

    def start(path: Path, kind: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", HOLDER, str(path), kind]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


Work = Callable[[Path], object]


def a_study(folder: Path, **options: Any) -> Study:
    split = data.from_arrays(TRAIN[:40], TRAIN[40:50], TRAIN[50:], image_shape=(12,), binarisation="fixed")
    recipe = recipes.vae(split, latent_dim=2, hidden=(6,))
    cells = [Cell("elbo", "pyro", recipe, strategies.svi("elbo", "pyro", epochs=1, batch_size=20, **options))]
    return Study(folder, split, cells, num_particles=5, elbo_particles=2)


def test_a_study_killed_at_its_last_step_is_tidied(tmp_path: Path) -> None:
    """Between the result of a training and the end of its checkpoint, or in the middle of a file."""
    study = a_study(tmp_path)
    study.run(progress=False)
    (result,) = study.results()
    before = {p.name: p.read_bytes() for p in result.folder.iterdir()}
    for name in ("checkpoint.safetensors", *(f".{name}.abc.part" for name in before)):
        (result.folder / name).write_bytes(b"left")
    study.run(progress=False)
    assert {p.name: p.read_bytes() for p in result.folder.iterdir()} == before


@pytest.mark.parametrize("kind", ["file", "study"])
def test_the_second_writer_is_refused_and_a_dead_one_is_not_waited_for(
    kind: str, hold: Any, backend: backends.Backend, tmp_path: Path
) -> None:
    path = tmp_path / "it"
    work: Work = {
        "file": lambda path: trained(backend, epochs=1, checkpoint=path),
        "study": lambda path: a_study(path).run(progress=False),
    }[kind]
    holder = hold(path, "file" if kind == "file" else "folder")
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    said = rf"it is in use by another training \(process {holder.pid} on .*, {since}\): wait until it ends, or use"
    before = {p.name for p in tmp_path.rglob("*")}
    with pytest.raises(InUse, match=said):
        work(path)
    assert {p.name for p in tmp_path.rglob("*")} == before
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert any(p.name.endswith(".lock") for p in tmp_path.rglob("*"))  # what it left
    work(path)
    assert path.exists() and not [p for p in tmp_path.rglob("*") if p.name.endswith(".lock")]


def test_two_commands_on_one_out(hold: Any, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    arguments = ("--data", images, "--out", out, *TINY, "--epochs", 1)
    holder = hold(out, "folder")
    for words in (
        ("fit", *arguments),
        ("fit", "--resume", *arguments),
        ("compare", *arguments, "--strategies", "elbo"),
    ):
        assert command(*words) == 2
        assert f"in use by another training (process {holder.pid} on " in one_line(capsys)
    assert [p.name for p in out.iterdir()] == [".lock"]
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert command("fit", *arguments) == 0


def test_a_training_goes_on_undisturbed_by_a_second_command(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forked: Script
) -> None:
    out, whole = tmp_path / "run", PyroRun.epoch
    again = (
        "import sys; from ppl_vae.cli import main; print([main([*sys.argv[1:], *more]) for more in ([], ['--resume'])])"
    )

    def epoch(self: PyroRun, epoch: int, order: np.ndarray) -> np.ndarray:
        if epoch == 1:
            done = forked(again, "fit", "--data", images, "--out", out, *TINY, "--epochs", 3)
            assert done.stdout == "[2, 2]\n"
            assert done.stderr.count(f"{out} is in use by another training (process {os.getpid()} on ") == 2
        return whole(self, epoch, order)

    assert command("fit", "--data", images, "--out", tmp_path / "alone", *TINY, "--epochs", 3) == 0
    monkeypatch.setattr(PyroRun, "epoch", epoch)
    assert command("fit", "--data", images, "--out", out, *TINY, "--epochs", 3) == 0
    ours, theirs = (storage.read(folder / "fit.safetensors")[0] for folder in (out, tmp_path / "alone"))
    assert same(ours, theirs)


def test_threads_are_kept_apart_and_a_folder_without_use_is_not_left(tmp_path: Path) -> None:
    refused: list[BaseException] = []

    def second() -> None:
        try:
            with only_writer(tmp_path / "new", folder=True):
                pytest.fail("it was let in")
        except InUse as error:
            refused.append(error)

    with only_writer(tmp_path / "new", folder=True):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        (tmp_path / "new" / "kept").mkdir()
    assert len(refused) == 1 and (tmp_path / "new" / "kept").exists()
    with pytest.raises(KeyError), only_writer(tmp_path / "never" / "used", folder=True):
        raise KeyError
    assert not (tmp_path / "never" / "used").exists()


def test_a_lock_that_names_nobody(tmp_path: Path) -> None:
    """Where the system does not let a locked file be read."""
    with only_writer(tmp_path / "a"):
        (tmp_path / ".a.lock").write_text("?")
        with pytest.raises(InUse, match="of an unknown process"), only_writer(tmp_path / "a"):
            pass
    assert locks.PATIENCE < 1


# --- out of memory ---

FAILURES: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total ..."),
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "torch on a CPU": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
    ),
    "xla": lambda: jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes."),
    "numpy": lambda: np._core._exceptions._ArrayMemoryError((10**9,), np.dtype(float)),
}
OF = {"pyro": ("cuda", "cublas", "torch on a CPU", "numpy"), "numpyro": ("xla", "numpy")}
ALL = [(name, failure) for name, failures in OF.items() for failure in failures]


RUNS = {"pyro": PyroRun, "numpyro": NumPyroRun}


@pytest.mark.parametrize(("name", "failure"), ALL)
def test_no_memory_for_a_step(name: str, failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, path = backends.load(name), tmp_path / "checkpoint"
    kind, error = RUNS[name], FAILURES[failure]()
    whole = kind.epoch

    def epoch(self: Any, epoch: int, order: np.ndarray) -> np.ndarray:
        if epoch == failing:
            raise error
        return whole(self, epoch, order)

    monkeypatch.setattr(kind, "epoch", epoch)
    svi = backend.inference.SVI(backend.inference.IWAE(7), epochs=3, batch_size=20)
    failing = 0
    said = r"^Out of memory in epoch 0: lower 'batch_size' \(here 20\) or 'chunk' of IWAE \(here 7\) or "
    said += r"'num_particles' of IWAE \(here 7\), or use a larger device\. No checkpoint was asked for"
    with pytest.raises(OutOfMemory, match=said):
        svi.fit(*pair("standard", backend), TRAIN)
    failing = 1
    with pytest.raises(
        MemoryError, match=rf"in epoch 1: .*The last good checkpoint is {re.escape(str(path))}"
    ) as caught:
        svi.fit(*pair("standard", backend), TRAIN, checkpoint=path)
    assert caught.value.__cause__ is error
    failing = -1
    resumed = svi.fit(*pair("standard", backend), TRAIN, checkpoint=path, resume=True)
    assert same(resumed.pair.state(), svi.fit(*pair("standard", backend), TRAIN).pair.state())


def test_another_error_stays_as_it_is(backend: backends.Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def epoch(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(RUNS[backend.name], "epoch", epoch)
    with pytest.raises(RuntimeError, match="^a bug$"):
        trained(backend)


@pytest.mark.parametrize(("name", "failure"), ALL)
def test_no_memory_in_evaluation(name: str, failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows at a time are what decides, and not the draws; then what is drawn is kept, and they count too."""
    backend = backends.load(name)
    fit = untrained(*pair("standard", backend), backend)

    def fails(*_: object, **__: object) -> None:
        raise FAILURES[failure]()

    for method in ("sample", "posterior", "predict", "generate"):
        monkeypatch.setattr(fit.pair, method, fails)
    monkeypatch.setenv(CHUNK_VARIABLE, "30")
    rows = rf"lower the environment variable {CHUNK_VARIABLE} \(here 30\)"
    for doing, call in {
        rf"in log p\(x\) of 60 data points: {rows}, or use": lambda: evaluation.log_likelihood(fit, TRAIN),
        rf"with draws of 60 data points: {rows} or 'num_particles' \(here 9\)": lambda: fit.terms(TRAIN, 9),
        rf"on 60 data points: {rows}": lambda: fit.encode(TRAIN),
        rf"while generating: {rows} or 'size' \(here 40\)": lambda: fit.generate(40),
    }.items():
        with pytest.raises(OutOfMemory, match=doing) as caught:
            call()
        assert type(caught.value.__cause__) is type(FAILURES[failure]())


def test_a_smaller_chunk_holds_fewer_rows_and_says_the_same(
    backend: backends.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, rows = untrained(*pair("standard", backend), backend), []
    sample = fit.pair.sample

    def counted(x: np.ndarray, num_particles: int, *arguments: Any, **options: Any) -> Any:
        rows.append(len(x) * num_particles)
        return sample(x, num_particles, *arguments, **options)

    monkeypatch.setattr(fit.pair, "sample", counted)
    usual = evaluation.log_likelihood(fit, TRAIN[:10], 300)
    assert max(rows) == 1500
    rows.clear()
    monkeypatch.setenv(CHUNK_VARIABLE, "100")
    smaller = evaluation.log_likelihood(fit, TRAIN[:10], 300)
    assert max(rows) == 100
    assert abs(smaller.mean - usual.mean) < 5 * np.hypot(smaller.mean_mc_error, usual.mean_mc_error)
    for wrong in ("0", "-3", "many", "2.5", ""):
        monkeypatch.setenv(CHUNK_VARIABLE, wrong)
        with pytest.raises(ValueError, match=f"{CHUNK_VARIABLE} should be an integer of at least 1; got '{wrong}'"):
            fit.encode(TRAIN)


NO_MEMORY = """
import os, resource, sys
from pathlib import Path
from ppl_vae.cli import main
data, out = sys.argv[1:]
options = ["--data", data, "--latent-dim", "2", "--epochs", "1", "--quiet", "--no-figures"]
assert main(["fit", *options, "--out", out + "/warm", "--hidden", "8", "--batch-size", "16"]) == 0
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 250 * 2**20,) * 2)
options += ["--hidden", "40000"]
assert main(["fit", *options, "--out", out + "/large", "--batch-size", "1200"]) == 2
os.environ["PPL_VAE_CHUNK"] = "50"
assert main(["fit", *options, "--out", out + "/small", "--batch-size", "16"]) == 0
del os.environ["PPL_VAE_CHUNK"]
assert main(["evaluate", out + "/small", "--num-particles", "4000", "--quiet"]) == 2
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is set from what Linux tells")
def test_a_machine_without_memory(tmp_path: Path, forked: Script) -> None:
    """The command names the option to lower, and with a lower one it ends well."""
    np.save(tmp_path / "images.npy", toy(1800).astype(np.uint8))
    fit, evaluate = forked(NO_MEMORY, tmp_path / "images.npy", tmp_path).stderr.splitlines()
    assert re.search(r"Out of memory (before the first step|in epoch 0): lower --batch-size \(here 1200\)", fit)
    assert f"lower the environment variable {CHUNK_VARIABLE} (here 2000)" in evaluate


def test_no_memory_for_the_data(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: object, **__: object) -> None:
        raise FAILURES["numpy"]()

    monkeypatch.setattr("ppl_vae.data.load", load)
    assert command("fit", "--data", images, "--out", tmp_path / "run") == 2
    assert "out of memory: Unable to allocate" in one_line(capsys)


# --- no GPU ---


def test_a_gpu_that_is_not_there(
    backend: backends.Backend, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("fit", "--data", images, "--out", tmp_path / "run", *TINY, "--epochs", 1) == 0
    fit = untrained(*pair("standard", backend), backend)
    fit.save(tmp_path / "fit")
    for device in ("cuda:99", "cuda:-1", "cpu:7", "toaster"):
        said = rf"{device}'.*; on this machine there are .*(cpu|cuda)"
        with pytest.raises(ValueError, match=said):
            trained(backend, device=device)
        with pytest.raises(ValueError, match=said):
            Fit.load(tmp_path / "fit", pair=pair("standard", backend), device=device)
        new = ("fit", "--data", images, "--out", tmp_path / "new", "--backend", backend.name, *TINY)
        for words in (new, ("evaluate", tmp_path / "run")):
            assert command(*words, "--device", device) == 2
            assert re.search(said, one_line(capsys))
    assert not (tmp_path / "new").exists()


def test_a_gpu_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its driver is too old, say: torch counts it and then fails."""

    def empty(*_: object, **__: object) -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update it")

    find_device = backends.load("pyro").inference.pair.find_device
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.empty", empty)
    said = r"'cuda' cannot be used \(The NVIDIA driver .* 11040\)\); on this machine there are cpu, cuda:0"
    with pytest.raises(ValueError, match=said):
        find_device("cuda")


def test_a_platform_of_jax_that_is_not_there(images: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; os.environ['JAX_PLATFORMS'] = 'tpu'; from ppl_vae.cli import main; print(main(sys.argv[1:]))"
    )
    done = python(code, "fit", "--data", images, "--out", tmp_path / "run", "--backend", "numpyro", *TINY)
    (line,) = done.stderr.splitlines()
    assert done.stdout == "2\n" and "JAX finds no device; the environment variable JAX_PLATFORMS is 'tpu'" in line

"""Shared out over two processes, or over two devices, a training is the training that it is in one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import PAIRS, SMALL, pair, toy
from torch import nn

from ppl_vae import backends, baselines, data, inference, recipes
from ppl_vae.inference.svi.data_parallel import SpreadRun
from ppl_vae.pairs.inputs import digest
from ppl_vae.results import Fit

pytestmark = pytest.mark.slow  # its tests start processes

torch.set_num_threads(1)  # the processes that this module starts read it, too
N = 45
"""Not a multiple of two, nor are the batches; the last one has a single row."""
ROWS = {"guide": "per-datapoint"}
MEASURED = ("seconds", "compilation", "memory")
Numbers = dict[str, Any]
Script = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[2]

SGD = partial(torch.optim.SGD, lr=0.05)
TRAININGS: dict[str, tuple[str, dict[str, Any], Any, dict[str, Any]]] = {
    "iwae": ("vampprior", {}, lambda i: i.IWAE(3), {"clip_norm": 1.0, "patience": 2}),
    "chunks": ("full-vampprior", {}, lambda i: i.DReG(4, chunk=2), {}),
    "rows": ("standard", ROWS, lambda i: i.TraceELBO(2), {}),
    "inner loop": ("standard", ROWS, lambda i: i.TraceELBO(), {"local_steps": 50, "local_tolerance": 0.1}),
    "semi-amortised": ("standard", {"guide": "semi-amortised"}, lambda i: i.TraceELBO(), {}),
    "bernoulli": ("bernoulli", {}, lambda i: i.VIMCO(3), {}),
    # Signals that are differences of costs may be rounding alone, of which Adam would make whole steps.
    "categorical": ("categorical", {}, lambda i: i.TraceGraphELBO(2, baseline=baselines.LeaveOneOut()), {"optim": SGD}),
    "dreams": ("vampprior", {}, lambda i: i.WakeSleep(2), {}),
    "stock": ("standard", {}, lambda i: pyro.infer.TraceMeanField_ELBO(), {}),
    "bfloat16": ("standard", {}, lambda i: i.TraceELBO(), {"precision": "bfloat16", "optim": SGD}),
}
"""Name -> pair, its settings, the objective, settings of the training."""


def split() -> data.Split:
    return data.from_arrays(toy(N), toy(20, seed=1), toy(10, seed=2), binarisation="dynamic")


def made(name: str, backend: str = "pyro", **settings: Any) -> tuple[Any, Any]:
    options = {**SMALL, **PAIRS[name], **settings}
    return recipes.vae(toy(N), backend=backend, **options)(np.random.default_rng(0))


def train(name: str, *, epochs: int = 3, **options: Any) -> Fit:
    """One of the trainings."""
    which, settings, loss, more = TRAININGS[name]
    svi = inference.SVI(loss(inference), epochs=epochs, batch_size=11, learning_rate=0.01, **more)
    return svi.fit(*made(which, **settings), split(), **options)


def functions() -> tuple[Any, Any]:
    """A pair of plain functions whose net drops out units: a draw that is no sample site's."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(12, 9), nn.Dropout(0.3), nn.Linear(9, 4))
    decoder = nn.Linear(2, 12)

    def model(x: Any = None, *, size: int = 1) -> None:
        net = pyro.module("decoder", decoder)
        bias = pyro.param("bias", torch.zeros(12))
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Laplace(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=net(z) + bias, validate_args=False).to_event(1), obs=x)

    def guide(x: Any) -> None:
        loc, raw = pyro.module("encoder", encoder)(x).chunk(2, -1)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Laplace(loc, raw.exp()).to_event(1))

    return model, guide


def train_functions(parallel: bool) -> Fit:
    svi = inference.SVI(inference.TraceELBO(3), epochs=3, batch_size=11)
    scaled = (pyro.poutine.scale(program, 7.0) for program in functions())
    return svi.fit(*scaled, toy(N), parallel=parallel)


def train_stream(backend: str, folder: Path, parallel: bool) -> Fit:
    """A per-datapoint guide, on data that stay on the disk."""
    strategies = backends.load(backend).inference
    svi = strategies.SVI(strategies.TraceELBO(), epochs=2, batch_size=10, learning_rate=0.01)
    return svi.fit(*made("standard", backend, **ROWS), data.stream(folder / "x.npy", at_once=20), parallel=parallel)


def numbers(fit: Fit) -> Numbers:
    history = {name: values for name, values in fit.history.items() if name not in MEASURED}
    return {"history": history, "state": fit.pair.state()}


def same(a: Numbers, b: Numbers, tolerance: float = 1e-5) -> None:
    for part in ("history", "state"):
        assert a[part].keys() == b[part].keys()
        for name, values in a[part].items():
            np.testing.assert_allclose(values, b[part][name], rtol=tolerance, atol=tolerance, err_msg=name)


# -- two processes --------------------------------------------------------------------------------------------------


def refusal(**options: Any) -> str:
    """What a training that cannot be shared out says."""
    given = {"loss": inference.TraceELBO(), "pair": made("standard"), "seed": 0, **options}
    svi = inference.SVI(given["loss"], epochs=1, batch_size=11)
    try:
        svi.fit(*given["pair"], toy(N), seed=given["seed"], parallel=True)
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def scaled() -> tuple[Any, ...]:
    """Programs whose data have scales of their own."""
    kept = made("standard")
    return tuple(lambda x, p=p: pyro.poutine.scale(p, torch.linspace(0.1, 0.2, len(x)))(x) for p in kept)


def gamma() -> tuple[Any, Any]:
    """A positive latent, whose draws reject some of their random numbers."""
    encoder = nn.Linear(12, 2)

    def positive(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Gamma(pyro.module("encoder", encoder)(x).exp(), 1.0).to_event(1))

    def of_it(x: Any = None, *, size: int = 1) -> None:
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Gamma(torch.ones(2), 1.0).to_event(1))
            pyro.sample(
                "x", dist.Bernoulli(logits=z.sum(-1, keepdim=True).expand(*z.shape[:-1], 12)).to_event(1), obs=x
            )

    return of_it, positive


def refusals() -> dict[str, str]:
    rank = torch.distributed.get_rank()
    torch.manual_seed(0)
    return {
        "is no sum over data": refusal(loss=inference.CapacityELBO(target=1.0)),
        r"follows the training \('baseline'\)": refusal(
            loss=inference.TraceGraphELBO(baseline=baselines.RunningAverage())
        ),
        r"follows the training \('averages'\)": refusal(loss=inference.VQELBO(decay=0.9), pair=made("vq")),
        "no differentiable_loss": refusal(loss=pyro.infer.TraceGraph_ELBO()),
        "scales the densities": refusal(pair=scaled()),
        "depend on those of the others": refusal(pair=gamma()),
        "'seed' is '?0'? in process 0 and '?1'? in process 1": refusal(seed=rank),
        "'weights' is .* in process 0 and": refusal(pair=pair("standard", "pyro", seed=rank)),
    }


def halves(fit_rows: Any) -> tuple[Fit, list[list[int]]]:
    """A training, and how many rows each process held at the end of an epoch."""
    held: list[int] = []
    put_whole = SpreadRun._put_whole

    def counted(run: SpreadRun) -> None:
        held[:] = [len(table) for table in run.pair.tables().values()]
        put_whole(run)

    SpreadRun._put_whole = counted  # type: ignore[method-assign]
    try:
        fit = fit_rows()
    finally:
        SpreadRun._put_whole = put_whole  # type: ignore[method-assign]
    everyones: list[Any] = [None, None]
    torch.distributed.all_gather_object(everyones, held)
    return fit, everyones


def everything(folder: Path) -> dict[str, Any]:
    """What the tests below ask of two processes, in one go."""
    found: dict[str, Any] = {}
    for name in TRAININGS:
        found[name] = numbers(train(name, parallel=True))
    found["stream"] = numbers(train_stream("pyro", folder, True))
    last = train_functions(True)
    found["functions"] = numbers(last)
    mine = digest(*last.pair.state().values(), *(v for n, v in last.history.items()))
    everyones: list[Any] = [None, None]
    torch.distributed.all_gather_object(everyones, mine)
    found["same everywhere"] = len(set(everyones)) == 1
    called: list[int] = []
    options = {"callback": lambda epoch, *_: called.append(epoch), "checkpoint": folder / "two.checkpoint"}
    _, found["rows held"] = halves(lambda: train("rows", epochs=2, parallel=True, **options))
    torch.distributed.all_gather_object(everyones, called)
    found["called"] = list(everyones)
    found["resumed"] = numbers(
        train("rows", epochs=4, parallel=True, checkpoint=folder / "one.checkpoint", resume=True)
    )
    try:
        train("iwae", parallel=True, callback=lambda *_: 1 / 0)
    except ZeroDivisionError as error:
        found["stopped"] = str(error)
    torch.distributed.all_gather_object(everyones, found.get("stopped"))
    found["stopped"] = list(everyones)
    found["refusals"] = refusals()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parallel")


@pytest.fixture(scope="module")
def two(folder: Path) -> dict[str, Any]:
    """What two processes found; a checkpoint of one is there for them, and they leave one of theirs."""
    train("rows", epochs=2, checkpoint=folder / "one.checkpoint")
    np.save(folder / "x.npy", toy(N))
    found: dict[str, Any] = inference.launch(everything, folder, processes=2, timeout=300.0)
    return found


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_give_the_numbers_of_one(two: dict[str, Any], name: str) -> None:
    """Losses, validation ELBO and weights, with the noise, the order and the binarisation of one process."""
    alone = train(name)
    same(numbers(alone), two[name], 1e-3 if name == "bfloat16" else 1e-5)  # each rounds the operands of its own rows
    assert np.ptp(alone.history["loss"]) > 1e-2


def test_plain_functions_with_dropout_too(two: dict[str, Any]) -> None:
    same(numbers(train_functions(False)), two["functions"])


def test_data_on_the_disk_too(two: dict[str, Any], folder: Path) -> None:
    same(numbers(train_stream("pyro", folder, False)), two["stream"])


def test_every_process_has_the_fit_and_the_first_one_alone_calls_back(two: dict[str, Any]) -> None:
    assert two["same everywhere"]
    assert two["called"] == [[0, 1], []]


def test_each_process_holds_the_rows_of_its_data(two: dict[str, Any]) -> None:
    """And one more, for batches in which it has no datum."""
    (first,), (second,) = two["rows held"]
    assert (first, second) == (N // 2 + 1, N - N // 2 + 1)


def test_checkpoints_know_nothing_of_the_number_of_processes(two: dict[str, Any], folder: Path) -> None:
    """Of one, gone on with by two; of two, gone on with by one: the end is that of one throughout."""
    alone = numbers(train("rows", epochs=4))
    same(alone, two["resumed"])
    same(alone, numbers(train("rows", epochs=4, checkpoint=folder / "two.checkpoint", resume=True)))


def test_an_error_of_the_first_process_is_everyones(two: dict[str, Any]) -> None:
    assert two["stopped"] == ["division by zero"] * 2


def unlike(kind: str) -> None:
    """The second process ends before its training begins."""
    x = toy(N)
    if torch.distributed.get_rank() == 1:
        if kind == "gone":
            os._exit(3)
        x[0, 0] = np.nan
    inference.SVI(epochs=1, batch_size=11).fit(*made("standard"), x, parallel=True)


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("nan", ValueError, "NaN"),
        pytest.param("gone", inference.WorkerLost, "before the first step", marks=pytest.mark.release),
    ],
)
def test_a_process_that_ends_before_the_first_step(kind: str, error: type[Exception], said: str) -> None:
    """Its own error is the one that is raised; where it left none, the others say what happened."""
    with pytest.raises(error, match=said):
        inference.launch(unlike, kind, processes=2, timeout=300.0)


def test_what_cannot_be_shared_out_is_refused(two: dict[str, Any]) -> None:
    for reason, said in two["refusals"].items():
        assert re.search(reason, said), (reason, said)


def test_a_process_on_its_own_is_told_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"start the script by 'torchrun --nproc-per-node 2"):
        train("iwae", parallel=True)


# -- the death of a process -------------------------------------------------------------------------------------------


def killed(path: Path) -> None:
    """The second process is killed in the middle of the third epoch."""
    step, done = SpreadRun._step, [0]

    def last_steps(run: SpreadRun, *args: Any) -> Any:
        done[0] += 1
        if done[0] == 5 * 2 + 3 and run.group.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(run, *args)

    SpreadRun._step = last_steps  # type: ignore[method-assign]
    train("rows", epochs=4, parallel=True, checkpoint=path)


def test_a_killed_process_ends_the_run_and_the_checkpoint_goes_on(folder: Path) -> None:
    path = folder / "killed.checkpoint"
    with pytest.raises(inference.WorkerLost, match=r"2 epochs were done\. The last good checkpoint is") as lost:
        inference.launch(killed, path, processes=2, timeout=300.0)
    assert str(path) in str(lost.value) and any("SIGKILL" in note for note in lost.value.__notes__)
    same(numbers(train("rows", epochs=4)), numbers(train("rows", epochs=4, checkpoint=path, resume=True)))


# -- torchrun ---------------------------------------------------------------------------------------------------------


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


def written(folder: Path, code: str) -> Path:
    """A script that finds this module."""
    ours = [str(path) for path in (ROOT, ROOT / "tests", Path(__file__).parent)]
    (folder / "script.py").write_text(f"import sys\nsys.path[:0] = {ours}\n{code}", encoding="utf-8")
    return folder / "script.py"


@pytest.mark.release
def test_the_example_runs_under_torchrun(script: Script) -> None:
    """And prints, once, what it prints in one process."""
    options = [str(ROOT / "examples" / "parallel.py"), "--smoke"]
    alone = script(*options)
    together = python("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options, "--parallel")
    assert alone.returncode == 0 and together.returncode == 0, alone.stderr + together.stderr
    assert "nats per test image" in alone.stdout
    assert together.stdout == alone.stdout


ENDING = """
import atexit, weakref
import torch
from test_parallel import train

atexit.register(lambda: print("gone" if group() is None else "held"))
train("iwae", epochs=1, parallel=True)
group = weakref.ref(torch.distributed.group.WORLD)
"""


@pytest.mark.parametrize("last", ["", "torch.distributed.broadcast(torch.ones(1), src=1)"], ids=["well", "by an error"])
def test_nothing_holds_the_group_when_its_program_ends(last: str, tmp_path: Path, script: Script) -> None:
    """Its threads end with it; one that let a tensor go while the interpreter ends would abort the process."""
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    done = script(written(tmp_path, ENDING + last), **alone)
    assert done.returncode == bool(last) and done.stdout == "gone\n", done.stderr


def test_the_page_runs(tmp_path: Path, script: Script) -> None:
    """As the script that it shows."""
    page = (ROOT / "docs" / "parallel.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    shown = tmp_path / "script.py"
    shown.write_text(code.replace('"run.checkpoint"', repr(str(tmp_path / "run.checkpoint"))), encoding="utf-8")
    done = script(shown)
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr
    assert (tmp_path / "run.checkpoint").exists() and len(done.stdout.split()) == 2


# -- two devices of JAX -----------------------------------------------------------------------------------------------

MESH = {
    "iwae": ("vampprior", {}, lambda i: i.IWAE(2)),
    "rows": ("standard", ROWS, lambda i: i.TraceELBO()),
    "averages": ("vq", {}, lambda i: i.VQELBO(decay=0.9)),
}
"""Name -> pair, its settings, the objective."""


TWO_DEVICES = """
import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_disable_most_optimizations", True)
import test_parallel

test_parallel.on_two_devices(sys.argv[1])
"""


def on_two_devices(folder: str) -> None:
    """Runs where JAX sees two devices; compares, and prints what the test reads."""
    import jax

    from ppl_vae.evaluation import log_likelihood
    from ppl_vae.numpyro import inference as mirrored
    from ppl_vae.numpyro.inference.svi.step import Data, scan_steps
    from ppl_vae.training import TrainingData

    found: dict[str, Any] = {"devices": len(jax.devices())}

    def trained(name: str, epochs: int = 3, **options: Any) -> Numbers:
        which, settings, loss = MESH[name]
        svi = mirrored.SVI(loss(mirrored), epochs=epochs, batch_size=10, learning_rate=0.01)
        return numbers(svi.fit(*made(which, "numpyro", **settings), split(), **options))

    alone = {name: trained(name) for name in MESH}
    for name in MESH:
        same(alone[name], trained(name, parallel=True))
        found[name] = list(alone[name]["history"]["loss"])
    for name in MESH:
        same(alone[name], trained(name, device="cpu:1"), 0)
    svi = mirrored.SVI(mirrored.IWAE(2), epochs=1, batch_size=10)
    run = svi.start(*made("vampprior", "numpyro"), TrainingData.of(split()), seed=0, device="cpu:1")
    run.epoch(0, np.arange(N))
    one, other = (svi.fit(*made("vampprior", "numpyro"), split(), device=d) for d in ("cpu", "cpu:1"))
    for told in (lambda f: f.encode(toy(7)), lambda f: f.generate(3), lambda f: log_likelihood(f, toy(7), 4).values):
        np.testing.assert_array_equal(told(one), told(other))
    held = [a for a in jax.tree.leaves((run.carry, run.constants, run.train)) if isinstance(a, jax.Array)]
    found["second"] = sorted({str(device) for a in held for device in a.devices()})
    np.save(Path(folder) / "x.npy", toy(N))
    same(*(numbers(train_stream("numpyro", Path(folder), parallel)) for parallel in (False, True)))
    for first in (True, False):
        path = Path(folder) / f"{first}.checkpoint"
        trained("rows", 2, parallel=first, checkpoint=path)
        same(alone["rows"], trained("rows", parallel=not first, checkpoint=path, resume=True))
    svi = mirrored.SVI(mirrored.TraceELBO(), batch_size=10, learning_rate=0.01)
    run: Any = svi.start(*made("standard", "numpyro"), TrainingData.of(toy(40)), seed=0, device=None, parallel=True)
    _, (batches,) = run.plan(0, np.arange(40))
    there = Data(run.train, run.side, None)
    program = scan_steps.lower(run.step, run.carry, run.constants, there, batches).compile().as_text()
    found["sums over devices"] = "all-reduce" in program
    found["products of"] = sorted({int(rows) for rows in re.findall(r"f32\[(5|10),8\]\S* dot\(", program)})
    model, guide = made("standard", "numpyro", **ROWS)
    run = svi.start(model, guide, TrainingData.of(split()), seed=0, device=None, parallel=True)
    for when in ("first", "after"):
        divided = jax.tree.leaves((run.carry.tables, run.carry.moments, run.train))
        found[when] = sorted({shard.data.shape[0] for leaf in divided for shard in leaf.addressable_shards})
        run.epoch(0, np.arange(N))
    for wrong in ({"device": "cpu:1"}, {"batch": 11}, {"device": "abacus"}):
        try:
            svi = mirrored.SVI(batch_size=wrong.pop("batch", 10))
            svi.fit(model, guide, split(), parallel=True, **wrong)
        except ValueError as error:
            found.setdefault("refused", []).append(str(error))
    print(json.dumps(found))


def test_two_devices_give_the_numbers_of_one(tmp_path: Path, script: Script) -> None:
    """Losses and weights; the rows of a per-datapoint guide, their moments and their data are divided, and stay so."""
    flags = f"--xla_force_host_platform_device_count=2 {os.environ.get('XLA_FLAGS', '')}"
    done = script(written(tmp_path, TWO_DEVICES), str(tmp_path), XLA_FLAGS=flags)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == 2
    assert all(np.ptp(found[name]) > 1e-2 for name in MESH)
    assert found["second"] == ["cpu:1"]
    assert found["sums over devices"] and 10 not in found["products of"]
    assert found["first"] == found["after"] == [(N + 1) // 2]
    for said, expected in zip(found["refused"], ("name a platform", "a multiple of the 2", "not there"), strict=True):
        assert expected in said


def test_one_device_is_a_mesh_of_one() -> None:
    """A script that says parallel=True runs anywhere, to the bit."""
    mirrored = backends.load("numpyro").inference
    svi = mirrored.SVI(epochs=2, batch_size=15)
    fits = [svi.fit(*made("standard", "numpyro"), toy(N), parallel=parallel) for parallel in (False, True)]
    same(numbers(fits[0]), numbers(fits[1]), 1e-6)

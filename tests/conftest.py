"""Shared fixtures: both backends, small data, base noise that both backends draw."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch and other processes use the same GPU
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # products and convolutions on a GPU in full single precision
# Compiling takes most of the time here. Workers and children inherit all of this.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault(
    "XLA_FLAGS",  # half the time; a flag that another XLA does not know would end the process
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if version("jaxlib").startswith("0.10.")
    else "",
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax
import numpy as np
import oracles
import pytest
import scipy.special
import torch
from pairs import noise

from ppl_vae import backends
from ppl_vae.recipes import components

try:
    import pyro
except ModuleNotFoundError:  # on a machine with NumPyro alone its tests run, and Pyro's are skipped
    pyro = None
with warnings.catch_warnings(), contextlib.suppress(ModuleNotFoundError):
    warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version once a day
    import arviz  # noqa: F401

torch.set_num_threads(1)  # nets this small run faster on one thread
os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.set_threshold(20_000, 20, 20)  # by default looking for garbage takes 7 to 14 % of the time

PROGRAMS = jax.make_user_context(None)
"""What JAX compiles under one value of this is not used under another."""

collect_ignore = ["forks.py", "recipes/extension"]  # a process, and modules of a user's, which register what they hold


def pytest_configure(config: pytest.Config) -> None:
    """Processes share what they compile, in a folder of this session, or in one that the user names and that stays."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="ppl-vae-tests-")
        jax.config.update("jax_compilation_cache_dir", folder)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def named(item: pytest.Item, word: str) -> bool:
    """Whether the word stands in the name of a case, between dashes."""
    return f"-{word}-" in f"-{item.callspec.id}-" if hasattr(item, "callspec") else False


def for_a_release(item: pytest.Item) -> bool:
    """Whether a marker leaves a case to a release.

    ``release("numpyro", keep=["iwae", "dreg"])``: those on NumPyro, but for two; ``release``: all of them.
    """
    return any(
        all(named(item, word) for word in mark.args)
        and not any(named(item, word) for word in mark.kwargs.get("keep", ()))
        for mark in item.iter_markers("release")
    )


def check_release(items: list[pytest.Item]) -> None:
    """Refuse a marker ``release`` with a word that is in the name of no case: it would leave out more than it says."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        cases.setdefault(item.nodeid.split("[")[0], []).append(item)
    for name, same in cases.items():
        marks = [mark for item in same for mark in item.iter_markers("release")]
        words = {word for mark in marks for word in (*mark.args, *mark.kwargs.get("keep", ()))}
        for word in words:
            if not any(named(item, word) for item in same):
                raise pytest.UsageError(f"the marker release of {name} names {word!r}, which is in none of its cases")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests come first, then those with many, so that both workers end together; none is divided.

    Those marked ``release`` are left to ``.ci/matrix``, which says so by PPL_VAE_RELEASE.
    """
    if not (config.getoption("lf", False) or any("::" in argument for argument in config.args)):  # of whole files
        check_release(items)
    if "PPL_VAE_RELEASE" not in os.environ:
        for item in filter(for_a_release, items):
            item.add_marker(pytest.mark.skip(reason="before a release, with PPL_VAE_RELEASE=1"))
    run = [item for item in items if not item.get_closest_marker("skip")]
    tests = Counter(item.path for item in run)
    slow = Counter(item.path for item in run if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (-slow[item.path], -tests[item.path]))


def pytest_collection_finish() -> None:
    """A million objects of the libraries live to the end: no garbage is looked for among them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=backends.NAMES)
def backend(request: pytest.FixtureRequest) -> backends.Backend:
    """Every law that takes this runs on both backends."""
    pytest.importorskip(request.param)
    return backends.load(request.param)


@pytest.fixture(autouse=True)
def own_parameter_store() -> Iterator[None]:
    """No test meets parameters that another one left in Pyro's global store."""
    with pyro.get_param_store().scope() if pyro else contextlib.nullcontext():
        yield


@pytest.fixture(autouse=True, scope="module")
def own_programs() -> Iterator[None]:
    """No file keeps the compiled programs of those before it, or a worker grows to ten gigabytes."""
    yield
    oracles.COMPILED.clear()
    jax.clear_caches()


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """``script(path, *options, **variables)``: run Python in a process of its own, where warnings are errors.

    The process is a fork of one that has imported the libraries, but nothing of the package; see ``forks.py``.
    """
    folder = tmp_path_factory.mktemp("script")
    streams = [folder / name for name in ("stdout", "stderr")]
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("forks.py"))]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings)
    assert server.stdin is not None and server.stdout is not None

    def run(path: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        arguments = [str(path), *options]
        for stream in streams:
            stream.write_bytes(b"")
        job = {"arguments": arguments, "environment": {**os.environ, "OMP_NUM_THREADS": "1", **variables}}
        job |= {stream.name: str(stream) for stream in streams}
        print(json.dumps(job), file=server.stdin, flush=True)
        code = server.stdout.readline()
        assert code, "the process of forks.py has ended: see its error above"
        return subprocess.CompletedProcess(arguments, int(code), *(s.read_text(encoding="utf-8") for s in streams))

    with server:
        yield run
        server.stdin.close()


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test registers is gone after it."""
    for slot, table in components.TABLES.items():
        monkeypatch.setitem(components.TABLES, slot, dict(table))


@pytest.fixture
def float64() -> Iterator[None]:
    """Both backends compute in double precision."""
    torch.set_default_dtype(torch.float64)
    with jax.enable_x64(True):
        yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def base_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both backends' Gaussian draws become loc + scale * eps with one and the same eps for a given shape."""

    def for_torch(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.as_tensor(noise(tuple(shape)), dtype=dtype, device=device)

    def for_jax(key: jax.Array, shape: tuple[int, ...] = (), dtype: object = None, **_: object) -> jax.Array:
        return jax.numpy.asarray(noise(tuple(shape)), dtype or jax.numpy.result_type(float))

    monkeypatch.setattr("torch.distributions.normal._standard_normal", for_torch)
    monkeypatch.setattr("torch.distributions.multivariate_normal._standard_normal", for_torch)
    monkeypatch.setattr("jax.random.normal", for_jax)

    def uniform(shape: tuple[int, ...]) -> np.ndarray:  # of relaxed categories (..., B, D, C)
        return scipy.special.ndtr(noise((*shape[:-2], shape[-2] * shape[-1]))).reshape(shape)

    monkeypatch.setattr(
        "ppl_vae.distributions.concrete.standard_uniform",
        lambda shape, dtype, device: torch.as_tensor(uniform(shape), dtype=dtype, device=device),
    )
    monkeypatch.setattr(
        "ppl_vae.numpyro.distributions.concrete.standard_uniform",
        lambda key, shape, dtype: jax.numpy.asarray(uniform(shape), dtype),
    )


@pytest.fixture
def fresh_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiled programs of before are not used, and those of the test not after: its noise is compiled into them.

    Tests on the base noise, which is the same in all of them, share theirs.
    """
    with PROGRAMS("base noise" if "base_noise" in request.fixturenames else request.node.nodeid):
        yield

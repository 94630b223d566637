"""Shared fixtures: both backends, small data, base noise that both backends draw."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

os.environ.setdefault(
    "JAX_DISABLE_MOST_OPTIMIZATIONS", "1"
)  # compiling takes most of the time here; children inherit it

import jax
import pyro
import pytest
import torch
from pairs import noise

from ppl_vae import backends
from ppl_vae.recipes import components

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version once a day
    import arviz  # noqa: F401

torch.set_num_threads(1)  # nets this small run faster on one thread
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(params=backends.NAMES)
def backend(request: pytest.FixtureRequest) -> backends.Backend:
    """Every law that takes this runs on both backends."""
    return backends.load(request.param)


@pytest.fixture(autouse=True)
def own_parameter_store() -> Iterator[None]:
    """No test meets parameters that another one left in Pyro's global store."""
    with pyro.get_param_store().scope():
        yield


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


@pytest.fixture
def fresh_programs() -> Iterator[None]:
    """Compiled programs of before are not used, and those of the test not after: its noise is compiled into them."""
    jax.clear_caches()
    yield
    jax.clear_caches()

"""Errors of a user's own code: of every type, explained before the first step, with the line that failed."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import numpy as np
import pytest
import torch
from pairs import pair, plain_functions, toy

from ppl_vae import backends, errors

TRAIN = toy(20)


class Own(Exception):
    """An error of a user's library, with arguments of its own."""

    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"code {code} in {where}")


class OwnValue(ValueError):
    """The same, of a type that Pyro makes anew."""

    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"code {code} in {where}")


RAISED: list[Exception] = [
    KeyError("scale"),
    IndexError("list index out of range"),
    AttributeError("no attribute 'width'"),
    NotImplementedError("log_prob"),
    ZeroDivisionError("division by zero"),
    OverflowError("too large"),
    StopIteration("no more"),
    ImportError("No module named 'mine'"),
    FileNotFoundError(2, "No such file", "weights.pt"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ValueError("shapes differ"),
    TypeError("not a number"),
    RuntimeError("size mismatch"),
    AssertionError("odd width"),
    torch.linalg.LinAlgError("the matrix is singular"),
    jax.errors.JaxRuntimeError("INTERNAL: a kernel"),
    Own(3, where="nets"),
    OwnValue(3, where="nets"),
    Exception(),
]


def line_of_raise(error: BaseException) -> None:
    raise error


LINE = f"{__file__}:{inspect.getsourcelines(line_of_raise)[1] + 1}"


def failing(backend: backends.Backend, part: str, error: BaseException) -> tuple[Any, Any]:
    """A pair of plain functions, of which one raises an error of its own."""
    programs = dict(zip(("model", "guide"), plain_functions(backend)[:2], strict=True))
    whole = programs[part]

    def program(x: Any) -> None:
        whole(x)
        line_of_raise(error)

    programs[part] = program
    return programs["model"], programs["guide"]


@pytest.mark.parametrize("part", ["model", "guide"])
@pytest.mark.parametrize("raised", RAISED, ids=lambda e: type(e).__name__)
def test_every_type_of_error_is_explained_with_its_line(
    backend: backends.Backend, part: str, raised: Exception
) -> None:
    svi = backend.inference.SVI(epochs=1, batch_size=20)
    with pytest.raises(
        ValueError, match=r"The model and the guide do not run on a batch of shape \(20, 12\)"
    ) as caught:
        svi.fit(*failing(backend, part, raised), TRAIN)
    said, causes = str(caught.value), []
    cause = caught.value.__cause__
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    assert raised in causes
    assert f"{type(raised).__name__}: {raised}" in said or not str(raised)
    assert f"{type(raised).__name__}, at" in said or str(raised)
    assert LINE in said
    assert "\n" not in said


@pytest.mark.parametrize("part", ["model", "guide"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3)], ids=lambda e: type(e).__name__)
def test_what_ends_a_process_passes(backend: backends.Backend, part: str, raised: BaseException) -> None:
    with pytest.raises(type(raised)) as caught:
        backend.inference.SVI(epochs=1, batch_size=20).fit(*failing(backend, part, raised), TRAIN)
    assert caught.value is raised


@pytest.mark.parametrize("raised", [errors.UnsuitableObjective("mine"), errors.InUse("mine")], ids=repr)
def test_the_packages_own_errors_pass(backend: backends.Backend, raised: Exception) -> None:
    with pytest.raises(type(raised), match="mine"):
        backend.inference.SVI(epochs=1, batch_size=20).fit(*failing(backend, "model", raised), TRAIN)


def test_an_error_within_installed_code_alone_names_no_line(backend: backends.Backend) -> None:
    with pytest.raises(ValueError, match="do not run on a batch") as caught:
        backend.inference.SVI(epochs=1, batch_size=20).fit(*pair("standard", backend), TRAIN[:, 1:])
    assert ", at " not in str(caught.value)


def test_decisions_on_traced_values_are_told_with_jax() -> None:
    numpyro = backends.load("numpyro")
    model, guide, _ = plain_functions(numpyro)

    def deciding(x: Any) -> None:
        if x.sum() > 0:
            model(x)

    with pytest.raises(ValueError, match=r"is compiled.*jnp\.where"):
        numpyro.inference.SVI(epochs=1, batch_size=20).fit(deciding, guide, TRAIN)
    assert np.isfinite(numpyro.inference.SVI(epochs=1, batch_size=20).fit(model, guide, TRAIN).history["loss"]).all()

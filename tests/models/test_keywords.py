"""The keywords of the house: a program takes those that it has a use for, and is called with any of them."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import optax
import pyro
import pyro.infer
import pyro.optim
import pytest
import torch
from pairs import pair, recipe, toy

from ppl_vae import backends
from ppl_vae.pairs import keywords
from ppl_vae.pairs.keywords import tolerant

X = toy(40)


def as_array(x: Any, backend: backends.Backend) -> Any:
    return torch.as_tensor(x) if backend.name == "pyro" else jnp.asarray(x)


def log_terms(backend: backends.Backend, model: Any, guide: Any, **beside: Any) -> Any:
    options = {} if backend.name == "pyro" else {"key": jax.random.key(0)}
    beside = {name: as_array(value, backend) for name, value in beside.items()}
    return backend.inference.log_terms(model, guide, as_array(X[:3], backend), **beside, **options)


def test_only_keywords_of_the_house_are_dropped() -> None:
    """A misspelt one is an error, as everywhere in Python."""
    program = tolerant(lambda x, *, mask=None: (x, mask))
    assert program(1, index=2, given=3, mask=4, size=5) == (1, 4)
    assert tolerant(lambda **taken: taken)(index=2, other=3) == {"index": 2, "other": 3}
    assert tolerant(program) is program
    with pytest.raises(TypeError, match="indx"):
        program(1, indx=2)


def test_what_a_program_holds_is_not_the_program() -> None:
    """A net bound to a program, or its attribute ``fn``, says nothing about the keywords of the program."""

    class Holder:
        def __init__(self) -> None:
            self.fn = torch.nn.Linear(2, 3)

        def __call__(self, x: Any = None, **taken: Any) -> Any:
            return taken

    def program(net: Any, x: Any = None, **taken: Any) -> Any:
        return taken

    every = {name: number for number, name in enumerate(keywords.KEYWORDS)}
    for held in (partial(program, torch.nn.Linear(2, 3)), Holder()):
        assert tolerant(held)(None, **every) == every


@pytest.mark.parametrize("around", [pyro.plate("plate", 3), numpyro.plate("plate", 3), pyro.poutine.scale(scale=0.5)])
def test_a_handler_as_a_decorator_is_seen_through(around: Any) -> None:
    def program(x: Any = None, *, mask: Any = None) -> Any:
        return mask

    handled = around(program)
    assert keywords.parameters(handled) == keywords.parameters(pyro.poutine.block(handled)) == {"x", "mask"}


def test_what_the_guide_alone_takes_is_no_matter_to_the_model(backend: backends.Backend) -> None:
    """Positions are for the guide's rows: the model knows none."""
    rows = recipe("standard", backend, guide="per-datapoint", num_images=len(X))(np.random.default_rng(0))
    terms = log_terms(backend, *rows, index=np.array([3, 0, 7]))
    assert np.isfinite(np.asarray(terms.log_weights.tolist())).all()
    with pytest.raises(TypeError, match="indx"):
        log_terms(backend, *rows, indx=np.array([3, 0, 7]))


def test_a_mask_is_not_dropped(backend: backends.Backend) -> None:
    model, guide = pair("standard", backend)
    with pytest.raises(ValueError, match="takes no 'mask'"):
        log_terms(backend, lambda x: model(x), guide, mask=np.ones((3, X.shape[1]), bool))


def test_stock_inference_takes_positions_too() -> None:
    """A pair of which one program alone takes a keyword, under the libraries' own SVI."""
    for backend in map(backends.load, backends.NAMES):
        rows = recipe("standard", backend, guide="per-datapoint", num_images=len(X))(np.random.default_rng(0))
        x, index = as_array(X[:5], backend), as_array(np.arange(5), backend)
        if backend.name == "pyro":
            programs = [tolerant(program) for program in rows]
            svi: Any = pyro.infer.SVI(*programs, pyro.optim.SGD({"lr": 0.001}), pyro.infer.Trace_ELBO())
            losses = [svi.step(x, index=index) for _ in range(3)]
        else:
            functions = backend.inference.as_functions(*rows)
            svi = numpyro.infer.SVI(*functions, optax.adam(0.01), numpyro.infer.Trace_ELBO())
            losses = svi.run(jax.random.key(0), 3, x, index=index, progress_bar=False).losses
        assert np.isfinite(losses).all()


def test_no_step_reads_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever programs: it is read when a training begins."""
    model, guide = pair("standard", "pyro")
    plain = (lambda x=None, *, mask=None, size=1: model(x, mask=mask, size=size), lambda x: guide(x))
    counted, read = [], inspect.signature

    def signature(*args: Any, **kwargs: Any) -> Any:
        counted.append(args)
        return read(*args, **kwargs)

    inference = backends.load("pyro").inference
    semi = pair("standard", "pyro", guide="semi-amortised", refinement_steps=2)
    for programs in (plain, (model, guide), semi):
        inference.SVI(epochs=1, batch_size=10).fit(*programs, X)  # libraries read signatures of their own at first
        counts = []
        for epochs in (1, 3):
            monkeypatch.setattr(inspect, "signature", signature)
            counted.clear()
            inference.SVI(epochs=epochs, batch_size=10).fit(*programs, X)
            counts.append(len(counted))
            monkeypatch.undo()
        assert counts[0] == counts[1]


def test_a_conditional_model_draws_an_image_for_each_row_of_given(backend: backends.Backend) -> None:
    """It takes no ``size``: the rows of ``given`` say how many."""
    programs = pair("standard", backend, given_dim=2)
    own = backend.inference.Pair(*programs)
    own.prepare(X[:4], 0, {"given": np.eye(2)[[0, 1, 0, 1]]})
    mean, drawn = own.generate(3, 0, {"given": np.eye(2)[[0, 1, 1]]})
    assert mean.shape == drawn.shape == (3, X.shape[1])
    assert "size" not in keywords.parameters(programs[0])
    loss = backend.inference.WakeSleep(2)
    fit = backend.inference.SVI(loss, epochs=1, batch_size=20).fit(*programs, X, given=np.eye(2)[[0, 1] * 20])
    assert np.isfinite(fit.history["loss"]).all()


def test_handlers_around_our_programs_take_what_these_take(backend: backends.Backend) -> None:
    """Terms tell a scale over both, the loss per datum leaves it out; programs get no keyword that they do not take."""
    from numpyro import handlers
    from pyro import poutine

    model, guide = pair("standard", backend)
    scale = poutine.scale if backend.name == "pyro" else handlers.scale
    scaled = [scale(scale(program, scale=2.0), scale=5.0) for program in (model, guide)]
    assert keywords.parameters(scaled[1]) == keywords.parameters(guide)
    index = as_array(np.arange(len(X)), backend)
    assert float(log_terms(backend, *scaled, index=index).scale) == 10.0
    if backend.name == "pyro":
        svi = backend.inference.SVI(epochs=1, batch_size=20)
        loss = svi.fit(*pair("standard", backend), X[:20]).history["loss"]
        np.testing.assert_allclose(svi.fit(*scaled, X[:20]).history["loss"], loss, rtol=1e-5)


def test_a_program_that_hands_keywords_on_is_told_the_remedy(backend: backends.Backend) -> None:
    """And the remedy works."""
    model, guide = pair("standard", backend)
    svi = backend.inference.SVI(epochs=1, batch_size=20)

    def handing_on(x: Any, **beside: Any) -> Any:
        return guide(x, **beside)

    def told(x: Any, **beside: Any) -> Any:
        return tolerant(guide)(x, **beside)

    with pytest.raises(ValueError, match=r"hands its keywords on to another calls it as tolerant\(program\)"):
        svi.fit(model, handing_on, X[:20])
    if backend.name == "pyro":  # in NumPyro a function's modules are parameters only by name
        assert np.isfinite(svi.fit(model, told, X[:20]).history["loss"]).all()

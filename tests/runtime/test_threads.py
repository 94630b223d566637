"""Laws of threads: whatever several of them ask of fits at the same time, each gets the numbers of one thread alone."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
import torch
from pairs import STOCK, D, P, pair, plain_functions, toy, weights_of

from ppl_vae import backends, evaluation
from ppl_vae.estimators import VAE
from ppl_vae.mcmc import HMC
from ppl_vae.results import Fit

THREADS = 4
CALLS = int(os.environ.get("PPL_VAE_THREAD_CALLS", "1"))
"""Calls on each backend at least; by default those of one round."""
X = toy(7)
HIDDEN = np.where(np.arange(P) % 3 == 0, np.nan, X)


@dataclass(frozen=True)
class Asked:
    """A fit, and the programs that it was trained from."""

    fit: Fit
    programs: tuple[Any, Any]


CHAINS = HMC(num_warmup=2, num_samples=2, num_chains=2)
ANNEALING = evaluation.Annealing(num_temperatures=3, num_chains=2)
GENERATED = ("decode", "generate", "impute", "ais", "refine")
"""Calls for which a model has to generate, or to be masked, or a guide to have a family; the plain functions cannot."""


def table(backend: backends.Backend) -> dict[str, Callable[[Asked], Any]]:
    """Name -> what a user may ask; a training answers with its weights."""
    inference = backend.inference
    objectives = {"IWAE": inference.IWAE(2), "ELBO": STOCK[backend.name][0]()}
    return {
        "encode": lambda a: a.fit.encode(X),
        "decode": lambda a: a.fit.decode(a.fit.encode(X)),
        "reconstruct": lambda a: a.fit.reconstruct(X),
        "generate": lambda a: a.fit.generate(5, seed=3, mean=False),
        "terms": lambda a: a.fit.terms(X, 3, seed=1)[:3],
        "impute": lambda a: a.fit.impute(HIDDEN, num_particles=4),
        "draws": lambda a: a.fit.draws(X, 2, method="importance"),
        "refine": lambda a: a.fit.refine(X, steps=2).pair.state(),
        "chains": lambda a: CHAINS.run(a.fit, X[:3]).draws,
        "elbo": lambda a: evaluation.elbo(a.fit, X).values,
        "log_likelihood": lambda a: evaluation.log_likelihood(a.fit, X, 5).values,
        "ais": lambda a: evaluation.ais(a.fit, X[:2], ANNEALING).values,
        "gradients": lambda a: evaluation.gradient_report(a.fit, objectives, X, repeats=2)["norm"].to_numpy(),
        "untrained": lambda a: Fit.untrained(inference.Pair(*a.programs), X).encode(X),
        "train": lambda a: inference.SVI(epochs=2, batch_size=5).fit(*a.programs, X).pair.state(),
    }


def numbers(value: Any) -> bytes:
    """The bits of arrays, alone or in dictionaries and tuples."""
    if isinstance(value, dict):
        return b"".join(numbers(value[name]) for name in sorted(value))
    return b"".join(map(numbers, value)) if isinstance(value, tuple) else np.asarray(value).tobytes()


def answer(call: Callable[[], Any]) -> bytes | str:
    """The bits of what a call returns, or the error that it raises."""
    try:
        return numbers(call())
    except Exception as error:  # whatever goes wrong is what is counted
        return f"{type(error).__name__}: {error}"[:120]


def asked(backend: backends.Backend, number: int) -> dict[str, Callable[[], Any]]:
    """Calls by name: of a fit of modules, which no round before had, and of two fits of the same plain functions."""
    modules = pair("vampprior", backend, latent_dim=2 + number, hidden=(9,))
    functions = plain_functions(backend)[:2]
    svi, calls = backend.inference.SVI(epochs=1, batch_size=7), table(backend)
    ours = Asked(svi.fit(*modules, X), modules)
    found = {name: partial(call, ours) for name, call in calls.items()}
    for seed in (0, 1):
        theirs = Asked(svi.fit(*functions, X, seed=seed), functions)
        found |= {f"{n} {seed}": partial(call, theirs) for n, call in calls.items() if n not in GENERATED}
    return found


def together(calls: dict[str, Callable[[], Any]], seed: int) -> list[tuple[str, bytes | str]]:
    """Make every call twice, in threads that start at the same moment, each in an order of its own."""
    start, order = threading.Barrier(THREADS), np.random.default_rng(seed).permutation([*calls, *calls])

    def some(number: int) -> list[tuple[str, bytes | str]]:
        start.wait()
        return [(name, answer(calls[name])) for name in order[number::THREADS]]

    with ThreadPoolExecutor(THREADS) as pool:
        return [entry for part in pool.map(some, range(THREADS)) for entry in part]


@pytest.mark.release("numpyro")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ppl_vae.errors.Divergence")
def test_each_thread_gets_the_numbers_of_one_alone(backend: backends.Backend) -> None:
    done, number, wrong = 0, 0, Counter[str]()
    while done < CALLS:
        calls, before = asked(backend, number), torch.get_rng_state()
        found = together(calls, number)  # first, so that NumPyro traces its programs in the threads
        wrong["the caller's generator"] += not torch.equal(before, torch.get_rng_state())
        alone = {name: answer(call) for name, call in calls.items()}
        assert not [value for value in alone.values() if isinstance(value, str)]
        wrong.update(v if isinstance(v, str) else f"wrong {n}" for n, v in found if v != alone[n])
        done, number = done + len(found), number + 1
        if done < CALLS:
            jax.clear_caches()  # or memory would fill with compiled programs
    print(f"{backend.name}: {done} calls in {THREADS} threads, {wrong.total()} wrong")
    assert not +wrong


def test_a_training_and_its_callbacks_let_other_threads_work(backend: backends.Backend) -> None:
    """What a thread waits for while it is in user code, another one can do: no lock is held there."""
    programs = pair("standard", backend)
    fit = Fit.untrained(backend.inference.Pair(*programs), X)
    with ThreadPoolExecutor(1) as pool:

        def callback(*_: Any) -> None:
            assert pool.submit(fit.encode, X).result(timeout=60).shape == (len(X), D)

        backend.inference.SVI(epochs=2, batch_size=5).fit(*programs, X, callback=callback)
        drawn = backend.inference.draw_gradients(
            fit.pair, backend.inference.TraceELBO(), X, np.array([[0, 1], [2, 3]]), [0, 1]
        )
        for _ in drawn:
            pool.submit(fit.encode, X).result(timeout=60)


def test_a_fit_is_copied_and_pickled_without_a_lock(backend: backends.Backend) -> None:
    vae = VAE(latent_dim=2, hidden=(4,), epochs=1, backend=backend.name, random_state=0).fit(X)
    for again in (pickle.loads(pickle.dumps(vae)), copy.deepcopy(vae)):
        assert np.array_equal(again.transform(X), vae.transform(X))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_fork_waits_for_the_state_of_one_alone() -> None:
    """A process that is forked while another thread is at work holds no lock, and no half of that thread's call."""
    pyro = backends.load("pyro")
    model, guide, modules = plain_functions(pyro)
    fit = pyro.inference.SVI(epochs=1, batch_size=7).fit(model, guide, X)
    expected, theirs, over = fit.encode(X), weights_of(modules[0]), threading.Event()

    def work() -> None:
        while not over.is_set():
            fit.encode(X)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        children = []
        for _ in range(8):
            child = os.fork()
            if not child:
                unchanged = all(map(np.array_equal, weights_of(modules[0]), theirs))
                os._exit(0 if unchanged and np.array_equal(fit.encode(X), expected) else 1)
            children.append(child)
        ends = [waited(child) for child in children]
        over.set()
        working.result()
    assert ends == [0] * len(children)


def waited(child: int, seconds: float = 60) -> int | None:
    """The exit code of a child; None, and no more child, if it has not ended in time."""
    for _ in range(int(seconds / 0.02)):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None

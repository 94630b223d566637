"""What a folder or a file holds of another program, whose weights and settings are the same, is not taken for ours."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import optax
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import same

from ppl_vae import backends, data
from ppl_vae.backends import Backend
from ppl_vae.evaluation import Cell, Study
from ppl_vae.results import Fit
from ppl_vae.runtime import storage
from ppl_vae.training.closures import numbers_within

X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
SPLIT = data.from_arrays(X, X[:10], X[10:30])


def program(backend: str, sigma: float = 1.0, shrink: float = 1.0) -> tuple[Any, Any]:
    """A pair with two numbers in its code: the scale of x, and what the guide divides x by."""

    def model(x: Any = None, *, size: int = 1) -> None:
        c = pyro.param("c", torch.zeros(()))
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(c, 1.0))
            pyro.sample("x", dist.Normal(z[..., None].expand(*z.shape, 2), sigma).to_event(1), obs=x)

    def guide(x: Any) -> None:
        a = pyro.param("a", torch.tensor(0.3))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(a * (x / shrink).sum(-1), 0.6))

    def np_model(x: Any = None, *, size: int = 1) -> None:
        c = numpyro.param("c", jnp.zeros(()))
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(c, 1.0))
            mean = jnp.broadcast_to(z[..., None], (*z.shape, 2))
            numpyro.sample("x", npdist.Normal(mean, sigma).to_event(1), obs=x)

    def np_guide(x: Any) -> None:
        a = numpyro.param("a", jnp.array(0.3))
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("z", npdist.Normal(a * (x / shrink).sum(-1), 0.6))

    return (model, guide) if backend == "pyro" else (np_model, np_guide)


def recipe(backend: str, sigma: float) -> Callable[[np.random.Generator], tuple[Any, Any]]:
    return lambda rng: program(backend, sigma)


def test_a_study_does_not_give_the_numbers_of_another_program(backend: Backend, tmp_path: Path) -> None:
    def study_of(sigma: float) -> Study:
        one = Cell("own", backend.name, recipe(backend.name, sigma), backend.inference.SVI(epochs=1, batch_size=20))
        return Study(tmp_path, SPLIT, [one], num_particles=5, elbo_particles=1)

    study_of(1.0).run(progress=False)
    study_of(1.0).run(progress=False)
    with pytest.raises(ValueError, match="its elbo_before is .* another folder"):
        study_of(3.0).run(progress=False)


def test_a_fit_is_not_read_with_a_guide_that_scales_x_otherwise(backend: Backend, tmp_path: Path) -> None:
    """At zeros both guides are the same."""
    fit = backend.inference.SVI(epochs=1, batch_size=20).fit(*program(backend.name), X)
    file = fit.save(tmp_path / "fit.safetensors")
    np.testing.assert_array_equal(Fit.load(file, pair=program(backend.name)).encode(X), fit.encode(X))
    with pytest.raises(ValueError, match="give another ELBO than when they were saved"):
        Fit.load(file, pair=program(backend.name, shrink=255.0))


def test_a_schedule_of_steps_that_differs_later_on(tmp_path: Path) -> None:
    """The first steps are those of one warm-up."""
    from ppl_vae.numpyro import inference

    def train(steps: int, epochs: int) -> Fit:
        rate = optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, steps)
        svi = inference.SVI(optim=optax.adam(rate), epochs=epochs, batch_size=20)
        return svi.fit(*program("numpyro"), X, checkpoint=tmp_path / "checkpoint", resume=True)

    train(3000, 1)
    train(3000, 2)
    with pytest.raises(ValueError, match="belongs to another training: its 'later_steps'"):
        train(300, 3)


def steps(every: int, rate: float) -> Any:
    return optax.MultiSteps(optax.sgd(rate), every)


def groups(*rates: float) -> Any:
    return lambda params: torch.optim.SGD(
        [{"params": [p], "lr": rate} for p, rate in zip(params, rates, strict=False)], lr=0.1
    )


def falling(at: int) -> Any:
    return optax.sgd(optax.piecewise_constant_schedule(0.1, {at: 0.1}))


@pytest.mark.parametrize(
    ("backend", "one", "other"),
    [
        ("numpyro", lambda: steps(8, 0.1), lambda: steps(8, 0.01)),
        ("numpyro", lambda: steps(4, 0.1), lambda: steps(8, 0.1)),
        ("numpyro", lambda: falling(20), lambda: falling(25)),
        ("numpyro", lambda: optax.chain(optax.clip(5.0), falling(9)), lambda: optax.chain(optax.clip(9.0), falling(9))),
        ("numpyro", lambda: optax.adam(0.1, eps=1e-8), lambda: optax.adam(0.1, eps=1e-6)),
        ("pyro", lambda: groups(0.1, 0.2), lambda: groups(0.1, 0.3)),
    ],
    ids=["rate of MultiSteps", "steps of MultiSteps", "time of a fall", "clipping", "eps", "rate of a group"],
)
def test_optimisers_whose_first_steps_are_the_same(backend: str, one: Any, other: Any, tmp_path: Path) -> None:
    def train(optim: Any, epochs: int) -> Fit:
        svi = backends.load(backend).inference.SVI(optim=optim, epochs=epochs, batch_size=20)
        return svi.fit(*program(backend), X, checkpoint=tmp_path / "checkpoint", resume=True)

    train(one(), 1)
    train(one(), 2)
    with pytest.raises(ValueError, match="belongs to another training: its 'optim(_within)?' is"):
        train(other(), 3)


class Factory:
    """A maker of optimisers that keeps the last one."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, params: Any) -> torch.optim.Optimizer:
        self.made = torch.optim.SGD(params, lr=self.rate)
        return self.made


def test_what_a_maker_of_optimisers_keeps_is_no_setting() -> None:
    fresh, used = Factory(0.1), Factory(0.1)
    used([torch.nn.Parameter(torch.zeros(()))])
    assert numbers_within(fresh) == numbers_within(used) == ["rate", "0.1"]


def test_a_checkpoint_from_before_is_read(tmp_path: Path) -> None:
    """It does not have the numbers within the optimiser."""
    from ppl_vae.numpyro import inference

    svi, file = inference.SVI(optim=optax.sgd(0.1), epochs=1, batch_size=20), tmp_path / "checkpoint"
    svi.fit(*program("numpyro"), X, checkpoint=file)
    arrays, header = storage.read(file)
    del header["settings"]["optim_within"]
    storage.write(file, arrays, header)
    longer = dataclasses.replace(svi, epochs=2)
    resumed = longer.fit(*program("numpyro"), X, checkpoint=file, resume=True)
    assert same(resumed.pair.state(), longer.fit(*program("numpyro"), X).pair.state())


def test_a_copy_of_the_fit_so_far_stays_as_it_is(backend: Backend) -> None:
    """What a callback is given learns on."""
    kept, weights = [], []

    def keep(epoch: int, metrics: Any, fit: Fit) -> None:
        kept.append(copy.deepcopy(fit))
        weights.append({name: value.copy() for name, value in fit.pair.state().items()})

    backend.inference.SVI(epochs=2, batch_size=20).fit(*program(backend.name), X, callback=keep)
    assert all(same(fit.pair.state(), then) for fit, then in zip(kept, weights, strict=True))
    assert not same(weights[0], weights[1])


def test_an_optimiser_that_adds_noise_goes_on_with_its_key(tmp_path: Path) -> None:
    from ppl_vae.numpyro import inference

    noisy = optax.noisy_sgd(0.01, key=jax.random.key(3))

    def train(epochs: int, **options: Any) -> Fit:
        svi = inference.SVI(optim=noisy, epochs=epochs, batch_size=20)
        return svi.fit(*program("numpyro"), X, **options)

    train(1, checkpoint=tmp_path / "checkpoint")
    rest = train(2, checkpoint=tmp_path / "checkpoint", resume=True)
    assert same(rest.pair.state(), train(2).pair.state())

"""Optimisers of the user's own: their rates, and their state in a checkpoint, by steps in NumPy or torch alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import same
from pyro.optim.clipped_adam import ClippedAdam
from pyro.optim.dct_adam import DCTAdam

from ppl_vae import guides, inference, schedules

X = np.random.default_rng(0).normal(2.0, 1.0, (12, 1)).astype(np.float32)
EPOCHS = 6
Optim = Any


def model(x: Any) -> None:
    """There are no latents: the gradient is c - mean(x)."""
    c = pyro.param("c", torch.zeros(()))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(c, 1.0).expand([len(x), 1]).to_event(1), obs=x)


def train(optim: Optim, epochs: int = EPOCHS, batch_size: int = len(X), **options: Any) -> Any:
    named = {name: options.pop(name) for name in ("checkpoint", "resume") if name in options}
    svi = inference.SVI(optim=optim, epochs=epochs, batch_size=batch_size, **options)
    return svi.fit(model, guides.Empty(), X, progress=False, **named)


def learned(optim: Optim, **options: Any) -> float:
    (value,) = train(optim, **options).pair.state().values()
    return float(value)


class Falling(torch.optim.SGD):
    """Gradient descent that lowers its own rate."""

    def step(self, closure: Any = None) -> Any:
        done = super().step(closure)
        for group in self.param_groups:
            group["lr"] *= 0.5
        return done


class Counting(torch.optim.SGD):
    """Gradient descent whose steps are counted in its group, as some optimisers without schedules do."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        self.param_groups[0]["k"] = 0

    def step(self, closure: Any = None) -> Any:
        (group,) = self.param_groups
        group["k"] += 1
        rate = group["lr"]
        group["lr"] = rate / group["k"]
        done = super().step(closure)
        group["lr"] = rate
        return done


def descended(rates: list[float]) -> float:
    """c after steps of gradient descent at these rates."""
    c = 0.0
    for rate in rates:
        c -= rate * (c - float(X.mean()))
    return c


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_an_optimiser_may_lower_its_own_rate(factor: float) -> None:
    rates = [factor * 0.4 * 0.5**step for step in range(EPOCHS)]
    found = learned(partial(Falling, lr=0.4), learning_rate_factor=factor)
    assert found == pytest.approx(descended(rates), rel=1e-5)


def test_the_rate_of_clipped_adam_falls_as_in_pyro() -> None:
    c = torch.nn.Parameter(torch.zeros(()))
    optim = ClippedAdam([c], lr=0.1, lrd=0.5)
    for _ in range(EPOCHS):
        c.grad = c.detach() - float(X.mean())
        optim.step()
    assert learned(partial(ClippedAdam, lr=0.1, lrd=0.5)) == pytest.approx(c.item(), rel=1e-5)


def test_a_rate_that_is_a_tensor_is_multiplied_once_and_left_to_its_owner() -> None:
    rate, falling = torch.tensor(0.4), schedules.Exponential(1.0, 0.1, over=EPOCHS)
    rates = [0.4 * 0.1 ** (epoch / EPOCHS) for epoch in range(EPOCHS)]
    for _ in range(2):
        found = learned(partial(torch.optim.SGD, lr=rate), learning_rate_factor=falling)
        assert found == pytest.approx(descended(rates), rel=1e-5)
    assert float(rate) == float(torch.tensor(0.4))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "optim",
    [
        partial(Falling, lr=0.1),
        partial(Counting, lr=0.1),
        partial(ClippedAdam, lr=0.1, lrd=0.9),
        partial(DCTAdam, lr=0.1),
        partial(torch.optim.Adam, lr=torch.tensor(0.1)),
    ],
    ids=["own rate", "own count", "ClippedAdam", "DCTAdam", "rate that is a tensor"],
)
def test_what_an_optimiser_keeps_is_in_a_checkpoint(optim: Optim, tmp_path: Path) -> None:
    file, factor = tmp_path / "checkpoint", schedules.Exponential(1.0, 0.5, over=EPOCHS)
    settings: dict[str, Any] = {"batch_size": 5, "learning_rate_factor": factor}
    whole = train(optim, **settings)
    train(optim, 2, checkpoint=file, **settings)
    rest = train(optim, checkpoint=file, resume=True, **settings)
    assert same(rest.pair.state(), whole.pair.state())

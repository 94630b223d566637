"""Outputs of nets and sizes of batches are counted before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import follow
from torch import nn

from ppl_vae import backends, conditionals, guides, inference, models

P, D = 6, 2
X = np.random.default_rng(0).normal(size=(40, P)).astype(np.float32)


def pair_of(backend: backends.Backend, likelihood: Callable[[Any], Any], *outputs: int) -> tuple[Any, Any]:
    """A VAE whose encoder and decoder have so many outputs."""
    b, rng = backend, np.random.default_rng(0)
    encoder, decoder = (b.nets.MLP(sizes, rng) for sizes in zip((P, D), outputs, strict=True))
    model = b.models.VAE(b.models.StandardNormal(D), likelihood(decoder))
    return model, b.guides.Amortised(b.conditionals.DiagNormal(encoder))


@pytest.mark.release("numpyro", keep=["Bernoulli"])
@pytest.mark.parametrize("likelihood", ["Normal", "Bernoulli"])
def test_a_decoder_of_one_output_for_all_pixels_is_refused(backend: backends.Backend, likelihood: str) -> None:
    def fit(outputs: int) -> Any:
        pair = pair_of(backend, getattr(backend.conditionals, likelihood), 2 * D, outputs)
        return backend.inference.SVI(epochs=1, batch_size=20).fit(*pair, (X > 0).astype(np.float32))

    says = "Site 'x' observes data of event shape (6,), and its distribution has event shape (1,): give the last layer"
    follow(says, 1, fit, lambda _: fit(P))


@pytest.mark.parametrize("outputs", [1, 3, 5])
def test_an_odd_number_of_outputs_for_means_and_scales_is_refused(backend: backends.Backend, outputs: int) -> None:
    def fit(outputs: int) -> Any:
        pair = pair_of(backend, backend.conditionals.Normal, outputs, P)
        return backend.inference.SVI(epochs=1, batch_size=20).fit(*pair, X)

    follow(f"even number of outputs, D means and D raw scales; got {outputs}", outputs, fit, lambda _: fit(2 * D))


def test_one_mean_for_all_pixels_may_be_meant(backend: backends.Backend) -> None:
    """A program of one's own follows the advice, and its bound is that of the broadcast program by hand."""
    ppl, d = (pyro, dist) if backend.name == "pyro" else (numpyro, npdist)
    zeros = torch.zeros(1) if backend.name == "pyro" else np.zeros(1, np.float32)

    def program(expand: bool) -> tuple[Any, Any]:
        def model(x: Any) -> None:
            with ppl.plate("data", len(x), dim=-1):
                z = ppl.sample("z", d.Normal(zeros, 1.0).to_event(1))
                fn = d.Normal(z, 1.0)
                ppl.sample("x", (fn.expand([*z.shape[:-1], P]) if expand else fn).to_event(1), obs=x)

        def guide(x: Any) -> None:
            loc = ppl.param("loc", zeros + 0.3)
            with ppl.plate("data", len(x), dim=-1):
                ppl.sample("z", d.Normal(loc, 1e-4).to_event(1))

        return model, guide

    svi = backend.inference.SVI(backend.inference.TraceELBO(2), epochs=1, batch_size=40, learning_rate=1e-9)
    with pytest.raises(ValueError, match="written with .expand, before .to_event"):
        svi.fit(*program(False), X)
    loss = svi.fit(*program(True), X).history["loss"][0]
    log_p = -0.5 * ((X - 0.3) ** 2).sum(1) - 0.5 * P * np.log(2 * np.pi) - 0.5 * 0.3**2 - 0.5 * np.log(2 * np.pi)
    entropy = np.log(1e-4) + 0.5 * np.log(2 * np.pi)
    assert loss == pytest.approx(-(log_p.mean() + entropy), abs=2.0)


def test_two_heads_are_told_how_to_be_one(backend: backends.Backend) -> None:
    heads = Heads() if backend.name == "pyro" else (lambda x: (x[..., :D], x[..., :D]))
    if backend.name == "numpyro":
        with pytest.raises(ValueError, match="one array .* got a tuple"):
            backend.conditionals.DiagNormal(heads)(X)
        return
    model, _ = pair_of(backend, conditionals.Normal, 2 * D, P)
    with pytest.raises(ValueError, match="one array .* got a tuple"):
        inference.SVI(epochs=1, batch_size=20).fit(model, guides.Amortised(conditionals.DiagNormal(heads)), X)
    inference.SVI(epochs=1, batch_size=20).fit(model, guides.Amortised(conditionals.DiagNormal(Heads(join=True))), X)


class Heads(nn.Module):
    """Two heads, as in the tutorial of Pyro, or their concatenation."""

    def __init__(self, *, join: bool = False) -> None:
        super().__init__()
        self.loc, self.scale, self.join = nn.Linear(P, D), nn.Linear(P, D), join

    def forward(self, x: Any) -> Any:
        """(..., P) -> (..., D) twice, or (..., 2 D)."""
        out = self.loc(x), self.scale(x)
        return torch.cat(out, -1) if self.join else out


@pytest.mark.parametrize(("total", "size"), [(41, 20), (40, 1), (40, 13)])
def test_batch_norm_is_told_of_a_last_batch_of_one_before_the_first_step(total: int, size: int) -> None:
    """The size that the refusal names trains."""
    encoder = nn.Sequential(nn.Linear(P, 8), nn.BatchNorm1d(8), nn.Linear(8, 2 * D))
    model = models.VAE(models.StandardNormal(D), conditionals.Normal(nn.Linear(D, P)))
    pair, x = (model, guides.Amortised(conditionals.DiagNormal(encoder))), np.resize(X, (total, P))
    kept = encoder[1].running_mean.clone()
    with pytest.raises(ValueError, match=r"does not train on a batch of 1 row .*set batch_size=\d+") as caught:
        inference.SVI(epochs=1, batch_size=size).fit(*pair, x)
    named = int(str(caught.value).rsplit("=", 1)[1].rstrip("."))
    inference.SVI(epochs=1, batch_size=named).fit(*pair, x)
    assert torch.equal(encoder[1].running_mean, kept)

"""Scripts in the style of the libraries' tutorials, refused, and what a refusal advises followed to the letter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import follow
from torch import nn

from ppl_vae import inference
from ppl_vae.numpyro import inference as numpyro_inference

X = (np.random.default_rng(0).random((40, 6)) < 0.4).astype(np.float32)
LABELS = np.eye(3, dtype=np.float32)[np.arange(40) % 3]
NUMBERS = np.random.default_rng(1).normal(size=40)


def joined(sized: bool = True, expanded: bool = True, named: str = "given") -> tuple[Any, Any]:
    """A conditional VAE as Pyro's tutorial has it: nets read x and c side by side."""
    decoder, encoder = nn.Linear(2 + 3, 6), nn.Linear(6 + 3, 4)

    def plate(x: torch.Tensor) -> Any:
        return pyro.plate("data", len(x), dim=-1) if sized else pyro.plate("data")

    def model(x: torch.Tensor, c: torch.Tensor) -> None:
        net = pyro.module("decoder", decoder)
        with plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            c = c.expand(*z.shape[:-1], -1) if expanded else c
            pyro.sample("x", dist.Bernoulli(logits=net(torch.cat([z, c], -1))).to_event(1), obs=x)

    def guide(x: torch.Tensor, c: torch.Tensor) -> None:
        loc, log_scale = pyro.module("encoder", encoder)(torch.cat([x, c], -1)).chunk(2, -1)
        with plate(x):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    if named == "given":
        return lambda x, given: model(x, given), lambda x, given: guide(x, given)
    return lambda x, ys=None: model(x, ys), lambda x, ys=None: guide(x, ys)


def trained(made: tuple[Any, Any], loss: Any = None, x: Any = X, **side: Any) -> Any:
    return inference.SVI(loss or inference.TraceELBO(), epochs=1, batch_size=20).fit(*made, x, **side)


def clusters(by: str) -> Any:
    """Two clusters with a name for each datum that NumPyro's script sums out by itself, and the guide leaves out."""

    def model(x: Any) -> None:
        locs = numpyro.param("locs", jnp.array([-1.0, 1.0]))
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            if by == "sum":
                parts = npdist.Normal(locs + 0.1 * z[..., None], 1.0)
                mixed = npdist.MixtureSameFamily(npdist.Categorical(probs=jnp.ones(2) / 2), parts)
                numpyro.sample("x", mixed, obs=x[:, 0])
            else:
                k = numpyro.sample("k", npdist.Categorical(probs=jnp.ones(2) / 2))
                numpyro.sample("x", npdist.Normal(locs[k] + 0.1 * z, 1.0), obs=x[:, 0])

    def guide(x: Any) -> None:
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("z", npdist.Normal(0.1 * x[:, 0], 1.0))
            if by == "draw":
                numpyro.sample("k", npdist.Categorical(logits=jnp.stack([-x[:, 0], x[:, 0]], -1)))

    loss = numpyro_inference.TraceGraphELBO() if by == "draw" else numpyro_inference.TraceELBO()
    return numpyro_inference.SVI(loss, epochs=1, batch_size=20).fit(model, guide, NUMBERS[:, None])


def of_all(valid: Any) -> Any:
    """A latent that all data share, under the library's own ELBO."""

    def model(x: torch.Tensor) -> None:
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x[:, 0])

    def guide(x: torch.Tensor) -> None:
        pyro.sample("w", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))

    svi = inference.SVI(pyro.infer.Trace_ELBO(), epochs=1, batch_size=40)
    return svi.fit(model, guide, NUMBERS[:, None].astype(np.float32), valid=valid)


REMEDIES: dict[str, tuple[Callable[[], Any], ...]] = {
    "give the plate its size, plate({}, len(x), dim=-1)": (
        lambda: trained(joined(sized=False), given=LABELS),
        lambda: trained(joined(), given=LABELS),
    ),
    "Call what each datum comes with 'given', and pass given=, (N, G)": (
        lambda: trained(joined(named="ys")),
        lambda: trained(joined(), given=LABELS),
    ),
    "Let it draw each of them, or sum a discrete one out in the model, as dist.MixtureSameFamily does": (
        lambda: clusters("left out"),
        lambda: clusters("draw"),
        lambda: clusters("sum"),
    ),
    "train without validation, on split.train in the place of a split and with valid=None": (
        lambda: of_all(NUMBERS[:9, None].astype(np.float32)),
        lambda: of_all(None),
    ),
    "pass {}.reshape(-1, 1) of single numbers, or {}.reshape(1, -1) of one datum": (
        lambda: trained(joined(), x=NUMBERS),
        lambda: of_all(None),
        lambda: trained(joined(), inference.TraceELBO(), X[:20].reshape(-1, 6), given=LABELS[:20]),
    ),
}


OF_TRIALS: dict[str, tuple[Callable[[], Any], ...]] = {
    "and gives x those of z before it joins them, x.expand(*z.shape[:-1], -1), or jnp.broadcast_to": (
        lambda: trained(joined(expanded=False), inference.IWAE(3), given=LABELS),
        lambda: trained(joined(), inference.IWAE(3), given=LABELS),
        lambda: trained(joined(expanded=False), inference.IWAE(1), given=LABELS),
    ),
}


@pytest.mark.parametrize("says", [*REMEDIES, *OF_TRIALS])
def test_the_advice_on_scripts_works(says: str) -> None:
    wrong, *ways = {**REMEDIES, **OF_TRIALS}[says]
    follow(says, None, lambda _: wrong(), *(lambda _, way=way: way() for way in ways))

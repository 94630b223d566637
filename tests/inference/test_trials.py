"""Nets that know only rows, and nets that mix them: told before the first step, and not of any other pair."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from ppl_vae import backends, evaluation
from ppl_vae.errors import MixedRows
from ppl_vae.objectives import IWAE, TraceELBO
from ppl_vae.pairs.trials import others

P, D = 6, 2
X = np.random.default_rng(0).normal(size=(40, P)).astype(np.float32)


def net(backend: backends.Backend, inp: int, out: int, change: Callable[[Any], Any]) -> Any:
    """Make a net of one linear layer, after a function of its inputs."""
    layer = backend.nets.linear(inp, out, np.random.default_rng(1))
    if backend.name == "pyro":

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = layer

            def forward(self, h: Any) -> Any:
                return self.layer(change(h))

        return Net()

    class NNXNet(nnx.Module):
        def __init__(self) -> None:
            self.layer = layer

        def __call__(self, h: Any) -> Any:
            return self.layer(change(h))

    return NNXNet()


def programs(backend: backends.Backend, encoder: Any, decoder: Any) -> tuple[Any, Any]:
    likelihood = backend.conditionals.Normal(decoder, learned=True)
    model = backend.models.VAE(backend.models.StandardNormal(D), likelihood)
    return model, backend.guides.Amortised(backend.conditionals.DiagNormal(encoder))


def trained(backend: backends.Backend, loss: Any, *nets: Any) -> Any:
    return backend.inference.SVI(loss, epochs=1, batch_size=20).fit(*programs(backend, *nets), X)


ROWS_ALONE: dict[str, Callable[[Any], Any]] = {
    "centred": lambda h: h - h.mean(1)[:, None],
    "scanned": lambda h: h.cumsum(1),
    "flat": lambda h: h.reshape(len(h), D),
    "first draw": lambda h: h[0] if h.ndim == 3 else h,
    "two axes": lambda h: h[:, :D] * 1.0 + 0.0 * h.sum(1)[:, None],
}
"""Functions that are right for rows (N, D), and take other axes for features, or fail, at (K, N, D)."""


@pytest.mark.release("numpyro", keep=["scanned", "two axes"])
@pytest.mark.parametrize("name", ROWS_ALONE)
def test_a_net_that_knows_rows_alone_is_refused_several_draws_and_follows_the_advice(
    backend: backends.Backend, name: str
) -> None:
    encoder, decoder = backend.nets.MLP((P, 2 * D), np.random.default_rng(0)), net(backend, D, P, ROWS_ALONE[name])
    for loss in (TraceELBO(num_particles=2), IWAE(3)):
        with pytest.raises(ValueError, match="knows \\(rows, features\\) alone goes into nets.Flattened\\(net\\)"):
            trained(backend, loss, encoder, decoder)
    fit = trained(backend, TraceELBO(num_particles=1), encoder, decoder)
    with pytest.raises(ValueError, match="nets.Flattened"):
        evaluation.log_likelihood(fit, X, 10)
    flattened = trained(backend, IWAE(3), encoder, backend.nets.Flattened(decoder))
    assert np.isfinite(evaluation.log_likelihood(flattened, X, 10).mean)


def test_a_flattened_net_is_the_net_at_each_draw(backend: backends.Backend) -> None:
    array: Any = torch.tensor if backend.name == "pyro" else jnp.asarray
    z = np.random.default_rng(2).normal(size=(3, 4, 5, D)).astype(np.float32)
    plain = net(backend, D, P, ROWS_ALONE["scanned"])
    out = np.asarray(_numbers(backend.nets.Flattened(plain)(array(z))))
    each = [[_numbers(plain(array(z[i, j]))) for j in range(4)] for i in range(3)]
    np.testing.assert_allclose(out, each, rtol=1e-5)


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values.detach() if isinstance(values, torch.Tensor) else values)


def test_batch_norm_of_torch_takes_several_draws_when_flattened() -> None:
    backend = backends.load("pyro")
    encoder = nn.Linear(P, 2 * D)

    def decoder() -> Any:
        return nn.Sequential(nn.Linear(D, 20), nn.BatchNorm1d(20), nn.Linear(20, P))

    with pytest.raises(ValueError, match="nets.Flattened"):
        trained(backend, TraceELBO(num_particles=2), encoder, decoder())
    trained(backend, TraceELBO(num_particles=2), encoder, backend.nets.Flattened(decoder()))


MIXING: dict[str, Callable[[Any], Any]] = {
    "centred on the batch": lambda h: h - h.mean(0),
    "scanned along it": lambda h: h.cumsum(0),
}


ALONG_THE_LAST_AXIS: dict[str, Callable[[Any], Any]] = {
    "centred on the batch": lambda h: h - h.mean(-1)[..., None],
    "scanned along it": lambda h: h.cumsum(-1),
}


@pytest.mark.release("numpyro", keep=["decoder-'x'-centred on the batch"])
@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize(("where", "site"), [("encoder", "'z' of the guide"), ("decoder", "'x'")])
def test_a_net_that_mixes_rows_is_told_of_by_its_site(
    backend: backends.Backend, name: str, where: str, site: str
) -> None:
    identity = {"encoder": lambda h: h, "decoder": lambda h: h}
    change = {**identity, where: MIXING[name]}
    nets = net(backend, P, 2 * D, change["encoder"]), net(backend, D, P, change["decoder"])
    with pytest.warns(MixedRows, match=f"at {re.escape(site)} depend on which other data are in the batch"):
        trained(backend, TraceELBO(num_particles=1), *nets)
    change = {**identity, where: ALONG_THE_LAST_AXIS[name]}
    nets = net(backend, P, 2 * D, change["encoder"]), net(backend, D, P, change["decoder"])
    trained(backend, TraceELBO(num_particles=1), *nets)  # as the warning, an error here, advises


def test_guides_that_draw_noise_of_their_own_are_not_taken_for_mixed(backend: backends.Backend) -> None:
    """A semi-amortised guide draws z at each of its steps, so that two runs differ at the same values."""
    model, guide = programs(backend, *(backend.nets.MLP(s, np.random.default_rng(0)) for s in ((P, 4), (D, P))))
    guide = backend.guides.SemiAmortised(guide.posterior, model, num_steps=2)
    backend.inference.SVI(IWAE(3), epochs=1, batch_size=20).fit(model, guide, X)


def test_the_rows_of_a_trial_keep_every_second_one() -> None:
    for size in range(1, 8):
        rows = others(size)
        assert ((rows >= 0) & (rows < size)).all() and (rows[1::2] == np.arange(size)[1::2]).all()
        assert size == 1 or (rows[::2] != np.arange(size)[::2]).all()

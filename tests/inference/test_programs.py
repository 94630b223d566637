"""Programs that are not ours: plain functions, odd plates, scales, discrete sites; and what is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import P, pair, plain_functions, toy, two_latents, weights_of

from ppl_vae import backends
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import TermsRequest

TRAIN = toy(60)


def test_plain_functions_train_and_the_users_modules_stay(backend: backends.Backend) -> None:
    model, guide, modules = plain_functions(backend)
    before = [weights_of(m) for m in modules]
    svi = backend.inference.SVI(epochs=20, batch_size=20, learning_rate=0.01)
    fits = [svi.fit(model, guide, TRAIN, seed=0) for _ in range(2)]
    assert fits[0].history["loss"][-1] < fits[0].history["loss"][0] - 0.5
    assert all(
        (a == b).all() for m, old in zip(modules, before, strict=True) for a, b in zip(old, weights_of(m), strict=True)
    )
    assert not pyro.get_param_store()
    states = [fit.pair.state() for fit in fits]
    assert all((states[0][n] == states[1][n]).all() for n in states[0])
    assert fits[0].num_parameters == (2 * 8 + 8) + (8 * P + P) + (P * 4 + 4) + 2
    again = [fits[0].terms(TRAIN, 3).log_weights for _ in range(2)]
    assert (again[0] == again[1]).all()
    assert (
        again[0].mean()
        > svi.__class__(epochs=1, learning_rate=1e-30, batch_size=20)
        .fit(model, guide, TRAIN)
        .terms(TRAIN, 3)
        .log_weights.mean()
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("discrete", UnsuitableObjective, r"TraceELBO has no pathwise gradient for the site 'z' \(Poisson\)"),
        ("delta", UnsuitableObjective, "'z' is a Delta, which has no density"),
        ("renamed", ValueError, r"exactly the model's latent sites \['z'\]; it samples \['latent'\]"),
        ("wider", ValueError, r"do not run on a batch of shape \(20, 12\)"),
        ("no to_event", ValueError, r"do not run on a batch .* does every vector-valued site end in .to_event\(1\)\?"),
        ("global", ValueError, "Site 'w' is outside the plate of the data"),
    ],
)
def test_what_a_pair_cannot_do_is_refused(
    backend: backends.Backend, change: str, error: type[Exception], message: str
) -> None:
    model, guide, _ = plain_functions(backend, change)
    with pyro.validation_enabled(False), pytest.raises(error, match=message):
        backend.inference.SVI(epochs=1, batch_size=20).fit(model, guide, TRAIN)


def log_terms(backend: backends.Backend, model: Any, guide: Any, **options: Any) -> Any:
    if backend.name == "pyro":
        with torch.no_grad():
            return backend.inference.log_terms(model, guide, torch.tensor(TRAIN), **options)
    return backend.inference.log_terms(model, guide, jnp.asarray(TRAIN), key=jax.random.key(0), **options)


def test_a_pair_without_latents_is_refused(backend: backends.Backend) -> None:
    ppl, d = (pyro, dist) if backend.name == "pyro" else (numpyro, npdist)

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("x", d.Bernoulli(0.5 + 0 * x).to_event(1), obs=x)

    with pytest.raises(ValueError, match="no latent site"):
        backend.inference.SVI(epochs=1, batch_size=20).fit(model, lambda x: None, TRAIN)


@pytest.mark.release("numpyro")
def test_a_scaled_pair_keeps_the_scale_outside(backend: backends.Backend) -> None:
    """Terms are those of the unscaled pair; the loss is scaled once; half-scaled pairs are refused."""
    ppl = pyro.poutine if backend.name == "pyro" else numpyro.handlers
    model, guide = pair("vampprior", backend)
    plain = log_terms(backend, model, guide, request=TermsRequest(2))
    scaled = log_terms(backend, ppl.scale(model, scale=10.0), ppl.scale(guide, scale=10.0), request=TermsRequest(2))
    assert plain.scale == 1.0 and scaled.scale == 10.0 and scaled.log_lik.shape == plain.log_lik.shape
    assert abs(float(scaled.log_lik.mean() - plain.log_lik.mean())) < 1.0
    with pytest.raises(ValueError, match="have different scales: the weight of a term belongs to the objective"):
        log_terms(backend, ppl.scale(model, scale=10.0), guide)


@pytest.mark.release("numpyro")
def test_stock_objectives_that_are_wrong_under_a_scale_or_an_order_are_refused(backend: backends.Backend) -> None:
    """RenyiELBO tempers scaled weights, NumPyro's TraceGraph_ELBO scales twice, a KL per site needs one order.

    A scale of all sites is taken out of the training, so that it is one of the model alone.
    """
    infer = pyro.infer if backend.name == "pyro" else numpyro.infer
    handlers = pyro.poutine if backend.name == "pyro" else numpyro.handlers
    model, guide, _ = plain_functions(backend)
    scaled = handlers.scale(model, scale=10.0), guide
    wrong = [infer.RenyiELBO(alpha=0.0, num_particles=2)]
    wrong += [infer.TraceGraph_ELBO()] if backend.name == "numpyro" else []
    for loss in wrong:
        with pytest.raises(UnsuitableObjective, match="is wrong where densities have scales of their own"):
            backend.inference.SVI(loss, epochs=1, batch_size=20).fit(*scaled, toy(60))
    backend.inference.SVI(infer.Trace_ELBO(), epochs=1, batch_size=20).fit(*scaled, toy(60))
    backend.inference.SVI(wrong[0], epochs=1, batch_size=20).fit(model, guide, toy(60))
    with pytest.raises(UnsuitableObjective, match="TraceMeanField_ELBO needs the guide to sample in the model's order"):
        backend.inference.SVI(infer.TraceMeanField_ELBO(), epochs=1, batch_size=20).fit(*two_latents(backend), toy(60))


@pytest.mark.release("numpyro")
def test_minibatches_of_a_subsampled_plate_are_unbiased(backend: backends.Backend) -> None:
    """E[scaled mini-batch loss] = full loss, over all mini-batches of a partition."""
    ppl, d = (pyro, dist) if backend.name == "pyro" else (numpyro, npdist)
    zeros = torch.zeros(2) if backend.name == "pyro" else jnp.zeros(2)

    def model(x: Any, subsample: Any = None) -> None:
        with ppl.plate("data", 60, dim=-1, **subsample) if subsample else ppl.plate("data", 60, dim=-1):
            z = ppl.sample("z", d.Normal(zeros, 1.0).to_event(1))
            ppl.sample("x", d.Normal(z[..., :1] + 0 * x, 1.0).to_event(1), obs=x)

    def guide(x: Any, subsample: Any = None) -> None:
        with ppl.plate("data", 60, dim=-1, **subsample) if subsample else ppl.plate("data", 60, dim=-1):
            ppl.sample("z", d.Normal(zeros + 1.0, 0.001).to_event(1))

    def loss(x: np.ndarray, subsample: Any) -> float:
        objective = backend.inference.TraceELBO(num_particles=2000)  # so that 2e-3 are ten standard deviations
        if backend.name == "pyro":
            return objective.loss(model, guide, torch.tensor(x), subsample=subsample)
        return float(objective.loss(jax.random.key(0), {}, model, guide, jnp.asarray(x), subsample=subsample))

    full = loss(TRAIN, None)
    if backend.name == "pyro":
        parts = [loss(TRAIN[i : i + 20], {"subsample": torch.arange(i, i + 20)}) for i in (0, 20, 40)]
    else:
        parts = [loss(TRAIN[i : i + 20], {"subsample_size": 20}) for i in (0, 20, 40)]
    assert np.mean(parts) == pytest.approx(full, rel=2e-3)


def test_hidden_pixels_drop_out_of_the_density(backend: backends.Backend) -> None:
    model, guide = pair("standard", backend)
    as_array = torch.tensor if backend.name == "pyro" else jnp.asarray
    mask = np.random.default_rng(0).random(TRAIN.shape) < 0.5
    whole = log_terms(backend, model, lambda x, mask=None: guide(x))

    def masked(mask: np.ndarray, x: np.ndarray = TRAIN) -> np.ndarray:
        torch.manual_seed(0)
        hidden = as_array(np.where(mask, TRAIN, x))
        options = {} if backend.name == "pyro" else {"key": jax.random.key(0)}
        first = as_array(TRAIN)
        terms = backend.inference.log_terms(
            lambda _, mask: model(hidden, mask=mask),
            lambda _, mask: guide(first),
            first,
            mask=as_array(mask),
            **options,
        )
        return np.asarray(terms.log_lik.tolist())

    np.testing.assert_allclose(masked(mask), masked(mask, 1 - TRAIN), atol=1e-5)
    np.testing.assert_allclose(masked(mask) + masked(~mask), masked(np.ones_like(mask)), atol=1e-4)
    assert whole.log_lik.shape == (1, 60)


def test_mean_field_refuses_a_guide_in_another_order(backend: backends.Backend) -> None:
    ppl, d = (pyro, dist) if backend.name == "pyro" else (numpyro, npdist)
    zeros = torch.zeros(2) if backend.name == "pyro" else jnp.zeros(2)

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z2 = ppl.sample("z2", d.Normal(zeros, 1.0).to_event(1))
            z1 = ppl.sample("z1", d.Normal(z2, 1.0).to_event(1))
            ppl.sample("x", d.Normal(z1[..., :1] + 0 * x, 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z1 = ppl.sample("z1", d.Normal(zeros + x[..., :2], 1.0).to_event(1))
            ppl.sample("z2", d.Normal(z1, 1.0).to_event(1))

    svi = backend.inference.SVI(backend.inference.TraceMeanFieldELBO(), epochs=1, batch_size=20)
    with pytest.raises(UnsuitableObjective, match=r"model's order \('z2', 'z1'\); it samples \('z1', 'z2'\)"):
        svi.fit(model, guide, TRAIN)


@pytest.mark.filterwarnings("ignore")
def test_pyro_objectives_that_see_no_parameter_say_so() -> None:
    class Plain(torch.nn.Module):
        def __init__(self, program: Any) -> None:
            super().__init__()
            self.net = program

        def forward(self, x: torch.Tensor) -> Any:
            with pyro.plate("data", len(x), dim=-1):
                return pyro.sample("z", self.net(x))

    model, guide = pair("standard", "pyro")

    class PlainModel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prior, self.likelihood = model.prior, model.likelihood

        def forward(self, x: torch.Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", self.prior())
                pyro.sample("x", self.likelihood(z), obs=x)

    svi = backends.load("pyro").inference.SVI(pyro.infer.RenyiELBO(0.0, num_particles=2), epochs=1, batch_size=20)
    with pytest.raises(UnsuitableObjective, match="left every gradient empty"):
        svi.fit(PlainModel(), Plain(guide.posterior), TRAIN)

"""What a guide's density is known at, and whether its KL is: objectives read it, and refuse by name."""

from __future__ import annotations

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import TRAIN, pair
from pyro.distributions.torch_distribution import TorchDistribution

from ppl_vae import backends, objectives
from ppl_vae.errors import SampledKL, UnsuitableObjective
from ppl_vae.pairs.sites import ANYWHERE, AT_OWN_DRAWS, NOWHERE


class TorchOneWay(dist.transforms.ExpTransform):
    """exp, as a flow whose inverse nobody knows; it remembers its last draw, as Pyro's planar transform does."""

    def _inverse(self, y: Any) -> Any:
        raise NotImplementedError


class JaxOneWay(npdist.transforms.ExpTransform):
    """exp, as a flow whose inverse nobody knows."""

    def _inverse(self, y: Any) -> Any:
        raise NotImplementedError


class TorchSilent(TorchDistribution):
    """Draws, and no density."""

    arg_constraints, support, has_rsample = {}, dist.constraints.positive, True

    def __init__(self, a: Any) -> None:
        self.a = a
        super().__init__(a.shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return TorchSilent(self.a.expand(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Any:
        return (self.a + torch.randn(self._extended_shape(torch.Size(sample_shape)))).exp()


class JaxSilent(npdist.Distribution):
    """Draws, and no density."""

    arg_constraints, support, has_rsample = {}, npdist.constraints.positive, True
    pytree_data_fields = ("a",)

    def __init__(self, a: Any) -> None:
        self.a = a
        super().__init__(a.shape, validate_args=False)

    def sample(self, key: Any, sample_shape: Any = ()) -> Any:
        return jnp.exp(self.a + npdist.Normal(0.0, 1.0).sample(key, (*sample_shape, *self.batch_shape)))

    rsample = sample

    def log_prob(self, value: Any) -> Any:
        raise NotImplementedError


def programs(backend: backends.Backend, kind: str, *, of_model: bool = False) -> tuple[Any, Any]:
    """Log-normal latents, those of the guide or ``of_model`` through a transform or a distribution of that kind."""
    on_torch = backend.name == "pyro"
    ppl, d = (pyro, dist) if on_torch else (numpyro, npdist)
    number = torch.tensor if on_torch else jnp.array

    def made(at: Any, own: bool) -> Any:
        if own and kind == "silent":
            return (TorchSilent if on_torch else JaxSilent)(at)
        one_way = TorchOneWay(cache_size=1) if on_torch else JaxOneWay()
        plain = d.transforms.ExpTransform()
        return d.TransformedDistribution(d.Normal(at, 1.0), [one_way if own and kind == "one way" else plain])

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", made(number(0.0), of_model))
            ppl.sample("x", d.Normal(0.0 * x + z[..., None], 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        a = ppl.param("a", number(0.1))
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", made(a + 0.0 * x[..., 0], not of_model))

    return model, guide


def trained(backend: backends.Backend, loss: Any, *own: Any) -> Any:
    return backend.inference.SVI(loss, epochs=1, batch_size=20).fit(*own, TRAIN)


@pytest.mark.parametrize(("kind", "known"), [("plain", ANYWHERE), ("one way", AT_OWN_DRAWS), ("silent", NOWHERE)])
def test_a_site_says_where_its_density_is_known(kind: str, known: str, backend: backends.Backend) -> None:
    own = backend.inference.Pair(*programs(backend, kind))
    own.prepare(TRAIN[:20], 0)
    assert own.sites.latent[0].density == known


ASKING = {
    "sticking": objectives.TraceELBO(stick_the_landing=True),
    "DReG": objectives.DReG(2),
    "VIMCO": objectives.VIMCO(2),
    "WakeWake": objectives.WakeWake(2),
}


@pytest.mark.parametrize("name", ASKING)
def test_objectives_that_ask_at_given_values_refuse(name: str, backend: backends.Backend) -> None:
    with pytest.raises(UnsuitableObjective, match=r"'z' \(Transformed.* known at its own draws alone: use TraceELBO"):
        trained(backend, ASKING[name], *programs(backend, "one way"))


def test_own_draws_serve_the_pathwise_bounds(backend: backends.Backend) -> None:
    """With the same numbers as a transform that has an inverse."""
    for loss in (objectives.TraceELBO(), objectives.IWAE(3)):
        fits = [trained(backend, loss, *programs(backend, kind)) for kind in ("one way", "plain")]
        np.testing.assert_allclose(*(fit.history["loss"] for fit in fits), rtol=1e-5)


def test_no_density_at_all_is_refused(backend: backends.Backend) -> None:
    with pytest.raises(UnsuitableObjective, match=r"Silent, whose log_prob is known nowhere: give the guide"):
        trained(backend, objectives.TraceELBO(), *programs(backend, "silent"))


def test_a_prior_needs_its_density_at_the_guides_draws(backend: backends.Backend) -> None:
    with pytest.raises(ValueError, match="in the model, whose log-density is not known at the guide's draws"):
        trained(backend, objectives.TraceELBO(), *programs(backend, "one way", of_model=True))
    trained(backend, objectives.TraceELBO(), *programs(backend, "plain", of_model=True))


@pytest.mark.release("numpyro")
def test_a_sampled_kl_is_named_or_refused(backend: backends.Backend) -> None:
    with pytest.warns(SampledKL, match="KL.* of 'z' has no closed form, and is sampled"):
        trained(backend, objectives.TraceMeanFieldELBO(), *pair("mixture", backend))
    closed = objectives.TraceMeanFieldELBO(closed=True)
    with pytest.raises(UnsuitableObjective, match="of 'z' has no closed form: set closed=False"):
        trained(backend, closed, *pair("mixture", backend))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(backend, closed, *pair("standard", backend))

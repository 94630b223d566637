"""Users' subclasses and wrappers: treated as what they are made from, or refused by name; nothing falls through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from flax import nnx
from pairs import P, pair, recipe, toy
from pyro.nn import PyroModule

from ppl_vae import backends, bounds, distributions, evaluation
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.numpyro import distributions as numpyro_distributions
from ppl_vae.objectives import TermsRequest
from ppl_vae.pairs.chunks import CHUNK, chunk_size
from ppl_vae.results import Fit

X = toy(40)
C = 3
"""Values of a category."""


class Kit:
    """What a program needs of a backend."""

    def __init__(self, backend: backends.Backend) -> None:
        torch_side = backend.name == "pyro"
        self.inference = backend.inference
        self.ppl: Any = pyro if torch_side else numpyro
        self.dist: Any = dist if torch_side else npdist
        self.infer: Any = self.ppl.infer
        self.module: Any = PyroModule if torch_side else nnx.Module
        self.array: Callable[[Any], Any] = torch.tensor if torch_side else jnp.asarray
        self.bases = {
            "Normal": self.dist.Normal,
            "Delta": self.dist.Delta,
            "Categorical": dist.Categorical if torch_side else npdist.CategoricalLogits,
            "Distribution": self.dist.TorchDistribution if torch_side else npdist.Distribution,
        }

    def derived(self, base: str) -> type:
        """A user's subclass of a distribution, which changes nothing."""
        return type(f"Own{base}", (self.bases[base],), {})

    def pair(self, q: Callable[[Any], Any], p: Callable[[], Any], width: int = 2) -> tuple[Any, Any]:
        """Programs of one site z, q(x's parameter) and p(), whose x is normal around its sum."""
        ppl, normal, zeros = self.ppl, self.dist.Normal, self.array(np.zeros(width, np.float32))

        def model(x: Any) -> None:
            with ppl.plate("data", len(x), dim=-1):
                z = ppl.sample("z", p())
                ppl.sample("x", normal(0.0 * x + z.sum(-1)[..., None], 1.0).to_event(1), obs=x)

        def guide(x: Any) -> None:
            with ppl.plate("data", len(x), dim=-1):
                ppl.sample("z", q(ppl.param("at", zeros)))

        return model, guide

    def normal_pair(self, q: Callable[[Any], Any]) -> tuple[Any, Any]:
        return self.pair(q, lambda: self.dist.Normal(self.array(np.zeros(2, np.float32)), 1.0).to_event(1))

    def categorical_pair(self, cls: Any) -> tuple[Any, Any]:
        def of(logits: Any) -> Any:
            return cls(logits=logits + self.array(np.zeros((2, C), np.float32))).to_event(1)

        return self.pair(of, lambda: of(0.0), width=C)

    def prepared(self, model: Any, guide: Any) -> Any:
        own = self.inference.Pair(model, guide)
        own.prepare(X[:20], 0)
        return own

    def svi(self, loss: Any, **settings: Any) -> Any:
        return self.inference.SVI(loss, epochs=1, batch_size=20, **settings)


@pytest.fixture
def kit(backend: backends.Backend) -> Kit:
    return Kit(backend)


def wrapped(kit: Kit, fn: Any) -> Any:
    """A distribution inside a wrapper of a user's own."""

    class Own(kit.bases["Distribution"]):  # type: ignore[misc, name-defined]
        arg_constraints = {}
        support, has_rsample = fn.support, True

        def __init__(self) -> None:
            self.base_dist = fn
            super().__init__(fn.batch_shape, fn.event_shape, validate_args=False)

        def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
            return wrapped(kit, fn.expand(batch_shape))

        def sample(self, *args: Any, **kwargs: Any) -> Any:
            return fn.sample(*args, **kwargs)

        def rsample(self, *args: Any, **kwargs: Any) -> Any:
            return fn.rsample(*args, **kwargs)

        def log_prob(self, value: Any, *args: Any) -> Any:
            return fn.log_prob(value)

        @property
        def mean(self) -> Any:
            return fn.mean

    return Own()


WRAPPERS: dict[str, Callable[[Kit, Any], Any]] = {
    "independent": lambda kit, fn: fn.to_event(1),
    "masked": lambda kit, fn: fn.mask(True).to_event(1),
    "masked by an array": lambda kit, fn: fn.mask(kit.array([True, True])).to_event(1),
    "expanded": lambda kit, fn: fn.to_event(1).expand((1,)),
    "masked outside": lambda kit, fn: fn.to_event(1).mask(True),
    "of the user": lambda kit, fn: wrapped(kit, fn.to_event(1)),
}


@pytest.mark.parametrize("subclass", [False, True])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_point_is_refused_inside_whatever(wrapper: str, subclass: bool, kit: Kit) -> None:
    cls = kit.derived("Delta") if subclass else kit.bases["Delta"]
    model, guide = kit.normal_pair(lambda at: WRAPPERS[wrapper](kit, cls(at)))
    for loss in (kit.inference.TraceELBO(), kit.inference.TraceGraphELBO(), kit.infer.Trace_ELBO()):
        with pytest.raises(UnsuitableObjective, match="'z' is a Delta, which has no density"):
            kit.svi(loss).fit(model, guide, X)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_subclass_of_a_normal_is_one(wrapper: str, kit: Kit) -> None:
    """Inside a wrapper of the user's, whose density may be any, it is refused by that wrapper's name; a mask, too."""
    cls, one, loss = kit.derived("Normal"), kit.array(np.ones(2, np.float32)), kit.inference.BetaTCVAE()
    own = kit.normal_pair(lambda at: WRAPPERS[wrapper](kit, cls(at, one)))
    sites = kit.prepared(*own).sites
    if wrapper == "of the user":
        with pytest.raises(UnsuitableObjective, match="the site 'z' is Own: use conditionals.DiagNormal"):
            loss.check(sites)
        with pytest.raises(ValueError, match=r"needs a guide with one normal site; it has 'z' \(Own\)"):
            evaluation.kl_by_dimension(Fit(kit.prepared(*own), {}, {}), X)
        return
    if wrapper == "masked by an array":
        with pytest.raises(UnsuitableObjective, match="every density of the site 'z', and a mask may hide some"):
            loss.check(sites)
    else:
        loss.check(sites)
    assert sites.latent[0].is_normal and sites.latent[0].has_normal_marginals
    if wrapper == "independent":
        plain = kit.normal_pair(lambda at: kit.dist.Normal(at, one).to_event(1))
        fits = [kit.svi(loss).fit(*programs, X) for programs in (own, plain)]
        assert fits[0].history["loss"] == pytest.approx(fits[1].history["loss"], rel=1e-4)
        np.testing.assert_allclose(*(evaluation.kl_by_dimension(fit, X) for fit in fits), rtol=1e-4)


def test_a_truncated_normal_is_no_normal() -> None:
    """NumPyro's holds a normal inside, whose means and deviations are not its own; Pyro has none."""
    kit = Kit(backends.load("numpyro"))
    model, guide = kit.normal_pair(lambda at: npdist.TruncatedNormal(at, 1.0, low=-5.0).to_event(1))
    with pytest.raises(UnsuitableObjective, match="the site 'z' is LeftTruncatedDistribution"):
        kit.svi(kit.inference.BetaTCVAE()).fit(model, guide, X)


@pytest.mark.release("numpyro")
def test_a_subclass_of_a_categorical_is_one(kit: Kit) -> None:
    """Enumerated, annealed over its values, and told by its mode."""
    fits = []
    for cls in (kit.bases["Categorical"], kit.derived("Categorical")):
        model, guide = kit.categorical_pair(cls)
        fit = kit.svi(kit.inference.TraceEnumELBO(), learning_rate=0.1).fit(model, guide, X)
        assert fit.pair.sites.latent[0].num_values == C and fit.pair.sites.latent[0].is_categorical
        fits.append(fit)
    plain, own = fits
    np.testing.assert_allclose(own.history["loss"], plain.history["loss"], rtol=1e-5)
    logits = next(value for name, value in own.pair.state().items() if name.endswith("at"))
    means, _ = own.posterior(X[:3])["z"]
    assert (means == logits.argmax()).all() and means.shape == (3, 2)
    annealed = evaluation.ais(own, X[:2], evaluation.Annealing(num_chains=4, num_temperatures=5))
    exact = evaluation.exact_log_likelihood(own, X[:2])
    assert np.isfinite(annealed.values).all() and np.isfinite(exact).all()


def test_a_likelihood_of_categories_has_no_mean(kit: Kit) -> None:
    ppl, cls = kit.ppl, kit.derived("Categorical")
    logits = kit.array(np.zeros((P, C), np.float32))
    one = kit.array(np.ones(2, np.float32))

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", kit.dist.Normal(0.0 * one, one).to_event(1))
            ppl.sample("x", cls(logits=logits + z.sum(-1)[..., None, None]).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", kit.dist.Normal(ppl.param("at", 0.0 * one), one).to_event(1))

    with pytest.raises(UnsuitableObjective, match=r"observes 'x' \(OwnCategorical\): use cost='likelihood'"):
        kit.svi(kit.inference.WAE(cost="squared")).fit(model, guide, X)


def fully_visible(backend: backends.Backend) -> tuple[Any, Any]:
    images = backend.models.MixtureOfBernoullis(3, X, np.random.default_rng(0))
    return backend.models.FullyVisible(images), backend.guides.Empty()


def test_a_users_elbo_serves_a_model_without_latents(backend: backends.Backend) -> None:
    """As ``TraceELBO`` does, of which it is a subclass; the others, and stock ones, are refused by name."""
    inference = backend.inference

    @dataclass(frozen=True)
    class Own(inference.TraceELBO):  # type: ignore[misc, name-defined]
        pass

    svis = [inference.SVI(loss, epochs=2, batch_size=20) for loss in (Own(), inference.TraceELBO())]
    own, plain = (svi.fit(*fully_visible(backend), X) for svi in svis)
    np.testing.assert_array_equal(own.history["loss"], plain.history["loss"])
    stock = pyro.infer if backend.name == "pyro" else numpyro.infer
    for loss in (inference.TraceMeanFieldELBO(), inference.IWAE(2), stock.Trace_ELBO()):
        with pytest.raises(UnsuitableObjective, match=f"{type(loss).__name__} is made for latents"):
            inference.SVI(loss, epochs=1, batch_size=20).fit(*fully_visible(backend), X)


def test_a_subclass_of_a_stock_objective_is_refused_what_it_is_wrong_for(backend: backends.Backend) -> None:
    infer = pyro.infer if backend.name == "pyro" else numpyro.infer
    own_renyi = type("Mine", (infer.RenyiELBO,), {})
    svi = backend.inference.SVI(own_renyi(num_particles=2), epochs=1, batch_size=20)
    with pytest.raises(UnsuitableObjective, match=rf"Mine \({backend.name}'s RenyiELBO\) has no pathwise gradient"):
        svi.fit(*pair("bernoulli", backend), X)
    with pytest.raises(UnsuitableObjective, match=f"^{backend.name}'s RenyiELBO has no pathwise gradient"):
        replace(svi, loss=infer.RenyiELBO(num_particles=2)).fit(*pair("bernoulli", backend), X)
    unlike = type("RenyiELBO", (infer.TraceGraph_ELBO,), {})  # of that name, and no relative
    assert np.isfinite(replace(svi, loss=unlike()).fit(*pair("bernoulli", backend), X).history["loss"]).all()


def test_an_own_objective_that_dreams_is_refused_rows(backend: backends.Backend) -> None:
    """Whatever asks for dreams trains the guide on data that have no row."""
    inference = backend.inference

    @dataclass(frozen=True)
    class Own(inference.WakeWake):  # type: ignore[misc, name-defined]
        @property
        def request(self) -> TermsRequest:
            return replace(super().request, sleep=True)

        def bound(self, terms: Any) -> Any:
            return bounds.wake_sleep(terms)

    rows = recipe("standard", backend, guide="per-datapoint", num_images=len(X))(np.random.default_rng(0))
    with pytest.raises(UnsuitableObjective, match="Own trains the guide on images that the model dreams"):
        inference.SVI(Own(2), epochs=1, batch_size=20).fit(*rows, X)


@pytest.mark.release("numpyro")
def test_a_wrapper_around_a_refining_guide_refines_under_the_models_own_module(backend: backends.Backend) -> None:
    base: Any = PyroModule if backend.name == "pyro" else nnx.Module

    class Own(base):
        def __init__(self, guide: Any) -> None:
            if backend.name == "pyro":
                super().__init__()
            self.guide = guide

        def forward(self, x: Any) -> Any:
            return self.guide(x)

        if backend.name == "numpyro":

            def __call__(self, x: Any) -> Any:
                return self.guide(x)

    svi = backend.inference.SVI(epochs=1, batch_size=20)
    model, semi = pair("standard", backend, guide="semi-amortised", refinement_steps=1)
    other, _ = pair("standard", backend, seed=1)
    direct, through = svi.fit(model, semi, X), svi.fit(model, Own(semi), X)
    np.testing.assert_allclose(through.history["loss"], direct.history["loss"], rtol=1e-5)
    for guide in (semi, Own(semi)):
        with pytest.raises(ValueError, match=rf"The guide \({type(guide).__name__}\) refines under a model of its own"):
            svi.fit(other, guide, X)


def test_as_much_is_held_as_a_pixels_probabilities_take(backend: backends.Backend) -> None:
    """A subclass's too: a chunk has fewer rows."""
    own = distributions if backend.name == "pyro" else numpyro_distributions

    class Wide(own.CategoricalLevels):  # type: ignore[misc, name-defined]
        pass

    kit = Kit(backend)
    logits = kit.array(np.zeros((P, 256), np.float32))
    ppl, one = kit.ppl, kit.array(np.ones(2, np.float32))

    def model(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            z = ppl.sample("z", kit.dist.Normal(0.0 * one, one).to_event(1))
            ppl.sample("x", Wide(logits + z.sum(-1)[..., None, None]).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with ppl.plate("data", len(x), dim=-1):
            ppl.sample("z", kit.dist.Normal(ppl.param("at", 0.0 * one), one).to_event(1))

    assert chunk_size(kit.prepared(model, guide)) == CHUNK // (256 // 8)

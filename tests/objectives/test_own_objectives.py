"""What a user adds outside the package: an objective, and a gradient estimator, each one declaration for everything."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from oracles import gradient, names_of_the_guide, prepared_net
from pairs import command, fit, one_line, pair, toy, untrained, write_images

from ppl_vae import backends, bounds, objectives, strategies
from ppl_vae.arrays import ops
from ppl_vae.cli import main
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import Objective, TermsRequest
from ppl_vae.objectives.gradients import Gradient, GuideSite, Mixed, Rule, Run
from ppl_vae.objectives.options import option
from ppl_vae.pairs.sites import Sites
from ppl_vae.pairs.terms import Terms


@dataclass(frozen=True)
class Tempered(Objective):
    """log (1/K) sum_k w_k^t / t: the power mean of the weights, t = ``temper``; the IWAE at 1."""

    num_particles: int = 4
    temper: float = option(0.5, "exponent of the weights", kind="share", metavar="T")

    @property
    def is_bound(self) -> bool:
        return self.temper == 1

    def bound(self, terms: Terms) -> Any:
        weights = self.temper * terms.log_weights
        return (ops.logsumexp(weights, 0) - math.log(len(weights))) / self.temper


@pytest.fixture
def tempered() -> Iterator[None]:
    strategies.register("tempered", strategies.Strategy("a power mean of N weights", lambda k: Tempered(k), 4))
    yield
    del strategies.STRATEGIES["tempered"]


def test_an_objective_is_one_class_for_both_backends(backend: backends.Backend) -> None:
    """At temper 1 its value and gradient are the IWAE's; it trains, as it is or as the backend's own ELBO."""
    own, x, inference = untrained(*pair("standard", backend), backend).pair, toy(4), backend.inference
    ours = gradient(backend, inference.adopt(Tempered(4, temper=1.0)), own, x, 0)
    theirs = gradient(backend, inference.IWAE(4), own, x, 0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    fits = [
        inference.SVI(loss, epochs=1, batch_size=20).fit(*pair("standard", backend), toy(40))
        for loss in (Tempered(), inference.adopt(Tempered()))
    ]
    assert fits[0].history["loss"] == fits[1].history["loss"] and np.isfinite(fits[0].history["loss"]).all()
    assert fits[0].settings["svi"]["loss"].startswith("Tempered(num_particles=4")


def test_the_backends_objective_is_pickled_and_copied(backend: backends.Backend) -> None:
    for objective in (backend.inference.adopt(Tempered(3, temper=0.25)), backend.inference.IWAE(7)):
        for again in (pickle.loads(pickle.dumps(objective)), copy.deepcopy(objective)):
            assert again == objective and type(again) is type(objective)


@dataclass(frozen=True)
class Derived(Tempered):
    """It has a field that its own settings determine."""

    inverse: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "inverse", 1 / self.temper)


def test_a_field_that_is_no_argument_is_derived_anew(backend: backends.Backend) -> None:
    objective = backend.inference.adopt(Derived(temper=0.25))
    assert objective.inverse == pickle.loads(pickle.dumps(objective)).inverse == 4


def test_the_other_backends_objective_is_refused(backend: backends.Backend) -> None:
    other = backends.load("numpyro" if backend.name == "pyro" else "pyro")
    with pytest.raises(TypeError, match="'loss' should be an objective"):
        backend.inference.SVI(other.inference.adopt(Tempered()))


def test_the_command_line_knows_it(
    tempered: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["fit", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "tempered-N a power mean of N weights (default N: 4)" in told
    assert "--temper T tempered: exponent of the weights" in told
    images = write_images(tmp_path) / "images.npy"
    fit(images, tmp_path / "run", "--objective", "tempered-3", "--temper", 0.25)
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert "num_particles=3" in settings["svi"]["loss"] and "temper=0.25" in settings["svi"]["loss"]
    assert command("fit", "--data", images, "--out", tmp_path / "no", "--objective", "elbo", "--temper", 0.5) == 2
    assert "--temper is for tempered; elbo has no use for it" in one_line(capsys)


def test_names_of_strategies_are_taken_once() -> None:
    with pytest.raises(ValueError, match="There is a strategy 'elbo' already"):
        strategies.register("elbo", strategies.Strategy("another", lambda _: Tempered()))
    with pytest.raises(ValueError, match="lower-case words joined by dashes"):
        strategies.register("My ELBO", strategies.Strategy("another", lambda _: Tempered()))


# A gradient estimator


@dataclass(frozen=True)
class ARM(Gradient):
    """Augment-REINFORCE-merge for Bernoulli latents: two runs that share their uniform noise (Yin and Zhou, 2019)."""

    def check(self, name: str, sites: Sites) -> None:
        for site in sites.latent:
            if not site.binary:
                raise UnsuitableObjective(f"{name} is for Bernoulli latents; {site.name!r} is {site.distribution}.")

    def rules(self) -> Sequence[Rule | None]:
        return (lambda site: self.threshold(site, 1.0), lambda site: self.threshold(site, -1.0))

    def threshold(self, site: GuideSite, sign: float) -> Any:
        """1[u < sigmoid(logits)], or 1[u > sigmoid(-logits)] of the merged draw."""
        logits = site.parameter("logits")
        noise = site.noise("uniform", logits)
        on = noise < 1 / (1 + ops.exp(-logits)) if sign > 0 else 1 - noise < 1 / (1 + ops.exp(-logits))
        return ops.where(on, 1 + 0 * ops.stop_gradient(noise), 0 * noise)

    def terms(self, runs: Sequence[Run]) -> Terms:
        plain, merged = runs
        gap = ops.stop_gradient(merged.terms.log_weights - plain.terms.log_weights)
        surrogate = 0.0
        for site in plain.sites.values():
            logits = site.parameter("logits")
            weight = ops.stop_gradient(site.noise("uniform", logits) - 0.5)
            particles = (weight * logits).sum(-1)
            surrogate = surrogate + gap * (particles if len(particles.shape) == 2 else particles[None])
        cut = [ops.stop_gradient(t) for t in (plain.terms.log_guide,)]
        log_lik = plain.terms.log_lik + surrogate - ops.stop_gradient(surrogate)
        return plain.terms._replace(log_lik=log_lik, log_guide=cut[0])


@dataclass(frozen=True)
class ARMELBO(Objective):
    """The ELBO of Bernoulli latents by ARM."""

    per_datum: ClassVar[bool] = True

    @property
    def request(self) -> TermsRequest:
        return replace(super().request, gradient=ARM())

    def bound(self, terms: Terms) -> Any:
        return bounds.elbo(terms)


@pytest.mark.parametrize("particles", [1, 3])
def test_an_estimator_is_one_value(backend: backends.Backend, particles: int) -> None:
    """ARM's gradient for the guide is unbiased, against enumeration: within its standard errors, entry by entry."""
    own, x = prepared_net("bernoulli", backend), np.repeat(toy(2), 300, 0)
    inference, guide = backend.inference, names_of_the_guide(own)
    exact = gradient(backend, inference.TraceEnumELBO(), own, x, 0)[guide]
    objective = inference.adopt(ARMELBO(particles))
    draws = np.stack([gradient(backend, objective, own, x, seed)[guide] for seed in range(30)])
    error = draws.std(0, ddof=1) / math.sqrt(len(draws))
    z = (draws.mean(0) - exact)[error > 0] / error[error > 0]
    assert np.abs(z).max() < 6 and (z**2).mean() < 2.5
    np.testing.assert_allclose(draws.mean(0)[error == 0], exact[error == 0], atol=1e-4)


def test_an_estimator_refuses_what_it_is_not_for(backend: backends.Backend) -> None:
    svi = backend.inference.SVI(ARMELBO(), epochs=1, batch_size=20)
    with pytest.raises(UnsuitableObjective, match="is for Bernoulli latents; 'z' is Normal"):
        svi.fit(*pair("standard", backend), toy())
    fit = svi.fit(*pair("bernoulli", backend), toy(40))
    assert np.isfinite(fit.history["loss"]).all()


@dataclass(frozen=True)
class OfLogits(Mixed):
    """Reads a parameter that only some distributions have."""

    def rules(self) -> Sequence[Rule | None]:
        return (lambda site: site.parameter("logits"),)


@dataclass(frozen=True)
class OfLogitsELBO(ARMELBO):
    @property
    def request(self) -> TermsRequest:
        return replace(super().request, gradient=OfLogits())


@dataclass(frozen=True)
class NoisyDraws(Mixed):
    """Draws that are used, with noise like them that is not."""

    def rules(self) -> Sequence[Rule | None]:
        def rule(site: GuideSite) -> Any:
            draw = site.sample()
            noise = site.noise("normal", draw)
            assert noise.shape == draw.shape and noise.dtype == site.parameter("logits").dtype
            return draw

        return (rule,)


@dataclass(frozen=True)
class NoisyELBO(ARMELBO):
    @property
    def request(self) -> TermsRequest:
        return replace(super().request, gradient=NoisyDraws())


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_noise_like_discrete_draws_is_continuous(backend: backends.Backend, name: str) -> None:
    svi = backend.inference.SVI(NoisyELBO(), epochs=1, batch_size=20)
    assert np.isfinite(svi.fit(*pair(name, backend), toy(40)).history["loss"]).all()


def test_a_parameter_that_is_not_there_is_told_by_name(backend: backends.Backend) -> None:
    svi = backend.inference.SVI(OfLogitsELBO(), epochs=1, batch_size=20)
    with pytest.raises(UnsuitableObjective, match="reads the parameter 'logits' of the guide's site 'z', and a Normal"):
        svi.fit(*pair("standard", backend), toy())


def test_neutral_objectives_have_no_backend() -> None:
    assert {c.backend for c in objectives.concrete().values()} == {None}

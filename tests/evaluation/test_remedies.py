"""What a refusal of an evaluation advises, followed: the number is then there, and finite."""

from __future__ import annotations

import functools
import shutil
import sys
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import bernoulli, categorical
from pairs import TRAIN, VALID, follow, pair, recipe, refused, toy, trained, untrained

from ppl_vae import backends, critics, data, evaluation, inference, plots
from ppl_vae.errors import Divergence
from ppl_vae.evaluation import Annealing, disentanglement
from ppl_vae.evaluation.studies import executors
from ppl_vae.mcmc.samplers import HMC, NUTS
from ppl_vae.results import Fit

Way = Callable[[Any], Any]
RNG = np.random.default_rng(0)
PYRO, NUMPYRO = backends.load("pyro"), backends.load("numpyro")
GRID = np.repeat(np.indices((3, 4)).reshape(2, -1).T, 20, 0)
CODES = GRID + 0.1 * np.random.default_rng(0).normal(size=GRID.shape)
HIDDEN = np.arange(12) < 6


@functools.cache
def a_fit(name: str = "standard", **settings: Any) -> Fit:
    return trained(PYRO, name, epochs=1, **settings)


@functools.cache
def of_images(**settings: Any) -> Fit:
    """A fit of a recipe on 40 images."""
    one = recipe("standard", "pyro", **settings)
    return inference.SVI(epochs=1, batch_size=20).fit(*one(np.random.default_rng(0)), TRAIN[:40])


def per_datapoint() -> Fit:
    return of_images(guide="per-datapoint", num_images=40)


def scores(name: str, codes: np.ndarray = CODES, factors: Any = GRID, **options: Any) -> Way:
    def score(_: Any) -> list[float]:
        found = disentanglement.metrics(codes, factors, which=[name], **options)
        return list(found.values())

    return score


def rare(values: np.ndarray) -> np.ndarray:
    """The factors, the first row with a value that no other has."""
    values = values.copy()
    values[0, 0] = 7
    return values


def compares(fits: Any, *test: Any) -> Way:
    return lambda _: evaluation.compare(fits(), *test, num_particles=5)["log_p"].to_numpy()


def reports(losses: Any, fit: Callable[[], Fit] = a_fit) -> Way:
    return lambda _: evaluation.gradient_report(fit(), losses(), TRAIN[:20], repeats=2)["norm"].to_numpy()


def unprepared() -> Fit:
    return Fit(inference.Pair(*pair("standard", PYRO)), {}, {})


def prepared() -> Fit:
    fit = unprepared()
    fit.pair.prepare(TRAIN[:4], seed=0)
    return fit


def broken() -> Fit:
    fit = untrained(*pair("standard", PYRO), PYRO)
    next(iter(fit.pair.named_parameters().values())).data.fill_(np.nan)
    return fit


def belief_net() -> Fit:
    return untrained(*bernoulli(PYRO), PYRO)


def hmc(fit: Callable[[], Fit], sampler: Any, x: np.ndarray) -> Way:
    return lambda _: sampler.run(fit(), x).accept_prob


def adversarial() -> Any:
    return (
        inference.Adversarial(inference.FactorVAE(), epochs=1, batch_size=20)
        .fit(*pair("standard", PYRO), TRAIN)
        .history
    )


def critic() -> Any:
    return critics.train(critics.Critic(hidden=(4,)), CODES, CODES + 1, steps=2, batch_size=20).history


def counts(b: Any = PYRO) -> Fit:
    """A Poisson latent, which has no list of values; and z ~ Bernoulli with ``finite``."""
    return untrained(*count_pair(finite=False), b, toy(4)[:, :3])


def count_pair(*, finite: bool) -> Any:
    def latent(x: Any, rate: Any) -> None:
        pyro.sample("z", (dist.Bernoulli(0.5 + 0 * rate) if finite else dist.Poisson(rate)))

    def model(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Bernoulli(0.4) if finite else dist.Poisson(1.0))
            pyro.sample("x", dist.Normal(z[..., None] * torch.ones(3), 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            latent(x, 0.5 + x.mean(-1) ** 2)

    return model, guide


KNOWN = np.linspace(-1, 1, 8), np.linspace(-1, 1, 8)
SHORT = Annealing(num_temperatures=4, num_chains=2)
TABLE = pd.DataFrame({"mig": [0.1, 0.2, np.nan, 0.3], "sap": [0.2, 0.1, 0.3, 0.4]})

REMEDIES: dict[str, tuple[Way, ...]] = {
    "No part of the pair has a discrete twin (a method 'discrete'): use a pair of conditionals.Concrete": (
        lambda _: evaluation.discrete_twin(untrained(*pair("standard", "pyro"), PYRO)),
        lambda _: (
            evaluation.elbo(
                evaluation.discrete_twin(untrained(*recipe("standard", "pyro", latents="concrete")(RNG), PYRO)),
                toy(4),
                5,
            ).mean
        ),
    ),
    "A difference of certified numbers needs certificates: evaluate(fit, test, certify=N)": (
        lambda _: evaluation.difference([rated()], [rated()], certified=True)[0],
        lambda _: evaluation.difference([rated(certify=1)], [rated(certify=1)], certified=True)[0],
    ),
    "certify: simulated data have every pixel, so that they say nothing of data with some unseen": (
        lambda _: evaluation.certify(a_fit(), toy(4), mask=toy(4) > 0),
        lambda _: evaluation.ais(a_fit(), toy(4), Annealing(3, 2, 1), mask=toy(4) > 0).values,
    ),
    "compare: 'fits' should be {name: fit or list of fits}": (
        compares(lambda: [a_fit()], VALID),
        compares(lambda: {"one": a_fit()}, VALID),
        compares(lambda: {"one": [a_fit()]}, VALID),
    ),
    "there is nothing to compare; pass {name: fit} or {name: [fit, ...]}": (
        compares(dict, VALID),
        compares(lambda: {"one": a_fit()}, VALID),
        compares(lambda: {"one": [a_fit(), a_fit()]}, VALID),
    ),
    "is a fit, so test data are needed: compare(fits, test)": (
        compares(lambda: {"one": a_fit()}),
        compares(lambda: {"one": a_fit()}, VALID),
    ),
    "Compare fits on the same {}": (
        compares(lambda: {"one": a_fit(), "other": of_images()}, VALID),
        compares(lambda: {"one": a_fit(), "other": a_fit("full")}, VALID),
    ),
    ": a single factor is factors[:, None]": (
        scores("sap", CODES, GRID[:, 0]),
        scores("sap", CODES, GRID[:, 0][:, None]),
    ),
    "number the values of each column, np.unique(column, return_inverse=True)[1]": (
        scores("sap", CODES, GRID / 2),
        scores("sap", CODES, np.stack([np.unique(c, return_inverse=True)[1] for c in (GRID / 2).T], 1)),
    ),
    "which no code can tell: leave it out, np.delete(factors, {}, axis=1)": (
        scores("sap", CODES, np.c_[GRID, 0 * GRID[:, 0]]),
        scores("sap", CODES, np.delete(np.c_[GRID, 0 * GRID[:, 0]], 2, axis=1)),
    ),
    "leave the column or these models out, table.dropna()": (
        lambda _: disentanglement.spearman(TABLE),
        lambda _: disentanglement.spearman(TABLE.dropna()).to_numpy(),
        lambda _: disentanglement.spearman(TABLE.drop(columns="mig")).to_numpy(),
    ),
    "holds no numbers but {}: leave it out": (
        lambda _: disentanglement.spearman(TABLE.dropna().assign(name="a")),
        lambda _: disentanglement.spearman(TABLE.dropna().assign(name="a").drop(columns="name")).to_numpy(),
    ),
    "and needs at least two of each: take more rows, or coarser classes": (
        scores("beta_vae", CODES, rare(GRID)),
        scores("beta_vae", np.r_[CODES, CODES], rare(np.r_[GRID, rare(GRID)])),
        scores("beta_vae", CODES, np.minimum(rare(GRID), 2)),
    ),
    "among {} of the rows: take more points": (
        lambda _: disentanglement.mig_sampled(CODES, np.ones_like(CODES), GRID, num_points=1),
        lambda _: disentanglement.mig_sampled(CODES, np.ones_like(CODES), GRID, num_points=100).value,
    ),
    "is left to score on: give more rows, or fewer labels, labels=(10, 100)": (
        lambda _: disentanglement.usefulness(CODES, GRID, labels=(10, 500), iterations=2),
        lambda _: (
            disentanglement.usefulness(
                np.r_[CODES, CODES, CODES], np.r_[GRID, GRID, GRID], labels=(10, 500), iterations=2
            ).mean
        ),
        lambda _: disentanglement.usefulness(CODES, GRID, labels=(10, 100), iterations=2).mean,
    ),
    "the pair has not run yet; call fit.pair.prepare(x[:4], seed=0) first": (
        lambda _: evaluation.gradients._check(unprepared(), {"ELBO": inference.TraceELBO()}, 20, 2, None),
        reports(lambda: {"ELBO": inference.TraceELBO()}, prepared),
    ),
    "and a fit keeps none to take gradients through: leave it out": (
        reports(lambda: {"ELBO": inference.TraceELBO(), "FactorVAE": inference.FactorVAE()}),
        reports(lambda: {"ELBO": inference.TraceELBO()}),
    ),
    "raise the floor of the scales, or report on a fit whose training went well": (
        reports(lambda: {"ELBO": inference.TraceELBO()}, broken),
        reports(lambda: {"ELBO": inference.TraceELBO()}),
    ),
    "from the spread of chains, and there is one: use 'num_chains' of at least 2, or schedule='sigmoid'": (
        lambda _: Annealing(4, 1, schedule="adaptive").betas,
        lambda _: evaluation.ais(a_fit(), VALID[:3], Annealing(4, 2, 1, schedule="adaptive")),
        lambda _: evaluation.ais(a_fit(), VALID[:3], Annealing(4, 1, 1, schedule="sigmoid")).values,
    ),
    "no latent site has one: use Annealing(start='prior') or Annealing(start='guide')": (
        lambda _: evaluation.ais(a_fit(), VALID[:3], Annealing(4, 2, 1, start="components")),
        lambda _: evaluation.ais(a_fit(), VALID[:3], Annealing(4, 2, 1, start="prior")),
        lambda _: evaluation.ais(a_fit(), VALID[:3], Annealing(4, 2, 1, start="guide")),
    ),
    "has no answer for simulated data: use Annealing(..., start='prior')": (
        lambda _: evaluation.bdmc(per_datapoint(), 3, Annealing(num_temperatures=4, num_chains=2, start="guide")),
        lambda _: (
            evaluation.bdmc(per_datapoint(), 3, Annealing(num_temperatures=4, num_chains=2, start="prior")).lower.values
        ),
    ),
    "and the sum goes over at most {}: use ais(fit, x)": (
        lambda _: evaluation.exact_log_likelihood(a_fit(), VALID[:3]),
        lambda _: evaluation.ais(a_fit(), VALID[:3], Annealing(num_temperatures=4, num_chains=2)),
        lambda _: evaluation.ais(belief_net(), VALID[:3]),
    ),
    "For log p(x) of whole data: evaluation.log_likelihood(fit, x)": (
        lambda _: evaluation.conditional_log_likelihood(a_fit(), VALID[:3], np.ones((3, 12), bool), 5),
        lambda _: evaluation.conditional_log_likelihood(a_fit(), VALID[:3], np.tile(HIDDEN, (3, 1)), 5),
        lambda _: evaluation.log_likelihood(a_fit(), VALID[:3]),
    ),
    "'others' is empty: give at least one set of images, by name": (
        lambda _: evaluation.outlier_table(a_fit(), VALID, {}, num_particles=5),
        lambda _: evaluation.outlier_table(a_fit(), VALID, {"inverted": 1 - VALID}, num_particles=5)["auc"].to_numpy(),
    ),
    "so that no gap could be told: pass the lower one": (
        lambda _: both_bounds(lambda found: found.upper),
        lambda _: both_bounds(lambda found: found.lower),
    ),
    "'fits' is empty: give at least one": (
        lambda _: evaluation.rate_distortion({}, VALID),
        lambda _: evaluation.rate_distortion({"one": a_fit()}, VALID)["rate"].to_numpy(),
    ),
    "num_draws=99 with bins=20, say": (
        lambda _: evaluation.calibration(a_fit(), 100, num_draws=99, bins=30),
        lambda _: evaluation.calibration(a_fit(), 100, num_draws=99, bins=20).ranks,
    ),
    "as a semi-amortised guide's does. Take the surgery of fit.refine(x)": (
        lambda _: evaluation.elbo_surgery(of_images(guide="semi-amortised", refinement_steps=2), VALID, 2),
        lambda _: (
            evaluation.elbo_surgery(of_images(guide="semi-amortised", refinement_steps=2).refine(VALID), VALID, 2).rate
        ),
    ),
    "moves along gradients, and the site {} ({}) is discrete: use evaluation.ais": (
        hmc(belief_net, HMC(num_samples=3, num_warmup=2), VALID[:3]),
        lambda _: evaluation.ais(belief_net(), VALID[:3], Annealing(num_temperatures=4), max_configurations=0),
        lambda _: evaluation.exact_log_likelihood(belief_net(), VALID[:3]),
    ),
    "choose fewer, use HMC, which moves all data together, or a NumPyro fit": (
        hmc(a_fit, NUTS(num_samples=4, num_warmup=2, num_chains=1), TRAIN),
        hmc(a_fit, NUTS(num_samples=4, num_warmup=15, num_chains=1, max_tree_depth=3), TRAIN[:1]),
        hmc(a_fit, HMC(num_samples=3, num_warmup=20), TRAIN),
        hmc(
            lambda: untrained(*pair("standard", NUMPYRO), NUMPYRO),
            NUTS(num_samples=4, num_warmup=15, num_chains=1, max_tree_depth=3),
            TRAIN,
        ),
    ),
    "'history' should have 'critic_accuracy', as that of inference.Adversarial or critics.train has": (
        lambda _: plots.ratio_calibration(*KNOWN, history=a_fit().history, bins=2) and None,
        lambda _: plots.ratio_calibration(*KNOWN, history=adversarial(), bins=2) and None,
        lambda _: plots.ratio_calibration(*KNOWN, history=critic(), bins=2) and None,
    ),
    "has no such list: use Bernoulli or Categorical": (
        lambda _: evaluation.ais(counts(), toy(4)[:, :3], SHORT),
        lambda _: evaluation.ais(
            untrained(*count_pair(finite=True), PYRO, toy(4)[:, :3]), toy(4)[:, :3], SHORT, max_configurations=0
        ),
        lambda _: evaluation.ais(untrained(*categorical(PYRO), PYRO), toy(4), SHORT, max_configurations=0),
    ),
    "ask for at most {}, or start them at the data mean plus noise": (
        lambda _: recipe("vampprior-data", "pyro", num_pseudo_inputs=61)(np.random.default_rng(0)),
        lambda _: recipe("vampprior-data", "pyro", num_pseudo_inputs=60)(np.random.default_rng(0)) and None,
        lambda _: recipe("vampprior-mean", "pyro", num_pseudo_inputs=61)(np.random.default_rng(0)) and None,
    ),
}


def rated(**settings: Any) -> evaluation.Evaluation:
    return evaluation.evaluate(a_fit(), VALID[:2], 5, annealing=SHORT, **settings)


@functools.cache
def sandwich() -> Any:
    return evaluation.bdmc(a_fit(), 3, SHORT)


def both_bounds(choose: Callable[[Any], Any]) -> Any:
    found = sandwich()
    return evaluation.gaps(a_fit(), found.x, 5, log_p=choose(found), refined=a_fit()).log_p


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])


def test_chains_that_diverge() -> None:
    """Each of the settings that the warning names, and wider scales, bring divergences down."""
    few = {"num_samples": 10, "num_warmup": 10, "num_chains": 2, "target_accept_prob": 0.6, "num_steps": 5}
    refused(
        "Raise target_accept_prob or num_warmup, or look at the model's scales",
        lambda: HMC(**few).run(narrow(0.01), toy(2)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Divergence)
        before = HMC(**few).run(narrow(0.01), toy(2)).divergences.sum()
        for scale, more in ((0.01, {"target_accept_prob": 0.95}), (0.01, {"num_warmup": 60}), (1.0, {})):
            assert HMC(**{**few, **more}).run(narrow(scale), toy(2)).divergences.sum() < before


def named(rng: np.random.Generator) -> Any:
    return recipe("standard", "pyro")(rng)


def narrow(scale: float) -> Fit:
    """A likelihood of that scale."""
    model = PYRO.models.VAE(
        PYRO.models.StandardNormal(2),
        PYRO.conditionals.Normal(net := PYRO.nets.MLP((2, 12), np.random.default_rng(0)), scale=scale),
    )
    assert net is not None
    guide = PYRO.guides.Amortised(PYRO.conditionals.DiagNormal(PYRO.nets.MLP((12, 4), np.random.default_rng(1))))
    return untrained(model, guide, PYRO)


def cell(name: str = "elbo", backend: str = "pyro", **settings: Any) -> evaluation.Cell:
    svi = backends.load(backend).inference.SVI(epochs=1, batch_size=20, **settings)
    return evaluation.Cell(name, backend, recipe("standard", backend), svi)


def study(folder: Path, *cells: evaluation.Cell, **settings: Any) -> evaluation.Study:
    split = data.from_arrays(TRAIN, VALID, VALID, binarisation="fixed")
    return evaluation.Study(folder, split, cells or (cell(),), num_particles=3, elbo_particles=2, **settings)


def test_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused("but its SVI is that of {}: give the backend's own", lambda: replace(cell(), backend="numpyro"))
    assert cell(backend="numpyro").backend == "numpyro"
    refused("would share a folder: rename one", lambda: study(tmp_path, cell("elbo"), cell("ELBO")))
    assert study(tmp_path, cell("elbo"), cell("other")).seeds == (0,)
    one = study(tmp_path)
    refused("nothing of the study is done yet; call its run()", lambda: evaluation.write_report(one))
    assert np.isfinite(one.run()["log_p"]).all()
    assert evaluation.write_report(one).exists()
    other = study(tmp_path, cell(learning_rate=0.5))
    refused("Use the settings that it has, or another folder", other.run)
    assert np.isfinite(one.run()["log_p"]).all()
    assert np.isfinite(study(tmp_path / "another", cell(learning_rate=0.01)).run()["log_p"]).all()
    local = replace(cell(), recipe=lambda rng: recipe("standard", "pyro")(rng))
    refused(
        "make its pair by a recipe of ppl_vae.recipes or a function of a module, a torch optimiser by "
        "functools.partial, or leave 'executor' out",
        study(tmp_path / "sent", local, executor=evaluation.Processes(1)).run,
    )
    with pytest.raises(ValueError, match="a torch optimiser by"):
        executors.sent("cell", cell(optim=lambda parameters: torch.optim.Adam(parameters)))
    assert executors.sent("cell", cell(optim=functools.partial(torch.optim.Adam, lr=1e-3)))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "distributed", None)
        refused(
            "This executor needs {}, which is not installed: pip install 'ppl_vae[{}]'",
            lambda: evaluation.executor("dask://here:8786"),
        )
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"dask", "ray"} <= project["optional-dependencies"].keys()
    assert executors.sent("cell", cell()) and executors.sent("cell", replace(cell(), recipe=named))
    assert np.isfinite(study(tmp_path / "sent", local).run()["log_p"]).all()
    (folder,) = (tmp_path / "cells").iterdir()
    (folder / "settings.json").write_text("{")
    said = refused("remove its folder, and run the study again", one.run)
    shutil.rmtree(Path(said.split(" is damaged")[0]).parent)
    assert np.isfinite(one.run()["log_p"]).all()

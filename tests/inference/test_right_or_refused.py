"""The law of the house: no number is silently wrong. It is right, or refused by name with a remedy.

A part of ``benchmarks/right_or_refused.py``, so that every program, objective and refusal comes up, on both backends.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from programs import PROGRAMS, START

from ppl_vae import backends

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

CELLS: list[tuple[str, str, int, str]] = [
    # families of guides
    ("normal", "TraceELBO", 1, "right"),
    ("normal", "DReG, in chunks", 3, "right"),
    ("normal", "stock RenyiELBO", 3, "right"),
    ("normal", "DIPVAE, kind ii", 1, "right"),
    ("normal", "RandomMixtureVAE, Hellinger", 3, "right"),
    ("normal", "FactorVAE, critic", 1, "right"),
    ("normal", "WAEGAN, critic, squared", 1, "right"),
    ("normal", "AVB, critic", 1, "right"),
    ("normal", "ALI, critic", 3, "right"),
    ("normal", "VAEGAN, critic", 1, "right"),
    ("Bernoulli", "FDivergenceVAE, critic", 1, "no pathwise gradient for the site 'z'"),
    ("two normals", "BetaTCVAE, stratified", 1, "right"),
    ("two normals", "DIPVAE, kind i", 3, "right"),
    ("log-normal", "CIWAE", 3, "right"),
    ("log-normal", "RejectionELBO", 2, "right"),
    ("log-normal vector", "InfoVAE, MMD", 1, "right"),
    ("log-normal vector", "BetaTCVAE, weighted", 1, "'z' is LogNormal"),
    ("gamma", "RenyiELBO", 3, "right"),
    ("beta", "MIWAE", 3, "right"),
    ("von Mises", "TraceGraphELBO, leave one out", 3, "right"),
    ("Dirichlet", "CapacityELBO", 1, "right"),
    ("mixture", "TraceGraphELBO", 3, "right"),
    ("exp of a mixture", "TraceGraphELBO, analytic KL", 1, "right"),
    ("affine flow", "DReG", 3, "right"),
    ("IAF", "DReG", 3, "right"),
    ("normal", "WAE, MMD, squared", 1, "right"),
    ("low-rank normal", "FreeBitsELBO", 3, "right"),
    ("low-rank normal", "AAE, critic", 1, "right"),
    ("Bernoulli", "TraceEnumELBO", 1, "right"),
    ("Bernoulli", "VQELBO", 1, "VQELBO is for one latent site of the nearest codes"),
    ("normal", "MISELBO", 1, "MISELBO is for one latent site that is a mixture in the guide"),
    ("Bernoulli", "HMCELBO", 1, "no pathwise gradient for the site 'z'"),
    ("reshaped to rows", "HMCELBO", 1, "Several draws of each datum run at once"),
    ("normal", "FIVO", 3, "needs a prior and a guide that go step by step"),
    ("normal", "NASMC", 3, "needs a prior and a guide that go step by step"),
    ("normal", "DiffusionELBO", 3, "takes one level of a chain of noise"),
    ("Bernoulli", "PriorELBO", 1, "put a learned prior there"),
    ("two normals", "ACN", 1, "right"),
    ("Bernoulli", "ACN", 1, "ACN has no pathwise gradient for the site 'z'"),
    ("normal", "GAN", 1, "GAN trains an implicit model"),
    ("normal", "GMMN", 1, "GMMN trains an implicit model"),
    ("Bernoulli", "GumbelSoftmax", 3, "right"),
    ("Bernoulli", "GumbelSoftmax, straight through", 1, "right"),
    ("Bernoulli", "REBAR", 3, "right"),
    ("Bernoulli", "RELAX", 1, "right"),
    ("Bernoulli", "RODEO", 3, "right"),
    ("Bernoulli", "MuProp", 1, "right"),
    ("Bernoulli", "ARM", 3, "right"),
    ("Bernoulli", "DisARM", 1, "right"),
    ("categorical", "GumbelSoftmax", 1, "rows of real numbers (..., D, C), and it does not run on them"),
    ("normal", "REBAR", 1, "the draws of 'z' (Normal) carry a gradient"),
    ("Poisson", "DisARM", 1, "is for Bernoulli and categorical latents; the site 'z' is Poisson"),
    ("inner bits", "MuProp", 1, "'z' stands in a plate inside the data's"),
    ("Bernoulli", "TraceELBO, sticking", 1, "no pathwise gradient for the site 'z'"),
    ("categorical", "TraceGraphELBO, running average", 3, "right"),
    ("Poisson", "VIMCO", 3, "right"),
    ("Poisson", "TraceEnumELBO", 1, "cannot enumerate the site 'z'"),
    # plates
    ("pixels in a plate", "TraceELBO", 1, "plate"),
    ("inner latents", "DReG", 3, "right"),
    ("inner latents, nesting untold", "TraceELBO", 3, "max_plate_nesting=2"),
    ("inner bits", "TraceEnumELBO", 1, "'z' stands in a plate inside the data's"),
    ("subsampled plate", "TraceELBO", 3, "right"),
    ("plate without dim", "IWAE", 3, "right"),
    ("no plate", "stock RenyiELBO", 3, "where a site is in no plate"),
    ("no plate", "stock Trace_ELBO", 1, "right"),
    ("global latent", "stock Trace_ELBO", 1, "right"),
    ("global latent", "IWAE", 3, "'w' is outside the plate of the data"),
    ("indexed from the left", "DReG", 3, "Several draws of each datum run at once"),
    ("reshaped to rows", "IWAE", 3, "Several draws of each datum run at once"),
    # scales and masks
    ("scaled", "IWAE", 3, "right"),
    ("model scaled alone", "TraceELBO", 1, "different scales"),
    ("latent masked in the model", "TraceMeanFieldELBO", 1, "right"),
    ("latent masked by its distribution", "TraceMeanFieldELBO", 3, "right"),
    ("latent masked in the guide", "VIMCO", 3, "mask"),
    ("latent masked in both", "TraceELBO", 3, "right"),
    ("missing data", "FreeBitsELBO, over the batch", 1, "right"),
    # several sites, and what is no latent
    ("two sites", "DReG", 3, "right"),
    ("two sites", "TraceMeanFieldELBO", 1, "in the model's order"),
    ("two sites, modules", "IWAE, sticking", 3, "right"),
    ("continuous after discrete", "TraceGraphELBO", 3, "right"),
    ("continuous after discrete", "GumbelSoftmax", 1, "right"),
    ("continuous after discrete", "VIMCO, pathwise", 3, "right"),
    ("discrete after continuous", "TraceEnumELBO", 3, "right"),
    ("discrete after continuous", "WakeWake", 3, "right"),
    ("continuous after discrete", "PerSite, enumerated", 3, "right"),
    ("discrete after continuous", "PerSite, measure-valued", 1, "right"),
    ("continuous after discrete", "PerSite, all scored", 3, "right"),
    ("Bernoulli", "PerSite, scored", 1, "takes a strategy for each latent site"),
    ("Bernoulli", "Labelled", 1, "has no pathwise gradient for the site"),
    ("discrete after continuous", "Denoising", 1, "has no pathwise gradient for the site"),
    ("log-normal vector", "GroupMMD", 1, "pass them, given= of shape"),
    ("discrete after continuous", "PerSite, leave one out", 3, "right"),
    ("continuous after discrete", "PerSite, relaxed", 1, "right"),
    ("factor in the guide", "IWAE", 3, "'penalty'"),
    ("observed site in the guide", "stock Trace_ELBO", 1, "right"),
    ("beta", "stock TraceGraph_ELBO", 3, "right"),
    ("factor in the model", "TraceELBO, beta 1/2", 3, "right"),
    ("two observed sites", "TraceGraphELBO", 1, "right"),
    ("generating", "WakeSleep", 3, "right"),
    ("shared parameter", "DReG", 3, "right"),
    ("point guide", "TraceELBO", 1, "'z' is a Delta"),
    ("auxiliary site", "WakeWake", 1, "latent sites"),
]
"""A program, an objective, K, and the verdict: right, or a part of the refusal's words."""

OF_PYRO: list[tuple[str, str, int, str]] = [
    ("pixels in a plate", "stock Trace_ELBO", 1, "right"),
    ("latent masked in the model", "stock TraceMeanField_ELBO", 3, "knows no mask over a latent site"),
    ("observed site in the guide", "stock TraceMeanField_ELBO", 3, "no observed site of a guide"),
    ("model scaled alone", "stock TraceMeanField_ELBO", 3, "scales of their own"),
]
"""Cells of stock objectives of Pyro, where NumPyro's are others."""

OF_NUMPYRO: list[tuple[str, str, int, str]] = [
    ("subsampled plate", "stock RenyiELBO", 3, "divides the weights by the scale of the plate 'data'"),
    ("plate without dim", "stock RenyiELBO", 3, "right"),
    ("subsampled plate", "RenyiELBO", 3, "right"),
    ("factor in the guide", "stock TraceGraph_ELBO", 1, "leaves out the gradient of what a guide observes"),
    ("factor in the guide", "stock Trace_ELBO", 1, "right"),
    ("factor in the model", "stock TraceGraph_ELBO", 1, "right"),
]
"""Cells of stock objectives of NumPyro, which Pyro's are right in, and of what is to be used in their place."""

REMEDY = re.compile(r"\b([Uu]se|[Pp]ut|[Gg]ive|[Mm]ake|[Ss]et|should|belongs to|goes into)\b")
"""Words of advice, one of which is in every refusal."""


@pytest.fixture(scope="module")
def table() -> ModuleType:
    """The benchmark."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.insert(0, str(BENCHMARKS))
    return importlib.import_module("right_or_refused")


@pytest.mark.parametrize(
    ("program", "objective", "draws", "verdict"),
    [
        pytest.param(
            *cell, id=", ".join(map(str, cell[:3])), marks=[pytest.mark.release("numpyro")] if number % 2 else []
        )
        for number, cell in enumerate(CELLS)
    ],
)
def test_it_is_right_or_refused(
    program: str, objective: str, draws: int, verdict: str, backend: backends.Backend, table: ModuleType
) -> None:
    found = table.judge(PROGRAMS[program], objective, backend.name, draws)
    if verdict == "right":
        assert found.kind == "right", found
    else:
        assert found.kind == "refused" and verdict in found.words, found
        assert REMEDY.search(found.words), found.words


def test_every_program_and_objective_comes_up(table: ModuleType) -> None:
    """No objective of the package is left out of the table, nor any of the table here."""
    assert not table.complete()
    names = {name for _, name, *_ in (*CELLS, *OF_PYRO)}
    assert {name.split(",")[0] for name in table.OBJECTIVES} <= {name.split(",")[0] for name in names}


@pytest.mark.parametrize(
    ("side", "program", "objective", "draws", "verdict"),
    [
        *(("pyro", *cell) for cell in OF_PYRO),
        *(("numpyro", *cell) for cell in OF_NUMPYRO),
        *(("pyro", *cell[:3], "right") for cell in OF_NUMPYRO if cell[3] != "right"),
    ],
)
def test_a_librarys_own_is_right_or_refused(
    side: str, program: str, objective: str, draws: int, verdict: str, table: ModuleType
) -> None:
    found = table.judge(PROGRAMS[program], objective, side, draws)
    assert found.kind == ("right" if verdict == "right" else "refused"), found
    assert verdict == "right" or verdict in found.words


@pytest.mark.parametrize("name", ["normal", "Dirichlet", "mixture", "inner bits"])
def test_exact_bounds_are_those_of_brute_force(name: str, table: ModuleType) -> None:
    """The bounds of three draws, by the values of three draws from the tables."""
    exact, program = importlib.import_module("exact_bounds"), PROGRAMS[name]
    rng, bounds = np.random.default_rng(0), {"iwae": [], "renyi": [], "floor": [], "wake": []}
    for x in program.x:
        t = program.tables(x, **START)
        assert t.prob.sum() == pytest.approx(1, abs=1e-4)
        slope = exact.derivative(lambda at, x=x: program.tables(x, **at).log_guide, "a")
        drawn = rng.choice(len(t.prob), p=t.prob / t.prob.sum(), size=(100_000, 3))
        log_w = exact.log_weights(t)[drawn]
        w = np.exp(log_w - log_w.max(1, keepdims=True))
        bounds["iwae"].append(np.log(w.mean(1)) + log_w.max(1))
        bounds["renyi"].append(2 * np.log(np.sqrt(w).mean(1)) + log_w.max(1))
        bounds["floor"].append(t.log_lik[drawn].mean(1) - np.maximum((t.log_guide - t.log_prior)[drawn].mean(1), 0.4))
        bounds["wake"].append((w * slope[drawn]).sum(1) / w.sum(1))
    of = exact.Exact(program)
    right = {
        "iwae": of.mean(lambda t: exact.mean_log_mean(t, 3)),
        "renyi": of.mean(lambda t: exact.renyi(t, 3, 0.5)),
        "floor": of.mean(lambda t: exact.floored(t, 3, 0.4)),
        "wake": of.along(lambda t: 0.0, lambda t, slope: exact.weighed(t, slope.log_guide, 3))["a"],
    }
    for bound, values in bounds.items():
        means = np.mean(values, 0)
        assert abs(means.mean() - right[bound]) < 4 * means.std() / len(means) ** 0.5 + 1e-6, bound


def test_a_wrong_gradient_is_found(table: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The law sees what it is to see: an estimator with a part left out, and an error that is not the package's."""
    from ppl_vae import bounds

    monkeypatch.setattr(bounds, "vimco", bounds.iwae)
    assert table.judge(PROGRAMS["normal"], "VIMCO", "pyro", 3).kind == "wrong"
    monkeypatch.setattr(bounds, "vimco", lambda terms: terms.log_lik @ terms.log_lik)
    assert table.judge(PROGRAMS["normal"], "VIMCO", "pyro", 3).kind == "raw error"

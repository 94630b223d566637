"""Studies of programs that cannot make every picture, or of which no log p(x) is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from ppl_vae import data, evaluation, recipes
from ppl_vae.backends import Backend
from ppl_vae.evaluation import Cell, Study
from ppl_vae.inference import SVI

X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
SPLIT = data.from_arrays(X, X[:10], X[10:30])


def recipe(rng: np.random.Generator) -> tuple[Any, Any]:
    """A model that takes no ``size``: x = z + noise in both columns."""

    def model(x: Any) -> None:
        c = pyro.param("c", torch.zeros(()))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(c, 1.0))
            pyro.sample("x", dist.Normal(z[..., None].expand(*z.shape, 2), 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x.sum(-1) / 3, 0.7))

    return model, guide


def np_recipe(rng: np.random.Generator) -> tuple[Any, Any]:
    def model(x: Any) -> None:
        c = numpyro.param("c", jnp.zeros(()))
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(c, 1.0))
            mean = jnp.broadcast_to(z[..., None], (*z.shape, 2))
            numpyro.sample("x", npdist.Normal(mean, 1.0).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("z", npdist.Normal(x.sum(-1) / 3, 0.7))

    return model, guide


@pytest.mark.release("numpyro")
def test_a_model_that_cannot_generate_has_a_row(backend: Backend, tmp_path: Path) -> None:
    svi = backend.inference.SVI(epochs=1, batch_size=20, learning_rate=1e-9)
    one = Cell("own", backend.name, recipe if backend.name == "pyro" else np_recipe, svi)
    study = Study(tmp_path, SPLIT, [one], num_particles=1000, elbo_particles=1)
    row = study.run(progress=False).loc["own"]
    exact = stats.multivariate_normal(np.zeros(2), np.eye(2) + 1).logpdf(SPLIT.test).mean()
    assert row["log_p"] == pytest.approx(exact, abs=0.01) and row["note"] == ""
    assert set(study.results()[0].images()) == {"originals", "reconstructions"}


def test_where_no_log_p_is_known_nothing_is_ahead(tmp_path: Path) -> None:
    """As of codes that have too many joint values."""
    cells = [Cell(name, "pyro", recipe, SVI(epochs=1, batch_size=20)) for name in ("one", "other")]
    study = Study(tmp_path, SPLIT, cells, num_particles=5, elbo_particles=1)
    before = study.run(progress=False)
    for result in study.results():
        told = json.loads((result.folder / "result.json").read_text())
        told["evaluation"]["log_p"]["values"] = [None] * len(SPLIT.test)
        (result.folder / "result.json").write_text(json.dumps(told))
    table = study.table()
    assert table[["log_p", "log_p_difference", "difference_error"]].isna().all(axis=None)
    assert list(table["elbo"]) == list(before["elbo"])
    page = evaluation.write_report(study).read_text()
    assert "Nothing is ranked: no log p(x) is known." in page and "one \u2605" not in page


def test_what_cannot_be_evaluated_is_told_in_its_row(tmp_path: Path) -> None:
    """As gaps of a guide without parameters: the study ended there, before its other cells."""
    svi = SVI(epochs=1, batch_size=20)
    small = recipes.vae((2,), likelihood="normal", latent_dim=1, hidden=(4,))
    cells = [Cell("by hand", "pyro", recipe, svi), Cell("a recipe", "pyro", small, svi)]
    study = Study(tmp_path, SPLIT, cells, num_particles=5, elbo_particles=1, gaps=True)
    table = study.run(progress=False)
    assert "trained, but not evaluated: " in table.loc["by hand", "note"] and np.isnan(table.loc["by hand", "log_p"])
    assert np.isfinite(table.loc["a recipe", "log_p"]) and table.loc["a recipe", "note"] == ""
    assert len(study.results()[0].history["loss"]) == 1, "what was trained is kept"
    assert "not evaluated" in evaluation.write_report(study).read_text()

"""The rivals of the benchmark of tables are what they say they are."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from ppl_vae import data


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("tables")


def mixed(rows: int = 300) -> data.Table:
    """Two clusters in columns of every kind that the mixture has, and two normal ones that are correlated."""
    rng = np.random.default_rng(0)
    k, t = rng.integers(2, size=rows), rng.normal(size=rows)
    frame = pd.DataFrame({"a": 3 * k + t, "b": np.exp(k + 0.3 * rng.normal(size=rows)), "c": rng.poisson(2 + 8 * k)})
    return data.table(frame.assign(d=np.where(rng.random(rows) < 0.1 + 0.8 * k, "x", "y"), e=rng.random(rows) < 0.5))


def test_the_mixture_is_a_density_that_em_raises(tables: ModuleType) -> None:
    """One component is the product of each column by itself; two find the clusters; the masses of a column add up."""
    read = mixed()
    x = read.x.astype(float)
    one, two = (tables.Mixture(size, read.schema, 0).fit(x) for size in (1, 2))
    assert two.score_samples(x).mean() > one.score_samples(x).mean() + 1
    alone = np.full(x.shape, np.nan)
    alone[:, 0] = x[:, 0]
    expected = scipy.stats.norm.logpdf(x[:, 0], x[:, 0].mean(), x[:, 0].std())
    np.testing.assert_allclose(one.score_samples(alone), expected, rtol=1e-6)
    grid = np.full((2000, 5), np.nan)
    grid[:, 2] = np.arange(2000)
    assert np.exp(two.score_samples(grid)).sum() == pytest.approx(1, abs=1e-6)
    hidden = x.copy()
    hidden[:, 3] = np.nan
    assert (two.impute(hidden)[:, 3] == x[:, 3]).mean() > 0.8


def test_the_copula_of_normal_columns_is_nearly_their_normal(tables: ModuleType) -> None:
    rng = np.random.default_rng(0)
    cov = np.array([[1.0, 0.8], [0.8, 1.0]])
    x, test = (rng.multivariate_normal([0, 0], cov, size) for size in (800, 200))
    schema = data.table(pd.DataFrame(x, columns=["a", "b"])).schema
    found = tables.copula(schema, x, test)
    assert abs(found.mean() - scipy.stats.multivariate_normal([0, 0], cov).logpdf(test).mean()) < 0.1

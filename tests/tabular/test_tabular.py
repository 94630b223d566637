"""Tables as people have them: kinds of columns, DataFrames back, missing cells, scikit-learn's checks, files."""

from __future__ import annotations

import datetime
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from ppl_vae import TabularVAE, data, evaluation
from ppl_vae.data.tables.frames import Schema

SMALL: dict[str, Any] = {"latent_dim": 2, "hidden": (8,), "epochs": 3, "num_particles": 10, "random_state": 0}
NOISY = "score_samples is a Monte Carlo estimate, whose noise depends on a row's position"


def people(rows: int = 80, seed: int = 0) -> pd.DataFrame:
    """A table of every kind and many dtypes, with holes."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=rows)
    frame = pd.DataFrame(
        {
            "height": 170 + 8 * t + rng.normal(size=rows),
            "income": np.exp(8 + t),
            "visits": rng.poisson(np.exp(1 + t)),
            "smokes": rng.random(rows) < 0.3,
            "town": np.array(["Ulm", "Bonn", "Jena"])[np.digitize(t, [-0.5, 0.7])],
            "grade": pd.Categorical.from_codes(np.digitize(t, [-1, 0, 1]), ["d", "c", "b", "a"], ordered=True),
            "colour": pd.Categorical(np.where(rng.random(rows) < 0.5, "red", "blue")),
            "change": rng.integers(-5, 5, rows),
            "children": pd.array(rng.poisson(1.5, rows), "Int64"),
        }
    )
    for name in ("height", "town", "grade", "children"):
        frame.loc[rng.random(rows) < 0.2, name] = None
    return frame


KINDS = ("real", "positive", "count", "boolean", "categorical:3", "ordinal:4", "categorical:2", "real", "count")


def test_the_kinds_of_columns_are_found_and_can_be_said() -> None:
    read = data.table(people())
    assert read.kinds == KINDS
    assert read.mask.mean() < 0.95 and np.isnan(read.x[~read.mask]).all()
    said = data.table(people(), kinds={"height": "positive", "town": ["Jena", "Bonn", "Ulm"], "visits": "ordinal"})
    assert said.kinds[0] == "positive" and said.kinds[4] == "ordinal:3" and said.kinds[2].startswith("ordinal")
    assert said.schema.fields[4].values == ("Jena", "Bonn", "Ulm")
    whole = data.table({"year": np.arange(1990, 2020), "some": [0, 1, None] * 10, "age": [1.0, None, 7.0] * 10})
    assert whole.kinds == ("real", "boolean", "count")


def test_rows_come_back_with_their_dtypes_and_holes() -> None:
    frame = people()
    read = data.table(frame)
    back = Schema.from_dict(read.schema.to_dict()).decode(read.x)
    pd.testing.assert_frame_equal(
        back[["smokes", "visits", "colour", "change"]], frame[["smokes", "visits", "colour", "change"]]
    )
    pd.testing.assert_series_equal(back["grade"], frame["grade"])
    assert (back.isna() == frame.isna()).all().all()
    assert (back["town"].fillna("") == frame["town"].fillna("")).all()
    np.testing.assert_allclose(back["income"], frame["income"], rtol=1e-6)


@pytest.mark.parametrize("form", ["columns", "csv", "polars"])
def test_other_forms_of_a_table_are_the_same_numbers(form: str, tmp_path: Path) -> None:
    frame = people().drop(columns=["grade", "colour"])
    frame["children"] = frame["children"].astype(float)
    if form == "csv":
        frame.to_csv(tmp_path / "people.csv", index=False)
        other: Any = tmp_path / "people.csv"
    elif form == "polars":
        pl = pytest.importorskip("polars")
        other = pl.DataFrame(
            {name: frame[name].astype(object).where(frame[name].notna(), None).to_list() for name in frame}
        )
    else:
        other = {name: frame[name].to_list() for name in frame}
    one, two = data.table(frame), data.table(other)
    assert one.kinds == two.kinds
    np.testing.assert_allclose(one.x, two.x, rtol=1e-6)


@pytest.fixture(scope="module")
def fitted() -> TabularVAE:
    return TabularVAE(**SMALL).fit(people())


def test_the_estimator_is_a_likelihood_of_columns(fitted: TabularVAE) -> None:
    """log p(x) is that of the fit on the numbers; a cell that is None drops out."""
    frame = people(12, seed=1)
    rows = fitted.schema_.encode(frame)
    seen = ~np.isnan(rows)
    expected = evaluation.log_likelihood(fitted.fit_, np.where(seen, rows, 77.0), 10, seed=0, mask=seen).values
    np.testing.assert_array_equal(fitted.score_samples(frame), expected)
    assert fitted.recipe_.columns == KINDS and fitted.recipe_.likelihood == "columns"


def test_samples_and_imputed_tables_are_tables_of_the_same_dtypes(fitted: TabularVAE) -> None:
    frame = people()
    for made in (fitted.sample(40), fitted.impute(frame), fitted.inverse_transform(fitted.transform(frame)[:7])):
        assert made.columns.tolist() == frame.columns.tolist()
        assert made.dtypes.tolist() == frame.dtypes.tolist()
        assert not made.isna().any().any()
        assert (made["income"] > 0).all() and (made["visits"] >= 0).all()
        assert set(made["town"]) <= {"Ulm", "Bonn", "Jena"}
    filled = fitted.impute(frame.set_index(np.arange(100, 180)))
    kept = frame.notna().to_numpy()
    assert filled.index[0] == 100 and (filled["visits"].to_numpy() == frame["visits"].to_numpy()).all()
    np.testing.assert_allclose(filled["height"].to_numpy()[kept[:, 0]], frame["height"][kept[:, 0]], rtol=1e-6)
    pd.testing.assert_frame_equal(fitted.sample(5), fitted.sample(5))


def test_it_learns_what_columns_have_in_common() -> None:
    """Hidden towns are told from the other columns more often than by the most frequent town."""
    frame = people(400, seed=3)
    hidden = frame["town"].notna() & (np.random.default_rng(0).random(400) < 0.3)
    vae = TabularVAE(latent_dim=2, hidden=(32,), epochs=25, learning_rate=1e-2, num_particles=20, random_state=0)
    filled = vae.fit(frame).impute(frame.assign(town=frame["town"].where(~hidden, None)))
    right = (filled["town"] == frame["town"])[hidden].mean()
    assert right > (frame["town"][hidden] == frame["town"].mode()[0]).mean() + 0.2


def test_names_of_a_csv_are_those_of_its_first_line(tmp_path: Path) -> None:
    """Pandas calls the second of two columns 'a' 'a.1'; a column of numbers without a name, of no rows, stays."""
    (tmp_path / "twice.csv").write_text("a,b,a\n1,2,3\n4,5,6\n")
    with pytest.raises(ValueError, match="Two columns have the name 'a'"):
        data.table(tmp_path / "twice.csv")
    pd.DataFrame({"a": [1.5, 2.5], "2020": [0, 7]}, index=[0.5, 1.5]).to_csv(tmp_path / "index.csv")
    assert data.table(tmp_path / "index.csv").schema.names == ["Unnamed: 0", "a", "2020"]


def test_numbers_far_from_zero_are_held_less_their_mean(tmp_path: Path) -> None:
    """A second since 1970 scatters by less than a step of single precision there, and log p(x) knows no shift."""
    t = np.random.default_rng(0).normal(size=60)
    near = pd.DataFrame({"second": 30 * t - 30 * t.mean(), "year": 2000 + 10 * t, "number": np.arange(60) - 29.5})
    far = near + np.array([1.7e9, 0, 1e9])
    far["number"] = (far["number"] + 0.5).astype("int64")
    fits = [TabularVAE(**{**SMALL, "epochs": 1}).fit(frame) for frame in (near, far)]
    fits.append(TabularVAE.load(fits[1].save(tmp_path / "far")))
    assert fits[1].schema_.kinds == ("real",) * 3 and fits[1].schema_.fields[1].offset == 0
    scores = [vae.score_samples(frame) for vae, frame in zip(fits, (near, far, far), strict=True)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-3)
    np.testing.assert_array_equal(scores[2], scores[1])
    back = data.table(far).schema.decode(data.table(far).x)
    assert (back.dtypes == far.dtypes).all() and (back["number"] == far["number"]).all()
    np.testing.assert_allclose(back["second"], far["second"], rtol=0, atol=1e-5)
    hidden = far.assign(second=far["second"].where(t > 0))
    assert abs(fits[1].impute(hidden)["second"] - 1.7e9).max() < 300


def test_a_pipeline_set_output_and_copies(fitted: TabularVAE, tmp_path: Path) -> None:
    frame, y = people(), np.arange(80) % 2
    pipeline = make_pipeline(TabularVAE(**{**SMALL, "epochs": 1}), LogisticRegression()).fit(frame, y)
    assert pipeline.predict(frame).shape == (80,)
    codes = TabularVAE(**{**SMALL, "epochs": 1}).set_output(transform="pandas").fit(frame).transform(frame)
    assert codes.columns.tolist() == ["tabularvae0", "tabularvae1"] and codes.index.equals(frame.index)
    for again in (pickle.loads(pickle.dumps(fitted)), TabularVAE.load(fitted.save(tmp_path / "saved"))):
        np.testing.assert_array_equal(again.score_samples(frame), fitted.score_samples(frame))
        pd.testing.assert_frame_equal(again.sample(6), fitted.sample(6))
        assert again.schema_ == fitted.schema_


def test_on_numpyro() -> None:
    frame = people()[["height", "town"]]
    vae = TabularVAE(**{**SMALL, "epochs": 1}, backend="numpyro").fit(frame)
    assert vae.sample(5).dtypes.tolist() == frame.dtypes.tolist() and vae.fit_.backend == "numpyro"


def expected_to_fail(estimator: TabularVAE) -> dict[str, str]:
    return {"check_methods_sample_order_invariance": NOISY, "check_methods_subset_invariance": NOISY}


@estimator_checks.parametrize_with_checks(
    [TabularVAE(latent_dim=2, hidden=(4,), epochs=2, num_particles=5)], expected_failed_checks=expected_to_fail
)
def test_scikit_learns_checks(estimator: TabularVAE, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize(
    ("columns", "kinds", "says"),
    [
        ({"a": [1.0, 2.0], "b": ["x", "y"]}, {"c": "real"}, "'kinds' has 'c', and no column is it"),
        ({"a": [1.0, 2.0]}, {"a": "integer"}, "there are real, positive, count"),
        ({"a": [1.0, 2.0], "b": [1.0]}, None, "should have one length"),
        ({"a": [datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)]}, None, "holds dates"),
    ],
)
def test_what_is_no_table(columns: Any, kinds: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        data.table(columns, kinds=kinds)

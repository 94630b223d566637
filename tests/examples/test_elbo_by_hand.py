"""The ELBO by hand: what the example draws obeys the laws it is drawn to show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import rel_entr
from scipy.stats import norm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["pyro", pytest.param("numpyro", marks=pytest.mark.release)])
def by_hand(request, tmp_path_factory, example) -> dict[str, pd.DataFrame]:
    """Picture -> its numbers."""
    out = tmp_path_factory.mktemp(f"by-hand-{request.param}")
    options = ("--smoke", "--backend", request.param, "--out", str(out))
    done = example("elbo_by_hand", *options, here=request.param == "numpyro")
    assert done.returncode == 0, done.stderr
    tables = {name: pd.read_csv(out / f"{name}.csv") for name in ("bounds", "em", "guesses", "gradients")}
    for name in tables:
        assert (out / f"{name}.png").stat().st_size > 20_000
    return tables


@pytest.mark.release("numpyro")
def test_bounds_lie_below_log_p_by_the_divergence_and_touch_it(by_hand) -> None:
    table, x = by_hand["bounds"], 1.5
    theta, phi = table["theta"], table["phi"]
    right, left = 0.7 * norm.pdf(x, theta), 0.3 * norm.pdf(x, -theta)
    posterior = right / (right + left)
    kl = rel_entr(phi, posterior) + rel_entr(1 - phi, 1 - posterior)
    np.testing.assert_allclose(table["log_p"], np.log(right + left), atol=1e-4)
    np.testing.assert_allclose(table["log_p"] - table["elbo"], kl, atol=1e-4)
    assert (table["elbo"] <= table["log_p"] + 1e-5).all()
    for _, curve in table.groupby("phi"):
        gap = curve["log_p"] - curve["elbo"]
        assert gap.min() < 1e-5 and abs(curve["posterior"] - curve["phi"])[gap.idxmin()] < 1e-5


def test_em_never_falls_and_ends_where_neither_step_moves(by_hand) -> None:
    for _, path in by_hand["em"].groupby("start"):
        assert (np.diff(path["elbo"]) > -1e-5).all() and (np.diff(path["log_p"]) > -1e-5).all()
        assert path["elbo"].iloc[-1] > path["elbo"].iloc[0] + 0.1
        e, m = path[path["step"] == "E"], path[path["step"] == "M"]
        np.testing.assert_allclose(e["elbo"], e["log_p"], atol=1e-5)
        lower, top, upper = (
            m["phi"] * norm.logpdf(1.5, m["theta"] + shift) + (1 - m["phi"]) * norm.logpdf(1.5, -m["theta"] - shift)
            for shift in (-0.01, 0.0, 0.01)
        )
        assert (top > lower).all() and (top > upper).all()
        assert path["phi"].iloc[-1] == pytest.approx(path["posterior"].iloc[-1], abs=0.002)


def elbo_of_a_place(mean: float, scale: float) -> float:
    """E_q[log N(z; 1, 9) + log N(3; |z + 1|, 1) - log q(z)] for q = N(mean, scale^2)."""

    def integrand(z: float) -> float:
        q = norm(mean, scale)
        return q.pdf(z) * (norm.logpdf(z, 1, 3) + norm.logpdf(3, abs(z + 1)) - q.logpdf(z))

    return quad(integrand, mean - 9 * scale, mean + 9 * scale, points=[-1], epsabs=1e-10)[0]


def test_the_divergence_and_the_elbo_of_a_guess_add_up_to_log_p(by_hand) -> None:
    table = by_hand["guesses"].set_index("q")
    log_p = np.log(quad(lambda z: norm.pdf(z, 1, 3) * norm.pdf(3, abs(z + 1)), -30, 30, points=[-1])[0])
    np.testing.assert_allclose(table["log_p"], log_p, atol=1e-6)
    for _, row in table.iterrows():
        assert row["kl"] == pytest.approx(log_p - elbo_of_a_place(row["mean"], np.sqrt(row["variance"])), abs=1e-6)
    assert (abs(table["kl_sampled"] - table["kl"]) < 4 * table["kl_error"]).all()
    assert (abs(table["elbo"] + table["kl"] - log_p) < 4 * table["elbo_error"]).all()
    for name, guess in {"N(2, 2)": (2, 2), "N(-4, 0.75)": (-4, 0.75)}.items():
        np.testing.assert_allclose(table.loc[name, ["mean", "variance"]].astype(float), guess, rtol=1e-5)
        assert table.loc[f"{name}, climbed", "kl"] < table.loc[name, "kl"]
    assert table.loc["N(2, 2)", "kl"] < table.loc["N(-4, 0.75)", "kl"]


def test_both_estimators_have_the_mean_of_the_exact_gradient(by_hand) -> None:
    table, step = by_hand["gradients"], 1e-3
    for parameter, move in {"mean": (step, 1.0), "log_scale": (0.0, np.exp(step))}.items():
        rise = elbo_of_a_place(2 + move[0], np.sqrt(2) * move[1]) - elbo_of_a_place(2 - move[0], np.sqrt(2) / move[1])
        np.testing.assert_allclose(table.loc[table["parameter"] == parameter, "exact"], rise / (2 * step), rtol=1e-4)
    assert (abs(table["mean"] - table["exact"]) < 4 * table["error"]).all()
    variance = table.set_index(["estimator", "draws", "parameter"])["variance"].unstack()
    path, score, steadied = variance.loc["reparameterised"], variance.loc["REINFORCE"], variance.iloc[2]
    assert variance.index[2] == ("REINFORCE, leave-one-out", 8)
    assert (path < score).all(axis=None) and (steadied < score.loc[8]).all()
    assert 4 < path.loc[1, "mean"] / path.loc[8, "mean"] < 16


def test_a_variance_of_one_gradient_is_refused(tmp_path: Path, example) -> None:
    done = example("elbo_by_hand", "--repeats", "1", "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and done.stderr == "error: a variance needs --repeats of at least 2; got 1\n"
    assert not (tmp_path / "out").exists()

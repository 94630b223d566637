"""Counts and tables of mixed columns: SciPy's densities, masses that add up, cells not seen, both backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from pairs import command, untrained

from ppl_vae import SequenceVAE, backends, conditionals, data, distributions, evaluation, inference, recipes
from ppl_vae.data.tables.kinds import Column, Units, check_columns, columns_of, groups_of, units_of
from ppl_vae.evaluation.independent import column_log_density
from ppl_vae.numpyro import conditionals as mirrored
from ppl_vae.numpyro import distributions as mirror
from ppl_vae.pairs.sites import Site, Sites
from ppl_vae.results import Fit

SMALL: dict[str, Any] = {"latent_dim": 2, "hidden": (6,)}
COUNTS = ("poisson", "negative-binomial", "zero-inflated-poisson", "zero-inflated-negative-binomial")
KINDS = ("real", "categorical:3", "count", "positive", "boolean", "real", "ordinal:4", "count", "categorical:2")


def counts(rows: int = 40, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(np.exp(rng.normal(size=(rows, 1)) + np.arange(4) / 2)).astype(np.float32)


def table(rows: int = 60, seed: int = 0) -> np.ndarray:
    """Rows of all kinds that have something in common."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=rows)
    return np.stack(
        [
            *(5 + 3 * t + rng.normal(size=rows), np.digitize(t + rng.normal(size=rows), [-1, 1])),
            *(rng.poisson(np.exp(1 + 0.5 * t)), np.exp(3 + t + 0.2 * rng.normal(size=rows)), t + 0.5 > 0),
            *(1e3 * t, np.digitize(t, [-1, 0, 1]), rng.negative_binomial(2, 0.1, rows), rng.random(rows) < 0.2),
        ],
        1,
    ).astype(np.float32)


def fit_of(x: np.ndarray, backend: str, **settings: Any) -> Fit:
    """A fit of a pair as it starts, with a decoder that does not return 0."""
    recipe = recipes.vae(x, backend=backend, **{**SMALL, **settings})
    return untrained(*recipe(np.random.default_rng(0)), backends.load(backend), np.nan_to_num(x, nan=1.0))


def entries(fit: Fit, z: np.ndarray, x: np.ndarray) -> np.ndarray:
    """log p(x_j | z) of each cell."""

    def of(given: Any, cells: Any) -> Any:
        found = fit.model.likelihood(given)
        return found.base_dist.log_prob(cells) if hasattr(found, "base_dist") else found.entries(cells)

    if fit.backend == "numpyro":
        return np.asarray(jax.jit(of)(z, x))
    return of(torch.tensor(z), torch.tensor(x)).detach().numpy()


Z = np.random.default_rng(5).normal(size=(7, 2)).astype(np.float32)


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_those_of_scipy_on_both_backends(name: str) -> None:
    """log p(x | z) of SciPy with the net's own numbers, and the masses add up to 1."""
    x = counts()
    fits = [fit_of(x, backend, likelihood=name) for backend in backends.NAMES]
    likelihood = fits[0].model.likelihood
    out = likelihood.net(torch.tensor(Z)).detach().numpy()
    means = np.exp(np.log1p(x).mean(0) + out[:, :4])
    if "poisson" in name:
        oracle = scipy.stats.poisson(means)
    else:
        r = units_of(columns_of(["count"], 4), x).concentration
        oracle = scipy.stats.nbinom(r, r / (r + means))
    gate = scipy.special.expit(out[:, 4:] - 2) if "zero" in name else np.zeros(means.shape)
    grid = np.arange(400)[:, None, None]
    expected = np.log((1 - gate) * oracle.pmf(grid) + gate * (grid == 0) + 1e-300)
    sure = expected > -30
    for fit in fits:
        found = entries(fit, Z, np.broadcast_to(grid, expected.shape).astype(np.float32))
        np.testing.assert_allclose(found[sure], expected[sure], rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(np.exp(found.astype(float)).sum(0), 1, atol=1e-4)


def test_counts_of_millions_are_those_of_scipy() -> None:
    """log p(x) in single precision, by each likelihood of counts and a column of them; log x! is 2e8 there."""
    x = np.array([[0, 1, 2, 14, 40], [15, 16, 900, 5e4, 6e4], [0, 9e4, 1e6, 1.1e6, 3e6], [1e6, 7e6, 1e7, 1.3e7, 2**24]])
    x, means = x.astype(np.float32), np.array([[2.0], [1e3], [1e6], [1e7]], np.float32)
    r = np.array([0.01, 0.5, 8.0, 60.0, 999.0], np.float32)
    units = Units(np.zeros(5), np.ones(5), r.astype(float), (np.ones(1),) * 5)
    out = np.broadcast_to(np.log(means), x.shape).astype(np.float32)
    rate, p = np.exp(out.astype(float)), r / (r + np.exp(out.astype(float)))
    poisson, negative_binomial = scipy.stats.poisson.logpmf(x, rate), scipy.stats.nbinom.logpmf(x.astype(float), r, p)

    def of(side: Any, net: Any, h: Any, cells: Any) -> list[Any]:
        counts = [side.Poisson(net, np.zeros(5)), side.NegativeBinomial(net, np.zeros(5), r)]
        return [c(h).base_dist.log_prob(cells) for c in counts] + [
            side.Columns(net, columns_of(["count"], 5), units)(h).entries(cells)
        ]

    torch_ = [v.detach().numpy() for v in of(conditionals, torch.nn.Identity(), torch.tensor(out), torch.tensor(x))]
    for found in (torch_, jax.jit(lambda h, cells: of(mirrored, lambda h: h, h, cells))(out, x)):
        for ours, theirs in zip(found, (poisson, negative_binomial, negative_binomial), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=3e-5, atol=2e-3)


@pytest.mark.parametrize("log_mean", [-110.0, -80.0, -50.0, -30.0, -20.0, 0.0, 12.0])
def test_the_slope_of_a_count_is_that_of_the_formula(log_mean: float) -> None:
    """x - m of a Poisson, r (x - m) / (m + r) of a negative binomial, along log m, however rare counts are."""
    x, r, mean = np.array([0.0, 1.0, 3.0, 1e6], np.float32), 3.0, np.exp(log_mean)
    x = x[: 1 if log_mean < -100 else 3 if log_mean < -60 else 4]  # single precision holds the rate, and x / rate
    at = np.full(len(x), log_mean, np.float32)
    expected = x - mean, r * (x - mean) / (mean + r)

    def torch_(a: torch.Tensor) -> list[torch.Tensor]:
        own = distributions.Poisson(a.exp()), distributions.NegativeBinomial(torch.tensor(r), logits=a - np.log(r))
        return [d.log_prob(torch.tensor(x)).sum() for d in own]

    def jax_(a: jax.Array) -> list[jax.Array]:
        own = mirror.Poisson(jnp.exp(a)), mirror.NegativeBinomial(r, logits=a - np.log(r))
        return [d.log_prob(jnp.asarray(x)).sum() for d in own]

    for i, exact in enumerate(expected):
        a = torch.tensor(at, requires_grad=True)
        (found,) = torch.autograd.grad(torch_(a)[i], a)
        for slope in (found.numpy(), jax.grad(lambda a, i=i: jax_(a)[i])(at)):
            np.testing.assert_allclose(slope, exact, rtol=1e-4, atol=1e-30)


def test_a_training_on_counts_learns_and_draws_counts(backend: backends.Backend) -> None:
    """Its bound ends above log p(x) of each column by itself, and its rows are counts."""
    x, name = counts(300), {"pyro": "zero-inflated-negative-binomial", "numpyro": "poisson"}[backend.name]
    recipe = recipes.vae(x, likelihood=name, backend=backend.name, latent_dim=1, hidden=(16,))
    fit = backend.inference.SVI(epochs=25, batch_size=50, learning_rate=0.01).fit(*recipe(np.random.default_rng(0)), x)
    alone = column_log_density(fit.sites, x, x)
    assert alone is not None and -fit.history["loss"][-1] > alone.mean() + 0.1
    check_columns(np.asarray(fit.generate(50, mean=False), float), [Column("count")])


def test_sequences_of_counts_are_forecast() -> None:
    x = np.where(np.arange(6) >= 6 - 2 * (np.arange(40)[:, None] % 2), np.nan, np.tile(counts(40), 2)[:, :6])
    settings: dict[str, Any] = {"latent_dim": 1, "hidden": (4,), "recurrent_units": 4, "epochs": 1, "random_state": 0}
    vae = SequenceVAE(likelihood="poisson", width=2, num_particles=4, **settings).fit(x)
    drawn = vae.forecast(x, 2).draws
    check_columns(np.asarray(drawn, float).reshape(-1, 4), [Column("count")])
    assert np.isfinite(vae.score(x))


def test_columns_are_those_of_scipy(float64: None) -> None:
    """The density of a row is the product of SciPy's; each column's masses or its integral come to 1."""
    x = table().astype(float)
    columns = columns_of(KINDS, 9)
    units = units_of(columns, x)
    width = sum(group.outputs for group in groups_of(columns))
    out = np.random.default_rng(1).normal(size=width)
    found = {
        "pyro": lambda v: (
            conditionals.Columns(torch.nn.Identity(), columns, units)(torch.tensor(out))
            .entries(torch.tensor(v))
            .detach()
            .numpy()
        ),
        "numpyro": jax.jit(lambda v: mirrored.Columns(lambda h: h, columns, units)(jnp.asarray(out)).entries(v)),
    }
    ours = scipy_columns(columns, units, out)
    rows = table(20, seed=2).astype(float)
    expected = np.stack([log_p(rows[:, i]) for i, log_p in enumerate(ours)], 1)
    for log_p in found.values():
        np.testing.assert_allclose(log_p(rows), expected, rtol=1e-8, atol=1e-8)
    for i, column in enumerate(columns):

        def density(value: Any, i: int = i) -> Any:
            cells = np.tile(rows[:1], (np.size(value), 1))
            cells[:, i] = value
            return np.exp(found["pyro"](cells)[:, i])

        if column.kind in ("real", "positive"):
            middle, scale = units.centre[i], units.scale[i]
            points = np.linspace(middle - 12 * scale, middle + 12 * scale, 20_001)
            points = np.exp(points) if column.kind == "positive" else points
            assert scipy.integrate.trapezoid(density(points), points) == pytest.approx(1, abs=1e-4)
        else:
            values = np.arange({"count": 5000, "boolean": 2}.get(column.kind, column.size))
            assert density(values).sum() == pytest.approx(1, abs=1e-8)


def scipy_columns(columns: tuple[Column, ...], units: Units, out: np.ndarray) -> list[Any]:
    """log p(x_j) of each column by SciPy, from the net's outputs and the units."""
    at, log_p = 0, {}
    for group in groups_of(columns):
        for i in group.places:
            a = out[at : at + group.column.outputs]
            at += group.column.outputs
            m, s = units.centre[i], units.scale[i]
            if group.column.kind == "real":
                log_p[i] = scipy.stats.norm(m + s * a, 0.5 * s).logpdf
            elif group.column.kind == "positive":
                log_p[i] = scipy.stats.lognorm(0.5 * s, scale=np.exp(m + s * a)).logpdf
            elif group.column.kind == "count":
                r = units.concentration[i]
                log_p[i] = scipy.stats.nbinom(r, r / (r + np.exp(m + s * a))).logpmf
            elif group.column.kind == "boolean":
                log_p[i] = scipy.stats.bernoulli(scipy.special.expit(np.log(m / (1 - m)) + a)).logpmf
            elif group.column.kind == "categorical":
                p = scipy.special.softmax(np.log(units.shares[i]) + a)
                log_p[i] = lambda v, p=p: np.log(p[v.astype(int)])
            else:
                below = np.cumsum(units.shares[i])[:-1]
                p = np.diff([0, *scipy.special.expit(scipy.special.logit(below) - a), 1])
                log_p[i] = lambda v, p=p: np.log(p[v.astype(int)])
    return [log_p[i] for i in range(len(columns))]


def test_a_table_of_real_columns_is_the_standardised_normal() -> None:
    """The same weights, bounds, codes and means as likelihood='normal' with standardise=True; the mirror agrees."""
    x = table()[:, [0, 5, 3]]
    mask = np.random.default_rng(0).random(x.shape) < 0.8
    fits = []
    for own in ({"likelihood": "columns"}, {"likelihood": "normal", "standardise": True}):
        recipe = recipes.vae(np.where(mask, x, np.nan), **SMALL, **own)
        svi = inference.SVI(epochs=2, batch_size=20)
        fits.append(svi.fit(*recipe(np.random.default_rng(0)), x, mask=mask))
    one, other = fits
    np.testing.assert_allclose(one.history["loss"], other.history["loss"], rtol=1e-6)
    values = [evaluation.log_likelihood(fit, x, 20, mask=mask).values for fit in fits]
    np.testing.assert_allclose(*values, rtol=1e-5)
    np.testing.assert_allclose(one.impute(x, mask=mask), other.impute(x, mask=mask), rtol=1e-5)
    np.testing.assert_allclose(one.encode(x), other.encode(x), atol=1e-6)


@pytest.fixture(scope="module", params=backends.NAMES)
def mixed(request: pytest.FixtureRequest) -> Fit:
    """A short training on a table with holes, of which the hidden cells hold 0."""
    return train(request.param, 0.0)


HIDDEN = np.random.default_rng(3).random(table().shape) < 0.3


def train(backend: str, garbage: float) -> Fit:
    x = np.where(HIDDEN, np.nan, table())
    recipe = recipes.vae(x, likelihood="columns", columns=KINDS, backend=backend, **SMALL)
    svi = backends.load(backend).inference.SVI(epochs=2, batch_size=30)
    return svi.fit(*recipe(np.random.default_rng(0)), np.where(HIDDEN, garbage, table()), mask=~HIDDEN)


def test_what_a_hidden_cell_holds_changes_no_bit(mixed: Fit) -> None:
    again = train(mixed.backend, -7.25)
    assert again.history["loss"].tolist() == mixed.history["loss"].tolist()
    for name, value in mixed.pair.state().items():
        np.testing.assert_array_equal(value, again.pair.state()[name])
    values = [
        evaluation.log_likelihood(mixed, np.where(HIDDEN, garbage, table()), 10, mask=~HIDDEN).values
        for garbage in (0.0, np.nan, -3.5)
    ]
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])


def test_a_hidden_column_drops_out_of_the_program_itself(mixed: Fit) -> None:
    """A program that is traced with garbage under its mask has the log-density of the other columns, and its slopes."""
    x, seen = table(5), np.ones((5, 9), bool)
    seen[:, [1, 3, 6]] = False
    garbage = np.where(seen, x, -9.0).astype(np.float32)
    if mixed.backend == "pyro":
        z = torch.tensor(Z[:5], requires_grad=True)
        row = mixed.model.likelihood(z).where_seen(torch.tensor(seen)).log_prob(torch.tensor(garbage))
        slopes, found = torch.autograd.grad(row.sum(), z)[0].numpy(), row.detach().numpy()
    else:

        def masked(z: Any) -> tuple[Any, Any]:
            row = mixed.model.likelihood(z).where_seen(jnp.asarray(seen)).log_prob(jnp.asarray(garbage))
            return row.sum(), row

        slopes, found = jax.jit(jax.grad(masked, has_aux=True))(Z[:5])
    np.testing.assert_allclose(found, (entries(mixed, Z[:5], x) * seen).sum(1), rtol=1e-5)
    assert np.isfinite(slopes).all() and np.abs(slopes).max() > 0


def test_both_backends_have_the_same_rows() -> None:
    fits = [fit_of(table(), name, likelihood="columns", columns=KINDS) for name in backends.NAMES]
    np.testing.assert_allclose(fits[0].encode(table(9)), fits[1].encode(table(9)), atol=1e-5)
    np.testing.assert_allclose(*(entries(fit, Z, table(7)) for fit in fits), rtol=2e-4, atol=1e-5)


def test_draws_are_values_of_their_columns_and_come_back_from_a_file(mixed: Fit, tmp_path: Path) -> None:
    rows = np.asarray(mixed.generate(30, mean=False))
    check_columns(rows, columns_of(KINDS, 9))
    recipe = recipes.vae(table(), likelihood="columns", columns=KINDS, backend=mixed.backend, **SMALL)
    again = Fit.load(mixed.save(tmp_path / "fit", recipe=recipe))
    np.testing.assert_array_equal(again.generate(30, mean=False), rows)
    np.testing.assert_array_equal(again.encode(table(5)), mixed.encode(table(5)))
    if mixed.backend == "pyro":
        drawn = mixed.impute(table(4), mask=~HIDDEN[:4], num_draws=3, num_particles=5)
        check_columns(drawn.reshape(-1, 9), columns_of(KINDS, 9))


def test_units_are_those_of_what_was_seen(tmp_path: Path) -> None:
    """On the scale of each kind, in blocks as in memory, with the moments of a negative binomial."""
    columns, x = columns_of(KINDS, 9), np.where(HIDDEN, np.nan, table())
    units = units_of(columns, x)
    assert units.centre[3] == pytest.approx(np.nanmean(np.log(x[:, 3])))
    assert units.centre[2] == pytest.approx(np.nanmean(np.log1p(x[:, 2])))
    mean, variance = np.nanmean(x[:, 7]), np.nanvar(x[:, 7])
    assert mean + mean**2 / units.concentration[7] == pytest.approx(variance, rel=1e-3)
    assert [len(shares) for shares in units.shares] == [0, 3, 0, 0, 0, 0, 4, 0, 2]
    np.save(tmp_path / "x.npy", table())
    for one, other in zip(
        units_of(columns, table()), units_of(columns, data.stream(tmp_path / "x.npy", at_once=7)), strict=True
    ):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_model_of_each_column_by_itself_is_of_the_same_kinds() -> None:
    """log p of each column from its own moments and shares, which a fit should leave behind."""
    x, test, columns = table(200), table(50, seed=1), columns_of(KINDS, 9)
    site = Site("x", "Columns", (9,), False, False, columns=columns, support="real")
    found = column_log_density(Sites((), (site,), ()), test, x, mask=~HIDDEN[:50])
    units = units_of(columns, x)
    expected = np.zeros(test.shape)
    for i, column in enumerate(columns):
        v, m, s = test[:, i], units.centre[i], units.scale[i]
        if column.kind == "real":
            expected[:, i] = scipy.stats.norm.logpdf(v, m, s)
        elif column.kind == "positive":
            expected[:, i] = scipy.stats.lognorm.logpdf(v, s, scale=np.exp(m))
        elif column.kind == "count":
            r = units.concentration[i]
            expected[:, i] = scipy.stats.nbinom.logpmf(v, r, r / (r + x[:, i].mean()))
        else:
            share = np.bincount(x[:, i].astype(int), minlength=max(2, column.size)) + 0.5
            expected[:, i] = np.log(share / share.sum())[v.astype(int)]
    np.testing.assert_allclose(found, np.where(HIDDEN[:50], 0, expected).sum(1), rtol=1e-4)


def test_the_command_line_fits_counts(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", counts())
    words = ["--likelihood", "negative-binomial", "--latent-dim", 2, "--hidden", 4, "--epochs", 1, "--no-figures"]
    assert command("fit", "--data", tmp_path / "x.npy", *words, "--quiet", "--out", tmp_path / "run") == 0
    assert command("evaluate", tmp_path / "run", "--num-particles", 2, "--quiet") == 0

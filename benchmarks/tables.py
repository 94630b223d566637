"""The estimator ``ppl_vae.TabularVAE()``, no option set, beside rivals on small tables of mixed columns.

    python benchmarks/tables.py --out tables.jsonl
    python benchmarks/tables.py --data wine iris --seeds 0 1 2

Data: scikit-learn's diabetes (unscaled; sex as a name, blood pressure as four grades in order, the progression as a
count), wine, breast cancer and iris with the class as a name, and digits, the 16 pixels in the middle as counts and the
digit as a name; at most 800 rows of each. A quarter of the rows is held out. The kinds of columns are those that
``data.table`` finds, for every model.

- ``log_p``: held-out log p(x) of all columns, nats per row, and its standard error: densities for one unit of real and
  positive columns, probabilities of all others. Of the VAE by importance sampling with 500 draws; of a mixture of
  products of the same distributions (normal, log-normal, negative binomial, categorical), fitted by EM, exact. The
  number of its components is the one with the best log p(x) of a fifth of the training rows.
- ``real``: the same of the real and positive columns alone, beside a Gaussian copula over kernel density estimates.
- ``rmse``: root mean squared error, in standard deviations, of 30 % of the numbers of held-out rows, hidden at random;
  ``accuracy``: share of hidden names, grades and booleans that are told. The training rows have as many holes.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import rows
import scipy.stats
from scipy.special import gammaln, logsumexp
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.impute import KNNImputer

from ppl_vae import TabularVAE, seeds
from ppl_vae import data as tables
from ppl_vae.data.tables.frames import Schema
from ppl_vae.data.tables.kinds import on_scale

FLOOR = 0.01
HIDDEN = 0.3
ROWS = 800
MODELS = ("vae", "mixture", "copula", "mode", "knn")
NUMBERS = ("log_p", "error", "real", "real_error", "rmse", "accuracy", "seconds")
COLUMNS = ("data", "seed", "model", "rows", "columns", "size", *NUMBERS)
SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
CONCENTRATIONS = np.geomspace(0.1, 900, 25)


def read(name: str) -> pd.DataFrame:
    """A data set as a table of mixed columns."""
    if name == "diabetes":
        loaded = datasets.load_diabetes(as_frame=True, scaled=False)
        frame = loaded.data.assign(sex=loaded.data["sex"].map({1.0: "one", 2.0: "two"}), progression=loaded.target)
        return frame.assign(bp=pd.qcut(frame["bp"], 4, labels=["low", "middling", "raised", "high"]))
    loaded = getattr(datasets, f"load_{name}")(as_frame=True)
    names = np.array([str(one) for one in loaded.target_names])
    frame = loaded.data.loc[:, loaded.data.std() > 0]
    if name == "digits":
        frame = frame[[f"pixel_{i}_{j}" for i in range(2, 6) for j in range(2, 6)]]
    return frame.assign(kind=names[loaded.target.to_numpy()])


class Mixture:
    """p(x) = sum_k w_k prod_j p_j(x_j; k), by EM; a value that is NaN drops out."""

    def __init__(self, size: int, schema: Schema, seed: int) -> None:
        self.size, self.schema, self.seed = size, schema, seed

    def fit(self, x: np.ndarray) -> Mixture:
        """EM from k-means."""
        self.spread = np.array([np.nanstd(on_scale(f.column.kind, x[:, j])) for j, f in enumerate(self.schema.fields)])
        filled = np.where(np.isnan(x), np.nanmean(x, 0), x)
        scaled = (filled - filled.mean(0)) / np.maximum(filled.std(0), 1e-9)
        labels = KMeans(self.size, n_init=3, random_state=self.seed).fit_predict(scaled)
        shares = 0.9 * np.eye(self.size)[labels] + 0.1 / self.size
        before = -np.inf
        for _ in range(200):
            self._maximise(x, shares)
            log_joint = self._log_joint(x)
            total = logsumexp(log_joint, axis=1)
            shares = np.exp(log_joint - total[:, None])
            if total.mean() < before + 1e-5:
                break
            before = total.mean()
        return self

    def _maximise(self, x: np.ndarray, shares: np.ndarray) -> None:
        self.log_weights = np.log((shares.sum(0) + 1) / (len(x) + self.size))
        self.parameters = []
        for j, field in enumerate(self.schema.fields):
            seen = ~np.isnan(x[:, j])
            values, r = on_scale(field.column.kind, x[seen, j].astype(float)), shares[seen]
            weight = r.sum(0) + 1e-9
            if field.column.kind in ("real", "positive"):
                mean = r.T @ values / weight
                variance = (r * (values[:, None] - mean) ** 2).sum(0) / weight
                self.parameters.append((mean, np.sqrt(np.maximum(variance, (FLOOR * self.spread[j]) ** 2))))
            elif field.column.kind == "count":
                counts = x[seen, j].astype(float)
                mean, g = np.maximum(r.T @ counts / weight, 1e-2), CONCENTRATIONS
                log_p = r.T @ gammaln(counts[:, None] + g) - weight[:, None] * gammaln(g)
                log_p += weight[:, None] * g * np.log(g / (g + mean[:, None]))
                log_p += (r.T @ counts)[:, None] * np.log(mean[:, None] / (g + mean[:, None]))
                self.parameters.append((mean, g[log_p.argmax(1)]))
            else:
                size = max(2, field.column.size)
                hot = np.eye(size)[values.astype(int)]
                counted = r.T @ hot + (hot.sum(0) + 1) / (len(hot) + size)
                self.parameters.append((counted / counted.sum(1, keepdims=True),))

    def _log_joint(self, x: np.ndarray) -> np.ndarray:
        total = np.tile(self.log_weights, (len(x), 1))
        for j, (field, own) in enumerate(zip(self.schema.fields, self.parameters, strict=True)):
            seen = ~np.isnan(x[:, j])
            values = x[seen, j].astype(float)[:, None]
            if field.column.kind == "real":
                found = scipy.stats.norm.logpdf(values, *own)
            elif field.column.kind == "positive":
                found = scipy.stats.norm.logpdf(np.log(values), *own) - np.log(values)
            elif field.column.kind == "count":
                found = scipy.stats.nbinom.logpmf(values, own[1], own[1] / (own[1] + own[0]))
            else:
                found = np.log(own[0].T[values[:, 0].astype(int)])
            total[seen] += found
        return total

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        """log p(x) of each row."""
        return logsumexp(self._log_joint(x), axis=1)

    def impute(self, x: np.ndarray) -> np.ndarray:
        """x with the mean, or the likeliest value, given what was seen in place of NaN."""
        shares = np.exp(self._log_joint(x) - self.score_samples(x)[:, None])
        filled = x.astype(float)
        for j, (field, own) in enumerate(zip(self.schema.fields, self.parameters, strict=True)):
            if field.column.kind in ("boolean", "categorical", "ordinal"):
                middle = (shares @ own[0]).argmax(1)
            else:
                positive = field.column.kind == "positive"
                middle = shares @ (np.exp(own[0] + own[1] ** 2 / 2) if positive else own[0])
            filled[:, j] = np.where(np.isnan(x[:, j]), middle, x[:, j])
        return filled


def choose(schema: Schema, x: np.ndarray, seed: int) -> Mixture:
    """The mixture of the size with the best log p(x) of the last fifth of the rows, fitted to all."""
    inner, held = np.split(x, [int(0.8 * len(x))])
    scores = {size: Mixture(size, schema, seed).fit(inner).score_samples(held).mean() for size in SIZES}
    return Mixture(max(scores, key=lambda size: scores[size]), schema, seed).fit(x)


def copula(schema: Schema, x: np.ndarray, test: np.ndarray) -> np.ndarray:
    """log p of the rows of ``test`` by a Gaussian copula over kernel density estimates, on the scale of each column."""
    log_p, scores, of_test = np.zeros(len(test)), [], []
    for j, field in enumerate(schema.fields):
        train, held = (on_scale(field.column.kind, a[:, j].astype(float)) for a in (x, test))
        width = 1.06 * train.std() * len(train) ** -0.2
        apart = [(a[:, None] - train) / width for a in (train, held)]
        log_p += logsumexp(scipy.stats.norm.logpdf(apart[1]), axis=1) - np.log(len(train) * width)
        log_p -= np.log(test[:, j]) if field.column.kind == "positive" else 0
        both = [scipy.stats.norm.ppf(scipy.stats.norm.cdf(a).mean(1).clip(1e-6, 1 - 1e-6)) for a in apart]
        scores.append(both[0])
        of_test.append(both[1])
    z, z_test = np.stack(scores, 1), np.stack(of_test, 1)
    correlation = 0.99 * np.corrcoef(z.T) + 0.01 * np.eye(z.shape[1])
    joint = scipy.stats.multivariate_normal(np.zeros(len(correlation)), correlation).logpdf(z_test)
    return log_p + joint - scipy.stats.norm.logpdf(z_test).sum(1)


def holes(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """x with NaN in some cells; no row is without a value."""
    hidden = rng.random(x.shape) < HIDDEN
    hidden[np.arange(len(x)), rng.integers(0, x.shape[1], len(x))] = False
    return np.where(hidden, np.nan, x)


def nearest(schema: Schema, x: np.ndarray, test: np.ndarray) -> np.ndarray:
    """``test`` filled in by five nearest neighbours, of standardised numbers and one-hot names."""
    centre, scale = np.nanmean(x, 0), np.nanstd(x, 0)

    def features(a: np.ndarray) -> np.ndarray:
        parts = []
        for j, field in enumerate(schema.fields):
            values = a[:, j : j + 1]
            named = field.column.is_named
            hot = np.where(np.isnan(values), np.nan, values == np.arange(field.column.size))
            parts.append(hot if named else (values - centre[j]) / scale[j])
        return np.concatenate(parts, 1)

    found, at, filled = KNNImputer().fit(features(x)).transform(features(test)), 0, test.copy()
    for j, field in enumerate(schema.fields):
        width = field.column.size if field.column.is_named else 1
        part = found[:, at : at + width]
        at += width
        number = part[:, 0] * scale[j] + centre[j]
        number = number.round() if field.column.kind == "boolean" else number
        filled[:, j] = np.where(np.isnan(test[:, j]), part.argmax(1) if field.column.is_named else number, test[:, j])
    return filled


def modes(schema: Schema, x: np.ndarray, test: np.ndarray) -> np.ndarray:
    """``test`` filled in by the mean, or the most frequent value, of each column."""
    middle = np.nanmean(x, 0)
    for j, field in enumerate(schema.fields):
        if field.column.is_named or field.column.kind == "boolean":
            middle[j] = np.bincount(x[~np.isnan(x[:, j]), j].astype(int)).argmax()
    return np.where(np.isnan(test), middle, test)


def make_row(data: str, seed: int, model: str) -> rows.Row:
    """Fit one model to one table; return its numbers."""
    frame = read(data)
    order = seeds.generator(seed, "tables").permutation(len(frame))[:ROWS]
    frame = frame.iloc[order].reset_index(drop=True)
    whole = tables.table(frame)
    schema, count = whole.schema, int(0.75 * len(frame))
    x, test = np.split(whole.x.astype(float), [count])
    rng = seeds.generator(seed, "holes")
    x_holes, test_holes = holes(x, rng), holes(test, rng)
    hidden = np.isnan(test_holes)
    numbers = np.array([f.column.kind in ("real", "positive", "count") for f in schema.fields])
    reals = [j for j, f in enumerate(schema.fields) if f.column.kind in ("real", "positive")]
    real_schema = Schema(tuple(schema.fields[j] for j in reals))
    began = time.perf_counter()
    row: rows.Row = {"rows": len(x), "columns": x.shape[1]}
    kinds = {f.name: f.column.kind for f in schema.fields}
    filled = None
    if model == "vae":
        own = TabularVAE(kinds=kinds, random_state=seed, num_particles=500).fit(schema.decode(x))
        row["size"] = own.recipe_.latent_dim
        log_p = own.score_samples(schema.decode(test))
        if reals:
            alone = TabularVAE(kinds={n: kinds[n] for n in real_schema.names}, random_state=seed, num_particles=500)
            real = alone.fit(real_schema.decode(x[:, reals])).score_samples(real_schema.decode(test[:, reals]))
        with_holes = TabularVAE(kinds=kinds, random_state=seed).fit(schema.decode(x_holes))
        filled = schema.encode(with_holes.impute(schema.decode(test_holes)))
    elif model == "mixture":
        mixture = choose(schema, x, seed)
        row["size"], log_p = mixture.size, mixture.score_samples(test)
        if reals:
            real = choose(real_schema, x[:, reals], seed).score_samples(test[:, reals])
        filled = choose(schema, x_holes, seed).impute(test_holes)
    elif model == "copula":
        log_p, real = None, copula(real_schema, x[:, reals], test[:, reals]) if reals else None
    else:
        log_p = real = None
        filled = (nearest if model == "knn" else modes)(schema, x_holes, test_holes)
    if log_p is not None:
        row |= {"log_p": float(log_p.mean()), "error": float(log_p.std(ddof=1) / np.sqrt(len(log_p)))}
    if reals and real is not None:
        row |= {"real": float(real.mean()), "real_error": float(real.std(ddof=1) / np.sqrt(len(real)))}
    if filled is not None:
        apart = ((filled - test) / x.std(0))[:, numbers][hidden[:, numbers]]
        row["rmse"] = float(np.sqrt(np.mean(apart**2)))
        row["accuracy"] = float((filled == test)[:, ~numbers][hidden[:, ~numbers]].mean())
    return {**row, "seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("diabetes", "wine", "breast_cancer", "iris", "digits")
    parser.add_argument("--data", nargs="+", choices=names, default=names)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("tables.jsonl"))
    arguments = parser.parse_args()
    cells = [
        {"data": data, "seed": seed, "model": model}
        for data in arguments.data
        for seed in arguments.seeds
        for model in arguments.models
    ]
    warnings.simplefilter("ignore")
    options = rows.options_of(arguments, "data", "models", "seeds")
    rows.table(arguments.out, COLUMNS, options, cells, make_row)


if __name__ == "__main__":
    main()

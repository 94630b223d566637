"""The estimator ``ppl_vae.VAE()``, no option set, beside classical rivals on small tables.

    python benchmarks/defaults.py --out defaults.jsonl
    python benchmarks/defaults.py --data wine iris --seeds 0 1 2

Data: scikit-learn's digits, wine, breast cancer, diabetes and iris, and ``--patches`` 8 x 8 patches of its two sample
photographs, grey. Constant columns are dropped, and uniform noise of one unit is added to columns of whole numbers. A
quarter of the rows is held out. Rivals get the columns standardised by the training rows; every log p(x) is in the
units of the table. The least standard deviation of a column's noise is 0.01 of the column's own for every model.

- ``log_p``: held-out log p(x), nats per row, and its standard error; of the VAE by importance sampling with 500 draws.
  The number of factors, components and clusters of the rivals is the one with the best log p(x) of a fifth of the
  training rows.
- ``imputation``: root mean squared error, in standard deviations, of 30 % of the cells of held-out rows, hidden at
  random; the training rows have as many holes.
- ``probe``: accuracy on held-out rows of a logistic regression on the codes.
- ``auc``: how well log p(x) tells held-out rows from the same rows with each column shuffled by itself.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rows
from sklearn import datasets
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.experimental import enable_iterative_imputer
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ppl_vae import VAE, evaluation, seeds

assert enable_iterative_imputer is not None
FLOOR = 0.01
HIDDEN = 0.3
MODELS = ("vae", "fa", "pca", "mixture", "mean", "knn", "iterative")
NUMBERS = ("log_p", "error", "imputation", "probe", "auc", "seconds")
COLUMNS = ("data", "seed", "model", "rows", "columns", "size", *NUMBERS)
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def patches(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random 8 x 8 patches of two photographs, (count, 64), grey in 0..255, and which photograph each is of."""
    photographs = [image.mean(-1).round() for image in datasets.load_sample_images().images]
    which = np.arange(count) % 2
    corners = rng.integers(0, np.min([p.shape for p in photographs], 0) - 8, (count, 2))
    return np.stack(
        [photographs[i][a : a + 8, b : b + 8].ravel() for i, (a, b) in zip(which, corners, strict=True)]
    ), which


def read(name: str, seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """The training rows, the held-out rows, and the classes of both, where there are some."""
    rng = seeds.generator(seed, "defaults")
    if name == "patches":
        x, classes = patches(count, rng)
    else:
        loaded = getattr(datasets, f"load_{name}")()
        x, classes = loaded.data.astype(float), loaded.target
    x = x[:, x.std(0) > 0]
    whole = (x == x.round()).all(0)
    x[:, whole] += rng.random((len(x), whole.sum()))
    order = rng.permutation(len(x))
    train, test = np.split(order, [int(0.75 * len(x))])
    y = None if name == "diabetes" else classes
    return x[train], x[test], None if y is None else y[train], None if y is None else y[test]


def chosen(make: Callable[[int], Any], sizes: tuple[int, ...], x: np.ndarray) -> tuple[Any, int]:
    """The rival fitted to x, of the size with the best log p(x) of the last fifth of the rows."""
    inner, held = np.split(x, [int(0.8 * len(x))])
    scores = {size: floored(make(size).fit(inner)).score(held) for size in sizes}
    best = max(scores, key=lambda size: scores[size])
    return floored(make(best).fit(x)), best


def floored(rival: Any) -> Any:
    """A rival whose noise is not below the floor."""
    if hasattr(rival, "noise_variance_"):
        rival.noise_variance_ = np.maximum(rival.noise_variance_, FLOOR**2)
    return rival


def holes(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """x with NaN in some cells; no row is without a value."""
    hidden = rng.random(x.shape) < HIDDEN
    hidden[np.arange(len(x)), rng.integers(0, x.shape[1], len(x))] = False
    return np.where(hidden, np.nan, x)


def make_row(arguments: argparse.Namespace, data: str, seed: int, model: str) -> rows.Row:
    """Fit one model to one table; return its numbers."""
    raw, raw_test, y, y_test = read(data, seed, arguments.patches)
    centre, scale = raw.mean(0), raw.std(0)
    x, test = (raw - centre) / scale, (raw_test - centre) / scale
    rng = seeds.generator(seed, "holes")
    x_holes, test_holes = holes(x, rng), holes(test, rng)
    shuffled = rng.permuted(test, axis=0)
    hidden, began = np.isnan(test_holes), time.perf_counter()
    row: rows.Row = {"rows": len(x), "columns": x.shape[1]}

    def error(filled: np.ndarray) -> float:
        return float(np.sqrt(np.mean((filled - test)[hidden] ** 2)))

    log_p: Callable[[np.ndarray], np.ndarray] | None = None
    encode: Callable[[np.ndarray], np.ndarray] | None = None
    sizes = tuple(size for size in SIZES if size < x.shape[1])
    if model == "vae":
        vae = VAE(random_state=seed).fit(raw)
        row["size"] = int(evaluation.active_units(vae.fit_, raw.astype(np.float32)))
        own = vae.set_params(num_particles=500)
        log_p = lambda a: own.score_samples(a * scale + centre)  # noqa: E731
        encode = lambda a: own.transform(a * scale + centre)  # noqa: E731
        with_holes = VAE(random_state=seed).fit(x_holes * scale + centre)
        row["imputation"] = error((with_holes.impute(test_holes * scale + centre) - centre) / scale)
    elif model in ("fa", "pca", "mixture"):
        makers = {
            "fa": lambda size: FactorAnalysis(size, max_iter=500),
            "pca": lambda size: PCA(size),
            "mixture": lambda size: GaussianMixture(size, reg_covar=FLOOR**2, random_state=seed),
        }
        rival, row["size"] = chosen(makers[model], (1, 2, 3, 4, 6) if model == "mixture" else sizes, x)
        log_p = lambda a: rival.score_samples(a) - np.log(scale).sum()  # noqa: E731
        encode = None if model == "mixture" else rival.transform
    else:
        imputers = {
            "mean": lambda a: np.zeros_like(a) + np.nanmean(x_holes, 0),
            "knn": lambda a: KNNImputer().fit(x_holes).transform(a),
            "iterative": lambda a: (
                IterativeImputer(max_iter=10, n_nearest_features=10 if x.shape[1] > 20 else None, random_state=seed)
                .fit(x_holes)
                .transform(a)
            ),
        }
        row["imputation"] = error(imputers[model](test_holes))
    if log_p is not None:
        values = log_p(test)
        row |= {"log_p": float(values.mean()), "error": float(values.std(ddof=1) / np.sqrt(len(values)))}
        row["auc"] = evaluation.outlier_auc(-values, -log_p(shuffled))
    if encode is not None and y is not None:
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(encode(x), y)
        row["probe"] = float(probe.score(encode(test), y_test))
    return {**row, "seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("digits", "wine", "breast_cancer", "diabetes", "iris", "patches")
    parser.add_argument("--data", nargs="+", choices=names, default=names)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--patches", type=int, default=2400, help="patches, of which 3/4 are to train on")
    parser.add_argument("--out", type=Path, default=Path("defaults.jsonl"))
    arguments = parser.parse_args()
    cells = [
        {"data": data, "seed": seed, "model": model}
        for data in arguments.data
        for seed in arguments.seeds
        for model in arguments.models
    ]
    warnings.simplefilter("ignore")
    options = rows.options_of(arguments, "data", "models", "seeds")
    rows.table(arguments.out, COLUMNS, options, cells, lambda **cell: make_row(arguments, **cell))


if __name__ == "__main__":
    main()

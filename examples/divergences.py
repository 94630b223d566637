"""One normal law fitted to two bumps, under every divergence: which of them cover, which pick a mode.

    python examples/divergences.py                    # a minute

The target is 0.6 N(-2, 0.7^2) + 0.4 N(3, 0.7^2). First a normal law is fitted to its density, under six f-divergences,
two Wasserstein distances and the maximum mean discrepancy, from several starts: some have several minima. Then it is
fitted to 1,000 draws of it alone: f-divergences by a learned ratio, the others directly.

Then three algorithms of variational inference on the same density. Expectation propagation with n sites p^(1/n) goes
from KL(p || q) at n = 1 by Hellinger at n = 2 towards KL(q || p); natural gradients descend KL(q || p); coordinate
ascent has the component as a second variable. Where each ends depends on where it starts.

Writes ``fits.csv``, ``algorithms.csv``, ``fits.png`` and ``algorithms.png``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import norm

from ppl_vae import plots
from ppl_vae.divergences import FAMILIES, by_learned_ratio, by_quadrature, mmd, wasserstein
from ppl_vae.runtime import folders, scripts

CELL = 0.01
X = np.arange(-25.0, 25.0, CELL)
WEIGHTS, MEANS, SD = np.array([0.6, 0.4]), np.array([-2.0, 3.0]), 0.7
SHARES = (np.arange(2000) + 0.5) / 2000
BANDWIDTH = 2.0
"""Of the kernel exp(-|a - b|^2 / h)."""
STARTS = {"both": (0.0, 2.5), "left": (-2.0, 0.7), "right": (3.0, 0.7), "narrow": (0.5, 0.5)}
WAYS = {"wide": (1.0, 3.5), "left": (-3.2, 1.2), "right": (4.0, 1.0), "narrow": (0.5, 0.4)}
"""Starts of the algorithms."""
Value = Callable[[float, float], float]


def components(x: np.ndarray) -> np.ndarray:
    """log p(x, c), (2, ...), of the target."""
    return np.stack([np.log(w) + norm.logpdf(x, m, SD) for w, m in zip(WEIGHTS, MEANS, strict=True)])


LOG_P = logsumexp(components(X), 0)
P_QUANTILES = np.interp(SHARES, np.cumsum(np.exp(LOG_P)) * CELL - 0.5 * CELL * np.exp(LOG_P), X)
NORMAL_QUANTILES = norm.ppf(SHARES)


def draws(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of the target, (N, 1)."""
    return (MEANS[rng.choice(2, size=count, p=WEIGHTS)] + SD * rng.normal(size=count))[:, None]


def kernel_mean(variance: Any, away: Any) -> Any:
    """E k(a, b) for a - b ~ N(away, variance)."""
    wider = BANDWIDTH + 2 * variance
    return np.sqrt(BANDWIDTH / wider) * np.exp(-(away**2) / wider)


def mmd_of_laws(mean: float, sd: float) -> float:
    """The squared maximum mean discrepancy of the target and a normal law, in closed form."""
    within = WEIGHTS @ kernel_mean(2 * SD**2, MEANS[:, None] - MEANS) @ WEIGHTS
    return float(within + kernel_mean(2 * sd**2, 0.0) - 2 * WEIGHTS @ kernel_mean(SD**2 + sd**2, MEANS - mean))


def of_densities() -> dict[str, Value]:
    """Divergence of the target from N(mean, sd^2), by densities and quantiles."""

    def of_family(name: str, mean: float, sd: float) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(by_quadrature(FAMILIES[name], LOG_P, norm.logpdf(X, mean, sd), CELL))

    def transport(p: int, mean: float, sd: float) -> float:
        return wasserstein(P_QUANTILES, mean + sd * NORMAL_QUANTILES, p)

    return {
        **{name: partial(of_family, name) for name in FAMILIES},
        **{f"W{p}": partial(transport, p) for p in (1, 2)},
        "MMD": mmd_of_laws,
    }


def of_samples(count: int, seed: int = 0) -> dict[str, Value]:
    """The same from draws of both alone; the fit's are a fixed noise, moved and scaled."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer

    rng = np.random.default_rng(seed)
    x, noise = draws(count, rng), rng.normal(size=(count, 1))
    splines = SplineTransformer(knots=np.linspace(-6, 7, 14)[:, None], extrapolation="linear")
    classifier = make_pipeline(splines, LogisticRegression(max_iter=200))

    def learned(name: str, mean: float, sd: float) -> float:
        return by_learned_ratio(FAMILIES[name], x, mean + sd * noise, classifier=classifier)

    def transport(p: int, mean: float, sd: float) -> float:
        return wasserstein(x, mean + sd * noise, p)

    def discrepancy(mean: float, sd: float) -> float:
        return float(mmd(x, mean + sd * noise, kernel="rbf", bandwidth=BANDWIDTH))

    return {
        **{name: partial(learned, name) for name in FAMILIES},
        **{f"W{p}": partial(transport, p) for p in (1, 2)},
        "MMD": discrepancy,
    }


def fits(values: dict[str, Value], source: str, starts: dict[str, tuple[float, float]], steps: int) -> pd.DataFrame:
    """The normal law that each divergence leads to from each start; one that is infinite at a start has none there."""
    rows = []
    for name, value in values.items():
        for start, (mean, sd) in starts.items():

            def at(point: np.ndarray, value: Value = value) -> float:
                found = value(float(point[0]), float(np.exp(point[1])))
                return found if np.isfinite(found) else 1e10

            simplex = np.array([[mean, np.log(sd)], [mean + 0.3, np.log(sd)], [mean, np.log(sd) + 0.2]])
            options = {"initial_simplex": simplex, "maxfev": steps, "xatol": 1e-4, "fatol": 1e-7}
            found = minimize(at, simplex[0], method="Nelder-Mead", options=options)
            if found.fun < 1e9:
                rows.append((name, source, start, found.x[0], np.exp(found.x[1]), found.fun))
    return pd.DataFrame(rows, columns=["divergence", "source", "start", "mean", "sd", "value"])


# Three algorithms


def moments(log_weights: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of a density on the grid, known up to a factor."""
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    mean = weights @ X
    return float(mean), float(np.sqrt(weights @ (X - mean) ** 2))


def propagation(sites: int, mean: float, sd: float, steps: int = 300) -> np.ndarray:
    """Expectation propagation with that many equal sites p^(1/sites): (steps + 1, 2), means and deviations."""
    path = [(mean, sd)]
    for _ in range(steps):
        tilted = LOG_P / sites + (1 - 1 / sites) * norm.logpdf(X, *path[-1])
        path.append(moments(tilted))
    return np.array(path)


def natural_gradients(mean: float, sd: float, steps: int = 300, rate: float = 0.1) -> np.ndarray:
    """Descend KL(q || p) in the natural parameters of q: (steps + 1, 2)."""
    share = np.exp(components(X) - LOG_P)
    slopes = (MEANS[:, None] - X) / SD**2
    slope = (share * slopes).sum(0)
    curvature = (share * slopes**2).sum(0) - slope**2 - 1 / SD**2
    path = [(mean, sd)]
    for _ in range(steps):
        mean, sd = path[-1]
        weights = CELL * norm.pdf(X, mean, sd)
        precision = max((1 - rate) / sd**2 - rate * float(weights @ curvature), 0.5 / sd**2)
        path.append((mean + rate * float(weights @ slope) / precision, precision**-0.5))
    return np.array(path)


def coordinate_ascent(mean: float, sd: float, steps: int = 300) -> np.ndarray:
    """q(x) q(c) for p(x, c), each factor the best given the other: (steps + 1, 2), of q(x)."""
    path = [(mean, sd)]
    for _ in range(steps):
        mean, sd = path[-1]
        log_share = np.log(WEIGHTS) - ((MEANS - mean) ** 2 + sd**2) / 2 / SD**2
        share = np.exp(log_share - logsumexp(log_share))
        path.append((float(share @ MEANS), SD))
    return np.array(path)


def algorithms(starts: dict[str, tuple[float, float]]) -> tuple[pd.DataFrame, dict[tuple[str, str], np.ndarray]]:
    """Where each algorithm ends, and how it came there."""
    ways: dict[str, Callable[..., np.ndarray]] = {f"EP, n = {n}": partial(propagation, n) for n in (1, 2, 10)}
    ways |= {"natural gradients": natural_gradients, "coordinate ascent": coordinate_ascent}
    paths = {(name, start): way(*at) for name, way in ways.items() for start, at in starts.items()}
    reverse, rows = of_densities()["reverse kl"], []
    for (name, start), path in paths.items():
        away = np.abs(path - path[-1]).max(1)
        rows.append((name, start, *path[-1], reverse(*path[-1]), int((away > 1e-3).sum())))
    return pd.DataFrame(rows, columns=["algorithm", "start", "mean", "sd", "KL(q || p)", "steps"]), paths


# Figures


def draw_fits(table: pd.DataFrame) -> Figure:
    """A panel for each divergence: the target, the best fit, other minima, and the best fit to draws."""
    names = list(table["divergence"].unique())
    figure, axes = plt.subplots(3, 3, figsize=(9, 6.5), sharex=True, sharey=True, layout="constrained")
    seen = np.abs(X) < 8
    for axis, name in zip(axes.flat, names, strict=False):
        axis.fill_between(X[seen], np.exp(LOG_P[seen]), color="0.85", label="target")
        rows = table[table["divergence"] == name].sort_values("value")
        for source, style, colour in (("densities", "-", "C0"), ("samples", "--", "C1")):
            own = rows[rows["source"] == source]
            for rank, row in enumerate(own.itertuples()):
                label = f"{source}, best" if rank == 0 else None
                if rank == 0 or source == "densities":
                    weight = {"linewidth": 2.0 if rank == 0 else 0.7, "alpha": 1.0 if rank == 0 else 0.6}
                    curve = norm.pdf(X[seen], row.mean, row.sd)
                    axis.plot(X[seen], curve, style, color=colour, label=label, **weight)
        best = rows[rows["source"] == "densities"].iloc[0]
        axis.set_title(f"{title_of(name)}: N({best['mean']:.2f}, {best['sd']:.2f}²)", fontsize=9)
        axis.set_ylim(0, 0.6)
    axes.flat[0].legend(fontsize=7)
    return figure


def title_of(name: str) -> str:
    """The name of a divergence in words."""
    return FAMILIES[name].name if name in FAMILIES else name


def draw_algorithms(paths: dict[tuple[str, str], np.ndarray]) -> Figure:
    """The ways of each algorithm over the contours of KL(q || p)."""
    names = list(dict.fromkeys(name for name, _ in paths))
    figure, axes = plt.subplots(1, len(names), figsize=(13, 3.2), sharex=True, sharey=True, layout="constrained")
    means, sds = np.linspace(-4, 5, 37), np.geomspace(0.3, 4, 25)
    reverse = of_densities()["reverse kl"]
    heights = np.array([[reverse(mean, sd) for mean in means] for sd in sds])
    for axis, name in zip(axes, names, strict=True):
        axis.contour(means, sds, heights, levels=np.geomspace(0.3, 30, 14), colors="0.8", linewidths=0.7)
        for (of, start), path in paths.items():
            if of == name:
                axis.plot(path[:, 0], path[:, 1], ".-", markersize=3, linewidth=1, label=start)
                axis.plot(*path[-1], "k*", markersize=9)
        axis.set(title=name, xlabel="mean", yscale="log", ylim=(0.3, 4))
        axis.set_yticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
        axis.minorticks_off()
    axes[0].set_ylabel("standard deviation")
    axes[0].legend(fontsize=7, title="start", title_fontsize=7)
    return figure


def main() -> None:
    """Fit, print, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/divergences"), help="a folder")
    parser.add_argument("--draws", type=int, default=1000, help="of the target and of the fit")
    parser.add_argument("--smoke", action="store_true", help="few starts, steps and draws: seconds")
    args = parser.parse_args()
    folders.claim(args.out, "the work of examples/divergences.py")
    count, steps = (60, 12) if args.smoke else (args.draws, 150)
    few = {name: STARTS[name] for name in (("left",) if args.smoke else ("both", "left", "right"))}
    exact = fits(of_densities(), "densities", few if args.smoke else STARTS, steps)
    drawn = fits(of_samples(count), "samples", few, min(steps, 60))
    table = pd.concat([exact, drawn], ignore_index=True)
    ends, paths = algorithms({"left": WAYS["left"]} if args.smoke else WAYS)
    print("The best fit under each divergence, from densities and from draws:\n")
    best = table.loc[table.groupby(["divergence", "source"], sort=False)["value"].idxmin()]
    print(
        best.pivot(index="divergence", columns="source", values=["mean", "sd", "value"])
        .loc[list(of_densities())]
        .round(3)
    )
    print("\nMinima under densities, by start:\n")
    print(exact.pivot(index="divergence", columns="start", values=["mean", "sd"]).loc[list(of_densities())].round(2))
    print("\nThree algorithms:\n")
    print(ends.round(3).to_string(index=False))
    table.to_csv(args.out / "fits.csv", index=False)
    ends.to_csv(args.out / "algorithms.csv", index=False)
    plots.save(draw_fits(table), args.out / "fits.png")
    plots.save(draw_algorithms(paths), args.out / "algorithms.png")
    print(f"\n{args.out}: fits.csv, algorithms.csv, fits.png, algorithms.png")


if __name__ == "__main__":
    sys.exit(scripts.run(main))

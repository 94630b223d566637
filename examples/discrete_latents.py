"""Every estimator of the gradient through discrete latents, on one pair: bias, noise, seconds, and what training makes.

    python examples/discrete_latents.py                      # digits, about two minutes on two cores
    python examples/discrete_latents.py --backend numpyro
    python examples/discrete_latents.py --latents categorical

First the atlas: a VAE with a few bits, trained a little by enumeration, and at its parameters the gradient of the guide
by each estimator, against the exact one, which enumeration knows. ``bias`` is the distance of the mean gradient from
the exact one, over the norm of that; ``error`` is the part of it that chance explains. ``noise`` is the variance of
one gradient, over the squared norm of the exact one, times the evaluations of the model that it takes: of two
estimators of equal noise, the one costs as much as the other for the same precision.

Then the same pair trained by each, and the ELBO and log p(x) of the test images, always of the discrete pair.

Last a VQ-VAE whose codes are a grid, and a prior that is trained on them after it (``PriorELBO``): the codes of test
images, images drawn with the uniform prior and with the learned one, and how often each code is used. Writes
``atlas.csv``, ``trained.csv``, ``priors.csv``, ``atlas.png`` and ``codes.png``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ppl_vae import backends, baselines, data, evaluation, plots, recipes, seeds
from ppl_vae.arrays import quantisation
from ppl_vae.pairs.codebooks import codebook_of
from ppl_vae.results import Fit
from ppl_vae.runtime import folders, scripts


def estimators(inference: Any, *, bits: bool) -> dict[str, tuple[Any, int]]:
    """Name -> (objective, evaluations of the model for each datum)."""
    relaxed, graph = inference.GumbelSoftmax, inference.TraceGraphELBO
    found = {
        "REINFORCE": (graph(), 1),
        "NVIL": (graph(baseline=baselines.Neural()), 1),
        "RLOO 2": (graph(2, baseline=baselines.LeaveOneOut()), 2),
        "RLOO 4": (graph(4, baseline=baselines.LeaveOneOut()), 4),
        "MuProp": (inference.MuProp(), 2),
        "REBAR": (inference.REBAR(), 3),
        "RELAX": (inference.RELAX(), 3),
        "Gumbel, t 1": (relaxed(temperature=1.0), 1),
        "Gumbel, t 0.1": (relaxed(temperature=0.1), 1),
        "straight-through, t 1": (relaxed(temperature=1.0, straight_through=True), 1),
        "straight-through, t 0.1": (relaxed(temperature=0.1, straight_through=True), 1),
        "Gumbel-Rao 20, t 0.1": (relaxed(temperature=0.1, straight_through=True, averaged=20), 1),
    }
    if bits:
        found |= {"RODEO 2": (inference.RODEO(2), 2), "ARM": (inference.ARM(), 2), "DisARM": (inference.DisARM(), 2)}
    return found


def atlas(args: argparse.Namespace, split: data.Split) -> pd.DataFrame:
    """Bias, noise and seconds of each estimator's gradient of the guide, beside enumeration."""
    inference = backends.load(args.backend).inference
    recipe = recipes.vae(split, **pair_of(args, few=True))
    svi = inference.SVI(inference.TraceEnumELBO(), epochs=2, batch_size=100)
    fit = svi.fit(*recipe(seeds.generator(0, "weights")), split)
    x = split.train[:20]
    guide = {name for name, owner in inference.owners(fit.pair).items() if owner == "guide"}

    def gradients(objective: Any, repeats: int) -> tuple[np.ndarray, float]:
        index = np.tile(np.arange(len(x)), (repeats, 1))
        rows, times = [], []
        for drawn, spent in inference.draw_gradients(fit.pair, objective, x, index, range(repeats)):
            whole = [np.reshape(value, (len(value), -1)) for name, value in drawn.items() if name in guide]
            rows.append(np.concatenate(whole, 1))
            times += [] if spent is None else [spent]
        return np.concatenate(rows), float(np.median(times)) if times else float("nan")

    exact, seconds = gradients(inference.TraceEnumELBO(), 3)
    right, size = exact.mean(0), float(np.linalg.norm(exact.mean(0)))
    table = [("enumeration", 0.0, 0.0, 0.0, 1e3 * seconds)]
    for name, (objective, evaluations) in estimators(inference, bits=args.latents == "bernoulli").items():
        drawn, seconds = gradients(objective, 20 if args.smoke else 2000)
        variance = drawn.var(0, ddof=1).sum()
        bias, error = np.linalg.norm(drawn.mean(0) - right) / size, np.sqrt(variance / len(drawn)) / size
        table.append((name, bias, error, evaluations * variance / size**2, 1e3 * seconds))
        print(f"{name:24} bias {bias:6.3f} (chance {error:5.3f})  noise {table[-1][3]:9.2f}", flush=True)
    return pd.DataFrame(table, columns=["estimator", "bias", "error", "noise", "milliseconds"]).set_index("estimator")


def trained(args: argparse.Namespace, split: data.Split) -> pd.DataFrame:
    """The test ELBO and log p(x) of a pair that each of them trained, in nats per image."""
    inference, rows = backends.load(args.backend).inference, {}
    for name, (objective, _) in estimators(inference, bits=args.latents == "bernoulli").items():
        recipe, began = recipes.vae(split, **pair_of(args)), time.perf_counter()
        svi = inference.SVI(objective, epochs=1 if args.smoke else args.epochs, batch_size=100, learning_rate=2e-3)
        fit = svi.fit(*recipe(seeds.generator(0, "weights")), split)
        seconds = time.perf_counter() - began
        draws = 20 if args.smoke else 200
        row = {
            "elbo": evaluation.elbo(fit, split.test, draws).mean,
            "log_p": evaluation.log_likelihood(fit, split.test, draws).mean,
        }
        rows[name] = {**row, "seconds": seconds}
        print(f"{name:24} ELBO {row['elbo']:8.2f}  log p(x) {row['log_p']:8.2f}  {seconds:5.1f} s", flush=True)
    return pd.DataFrame(rows).T.rename_axis("estimator")


def codes(args: argparse.Namespace, split: data.Split) -> tuple[pd.DataFrame, Figure]:
    """The ELBO of a VQ-VAE with a uniform prior and a learned one, and a figure of codes and samples."""
    b = backends.load(args.backend)
    side, size = split.image_shape[0] // 2, 16
    grid: dict[str, Any] = {"net": "grid", "channels": (32,), "hidden": (64,), "latent_dim": side * side}
    recipe = recipes.vae(split, latents="vq", num_codes=size, code_dim=4, backend=args.backend, **grid)
    settings: dict[str, Any] = {"epochs": 1 if args.smoke else 40, "batch_size": 100, "learning_rate": 2e-3}
    svi = b.inference.SVI(b.inference.VQELBO(restart_codes=True), **settings)
    uniform = svi.fit(*recipe(seeds.generator(0, "weights")), split)
    made = b.nets.MADE(side * side, (200,), seeds.generator(0, "weights", "prior"), num_categories=size)
    whole = uniform.with_prior(b.priors.Autoregressive(made))
    svi = b.inference.SVI(b.inference.PriorELBO(), patience=5, **settings)
    learned = svi.fit(whole.model, whole.guide, split)
    rows = {}
    for name, fit in (("uniform", uniform), ("learned", learned)):
        found = evaluation.elbo(fit, split.test)
        rows[name] = {"elbo": found.mean, "reconstruction": found.reconstruction.mean(), "kl": found.kl.mean()}
        told = "  ".join(f"{part} {value:.2f}" for part, value in rows[name].items())
        print(f"VQ-VAE, {name} prior: {told}", flush=True)
    index, _ = quantisation.indices_of(uniform.encode(split.test), codebook_of(uniform.pair))
    return pd.DataFrame(rows).T.rename_axis("prior"), draw_codes(split, uniform, learned, index, size)


def draw_codes(split: data.Split, uniform: Fit, learned: Fit, index: np.ndarray, size: int) -> Figure:
    """Test images, their codes as colours, what these say of them, samples by either prior; and each code's share."""
    count, side = 12, split.image_shape[0] // 2
    first = split.test[:count]
    shown = {
        "images": first,
        "codes": index[:count],
        "decoded": uniform.reconstruct(first),
        "uniform prior": uniform.generate(count, seed=1),
        "learned prior": learned.generate(count, seed=1),
    }
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    grid = figure.add_gridspec(len(shown) + 1, count, height_ratios=[1] * len(shown) + [1.6])
    for row, (name, images) in enumerate(shown.items()):
        for column, image in enumerate(images):
            axes = figure.add_subplot(grid[row, column], xticks=[], yticks=[])
            if name == "codes":
                axes.imshow(image.reshape(side, side), cmap="tab20", vmin=0, vmax=19)
            else:
                axes.imshow(image.reshape(split.image_shape), cmap="gray", vmin=0, vmax=1)
            if column == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center")
    axes = figure.add_subplot(grid[len(shown), :])
    axes.bar(np.arange(size), np.bincount(index.ravel(), minlength=size) / index.size)
    axes.set_xticks(range(size))
    axes.set_xlabel("code")
    axes.set_ylabel("share")
    return figure


def pair_of(args: argparse.Namespace, *, few: bool = False) -> dict[str, Any]:
    """Settings of the pair; with ``few`` one whose configurations can be enumerated."""
    sizes = (
        {"latent_dim": 6 if few else 16}
        if args.latents == "bernoulli"
        else {
            "latent_dim": 3 if few else 8,
            "num_categories": 4 if few else 8,
        }
    )
    return {"latents": args.latents, "hidden": (50,) if few else (100,), "backend": args.backend, **sizes}


def draw(table: pd.DataFrame) -> Figure:
    """Bias, beside what chance explains, and noise of each estimator, a row each, the quietest below."""
    shown = table[table["noise"] > 0].sort_values("noise")
    biased = shown["bias"] > 3 * shown["error"]
    colours, rows = ["C1" if one else "C0" for one in biased], np.arange(len(shown))
    figure = Figure(figsize=(9, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.scatter(shown["bias"], rows, color=colours)
    left.plot(3 * shown["error"], rows, "k|", markersize=12)
    left.set_xscale("log")
    left.set_yticks(rows, shown.index)
    left.set_xlabel("bias / norm of the exact gradient\n( | is three times what chance explains)")
    right.plot(shown["noise"], rows, "k-", linewidth=0.5)
    right.scatter(shown["noise"], rows, color=colours)
    right.set_xscale("log")
    right.set_xlabel("variance x evaluations / squared norm")
    figure.suptitle("The guide's gradient through discrete latents (orange: more bias than chance explains)")
    return figure


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--latents", choices=("bernoulli", "categorical"), default="bernoulli")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--out", type=Path, help="a folder; by default runs/discrete-<latents>-<backend>")
    parser.add_argument("--smoke", action="store_true", help="a few images, epochs and draws: seconds")
    return parser.parse_args()


def main() -> None:
    """Draw the atlas, train, print and write the tables."""
    args = arguments()
    if args.backend == "pyro":
        import torch

        torch.set_num_threads(1)  # nets this small run faster on one thread
    split = data.load("digits")
    split = split.subset(200, 40, 40) if args.smoke else split
    args.out = args.out or Path("runs") / f"discrete-{args.latents}-{args.backend}"
    folders.claim(args.out, "the work of examples/discrete_latents.py")
    table = atlas(args, split)
    table.to_csv(args.out / "atlas.csv")
    plots.save(draw(table), args.out / "atlas.png")
    print(table.round(3).to_string(), "\n")
    results = trained(args, split)
    results.to_csv(args.out / "trained.csv")
    print(results.round(2).to_string(), "\n")
    priors, figure = codes(args, split)
    priors.to_csv(args.out / "priors.csv")
    plots.save(figure, args.out / "codes.png")
    print(f"{args.out}: atlas.png, codes.png, atlas.csv, trained.csv, priors.csv")


if __name__ == "__main__":
    sys.exit(scripts.run(main))

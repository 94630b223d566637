"""Diffusion beside a VAE on binary digits: what the net predicts, how many levels of noise, and the chain itself.

    python examples/diffusion.py                      # digits, a minute and a half
    python examples/diffusion.py --backend numpyro

First a table of pairs on the same test images, in nats: a VAE, and chains of 4, 10 and 50 levels of noise, each trained
by one level at random for each image and stopped early by its own ELBO; among them one whose net predicts the noise.
log p(x) is by importance sampling, of chains as far as that is short.

Then two nets that were trained in continuous time, one of each prediction, and the ELBO that each would have with other
numbers of levels, up to the limit.

Last a figure of the chain of 50 levels, from noise to digits: each column is an image, each row a level, the last one
the image itself. Writes ``compared.csv``, ``levels.csv`` and ``chain.png``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ppl_vae import backends, data, evaluation, plots, recipes, seeds
from ppl_vae.results import Fit
from ppl_vae.runtime import folders, scripts

CHAIN: dict[str, Any] = {"program": "diffusion", "guide": "noising", "hidden": (256, 256, 256)}
SHOWN = 9
"""Levels in the figure."""


def train(args: argparse.Namespace, parts: dict[str, np.ndarray], objective: Any, **settings: Any) -> Fit:
    """A pair of these settings, stopped where its validation ELBO was highest."""
    recipe = recipes.vae(parts["train"], backend=args.backend, **settings)
    epochs = 2 if args.smoke else args.epochs
    svi = backends.load(args.backend).inference.SVI(
        objective, epochs=epochs, batch_size=100, learning_rate=1e-3, patience=15
    )
    return svi.fit(*recipe(seeds.generator(0, "weights")), parts["train"], valid=parts["valid"])


def compared(args: argparse.Namespace, parts: dict[str, np.ndarray]) -> tuple[pd.DataFrame, Fit]:
    """The table of pairs, and the longest chain."""
    inference = backends.load(args.backend).inference
    fits = {"VAE": train(args, parts, inference.TraceELBO(), latent_dim=8, hidden=(256,))}
    for levels in (4, 10, 50):
        settings = {**CHAIN, "noise_levels": levels, "schedule_pieces": min(levels, 10)}
        fits[f"T = {levels}"] = train(args, parts, inference.DiffusionELBO(levels=levels), **settings)
        print(f"trained a chain of {levels} levels", flush=True)
    longest = fits["T = 50"]
    fits["T = 50, eps"] = train(args, parts, inference.DiffusionELBO(levels=50), **settings, prediction="eps")
    draws = {"num_particles": 10 if args.smoke else 500, "elbo_particles": 50}
    table = evaluation.compare(fits, parts["test"], train=parts["train"], **draws)
    return table[["elbo", "train_elbo", "log_p", "seconds", "parameters"]], longest


def by_levels(args: argparse.Namespace, parts: dict[str, np.ndarray]) -> pd.DataFrame:
    """The test ELBO of a net by its number of levels, a column for each prediction."""
    inference, columns = backends.load(args.backend).inference, {}
    for prediction in ("x", "eps"):
        fit = train(args, parts, inference.DiffusionELBO(), **CHAIN, schedule_pieces=10, prediction=prediction)
        columns[prediction] = {
            "continuous" if levels is None else str(levels): evaluation.elbo_of_levels(
                fit, parts["test"], levels, 2 if args.smoke else 50
            ).mean
            for levels in (4, 10, 50, 1000, None)
        }
    return pd.DataFrame(columns).rename_axis("levels")


def chains(args: argparse.Namespace, fit: Fit, count: int) -> np.ndarray:
    """Chains that the model draws, (count, T + 1, P), the image itself first."""
    model = fit.model
    prior = backends.load(args.backend).distributions.Denoising(
        model.denoiser, model.gamma, model.num_levels, model.dim
    )
    if args.backend == "pyro":
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(0)
            drawn = prior.sample((count,)).numpy()
    else:
        import jax

        drawn = np.asarray(prior.sample(jax.random.key(0), (count,)))
    return np.concatenate([2 * fit.decode(drawn).round()[:, None] - 1, drawn.reshape(count, -1, model.dim)], 1)


def draw(chain: np.ndarray, image_shape: tuple[int, ...]) -> Figure:
    """Rows from noise to digits."""
    last = chain.shape[1] - 2
    levels = np.unique(np.linspace(0, last, min(SHOWN, last + 1)).round().astype(int))[::-1]
    rows = {f"z {level}": chain[:, level + 1].clip(-1, 1) / 2 + 0.5 for level in levels}
    rows["x"] = chain[:, 0] / 2 + 0.5
    return plots.labelled_rows(rows, image_shape, title=f"From noise to digits in {last} levels")


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--out", type=Path, help="a folder; by default runs/diffusion-<backend>")
    parser.add_argument("--smoke", action="store_true", help="a few images, epochs and draws: seconds")
    return parser.parse_args()


def main() -> None:
    """Train, print and write the tables, draw the chain."""
    args = arguments()
    if args.backend == "pyro":
        import torch

        torch.set_num_threads(1)  # nets this small run faster on one thread
    split = data.load("digits")
    split = split.subset(200, 40, 40) if args.smoke else split
    parts = {name: (getattr(split, name) > 0.5).astype(np.float32) for name in ("train", "valid", "test")}
    args.out = args.out or Path("runs") / f"diffusion-{args.backend}"
    folders.claim(args.out, "the work of examples/diffusion.py")
    table, longest = compared(args, parts)
    table.to_csv(args.out / "compared.csv")
    print(table.round(2).to_string(), "\n")
    levels = by_levels(args, parts)
    levels.to_csv(args.out / "levels.csv")
    print(levels.round(2).to_string(), "\n")
    plots.save(draw(chains(args, longest, 12), split.image_shape), args.out / "chain.png")
    print(f"{args.out}: chain.png, compared.csv, levels.csv")


if __name__ == "__main__":
    sys.exit(scripts.run(main))

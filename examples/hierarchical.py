"""One level of latents or two, under a standard prior or a VampPrior: what each level is used for, and what it draws.

    python examples/hierarchical.py                      # digits, a quarter of a minute
    python examples/hierarchical.py --backend numpyro
    python examples/hierarchical.py --guide ladder

The rows of the table: the ELBO and log p(x) of the test images in nats, the KL and the active units of each level. The
figure draws with the two-level VampPrior: z2 is one draw of its prior in each row, the first image the mean over z1,
the others draws of z1 given this z2. Writes ``table.csv`` and ``levels.png``.
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

PRIORS: dict[str, dict[str, Any]] = {
    "standard": {},
    "VampPrior": {"prior": "vampprior", "num_pseudo_inputs": 50},
}


def train(args: argparse.Namespace, split: data.Split, levels: int, prior: str) -> Fit:
    """A pair of so many levels, trained by the ELBO with sticking the landing and early stopping."""
    inference = backends.load(args.backend).inference
    settings = {"latent_dim": 8, "hidden": (50,) if args.smoke else (100,), "gated": True, "backend": args.backend}
    recipe = recipes.hierarchy(split, levels, guide=args.guide, **settings, **PRIORS[prior])
    svi = inference.SVI(
        inference.TraceELBO(stick_the_landing=True),
        epochs=1 if args.smoke else args.epochs,
        batch_size=100,
        learning_rate=2e-3,
        patience=10,
    )
    return svi.fit(*recipe(seeds.generator(args.seed, "weights")), split, seed=args.seed)


def row_of(fit: Fit, split: data.Split, draws: int) -> dict[str, float]:
    """The numbers of a fit on test images."""
    used = evaluation.levels(fit, split.test)
    row = {
        "elbo": evaluation.elbo(fit, split.test, draws).mean,
        "log_p": evaluation.log_likelihood(fit, split.test, draws).mean,
    }
    for level in ("z1", "z2"):
        found = used.get(level)
        row |= {f"kl_{level}": np.nan, f"active_{level}": np.nan}
        row |= {} if found is None else {f"kl_{level}": found.kl, f"active_{level}": found.active_units}
    return {**row, "seconds": fit.seconds}


def draws_of(fit: Fit, rows: int, columns: int, seed: int) -> np.ndarray:
    """Images (rows, columns, P): in each row one z2 ~ p(z2), its mean image, then z1 ~ p(z1 | z2)."""
    z2 = prior_draws(fit, rows, seed)
    loc, scale = lower(fit, z2)
    noise = seeds.generator(seed, "z1").standard_normal((rows, columns, loc.shape[-1]))
    z1 = loc[:, None] + scale[:, None] * noise
    above = np.repeat(z2[:, None], columns, 1)
    whole = np.concatenate([above, z1], -1).reshape(rows * columns, -1)
    images = fit.decode(whole.astype(np.float32)).reshape(rows, columns, -1)
    return np.concatenate([images.mean(1, keepdims=True), images[:, :-1]], 1)


def prior_draws(fit: Fit, count: int, seed: int) -> np.ndarray:
    """z2 ~ p(z2), (count, D)."""
    if fit.backend == "pyro":
        import torch

        torch.manual_seed(seed)
        with torch.no_grad():
            return fit.model.prior().sample((count,)).numpy()
    import jax

    return np.asarray(fit.model.prior().sample(jax.random.key(seed), (count,)))


def lower(fit: Fit, z2: np.ndarray) -> list[np.ndarray]:
    """Mean and standard deviation of p(z1 | z2), (N, D) each."""
    normal = fit.model.conditionals[0](fit.pair.tensor(z2) if fit.backend == "pyro" else fit.pair.array(z2)).base_dist
    return [np.asarray(part.tolist()) for part in (normal.loc, normal.scale)]


def draw(images: np.ndarray, shape: tuple[int, ...]) -> Figure:
    """A row of images for each z2, the mean over z1 first."""
    rows, columns = images.shape[:2]
    figure = Figure(figsize=(0.75 * columns + 0.5, 0.75 * rows + 0.6), layout="constrained")
    for place, axes in enumerate(np.ravel(figure.subplots(rows, columns))):
        row, column = divmod(place, columns)
        axes.imshow(images[row, column].reshape(shape), cmap="gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        if row == 0 and column < 2:
            axes.set_title("mean" if column == 0 else "draws of z1")
    figure.supylabel("draws of z2")
    return figure


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--guide", choices=("top-down", "ladder"), default="top-down")
    parser.add_argument("--epochs", type=int, default=60, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder; by default runs/hierarchical-<guide>-<backend>")
    parser.add_argument("--smoke", action="store_true", help="a few images and one epoch: seconds")
    return parser.parse_args()


def main() -> None:
    """Train the four, print and write the table and the figure."""
    args = arguments()
    if args.backend == "pyro":
        import torch

        torch.set_num_threads(1)  # nets this small run faster on one thread
    split = data.load("digits")
    split = split.subset(200, 40, 40) if args.smoke else split
    args.out = args.out or Path("runs") / f"hierarchical-{args.guide}-{args.backend}"
    rows, fits = {}, {}
    folders.claim(args.out, "the work of examples/hierarchical.py")
    for levels in (1, 2):
        for prior in PRIORS:
            name = f"{levels} level{'s' * (levels > 1)}, {prior}"
            fits[name] = train(args, split, levels, prior)
            rows[name] = row_of(fits[name], split, 20 if args.smoke else 200)
            print(f"{name:20} ELBO {rows[name]['elbo']:8.2f}  log p(x) {rows[name]['log_p']:8.2f}", flush=True)
    table = pd.DataFrame(rows).T.rename_axis("pair")
    table.to_csv(args.out / "table.csv")
    print(table.round(2).to_string(), "\n")
    figure = draw(draws_of(fits["2 levels, VampPrior"], 6, 10, args.seed), split.image_shape)
    plots.save(figure, args.out / "levels.png")
    print(f"{args.out}: levels.png, table.csv")


if __name__ == "__main__":
    sys.exit(scripts.run(main))

"""What does an encoder cost, and what is it good for? The bound's gap in two parts, and how well the model generalises.

    python examples/amortisation_gap.py                       # digits, about two minutes
    python examples/amortisation_gap.py --backend numpyro

One model under encoders of three sizes and under a guide with parameters of its own for each image, on all training
images and on a tenth of them, in as many gradient steps. For training and test images: log p(x), the approximation gap
that the Gaussian family leaves and the amortisation gap of the encoder (Inference Suboptimality in Variational
Autoencoders, Cremer, Li and Duvenaud, 2018). ``generalisation`` is log p(x) of training minus test images: a guide that
is chosen from few keeps the model from fitting each image for itself (Amortized Inference Regularization, Shu, Bui,
Zhao, Kochenderfer and Ermon, 2018). Nats per image.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from ppl_vae import backends, data, evaluation, init, plots, seeds
from ppl_vae.results import Fit
from ppl_vae.runtime import folders, scripts

ENCODERS: dict[str, tuple[int, ...] | None] = {
    "encoder of 10": (10,),
    "encoder of 100": (100,),
    "encoder of 300, 300": (300, 300),
    "per image": None,
}
"""Name -> hidden units of the encoder; None for a guide with parameters of its own for each image."""
LATENTS = 8


def pair(hidden: tuple[int, ...] | None, split: data.Split, backend: backends.Backend, seed: int) -> tuple[Any, Any]:
    """The model, whose first weights are the same for all, and the guide."""
    pixels = split.train.shape[1]
    decoder = backend.nets.MLP((LATENTS, 100, pixels), seeds.generator(seed, "decoder"))
    model = backend.models.VAE(backend.models.StandardNormal(LATENTS), backend.conditionals.Bernoulli(decoder))
    if hidden is None:
        rows = backend.nets.Rows(init.standard_rows(len(split.train), LATENTS))
        return model, backend.guides.PerDatapoint(backend.conditionals.DiagNormal(rows))
    encoder = backend.nets.MLP((pixels, *hidden, 2 * LATENTS), seeds.generator(seed, "encoder"))
    return model, backend.guides.Amortised(backend.conditionals.DiagNormal(encoder))


def train(hidden: tuple[int, ...] | None, split: data.Split, epochs: int, args: argparse.Namespace) -> Fit:
    """The pair, trained on the ELBO; without an encoder ten steps for each image come before each of the model."""
    backend = backends.load(args.backend)
    settings = {"epochs": epochs, "batch_size": min(100, len(split.train)), "learning_rate": 5e-3}
    svi = backend.inference.SVI(**settings, **({"local_steps": 10} if hidden is None else {}))
    return svi.fit(*pair(hidden, split, backend, args.seed), split.train, seed=args.seed, device=args.device)


def decompose(fit: Fit, split: data.Split, args: argparse.Namespace) -> dict[str, evaluation.Gaps]:
    """The gaps of training and of test images. Without an encoder, rows are fitted to both in the same way."""
    draws = (
        {"num_particles": 20, "elbo_particles": 10} if args.smoke else {"num_particles": 1000, "elbo_particles": 200}
    )
    whole = {"training": split.train, "test": split.test}  # which may be in the order of their classes
    parts = {name: x[:: max(1, len(x) // args.images)][: args.images] for name, x in whole.items()}
    return {name: evaluation.gaps(fit, x, refined=fit.refine(x), **draws) for name, x in parts.items()}


def row(gaps: dict[str, evaluation.Gaps]) -> dict[str, float]:
    """What the table says of a fit."""
    means = {part: found.table()["mean"] for part, found in gaps.items()}
    columns = {
        f"{name} ({part})": float(mean[name])
        for part, mean in means.items()
        for name in ("log_p", "approximation", "amortisation")
    }
    return {**columns, "generalisation": float(means["training"]["log_p"] - means["test"]["log_p"])}


def run(split: data.Split, args: argparse.Namespace) -> pd.DataFrame:
    """Train and decompose under every guide on both sizes of data; save the figures; return the table."""
    tenth = split.subset(max(20, len(split.train) // 10), *(len(x) for x in (split.valid, split.test)))
    found: dict[str, dict[str, evaluation.Gaps]] = {}
    for size, some, epochs in (("all", split, args.epochs), ("a tenth", tenth, 10 * args.epochs)):
        for name, hidden in list(ENCODERS.items())[:: 3 if args.smoke else 1]:
            print(f"{name}, {size} of the training images", file=sys.stderr)
            found[f"{name}, {size}"] = decompose(train(hidden, some, epochs, args), some, args)
    for part in ("training", "test"):
        bars = {name: gaps[part] for name, gaps in found.items()}
        title = f"What the bound misses on {part} images of {split.name}"
        plots.save(plots.gap_bars(bars, title=title), args.out / f"gaps_{part}.png")
    table = pd.DataFrame.from_dict({name: row(gaps) for name, gaps in found.items()}, orient="index")
    table.to_csv(args.out / "table.csv", index_label="guide")
    return table


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--dataset", default="digits", help=f"{', '.join(data.names())}, or a .npy or .npz file")
    parser.add_argument("--epochs", type=int, default=60, help="over all images; over a tenth, ten times as many")
    parser.add_argument("--images", type=int, default=140, help="training and test images whose gaps are told")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--out", type=Path, help="a folder; by default runs/amortisation-<dataset>-<backend>")
    parser.add_argument("--smoke", action="store_true", help="a few images, epochs, draws and guides: seconds")
    return parser.parse_args()


def main() -> None:
    """Train, decompose, and print the table."""
    args = arguments()
    if args.backend == "pyro":
        import torch

        torch.set_num_threads(1)  # nets this small run faster on one thread
    split = data.load(args.dataset)
    if args.smoke:
        split, args.epochs, args.images = split.subset(100, 20, 20), 1, 10
    args.out = args.out or Path("runs") / f"amortisation-{split.name}-{args.backend}"
    folders.claim(args.out, "the work of examples/amortisation_gap.py")
    table = run(split, args)
    print(f"{split.name}, {args.backend}, nats per image; the gaps below log p(x):\n")
    print(table.round(2).to_string())
    print(f"\ntable.csv and figures: {args.out}")


if __name__ == "__main__":
    sys.exit(scripts.run(main))

"""Pairs on static MNIST, at one setting: prior x posterior x levels x decoder, with certificates of log p(x).

    python benchmarks/pairs_mnist.py --seeds 0                     # every pair; goes on where it stopped
    python benchmarks/pairs_mnist.py --seeds 1 2 --certify 0       # more seeds, without certificates
    python benchmarks/pairs_mnist.py --pairs standard coupling --epochs 100 --seeds 0
    python benchmarks/pairs_mnist.py --table                       # what is done, in Markdown

All have 784-300-300-40 and its mirror, ReLU, batches of 100, Adam at 1e-3, a warm-up of the KL over a fifth of the
epochs; they train on Larochelle's train and validation images together (60,000). What differs from pair to pair is the
prior, the posterior, the levels or the decoder, and, for a mixture as posterior, the bound of two draws that is made
for it. A training is a JSON file below ``--out``, with the commit and the machine, and continues from its checkpoint.
log p(x) of the first ``--test`` images is by importance sampling; that of ``--certify`` of them, the same of every
pair, is the annealed one of ``evaluation.certify``, with 200 temperatures and 8 chains, and its verdict. A pair whose
log p(x) is known needs none, and a chain of noise has its ELBO alone. Those have nets of their own.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import runs

from ppl_vae import backends, data, evaluation, recipes, schedules

Row = dict[str, Any]
Recipe = Callable[..., recipes.Recipe]

VAMPPRIOR = {"prior": "vampprior", "num_pseudo_inputs": 500}
PIXELS = {"likelihood": "pixelcnn", "pixel_layers": 2, "pixel_channels": 12}
NOISE = {"program": "diffusion", "guide": "noising", "noise_levels": 50}
ALONE = {"program": "autoregressive", "guide": "empty"}
ANNEALING = evaluation.Annealing(num_temperatures=200, num_chains=8, schedule="adaptive")
PAIRS: dict[str, tuple[Recipe, Row]] = {
    "standard": (recipes.vae, {}),
    "iaf": (recipes.vae, {"posterior": "iaf"}),
    "mixture": (recipes.vae, {"posterior": "mixture", "components": 50}),
    "coupling": (recipes.vae, {"prior": "flow"}),
    "coupling+iaf": (recipes.vae, {"prior": "flow", "posterior": "iaf"}),
    "vampprior": (recipes.vae, VAMPPRIOR),
    "two-levels": (recipes.hierarchy, {}),
    "two-levels+vampprior": (recipes.hierarchy, VAMPPRIOR),
    "pixelcnn": (recipes.vae, PIXELS),
    "pixelcnn-alone": (recipes.vae, {**PIXELS, **ALONE}),
    "made-alone": (recipes.vae, {"likelihood": "made", **ALONE}),
    "diffusion": (recipes.vae, {**NOISE, "hidden": (512, 512)}),
    "diffusion-unet": (recipes.vae, {**NOISE, "net": "conv", "channels": (16, 32), "hidden": (64,)}),
}
"""Name -> the recipe and what it sets beside the defaults that all share."""
NAMES = {
    "standard": ("N(0, I)", "normal", 1, "independent"),
    "iaf": ("N(0, I)", "IAF", 1, "independent"),
    "mixture": ("N(0, I)", "mixture of 50", 1, "independent"),
    "coupling": ("flow of couplings", "normal", 1, "independent"),
    "coupling+iaf": ("flow of couplings", "IAF", 1, "independent"),
    "vampprior": ("VampPrior 500", "normal", 1, "independent"),
    "two-levels": ("N(0, I)", "normal", 2, "independent"),
    "two-levels+vampprior": ("VampPrior 500", "normal", 2, "independent"),
    "pixelcnn": ("N(0, I)", "normal", 1, "PixelCNN"),
    "pixelcnn-alone": ("", "", 0, "PixelCNN"),
    "made-alone": ("", "", 0, "MADE"),
    "diffusion": ("noise", "noise", 50, "perceptron of 512"),
    "diffusion-unet": ("noise", "noise", 50, "U-Net of 16 and 32"),
}
"""Name -> prior, posterior, levels, decoder, as the table has them."""


def training(args: argparse.Namespace, split: data.Split, pair: str, seed: int) -> runs.Training:
    """One training of the table."""
    b = backends.load(args.backend)
    recipe, settings = PAIRS[pair]
    sizes = {"latent_dim": 40, "hidden": (300, 300)} if "diffusion" not in pair else {}
    made = recipe(split, backend=args.backend, **{**sizes, **settings})
    beta = schedules.Linear(0.0, 1.0, max(1, args.epochs // 5))
    if "diffusion" in pair:
        loss = b.inference.DiffusionELBO(levels=NOISE["noise_levels"])
    elif pair == "mixture":
        loss = b.inference.MISELBO(2, density="drawn", beta=beta)
    else:
        loss = b.inference.TraceELBO(**{} if "alone" in pair else {"beta": beta})
    certify = args.certify if "alone" not in pair and "diffusion" not in pair else 0
    words = f"--pairs {pair} --epochs {args.epochs} --seeds {seed} --backend {args.backend} --certify {args.certify}"
    return runs.Training(
        args.out,
        f"{pair}-{args.backend}-seed{seed}",
        made,
        b.inference.SVI(loss, epochs=args.epochs, batch_size=100, learning_rate=1e-3),
        split,
        seed,
        args.num_particles,
        command=f"python benchmarks/pairs_mnist.py {words}",
        about={"pair": pair, "test_images": len(split.test)},
        extends=False,
        certify=certify,
        annealing=ANNEALING,
    )


def told(rows: list[Row]) -> str:
    """The Markdown of one pair over its seeds: mean +- standard deviation."""

    def of(name: str) -> str:
        values = [row[name] for row in rows if row.get(name) is not None]
        if not values:
            return ""
        more = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        return f"{statistics.fmean(values):.2f}{more}"

    exact = "alone" in rows[0]["pair"]
    certified = [bool(row["settled"]) for row in rows if row.get("certify")]
    verdict = "exact" if exact else f"{sum(certified)} of {len(certified)}" if certified else ""
    names = map(str, NAMES[rows[0]["pair"]])
    numbers = map(of, ("elbo", "log_p", "certified_log_p", "simulated_gap"))
    return " | ".join((*names, *numbers, verdict, str(len(rows)), str(rows[0]["epochs"]), of("seconds")))


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", nargs="+", choices=list(PAIRS), default=list(PAIRS), metavar="PAIR", help=f"of {', '.join(PAIRS)}"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    runs.add_options(parser, out="runs/pairs_mnist", epochs=20, num_particles=500)
    parser.add_argument("--test", type=runs.positive, default=1000, help="test images for log p(x)")
    parser.add_argument("--train", type=runs.positive, help="training images; all by default")
    parser.add_argument("--certify", type=int, default=20, help="test images that get a certificate; 0 for none")
    parser.add_argument("--table", action="store_true", help="instead: the table of what is done")
    args = parser.parse_args()
    split = runs.whole(data.load("static_mnist"))
    split = split.subset(args.train or len(split.train), len(split.valid), args.test)
    found: dict[str, list[Row]] = {}
    for seed in args.seeds:
        for pair in args.pairs:
            cell = training(args, split, pair, seed)
            row = cell.done() or (None if args.table else cell.run(device=args.device))
            if row:
                found.setdefault(pair, []).append(row)
    head = (
        "prior | posterior | levels | decoder | ELBO | log p(x) | certified | simulated gap | settled | seeds | epochs"
    )
    print(f"| {head} | seconds |\n|{' --- |' * 12}")
    for pair in PAIRS:
        if pair in found:
            print(f"| {told(found[pair])} |")


if __name__ == "__main__":
    main()

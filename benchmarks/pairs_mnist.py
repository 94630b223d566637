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
from collections.abc import Callable
from typing import Any, NamedTuple

import runs
from rows import mean_and_deviation

from ppl_vae import backends, data, evaluation, recipes, schedules

Row = dict[str, Any]
Recipe = Callable[..., recipes.Recipe]

ANNEALING = evaluation.Annealing(num_temperatures=200, num_chains=8, schedule="adaptive")
LEVELS_OF_NOISE = 50


class Pair(NamedTuple):
    """A pair, and how the table names it.

    Args:
        prior, posterior, levels, decoder: as the table has them.
        settings: of the recipe, beside the defaults that all share.
        recipe: what makes it.
        own_nets: whether its nets are its own, and not 784-300-300-40.
        exact: whether log p(x) is known, so that there is no KL to warm up.
        certified: whether log p(x) is estimated, and can be certified.
    """

    prior: str
    posterior: str
    levels: int
    decoder: str
    settings: Row
    recipe: Recipe = recipes.vae
    own_nets: bool = False
    exact: bool = False
    certified: bool = True

    def objective(self, inference: Any, beta: schedules.Schedule) -> Any:
        """What trains it."""
        if self.settings.get("program") == "diffusion":
            return inference.DiffusionELBO(levels=LEVELS_OF_NOISE)
        if self.settings.get("posterior") == "mixture":
            return inference.MISELBO(2, density="drawn", beta=beta)
        return inference.TraceELBO(**{} if self.exact else {"beta": beta})


STANDARD, COUPLINGS, VAMPPRIOR = "N(0, I)", "flow of couplings", "VampPrior 500"
FLOW, VAMP = {"prior": "flow"}, {"prior": "vampprior", "num_pseudo_inputs": 500}
PIXELS = {"likelihood": "pixelcnn", "pixel_layers": 2, "pixel_channels": 12}
NOISE = {"program": "diffusion", "guide": "noising", "noise_levels": LEVELS_OF_NOISE}
UNET = {"net": "conv", "channels": (16, 32), "hidden": (64,)}
ALONE = {"program": "autoregressive", "guide": "empty"}
MIXTURE = {"posterior": "mixture", "components": 50}
KNOWN: Row = {"exact": True, "certified": False}
CHAIN: Row = {"own_nets": True, "certified": False}
PAIRS = {
    "standard": Pair(STANDARD, "normal", 1, "independent", {}),
    "iaf": Pair(STANDARD, "IAF", 1, "independent", {"posterior": "iaf"}),
    "mixture": Pair(STANDARD, "mixture of 50", 1, "independent", MIXTURE),
    "coupling": Pair(COUPLINGS, "normal", 1, "independent", FLOW),
    "coupling+iaf": Pair(COUPLINGS, "IAF", 1, "independent", {**FLOW, "posterior": "iaf"}),
    "vampprior": Pair(VAMPPRIOR, "normal", 1, "independent", VAMP),
    "two-levels": Pair(STANDARD, "normal", 2, "independent", {}, recipes.hierarchy),
    "two-levels+vampprior": Pair(VAMPPRIOR, "normal", 2, "independent", VAMP, recipes.hierarchy),
    "pixelcnn": Pair(STANDARD, "normal", 1, "PixelCNN", PIXELS),
    "pixelcnn-alone": Pair("", "", 0, "PixelCNN", {**PIXELS, **ALONE}, **KNOWN),
    "made-alone": Pair("", "", 0, "MADE", {"likelihood": "made", **ALONE}, **KNOWN),
    "diffusion": Pair("noise", "noise", 50, "perceptron of 512", {**NOISE, "hidden": (512, 512)}, **CHAIN),
    "diffusion-unet": Pair("noise", "noise", 50, "U-Net of 16 and 32", {**NOISE, **UNET}, **CHAIN),
}


def training(args: argparse.Namespace, split: data.Split, pair: str, seed: int) -> runs.Training:
    """One training of the table."""
    b, of = backends.load(args.backend), PAIRS[pair]
    sizes = {} if of.own_nets else {"latent_dim": 40, "hidden": (300, 300)}
    made = of.recipe(split, backend=args.backend, **{**sizes, **of.settings})
    loss = of.objective(b.inference, schedules.Linear(0.0, 1.0, max(1, args.epochs // 5)))
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
        certify=args.certify if of.certified else 0,
        annealing=ANNEALING,
    )


def told(rows: list[Row]) -> str:
    """The Markdown of one pair over its seeds: mean ± standard deviation."""

    def of(name: str) -> str:
        values = [row[name] for row in rows if row.get(name) is not None]
        return mean_and_deviation(values) if values else ""

    pair = PAIRS[rows[0]["pair"]]
    certified = [bool(row["settled"]) for row in rows if row.get("certify")]
    verdict = "exact" if pair.exact else f"{sum(certified)} of {len(certified)}" if certified else ""
    names = map(str, (pair.prior, pair.posterior, pair.levels, pair.decoder))
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

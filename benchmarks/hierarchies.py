r"""One and two levels of latents, a standard prior or a VampPrior, over seeds: ELBO, log p(x), each level's use.

    python benchmarks/hierarchies.py --out digits.jsonl                          # digits; goes on where it stopped
    python benchmarks/hierarchies.py --data static_mnist --latent-dim 40 --hidden 300 300 --out mnist.jsonl
    python benchmarks/hierarchies.py --data fashion_mnist --hidden 300 300 --latent-dim 40 --out fashion.jsonl
    python benchmarks/hierarchies.py --data freyfaces --likelihoods normal --latent-dim 40 --out frey.jsonl
    python benchmarks/hierarchies.py --data caltech101_silhouettes --patience 5 --latent-dim 40 --out caltech.jsonl
    python benchmarks/hierarchies.py --data digits --binarisation threshold --likelihoods bernoulli pixelcnn \
        --priors vampprior --trainings elbo warm-up --out pixels.jsonl

The last compares VAE, HVAE, PixelVAE and PixelHVAE: a PixelCNN of --pixel-layers of --pixel-channels, given the levels.
Each training is a line of the file, and goes on from its checkpoint beside it: gated nets, as in VAE with a VampPrior,
Tomczak and Welling, 2018. The table in Markdown has nats per test image; the KL of a level and its active units; and
seconds of training.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rows import checkpoint_of, options_of, table

from ppl_vae import backends, data, evaluation, objectives, recipes, seeds
from ppl_vae.schedules import Linear

PRIORS = ("standard", "vampprior")
TRAININGS: dict[str, Callable[[int], Any]] = {
    "elbo": lambda epochs: objectives.TraceELBO(),
    "warm-up": lambda epochs: objectives.TraceELBO(beta=Linear(0.0, 1.0, max(1, epochs // 2))),
}
AXES = ("likelihoods", "trainings", "levels", "priors", "seeds")
COLUMNS = (
    "likelihood",
    "training",
    "levels",
    "prior",
    "seed",
    "ELBO",
    "log p(x)",
    "KL z2",
    "KL z1",
    "active z2",
    "active z1",
    "epochs",
    "seconds",
)


def train(arguments: argparse.Namespace, images: Any, **cell: Any) -> dict[str, Any]:
    """Train one pair, and evaluate it."""
    b = backends.load(arguments.backend)
    settings: dict[str, Any] = {"latent_dim": arguments.latent_dim, "hidden": tuple(arguments.hidden), "gated": True}
    settings |= {"guide": arguments.guide, "likelihood": cell["likelihood"], "backend": arguments.backend}
    settings |= {"prior": cell["prior"], "num_pseudo_inputs": arguments.pseudo_inputs}
    if cell["likelihood"] == "pixelcnn":
        settings |= {"pixel_layers": arguments.pixel_layers, "pixel_channels": arguments.pixel_channels}
    recipe = recipes.hierarchy(images, cell["levels"], **settings)
    objective = TRAININGS[cell["training"]](arguments.epochs)
    given = {name: getattr(arguments, name) for name in ("epochs", "learning_rate", "patience")}
    svi = b.inference.SVI(objective, **given)
    path = checkpoint_of(arguments.out, cell, options_of(arguments, *AXES))
    programs = recipe(seeds.generator(cell["seed"], "weights"))
    fit = svi.fit(*programs, images, seed=cell["seed"], checkpoint=path, resume=True)
    test = images.test[: arguments.test]
    used = evaluation.levels(fit, test)
    row: dict[str, Any] = {"epochs": len(fit.history["loss"]), "seconds": fit.seconds}
    row["ELBO"] = evaluation.elbo(fit, test, num_particles=20).mean
    row["log p(x)"] = evaluation.log_likelihood(fit, test, arguments.particles).mean
    for name, level in used.items():
        row |= {f"KL {name}": level.kl, f"active {name}": level.active_units}
    path.unlink(missing_ok=True)
    return row


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--binarisation", default="none", choices=("none", "threshold"))
    parser.add_argument("--likelihoods", nargs="+", default=["bernoulli"], metavar="NAME")
    parser.add_argument("--trainings", nargs="+", default=["elbo"], choices=list(TRAININGS))
    parser.add_argument("--pixel-layers", type=int, default=2)
    parser.add_argument("--pixel-channels", type=int, default=12)
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--guide", default="top-down", choices=("top-down", "ladder"))
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--priors", nargs="+", default=list(PRIORS), choices=PRIORS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--patience", type=int, default=None, help="epochs without a better validation ELBO; none")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--latent-dim", type=int, default=8, help="of each level")
    parser.add_argument("--hidden", type=int, nargs="+", default=[100])
    parser.add_argument("--pseudo-inputs", type=int, default=50)
    parser.add_argument("--particles", type=int, default=500)
    parser.add_argument("--test", type=int, default=None, help="test images; by default all")
    arguments = parser.parse_args()
    images = data.load(arguments.data)
    images = images if arguments.binarisation == "none" else images.with_binarisation(arguments.binarisation)
    values = itertools.product(*(getattr(arguments, name) for name in AXES))
    cells = (dict(zip(COLUMNS, cell, strict=False)) for cell in values)
    make = partial(train, arguments, images)
    table(arguments.out, COLUMNS, options_of(arguments, *AXES), cells, make)


if __name__ == "__main__":
    main()

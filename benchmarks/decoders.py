"""Decoders of independent pixels, MADE and PixelCNN, with latents and without: KL, units, ELBO, log p(x), seconds.

    python benchmarks/decoders.py --out decoders.jsonl                 # binarised digits; goes on where it stopped
    PPL_VAE_DATA=... python benchmarks/decoders.py --data static_mnist --latent-dim 40 --hidden 300 300 --epochs 50 \
        --out mnist.jsonl
    PPL_VAE_DATA=... python benchmarks/decoders.py --data static_mnist --train 500 --test 20 --epochs 1 --out part.jsonl

Each training is a line of the file; an interrupted one goes on from its checkpoint, beside the file. The last command
tells what a part of an epoch costs: its seconds are for --train images. 'alone' is the net without latents, whose log
p(x) is exact.
"""

from __future__ import annotations

import argparse
import itertools
import time
from functools import partial
from pathlib import Path
from typing import Any

from rows import checkpoint_of, options_of, table

from ppl_vae import backends, data, evaluation, objectives, recipes, seeds
from ppl_vae.schedules import Linear

ALONE = {"program": "autoregressive", "guide": "empty"}
DECODERS: dict[str, dict[str, Any]] = {
    "independent": {"likelihood": "bernoulli"},
    "made": {"likelihood": "made"},
    "pixelcnn": {"likelihood": "pixelcnn"},
    "pixelcnn, 3 x 3": {"likelihood": "pixelcnn", "pixel_layers": 1, "pixel_kernel": 3},
    "made alone": {"likelihood": "made", **ALONE},
    "pixelcnn alone": {"likelihood": "pixelcnn", **ALONE},
}
TRAININGS = {
    "elbo": lambda epochs: objectives.TraceELBO(),
    "warm-up": lambda epochs: objectives.TraceELBO(beta=Linear(0.0, 1.0, max(1, epochs // 2))),
    "free-bits": lambda epochs: objectives.FreeBitsELBO(floor=4.0),
}
AXES = ("decoders", "trainings")
COLUMNS = ("decoder", "training", "KL", "active units", "ELBO", "log p(x)", "seconds")


def train(arguments: argparse.Namespace, images: Any, decoder: str, training: str) -> dict[str, Any]:
    """Train one pair, and evaluate it."""
    b = backends.load(arguments.backend)
    settings: dict[str, Any] = {"latent_dim": arguments.latent_dim, "hidden": tuple(arguments.hidden)}
    recipe = recipes.vae(images, backend=b.name, **settings, **DECODERS[decoder])
    batch = min(100, len(images.train))
    svi = b.inference.SVI(TRAININGS[training](arguments.epochs), epochs=arguments.epochs, batch_size=batch)
    cell = {"decoder": decoder, "training": training}
    path = checkpoint_of(arguments.out, cell, options_of(arguments, *AXES))
    pair, began = recipe(seeds.generator(arguments.seed, "weights")), time.perf_counter()
    fit = svi.fit(*pair, images, seed=arguments.seed, checkpoint=path, resume=True)
    seconds = time.perf_counter() - began  # of the last part alone, where it was interrupted
    found = evaluation.evaluate(fit, images.test, arguments.particles)
    path.unlink(missing_ok=True)
    numbers = (float(found.elbo.kl.mean()), found.active_units, found.elbo.mean, found.log_p.mean, seconds)
    return dict(zip(COLUMNS[2:], numbers, strict=True))


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--hidden", type=int, nargs="+", default=[100])
    parser.add_argument("--particles", type=int, default=100)
    parser.add_argument("--train", type=int, help="training images, and a tenth as many for validation; by default all")
    parser.add_argument("--test", type=int, default=300, help="test images")
    parser.add_argument("--decoders", nargs="+", default=list(DECODERS), choices=list(DECODERS), metavar="NAME")
    parser.add_argument("--trainings", nargs="+", default=["elbo", "free-bits"], choices=list(TRAININGS))
    arguments = parser.parse_args()
    images = data.load(arguments.data)
    images = images.with_binarisation("threshold") if arguments.data == "digits" else images
    size = arguments.train or len(images.train)
    images = images.subset(size, max(10, size // 10) if arguments.train else len(images.valid), arguments.test)
    cells = [
        {"decoder": decoder, "training": training}
        for decoder, training in itertools.product(arguments.decoders, arguments.trainings)
        if "alone" not in decoder or training == arguments.trainings[0]  # there is no KL to treat
    ]
    table(arguments.out, COLUMNS, options_of(arguments, *AXES), cells, partial(train, arguments, images))


if __name__ == "__main__":
    main()

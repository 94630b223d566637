"""Priors by ELBO surgery: the same nets under each, and the parts of the ELBO on training and on test data.

    python benchmarks/priors.py --out priors.jsonl                   # digits, 3 seeds; goes on where it stopped
    python benchmarks/priors.py --data static_mnist --latent-dim 40 --hidden 300 300 --epochs 20 --out mnist.jsonl

A row is a prior: means over the seeds of ``evaluation.elbo_surgery``, nats per image. The training and the test data
have their own q(z): I is the mutual information of z and which image it is, at most log N, and KL is
KL(q(z) || p(z)). ``--patience`` stops a training by validation data, as one would; without it the over-fit is seen
whole.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rows import Row, checkpoint_of, options_of, table

from ppl_vae import backends, data, evaluation, recipes, seeds

PRIORS: dict[str, dict[str, Any]] = {
    "standard": {},
    "mixture": {"prior": "mixture"},
    "vampprior": {"prior": "vampprior"},
    "vampprior-data": {"prior": "vampprior-data"},
    "coupling": {"prior": "flow"},
    "MAF": {"prior": "flow", "prior_flow": "maf"},
    "aggregate": {"prior": "aggregate"},
}
AXES = ("priors",)
PARTS = {"ELBO": "elbo", "D": "distortion", "rate": "rate", "I": "mutual_information", "KL": "marginal_kl"}
NUMBERS = tuple(f"{part} {of}" for of in ("train", "test") for part in PARTS)


def train(arguments: argparse.Namespace, images: Any, prior: str) -> Row:
    """Train one pair for each seed, and take its ELBO apart."""
    b = backends.load(arguments.backend)
    settings = {"latent_dim": arguments.latent_dim, "hidden": tuple(arguments.hidden), "backend": b.name}
    recipe = recipes.vae(images, num_pseudo_inputs=arguments.components, **settings, **PRIORS[prior])
    svi = b.inference.SVI(epochs=arguments.epochs, learning_rate=arguments.learning_rate, patience=arguments.patience)
    found = []
    for seed in arguments.seeds:
        path = checkpoint_of(arguments.out, {"prior": prior, "seed": seed}, options_of(arguments, *AXES))
        fit = svi.fit(*recipe(seeds.generator(seed, "weights")), images, seed=seed, checkpoint=path, resume=True)
        row = {}
        for of, x in (("train", images.train), ("test", images.test)):
            parts = evaluation.elbo_surgery(fit, x, arguments.particles).row()
            row.update({f"{name} {of}": parts[part] for name, part in PARTS.items()})
        found.append(row)
        path.unlink(missing_ok=True)
    return {name: float(np.mean([row[name] for row in found])) for name in NUMBERS}


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--binarisation", help="none, threshold, fixed or dynamic; that of the data by default")
    parser.add_argument("--train", type=int, help="training images; all by default")
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--patience", type=int, help="epochs without a better validation ELBO; none by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--hidden", type=int, nargs="+", default=[100])
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--particles", type=int, default=10)
    parser.add_argument("--priors", nargs="+", default=list(PRIORS), choices=list(PRIORS))
    arguments = parser.parse_args()
    cells = ({"prior": prior} for prior in arguments.priors)
    images = data.load(arguments.data, binarisation=arguments.binarisation).subset(arguments.train)
    make = partial(train, arguments, images)
    table(arguments.out, ("prior", *NUMBERS), options_of(arguments, *AXES), cells, make)


if __name__ == "__main__":
    main()

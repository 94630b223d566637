"""One and two levels of latents, a standard prior or a VampPrior, over seeds: ELBO, log p(x), each level's use.

    python benchmarks/hierarchies.py --out digits.jsonl                          # digits; goes on where it stopped
    python benchmarks/hierarchies.py --data static_mnist --latent-dim 40 --hidden 300 300 --out mnist.jsonl
    python benchmarks/hierarchies.py --data fashion_mnist --hidden 300 300 --latent-dim 40 --out fashion.jsonl
    python benchmarks/hierarchies.py --data freyfaces --likelihood normal --latent-dim 40 --out frey.jsonl
    python benchmarks/hierarchies.py --data caltech101_silhouettes --latent-dim 40 --out caltech.jsonl

Each training is a line of the file, and goes on from its checkpoint beside it: gated nets, as in VAE with a VampPrior,
Tomczak and Welling, 2018. The table in Markdown has nats per test image; the KL of a level and its active units; and
seconds of training.
"""

from __future__ import annotations

import argparse
import itertools
from functools import partial
from pathlib import Path
from typing import Any

from rows import checkpoint_of, options_of, table

from ppl_vae import backends, data, evaluation, recipes, seeds

PRIORS = ("standard", "vampprior")
AXES = ("levels", "priors", "seeds")
COLUMNS = ("levels", "prior", "seed", "ELBO", "log p(x)", "KL z2", "KL z1", "active z2", "active z1", "seconds")


def train(arguments: argparse.Namespace, images: Any, levels: int, prior: str, seed: int) -> dict[str, Any]:
    """Train one pair, and evaluate it."""
    b = backends.load(arguments.backend)
    settings: dict[str, Any] = {"latent_dim": arguments.latent_dim, "hidden": tuple(arguments.hidden), "gated": True}
    settings |= {"guide": arguments.guide, "likelihood": arguments.likelihood, "backend": arguments.backend}
    recipe = recipes.hierarchy(images, levels, prior=prior, num_pseudo_inputs=arguments.pseudo_inputs, **settings)
    svi = b.inference.SVI(b.inference.TraceELBO(), epochs=arguments.epochs, learning_rate=arguments.learning_rate)
    path = checkpoint_of(arguments.out, {"levels": levels, "prior": prior, "seed": seed}, options_of(arguments, *AXES))
    programs = recipe(seeds.generator(seed, "weights"))
    fit = svi.fit(*programs, images, seed=seed, checkpoint=path, resume=True)
    test = images.test[: arguments.test]
    used = evaluation.levels(fit, test)
    row: dict[str, Any] = {"seconds": fit.seconds}
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
    parser.add_argument("--likelihood", default="bernoulli")
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--guide", default="top-down", choices=("top-down", "ladder"))
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--priors", nargs="+", default=list(PRIORS), choices=PRIORS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--latent-dim", type=int, default=8, help="of each level")
    parser.add_argument("--hidden", type=int, nargs="+", default=[100])
    parser.add_argument("--pseudo-inputs", type=int, default=50)
    parser.add_argument("--particles", type=int, default=500)
    parser.add_argument("--test", type=int, default=None, help="test images; by default all")
    arguments = parser.parse_args()
    axes = itertools.product(arguments.levels, arguments.priors, arguments.seeds)
    cells = ({"levels": levels, "prior": prior, "seed": seed} for levels, prior, seed in axes)
    make = partial(train, arguments, data.load(arguments.data))
    table(arguments.out, COLUMNS, options_of(arguments, *AXES), cells, make)


if __name__ == "__main__":
    main()

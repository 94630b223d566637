r"""AVB on static MNIST: implicit guides, and the same nets under a normal guide and the ELBO; log p(x) in two ways.

    PPL_VAE_DATA=<folder> python benchmarks/adversarial_mnist.py --out avb.jsonl       # goes on where it stopped
    PPL_VAE_DATA=<folder> python benchmarks/adversarial_mnist.py --kinds normal adaptive --latents 32 --out avb.jsonl
    python benchmarks/adversarial_mnist.py --data digits --binarisation threshold --epochs 60 --hidden 128 \
        --critic 256 256 --out digits.jsonl

``adaptive`` tells codes from normals with the moments of --particles draws; ``prior`` tells one draw from the prior's,
without contrast; ``normal`` is the same decoder, and the same encoder but for its last layer. Training and validation
images are trained on, 60,000 of static MNIST; nothing is decided by any. Adam falls to a tenth of its rate.

``claimed`` is the mean value of the last tenth of the epochs, of training images: of ``normal`` a bound, of the others
what a critic makes of it. ``log p(x)`` of the test images is by importance sampling, from the normal fitted to each
one's draws; ``ess`` are its effective draws; ``annealed`` is log p(x) of the first --annealed test images of a
shuffle by annealing from the prior, and ``same images`` importance sampling's of them. Each training is a line of the
file, and goes on from its checkpoint beside it. Published: -82.3 as a bound and -81.8 by annealing, of 32 latents,
Mescheder, Nowozin and Geiger, 2017, with other nets.
"""

from __future__ import annotations

import argparse
import itertools
from functools import partial
from pathlib import Path
from typing import Any

import runs
from rows import checkpoint_of, options_of, table

from ppl_vae import backends, data, evaluation, recipes, schedules, seeds
from ppl_vae.critics import Critic

KINDS: dict[str, dict[str, Any] | None] = {
    "normal": None,
    "adaptive": {},
    "prior": {"num_particles": 1, "adaptive_contrast": False},
}
"""What codes are told from -> settings of AVB; a normal guide has the ELBO."""
AXES = ("kinds", "latents", "seeds")
COLUMNS = (
    "kind",
    "latents",
    "seed",
    "claimed",
    "log p(x)",
    "ess",
    "annealed",
    "same images",
    "epochs",
    "seconds",
)


def train(a: argparse.Namespace, images: data.Split, **cell: Any) -> dict[str, Any]:
    """Train one pair, and evaluate it."""
    b, settings = backends.load(a.backend), KINDS[cell["kind"]]
    recipe = recipes.vae(
        images,
        latent_dim=cell["latents"],
        hidden=tuple(a.hidden),
        posterior="standard" if settings is None else "implicit",
        backend=a.backend,
    )
    shared: dict[str, Any] = {"epochs": a.epochs, "batch_size": a.batch_size, "learning_rate": a.learning_rate}
    shared["learning_rate_factor"] = schedules.Exponential(1.0, 0.1, over=a.epochs)
    if settings is None:
        svi = b.inference.SVI(b.inference.TraceELBO(), **shared)
    else:
        objective = b.inference.AVB(**{"num_particles": a.particles, **settings})
        critic = Critic(tuple(a.critic), learning_rate=a.critic_rate, betas=(0.5, 0.9), steps=a.critic_steps)
        svi = b.inference.Adversarial(objective, critic=critic, **shared)
    path = checkpoint_of(a.out, cell, options_of(a, *AXES))
    programs = recipe(seeds.generator(cell["seed"], "weights"))
    name = " ".join(str(value) for value in cell.values())
    fit = svi.fit(*programs, images, seed=cell["seed"], checkpoint=path, resume=True, description=name)
    test = images.test[seeds.generator(0, "test").permutation(len(images.test))[: a.test]]
    found = evaluation.log_likelihood(fit, test, a.draws, proposal="normal", progress=None)
    row: dict[str, Any] = {"epochs": len(fit.history["loss"]), "seconds": fit.seconds}
    row["claimed"] = -float(fit.history["loss"][-max(1, a.epochs // 10) :].mean())
    row |= {"log p(x)": found.mean, "ess": float(found.ess.mean()), "test": len(test)}
    if a.annealed:
        annealing = evaluation.Annealing(a.temperatures, a.chains)
        row["annealed"] = evaluation.ais(fit, test[: a.annealed], annealing, progress=None).mean
        row["same images"] = float(found.values[: a.annealed].mean())
    path.unlink(missing_ok=True)
    return row


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="static_mnist")
    parser.add_argument("--binarisation", default="none", choices=("none", "threshold"))
    parser.add_argument("--backend", default="numpyro", choices=backends.NAMES)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--latents", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=runs.positive, default=50)
    parser.add_argument("--hidden", type=int, nargs="+", default=[300, 300])
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--particles", type=int, default=8, help="draws of the guide, of adaptive contrast")
    parser.add_argument("--critic", type=int, nargs="+", default=[512, 512])
    parser.add_argument("--critic-rate", type=float, default=1e-3)
    parser.add_argument("--critic-steps", type=int, default=1, help="for each of the pair")
    parser.add_argument("--train", type=int, default=None, help="training images; by default all")
    parser.add_argument("--test", type=int, default=None, help="test images; by default all")
    parser.add_argument("--draws", type=int, default=1000, help="of importance sampling")
    parser.add_argument("--annealed", type=int, default=100, help="test images of annealing; 0 for none")
    parser.add_argument("--temperatures", type=int, default=500)
    parser.add_argument("--chains", type=int, default=8)
    a = parser.parse_args()
    images = runs.whole(data.load(a.data))
    images = images if a.binarisation == "none" else images.with_binarisation(a.binarisation)
    if a.train is not None:
        images = images.subset(a.train, *(images.sizes[part] for part in ("valid", "test")))
    values = itertools.product(*(getattr(a, name) for name in AXES))
    cells = (dict(zip(COLUMNS, cell, strict=False)) for cell in values)
    table(a.out, COLUMNS, options_of(a, *AXES), cells, partial(train, a, images))


if __name__ == "__main__":
    main()

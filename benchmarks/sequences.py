"""Deep Markov models of the JSB chorales: ELBO and log p(x) in nats a step, by posterior and by the bound trained.

    PPL_VAE_DATA=FOLDER python benchmarks/sequences.py --out jsb.jsonl      # a minute or two a row; goes on
    PPL_VAE_DATA=FOLDER python benchmarks/sequences.py --steps 160 --epochs 200 --seeds 0 1 2 --out whole.jsonl

Each training is a line of the file; an interrupted one goes on from its checkpoint, beside the file. ``--steps`` cuts
each chorale; whole ones have up to 160 steps. A number is the sum over the test chorales, divided by the sum of their
lengths; log p(x) is by importance sampling with ``--particles`` draws, a lower bound, loose for long sequences.
"""

from __future__ import annotations

import argparse
import itertools
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rows import checkpoint_of, options_of, table

from ppl_vae import backends, data, evaluation, objectives, recipes, seeds

BOUNDS = {
    "ELBO": objectives.TraceELBO(),
    "IWAE, K = 4": objectives.IWAE(4),
    "DReG, K = 4": objectives.DReG(4),
    "FIVO, K = 4": objectives.FIVO(4),
}
POSTERIORS = ("smoothing", "filtering")
AXES = ("posteriors", "bounds", "seeds")
COLUMNS = ("posterior", "bound", "seed", "train", "ELBO", "log p(x)", "seconds")
Part = tuple[np.ndarray, np.ndarray, int]


def cut(chorales: data.Split, part: str, steps: int) -> Part:
    """The first steps of the chorales of a part: rows, their mask, and the number of steps in all."""
    x = getattr(chorales, part).reshape(-1, *chorales.image_shape)[:, :steps]
    assert chorales.labels is not None
    lengths = np.minimum(chorales.labels[part], steps)
    mask = data.lengths_to_mask(lengths, (x.shape[1], x.shape[2]))
    return x.reshape(len(x), -1), mask, int(lengths.sum())


def train(
    arguments: argparse.Namespace, train: Part, test: Part, posterior: str, bound: str, seed: int
) -> dict[str, Any]:
    """Train one pair, and evaluate it."""
    x, mask, steps = train
    units, shape = arguments.units, (arguments.steps, x.shape[1] // arguments.steps)
    recipe = recipes.deep_markov(
        shape,
        posterior=posterior,
        backend=arguments.backend,
        latent_dim=arguments.latent_dim,
        recurrent_units=units,
        transition_hidden=(units,),
        hidden=(units,),
    )
    inference = backends.load(arguments.backend).inference
    rate = arguments.learning_rate
    svi = inference.SVI(BOUNDS[bound], epochs=arguments.epochs, batch_size=20, learning_rate=rate)
    cell = dict(zip(COLUMNS[:3], (posterior, bound, seed), strict=True))
    path = checkpoint_of(arguments.out, cell, options_of(arguments, *AXES))
    began = time.perf_counter()
    fit = svi.fit(*recipe(seeds.generator(seed, "weights")), x, mask=mask, seed=seed, checkpoint=path, resume=True)
    seconds = time.perf_counter() - began  # of the last part alone, where it was interrupted
    rows, seen, total = test
    elbo = evaluation.elbo(fit, rows, num_particles=20, mask=seen).values.sum() / total
    log_p = evaluation.log_likelihood(fit, rows, arguments.particles, mask=seen).values.sum() / total
    path.unlink(missing_ok=True)
    numbers = (-fit.history["loss"][-1] * len(x) / steps, elbo, log_p, seconds)
    return dict(zip(COLUMNS[3:], map(float, numbers), strict=True))


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backend", default="numpyro", choices=backends.NAMES)
    parser.add_argument("--steps", type=int, default=64, metavar="T")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--latent-dim", type=int, default=16)
    parser.add_argument("--units", type=int, default=64, help="of every hidden layer and of the recurrent net")
    parser.add_argument("--particles", type=int, default=16)
    parser.add_argument("--posteriors", nargs="+", default=list(POSTERIORS), choices=POSTERIORS)
    parser.add_argument("--bounds", nargs="+", default=list(BOUNDS), choices=list(BOUNDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    chorales = data.load("jsb_chorales")
    rows, test = (cut(chorales, part, arguments.steps) for part in ("train", "test"))
    make = partial(train, arguments, rows, test)
    axes = itertools.product(arguments.posteriors, arguments.bounds, arguments.seeds)
    cells = (dict(zip(COLUMNS[:3], cell, strict=True)) for cell in axes)
    table(arguments.out, COLUMNS, options_of(arguments, *AXES), cells, make)


if __name__ == "__main__":
    main()

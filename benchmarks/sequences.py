r"""Models of the JSB chorales: bounds and log p(x) in nats a step, by the model and by the bound that was trained.

    PPL_VAE_DATA=FOLDER python benchmarks/sequences.py --out jsb.jsonl      # a minute or two a row; goes on
    PPL_VAE_DATA=FOLDER python benchmarks/sequences.py --steps 160 --epochs 200 --seeds 0 1 2 --out whole.jsonl \
        --bounds ELBO "IWAE, K = 4" "FIVO, K = 4" --curves whole.png            # the figure, when all are done
    PPL_VAE_DATA=FOLDER python benchmarks/sequences.py --steps 160 --epochs 300 --seeds 0 1 2 --out stopped.jsonl \
        --models recurrent --bounds ELBO "IWAE, K = 4" "FIVO, K = 4" --patience 30      # stopped by the validation set

The models are deep Markov models, whose guide reads the data from a step on (smoothing) or up to it (filtering), and a
variational recurrent net. Each training is a line of the file; an interrupted one goes on from its checkpoint, beside
the file; on NumPyro the seeds of a pair are one program. ``--steps`` cuts each chorale; whole ones have up to 160
steps. A number is the sum over the test chorales, divided by the sum of their lengths: the ELBO, and two lower bounds
of log p(x) by ``--particles`` draws, importance sampling (IS), loose for long sequences, and particle filters (SMC). A
line has the ELBO of the validation set after each epoch, too, which ``--curves`` draws.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from rows import checkpoint_of, options_of, over_seeds, table

from ppl_vae import backends, data, evaluation, objectives, plots, recipes

BOUNDS = {
    "ELBO": objectives.TraceELBO(),
    "IWAE, K = 4": objectives.IWAE(4),
    "DReG, K = 4": objectives.DReG(4),
    "FIVO, K = 4": objectives.FIVO(4),
}
MODELS = ("smoothing", "filtering", "recurrent")
AXES = ("models", "bounds", "seeds", "curves")
COLUMNS = ("model", "bound", "seed", "train", "ELBO", "IS", "SMC", "seconds")
Part = tuple[np.ndarray, np.ndarray, int]


def cut(chorales: data.Split, part: str, steps: int) -> Part:
    """The first steps of the chorales of a part: rows, their mask, and the number of steps in all."""
    x = getattr(chorales, part).reshape(-1, *chorales.image_shape)[:, :steps]
    assert chorales.labels is not None
    lengths = np.minimum(chorales.labels[part], steps)
    mask = data.lengths_to_mask(lengths, (x.shape[1], x.shape[2]))
    return x.reshape(len(x), -1), mask, int(lengths.sum())


def recipe_of(arguments: argparse.Namespace, model: str, keys: int) -> recipes.Recipe:
    """The pair of a row."""
    units, sizes = arguments.units, {"latent_dim": arguments.latent_dim, "hidden": (arguments.units,)}
    options = {**sizes, "recurrent_units": units, "backend": arguments.backend}
    if model == "recurrent":
        return recipes.vae((arguments.steps, keys), program="recurrent", guide="recurrent", **options)
    return recipes.deep_markov((arguments.steps, keys), posterior=model, transition_hidden=(units,), **options)


def make(
    arguments: argparse.Namespace, parts: dict[str, Part], fits: dict[Any, Any], model: str, bound: str, seed: int
) -> dict[str, Any]:
    """Evaluate a training; the first of a pair trains all of its seeds that are left, as one program."""
    (x, mask, steps), (valid, valid_mask, valid_steps), (rows, seen, total) = parts.values()
    folder = checkpoint_of(arguments.out, {"model": model, "bound": bound}, options_of(arguments, *AXES))
    if (model, bound, seed) not in fits:
        left, rate = arguments.seeds[arguments.seeds.index(seed) :], arguments.learning_rate
        inference = backends.load(arguments.backend).inference
        ends = {"epochs": arguments.epochs, "patience": arguments.patience}
        svi = inference.SVI(BOUNDS[bound], batch_size=20, learning_rate=rate, **ends)
        recipe = recipe_of(arguments, model, x.shape[1] // arguments.steps)
        side = {"mask": mask, "valid": valid, "valid_mask": valid_mask}
        found = svi.fit_seeds(recipe, x, seeds=left, checkpoint=folder, resume=True, **side)
        fits.update({(model, bound, number): fit for number, fit in zip(left, found, strict=True)})
    fit, draws = fits.pop((model, bound, seed)), arguments.particles
    values = (
        evaluation.elbo(fit, rows, num_particles=20, mask=seen).values,
        evaluation.log_likelihood(fit, rows, draws, mask=seen).values,
        evaluation.smc(fit, rows, draws, num_filters=1, mask=seen).values,
    )
    trained, seconds = -fit.history["loss"][-1] * len(x) / steps, sum(fit.history["seconds"])
    numbers = (trained, *(each.sum() / total for each in values), seconds)
    curve = [round(float(elbo) * len(valid) / valid_steps, 4) for elbo in fit.history["valid_elbo"]]
    (folder / f"seed-{seed}.checkpoint").unlink(missing_ok=True)
    if not any(folder.glob("*.checkpoint")):
        shutil.rmtree(folder)
    return {**dict(zip(COLUMNS[3:], map(float, numbers), strict=True)), "curve": curve}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the ELBO of the validation set after each epoch, the mean over seeds."""
    models = [model for model in MODELS if any(row["model"] == model for row in rows)]
    figure, axes = plt.subplots(1, len(models), figsize=(9.5, 3.0), sharey=True, squeeze=False, layout="constrained")
    for axis, model in zip(axes[0], models, strict=True):
        for number, bound in enumerate(BOUNDS):
            curves = [row["curve"] for row in rows if (row["model"], row["bound"]) == (model, bound)]
            if curves:
                mean = np.mean([curve[: min(map(len, curves))] for curve in curves], axis=0)
                axis.plot(np.arange(1, len(mean) + 1), mean, color=f"C{number}", label=bound)
        axis.set(title=model, xlabel="epoch", ylim=(-13, -7))
    axes[0, 0].set_ylabel("ELBO, nats a step")
    axes[0, 0].legend(frameon=False)
    plots.save(figure, path)


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backend", default="numpyro", choices=backends.NAMES)
    parser.add_argument("--steps", type=int, default=64, metavar="T")
    parser.add_argument("--epochs", type=int, default=50)
    text = "stop after so many epochs without a better ELBO of the validation set, and keep the best weights"
    parser.add_argument("--patience", type=int, metavar="EPOCHS", help=text)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--latent-dim", type=int, default=16)
    parser.add_argument("--units", type=int, default=64, help="of every hidden layer and of the recurrent net")
    parser.add_argument("--particles", type=int, default=16)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--bounds", nargs="+", default=list(BOUNDS), choices=list(BOUNDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--curves", type=Path, help="a figure to draw")
    arguments = parser.parse_args()
    chorales = data.load("jsb_chorales")
    parts = {part: cut(chorales, part, arguments.steps) for part in ("train", "valid", "test")}
    axes = itertools.product(arguments.models, arguments.bounds, arguments.seeds)
    cells = (dict(zip(COLUMNS[:3], cell, strict=True)) for cell in axes)
    rows = table(arguments.out, COLUMNS, options_of(arguments, *AXES), cells, partial(make, arguments, parts, {}))
    over_seeds(rows, COLUMNS[:2], COLUMNS[3:7])
    if arguments.curves:
        draw(rows, arguments.curves)


if __name__ == "__main__":
    main()

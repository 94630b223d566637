"""Seconds of training until log p(x) of validation images is at a target: what a user of a step's speed waits for.

    python benchmarks/seconds_to.py                            # to -90 nats on static MNIST, every way of running
    python benchmarks/seconds_to.py --programs NumPyro "Pyro, trace" --target -95
    python benchmarks/seconds_to.py --smoke                    # tiny, and numbers that mean nothing

The VAE is that of ``step.py``: 784-300-300-40, batches of 100, the ELBO, Adam at 1e-3; its images are those of static
MNIST. After every ``--every`` epochs log p(x) of ``--images`` validation images is importance sampled with
``--num-particles`` draws, and the training ends where the mean is at ``--target``; the seconds are those of the epochs
alone, with what compiling took in them. A row is a program under a seed. Rows that are in ``--out`` are not made again,
and what was interrupted goes on from its checkpoint, compiling once more. All run on one core, ``--threads 1``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from contenders import Task
from cost import random_images
from rows import Row, checkpoint_of, options_of, table
from step import FULL, SMOKE, StepScale, confine

from ppl_vae import backends, data, evaluation, seeds

PROGRAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "Pyro, eager": ("pyro", {}),
    "Pyro, trace": ("pyro", {"compile": "trace"}),
    "Pyro, inductor": ("pyro", {"compile": "inductor"}),
    "NumPyro": ("numpyro", {}),
}
"""Name -> the backend, and settings of its training."""
COLUMNS = ("program", "seed", "reached", "epochs", "seconds", "compiling", "ms a step", "log p(x)", "± images")


class Reached(Exception):
    """The target was reached: ends the training."""


def images_of(arguments: argparse.Namespace, scale: StepScale) -> tuple[np.ndarray, np.ndarray]:
    """Training images, and those of which log p(x) is estimated."""
    if arguments.smoke:
        return random_images(scale.epoch_images, scale.pixels), random_images(arguments.images, scale.pixels)
    split = data.load("static_mnist")
    return split.train, split.valid[: arguments.images]


def row_of(arguments: argparse.Namespace, program: str, seed: int) -> Row:
    """Train a program until the target, or to the last epoch."""
    scale, (backend, settings) = SMOKE if arguments.smoke else FULL, PROGRAMS[program]
    train, valid = images_of(arguments, scale)
    inference, recipe = backends.load(backend).inference, Task().recipe(scale, train, backend)
    svi = inference.SVI(inference.TraceELBO(), batch_size=scale.batch, epochs=arguments.epochs, **settings)
    last: Row = {}

    def look(epoch: int, metrics: Any, fit: Any) -> None:
        done = epoch + 1
        if done % arguments.every and done < arguments.epochs:
            return
        found = evaluation.log_likelihood(fit, valid, arguments.num_particles, seed=seed)
        steps, seconds = -(-len(train) // scale.batch), fit.history["seconds"]
        last.update(
            {
                "reached": "yes" if found.mean >= arguments.target else "no",
                "epochs": done,
                "seconds": float(seconds.sum()),
                "compiling": float(np.sum(fit.history["compilation"])),
                "ms a step": float(1e3 * np.median(seconds) / steps),
                "log p(x)": found.mean,
                "± images": found.test_error,
            }
        )
        if found.mean >= arguments.target:
            raise Reached

    path = checkpoint_of(arguments.out, {"program": program, "seed": seed}, options_of(arguments, "programs", "seeds"))
    try:
        pair = recipe(seeds.generator(seed, "weights"))
        svi.fit(*pair, train, seed=seed, callback=look, checkpoint=path, resume=True, progress=False)
    except Reached:
        pass
    path.unlink(missing_ok=True)
    return last


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--target", type=float, default=-90.0, help="log p(x), nats an image")
    parser.add_argument("--epochs", type=int, default=300, help="at most")
    parser.add_argument("--every", type=int, default=5, help="epochs between two estimates")
    parser.add_argument("--images", type=int, default=1000, help="validation images")
    parser.add_argument("--num-particles", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1, help="cores for PyTorch and for JAX")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/seconds_to.jsonl"))
    arguments = parser.parse_args()
    confine(arguments.threads)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"program": program, "seed": seed} for seed in arguments.seeds for program in arguments.programs]
    options = options_of(arguments, "programs", "seeds")
    table(arguments.out, COLUMNS, options, cells, lambda **cell: row_of(arguments, **cell))


if __name__ == "__main__":
    main()

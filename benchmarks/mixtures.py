"""Guides that are mixtures: what they leave of the gap log p(x) - ELBO, and what a step costs.

    python benchmarks/mixtures.py gaps --out mixtures.jsonl                  # digits; goes on where it stopped
    python benchmarks/mixtures.py gaps --data static_mnist --hidden 300 300 --latent-dim 40 --out mnist.jsonl
    python benchmarks/mixtures.py cost

A training of ``gaps`` is a line of the file, and continues from its checkpoint beside it. The gap is log p(x) by
importance sampling less the ELBO, in nats per test image, which is as low as the draws make log p(x). ``cost`` trains
on 784 random pixels, 784-300-300 and back, 40 latents, and prints the CPU time of a step over that of a plain one: the
least of several epochs, the contenders in turn.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rows import checkpoint_of, options_of, table

from ppl_vae import backends, data, evaluation, recipes, seeds

AXES = ("part", "components", "bounds", "seeds", "batches", "rounds")
PLAIN = (1, "plain", 1)
COLUMNS = ("A", "bound", "K", "seed", "ELBO", "log p(x)", "gap", "train gap", "seconds")


def objective(b: backends.Backend, bound: str, draws: int, **settings: Any) -> Any:
    """The objective of a bound's name."""
    if bound == "plain":
        return b.inference.TraceELBO(draws, **settings)
    return b.inference.MISELBO(draws, density="drawn" if bound == "S2S" else "all", **settings)


def posterior(count: int, bound: str, width: int) -> dict[str, Any]:
    """Settings of the recipe."""
    mixture = {"posterior": "mixture", "components": count, "mixture_hidden": width}
    return {} if bound == "plain" else mixture


def contenders(counts: list[int], bounds: list[str]) -> list[tuple[int, str, int]]:
    """(A, bound, K): plain, one draw under the density of all, all of them, and two under the density of these."""
    draws = {"S2A": lambda count: 1, "A2A": lambda count: count, "S2S": lambda count: min(2, count)}
    return [PLAIN, *((count, bound, draws[bound](count)) for count in counts for bound in bounds)]


def train(a: argparse.Namespace, images: Any, **cell: Any) -> dict[str, Any]:
    """Train one pair, from its checkpoint if there is one, and evaluate it."""
    b, (count, bound, draws, seed) = backends.load(a.backend), cell.values()
    own = posterior(count, bound, a.width)
    recipe = recipes.vae(images, latent_dim=a.latent_dim, hidden=tuple(a.hidden), backend=a.backend, **own)
    svi = b.inference.SVI(objective(b, bound, draws), epochs=a.epochs, learning_rate=a.learning_rate, patience=None)
    checkpoint, programs = checkpoint_of(a.out, cell, options_of(a, *AXES)), recipe(seeds.generator(seed, "weights"))
    fit = svi.fit(*programs, images, seed=seed, checkpoint=checkpoint, resume=True)
    row: dict[str, Any] = {"seconds": float(np.sum(fit.history["seconds"]))}
    for part, name in ((images.test, ""), (images.train, "train ")):
        x = part[: a.test]
        elbo = float(evaluation.elbo(fit, x, num_particles=20).mean)
        log_p = float(evaluation.log_likelihood(fit, x, a.particles).mean)
        row |= {f"{name}ELBO": elbo, f"{name}log p(x)": log_p, f"{name}gap": log_p - elbo}
    checkpoint.unlink(missing_ok=True)
    return row


def gaps(a: argparse.Namespace) -> None:
    """Train what is not there yet, and print the table."""
    rows = ((*contender, seed) for seed in a.seeds for contender in contenders(a.components, a.bounds))
    cells = (dict(zip(COLUMNS[:4], row, strict=True)) for row in rows)
    table(a.out, COLUMNS, options_of(a, *AXES), cells, partial(train, a, data.load(a.data)))


def cost(a: argparse.Namespace) -> None:
    """Print the CPU time of a step over that of a plain one."""
    b = backends.load(a.backend)
    images = (seeds.generator(0, "images").random((a.batches * 100, 784)) < 0.2).astype(np.float32)
    least: dict[tuple[int, str, int], float] = {}
    for _ in range(a.rounds):
        for count, bound, draws in [PLAIN, *((count, bound, 1) for count in a.components for bound in ("S2A", "S2S"))]:
            own = posterior(count, bound, a.width)
            recipe = recipes.vae((784,), latent_dim=40, hidden=(300, 300), backend=a.backend, **own)
            clock: list[float] = []
            svi = b.inference.SVI(objective(b, bound, draws), epochs=4, batch_size=100, patience=None)
            svi.fit(
                *recipe(seeds.generator(0, "weights")),
                images,
                callback=lambda *_, clock=clock: clock.append(time.process_time()),
            )
            key = count, bound, draws
            least[key] = min(least.get(key, np.inf), np.diff(clock).min())
    for (count, bound, draws), seconds in least.items():
        print(f"{a.backend}: A = {count}, {bound}, K = {draws}: {seconds / least[PLAIN]:.2f} plain steps")


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("gaps", "cost"))
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--components", type=int, nargs="+", default=[2, 8, 50])
    parser.add_argument("--width", type=int, default=128, help="features that every component reads")
    parser.add_argument("--out", type=Path, default=Path("mixtures.jsonl"))
    parser.add_argument("--data", default="digits")
    parser.add_argument("--bounds", nargs="+", default=["S2A", "A2A", "S2S"], choices=("S2A", "A2A", "S2S"))
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--hidden", type=int, nargs="+", default=[100])
    parser.add_argument("--particles", type=int, default=1000)
    parser.add_argument("--test", type=int, default=300, help="images of each part")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    {"gaps": gaps, "cost": cost}[arguments.part](arguments)


if __name__ == "__main__":
    main()

"""Guides that are mixtures: what they leave of the gap log p(x) - ELBO, and what a step costs.

    python benchmarks/mixtures.py gaps --out mixtures.jsonl                  # digits; goes on where it stopped
    python benchmarks/mixtures.py gaps --data static_mnist --hidden 300 300 --latent-dim 40 --out mnist.jsonl
    python benchmarks/mixtures.py cost
    python benchmarks/mixtures.py split --components 8 50 --bounds S2S --epochs 60 --test 40
    OMP_NUM_THREADS=1 python benchmarks/mixtures.py ring --components 1 2 8 50   # Pyro, exact gaps, two minutes

A training of ``gaps`` is a line of the file, and continues from its checkpoint beside it. The gap is log p(x) by
importance sampling less the ELBO, in nats per test image, which is as low as the draws make log p(x). ``cost`` trains
on 784 random pixels, 784-300-300 and back, 40 latents, and prints the CPU time of a step over that of a plain one: the
least of several epochs, the contenders in turn. ``ring`` knows the gap: x is the length of two standard normal numbers
with noise of 0.1, the posterior is a ring, and log p(x) and E_q[log p(x, z) - log q(z | x)] are sums over a grid. Its
guide learns alone: amortised, on 2,000 data of the model, or for each of a few test data by itself. ``split`` trains as
``gaps`` does, and says how much of the gap of the first test images is the family's and how much amortisation's, after
``fit.refine``.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import checkpoint_of, options_of, table
from torch import nn

from ppl_vae import (
    backends,
    conditionals,
    data,
    evaluation,
    guides,
    inference,
    models,
    nets,
    priors,
    recipes,
    schedules,
    seeds,
)
from ppl_vae.mcmc import kernel_of

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


def split(a: argparse.Namespace) -> None:
    """Train, and print the gap's two parts."""
    b, images = backends.load(a.backend), data.load(a.data)
    for count, bound, draws in contenders(a.components, a.bounds):
        own = posterior(count, bound, a.width)
        recipe = recipes.vae(images, latent_dim=a.latent_dim, hidden=tuple(a.hidden), backend=a.backend, **own)
        svi = b.inference.SVI(objective(b, bound, draws), epochs=a.epochs, learning_rate=a.learning_rate)
        fit = svi.fit(*recipe(seeds.generator(a.seeds[0], "weights")), images, seed=a.seeds[0])
        row = evaluation.gaps(fit, images.test[: a.test]).row()
        print(f"A = {count}, {bound}: " + ", ".join(f"{name} {value:.2f}" for name, value in row.items()), flush=True)


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


class Length(nn.Module):
    """z (..., D) -> |z|, (..., 1)."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Compute the lengths."""
        return z.norm(dim=-1, keepdim=True)


NOISE = 0.1
LENGTHS = np.array([[0.6], [1.0], [1.5], [2.0]], np.float32)
"""Test data of the ring."""


def ring_pair(count: int, width: int) -> tuple[Any, Any]:
    """x ~ N(|z|, NOISE^2), and a guide of that many components."""
    rng = seeds.generator(0, "weights")
    model = models.VAE(priors.StandardNormal(2), conditionals.Normal(Length(), scale=NOISE))
    if count == 1:
        return model, guides.Amortised(conditionals.DiagNormal(nets.MLP((1, width, 4), rng)))
    net = nets.MLP((1, width, width), rng)
    return model, guides.Amortised(conditionals.Mixture(net, count, width, 2, rng, spread=1.0))


def exact_gaps(fit: Any, x: np.ndarray) -> np.ndarray:
    """log p(x) - ELBO of each datum (N, 1), by sums over a grid of z: (N,)."""
    axis = np.arange(-5.0, 5.0, 0.025, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2)
    found = []
    for datum in x:
        log_p = kernel_of(fit.pair).log_joint(fit.pair, datum[None], {"z": grid}, {})[:, 0].astype(float)
        with torch.no_grad():
            log_q = fit.guide.posterior(torch.tensor(datum[None])).log_prob(torch.tensor(grid))[:, 0].numpy()
        area, q = 0.025**2, np.exp(log_q.astype(float))
        assert abs(q.sum() * area - 1) < 1e-3
        evidence = np.logaddexp.reduce(log_p) + np.log(area)
        found.append(evidence - (q * (log_p - log_q)).sum() * area)
    return np.array(found)


def ring(a: argparse.Namespace) -> None:
    """Print the exact gap of each number of components, amortised and for each datum by itself."""
    rng = seeds.generator(0, "ring")
    x = np.linalg.norm(rng.standard_normal((2000, 2)), axis=1, keepdims=True) + NOISE * rng.standard_normal((2000, 1))
    for count in a.components:
        loss = inference.TraceELBO(8) if count == 1 else inference.MISELBO(count)
        options: dict[str, Any] = {"epochs": a.epochs, "learning_rate": 0.01, "freeze_model": True}
        options["learning_rate_factor"] = schedules.Exponential(1.0, 0.02, over=a.epochs)
        together = exact_gaps(
            inference.SVI(loss, batch_size=100, **options).fit(*ring_pair(count, a.width), x.astype(np.float32)),
            LENGTHS,
        )
        alone = inference.SVI(loss, batch_size=20, **options)
        fits = [alone.fit(*ring_pair(count, a.width), np.tile(datum, (200, 1))) for datum in LENGTHS]
        each = np.concatenate([exact_gaps(fit, datum[None]) for fit, datum in zip(fits, LENGTHS, strict=True)])
        for name, found in (("amortised", together), ("each by itself", each)):
            print(f"A = {count}, {name}: {found.mean():.2f}, of each {found.round(2)}", flush=True)


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("gaps", "split", "cost", "ring"))
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
    {"gaps": gaps, "split": split, "cost": cost, "ring": ring}[arguments.part](arguments)


if __name__ == "__main__":
    main()

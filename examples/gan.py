"""What a GAN does, and what it does not: modes of a ring, digits, a gradient that vanishes, and players that circle.

    python examples/gan.py                    # two minutes
    python examples/gan.py --backend numpyro  # one

An implicit model draws x from noise and has no density. Its critic learns log p(x) - log q(x), of data and draws, by
classification. The ring has eight modes: at equal rates of both players nearly all of them are found; where the critic
is slow, one is left at a time, and the draws jump from mode to mode. Figures: ``samples.png``, draws over the training;
``digits.png``, draws of digits; ``gradients.png``, the slope of the generator's loss at the best critic, which vanishes
for the saturating loss alone; ``oscillation.png``, a game of two numbers, whose players circle, and what stops them.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ppl_vae import backends, data, evaluation, games, plots, seeds
from ppl_vae.discriminators import Discriminator
from ppl_vae.plots.drawing import COLOURS, WIDTH
from ppl_vae.runtime import folders, scripts

SCALE, ROWS, SHOWN = 0.05, 128, 5
"""Standard deviation of a mode, rows of a batch, and columns of the figures."""
TREATMENTS: dict[str, tuple[float, dict[str, Any]]] = {
    "plain": (1.0, {}),
    "R1": (1.0, {"penalty": "r1", "strength": 1.0}),
    "slow critic": (0.1, {}),
    "slow critic, 5 steps": (0.1, {"steps": 5}),
}
"""Name -> the critic's rate over the generator's, and its settings."""
Snapshots = list[tuple[int, np.ndarray]]


def ring(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws of a mixture of eight normals on a circle, (count, 2), and their means, (8, 2)."""
    rng, angles = seeds.generator(seed, "ring"), 2 * np.pi * np.arange(8) / 8
    means = 2 * np.column_stack([np.cos(angles), np.sin(angles)])
    return (means[rng.integers(8, size=count)] + SCALE * rng.normal(size=(count, 2))).astype(np.float32), means


def optimiser(backend: str, rate: float) -> Any:
    """Adam with the betas that are usual for GANs."""
    if backend == "numpyro":
        import optax

        return optax.adam(rate, b1=0.5)
    import torch

    return partial(torch.optim.Adam, lr=rate, betas=(0.5, 0.999))


def squashed(backend: str, net: Any) -> Any:
    """A net with outputs between 0 and 1."""
    if backend == "numpyro":
        import jax
        from flax import nnx

        return nnx.Sequential(net, jax.nn.sigmoid)
    from torch import nn

    return nn.Sequential(net, nn.Sigmoid())


def train(
    a: argparse.Namespace, x: np.ndarray, net: Any, critic: Discriminator, steps: int, **beside: Any
) -> Snapshots:
    """Train an implicit model; return (step, draws) at moments that are evenly spread."""
    b, each = backends.load(a.backend), len(x) // ROWS
    model = b.models.Implicit(b.models.StandardNormal(8), net)
    epochs = max(SHOWN, steps // each)
    at, seen = set(np.linspace(0, epochs - 1, SHOWN).astype(int).tolist()), []

    def note(epoch: int, metrics: Any, fit: Any) -> None:
        if epoch in at:
            seen.append(((epoch + 1) * each, fit.generate(2500, seed=a.seed)))

    svi = b.inference.Adversarial(
        b.inference.GAN(), critic=critic, epochs=epochs, batch_size=ROWS, optim=optimiser(a.backend, 1e-3), **beside
    )
    svi.fit(model, b.guides.Empty(), x, seed=a.seed, callback=note, progress=False)
    return seen


def of_the_ring(a: argparse.Namespace) -> tuple[Figure, pd.DataFrame]:
    """Train on the ring under each treatment: the draws over the training, and the modes at its end."""
    nets, (x, means) = backends.load(a.backend).nets, ring(ROWS * (1 if a.smoke else 20), a.seed)
    figure = Figure(figsize=(WIDTH, 1.9 * len(TREATMENTS)), layout="constrained")
    panels, table = figure.subplots(len(TREATMENTS), SHOWN, squeeze=False), pd.DataFrame(dtype=float)
    for row, (name, (rate, settings)) in zip(panels, TREATMENTS.items(), strict=True):
        print(f"ring: {name}", file=sys.stderr)
        net = nets.MLP((8, 64, 64, 2), seeds.generator(a.seed, "weights"))
        critic = Discriminator((64, 64), learning_rate=1e-3 * rate, **settings)
        for axes, (step, draws) in zip(row, train(a, x, net, critic, a.steps), strict=True):
            found = evaluation.modes(draws, means, SCALE)
            axes.plot(*means.T, "+", color=COLOURS[6], markersize=9)
            axes.plot(*draws[:500].T, ".", color=COLOURS[0], markersize=1.5)
            axes.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal")
            axes.set_title(f"step {step}: {found.found} modes", fontsize=8)
        row[0].set_ylabel(name)
        table.loc[name, ["modes", "good", "reverse KL"]] = [found.found, found.good, found.reverse_kl]
    return figure, table


def of_digits(a: argparse.Namespace) -> Figure:
    """Train on the digits; draws over the training, and data."""
    nets, images = backends.load(a.backend).nets, data.load("digits")
    x = images.train[: ROWS * (1 if a.smoke else 8)]
    net = squashed(a.backend, nets.MLP((8, 128, 128, x.shape[1]), seeds.generator(a.seed, "weights")))
    critic = Discriminator((128, 128), penalty="r1", strength=0.1, noise=0.1)
    print("digits", file=sys.stderr)
    seen = train(a, x, net, critic, a.steps, average=0.99)
    rows = {f"step {step}": np.clip(draws[:12], 0, 1) for step, draws in seen} | {"data": x[:12]}
    return plots.labelled_rows(rows, images.image_shape, title="Draws over the training")


def slopes(theta: np.ndarray) -> dict[str, np.ndarray]:
    """Slopes of the generator's losses in theta at the best critic of N(0, 1) and N(theta, 1), which stays as it is."""
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    weights, by, found = weights / weights.sum(), 1e-4, {}
    for name, game in (("saturating", games.Saturating()), ("non-saturating", games.NonSaturating())):
        sides = []
        for side in (by, -by):
            c = theta[:, None] ** 2 / 2 - theta[:, None] * (points + theta[:, None] + side)
            sides.append(np.array([[game.generator(v[None], v[None]) for v in row] for row in c]) @ weights)
        found[name] = (sides[0] - sides[1]) / (2 * by)
    return found | {"W1": np.ones_like(theta)}


def of_gradients() -> Figure:
    """Draw the slopes over the distance of the two laws."""
    theta = np.linspace(0.1, 8, 60)
    figure = Figure(figsize=(0.6 * WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour in zip(slopes(theta).items(), COLOURS, strict=False):
        axes.plot(theta, np.maximum(values, 1e-5), color=colour, label=name)
    axes.set(xlabel="theta", ylabel="slope of the loss", yscale="log", title="N(0, 1) against N(theta, 1)")
    axes.legend()
    return figure


def orbit(penalty: float, steps: int = 400, rate: float = 0.2) -> np.ndarray:
    """Steps of theta, a point that is to reach 0, and of the critic psi x, in turn, (steps, 2); R1 adds its slope."""
    theta, psi, path = 1.0, 0.0, []
    for _ in range(steps):
        psi -= rate * (theta / (1 + np.exp(-psi * theta)) + penalty * psi)
        theta += rate * psi / (1 + np.exp(psi * theta))
        path.append((theta, psi))
    return np.array(path)


def of_oscillation() -> Figure:
    """Draw the two players' paths, plain and with R1, and the mean of the former."""
    figure = Figure(figsize=(0.6 * WIDTH, 3.2), layout="constrained")
    axes, plain = figure.subplots(), orbit(0.0)
    for name, path, colour in (("plain", plain, COLOURS[1]), ("R1", orbit(0.3), COLOURS[0])):
        axes.plot(*path.T, "-", color=colour, label=name, linewidth=1)
    mean = np.cumsum(plain, 0) / np.arange(1, len(plain) + 1)[:, None]
    axes.plot(*mean.T, "--", color=COLOURS[2], label="mean of plain")
    axes.plot(0, 0, "+", color=COLOURS[6], markersize=10)
    axes.set(xlabel="the generator's point", ylabel="the critic's slope", title="Data at 0: non-saturating, in turn")
    axes.legend()
    return figure


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--steps", type=int, default=3000, help="of the generator, in each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder; by default runs/gan-<backend>")
    parser.add_argument("--smoke", action="store_true", help="a few steps: seconds")
    return parser.parse_args()


def main() -> None:
    """Train, print the modes, and draw."""
    args = arguments()
    args.steps = SHOWN if args.smoke else args.steps
    out = args.out or Path("runs") / f"gan-{args.backend}"
    folders.claim(out, "the work of examples/gan.py")
    if args.backend == "pyro":
        import torch

        torch.set_num_threads(1)  # nets this small run faster on one thread
    samples, table = of_the_ring(args)
    digits = of_digits(args)
    table.to_csv(out / "modes.csv", index_label="treatment")
    figures = {"samples": samples, "digits": digits, "gradients": of_gradients(), "oscillation": of_oscillation()}
    for name, figure in figures.items():
        plots.save(figure, out / f"{name}.png")
    print(f"{table.round(3).to_string()}\nWritten to {out}")


if __name__ == "__main__":
    sys.exit(scripts.run(main))

"""Implicit models by each loss on two known laws: modes, the share of good draws, and KL(draws || data) over the modes.

    python benchmarks/gan.py --out gan.jsonl                                   # the ring of 8; goes on where it stopped
    python benchmarks/gan.py --data grid --steps 15000 --out gan.jsonl         # the grid of 25
    python benchmarks/gan.py --slow-critic --kinds plain steps pack r1 --out gan.jsonl
    python benchmarks/gan.py --published

The laws are mixtures of normals of standard deviation 0.05: 8 on a circle of radius 2, or 25 at a distance of 2. Both
players have two layers of 64 units. With ``--slow-critic`` its rate is a tenth of the generator's, which is where one
mode is left. A training is a line of the file; one whose loss or weights are no longer finite has no numbers in it. The
means over seeds, with their standard deviations, stand at the end, beside the number of seeds that came so far.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rows import options_of, table

from ppl_vae import backends, evaluation, games, seeds
from ppl_vae.discriminators import Discriminator
from ppl_vae.errors import NotFiniteLoss

SCALE, DRAWS = 0.05, 2500
AXES = ("kinds", "seeds", "published")
COLUMNS = ("loss", "seed", "modes", "good", "reverse KL", "seconds")
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (games.NonSaturating(), {}),
    "saturating": (games.Saturating(), {}),
    "r1": (games.NonSaturating(), {"penalty": "r1", "strength": 1.0}),
    "r1-weak": (games.NonSaturating(), {"penalty": "r1", "strength": 0.1}),
    "pack": (games.NonSaturating(), {"pack": 2}),
    "steps": (games.NonSaturating(), {"steps": 5}),
    "noise": (games.NonSaturating(), {"noise": 0.1}),
    "unrolled": (games.NonSaturating(), {"unroll": 5}),
    "wgan-gp": (games.Wasserstein(), {"penalty": "gradient", "strength": 1.0, "steps": 5}),
    "clipping": (games.Wasserstein(), {"clip": 0.1, "steps": 5}),
    "least-squares": (games.LeastSquares(), {}),
    "hinge": (games.Hinge(), {}),
    "relativistic": (games.Relativistic(), {}),
    "kl": (games.FGAN("kl"), {}),
    "reverse-kl": (games.FGAN("reverse kl"), {}),
    "jensen-shannon": (games.FGAN("jensen-shannon"), {}),
    "squared-hellinger": (games.FGAN("squared hellinger"), {}),
    "pearson": (games.FGAN("pearson"), {}),
    "total-variation": (games.FGAN("total variation", own_bound=True), {}),
    "mmd": (None, {}),
}
"""Name -> the game, and what the critic has besides; without a game the MMD alone."""
PUBLISHED = """| | ring: modes | good | reverse KL | grid: modes | good | reverse KL |
| --- | --- | --- | --- | --- | --- | --- |
| GAN, VEEGAN's table 1 | 1 | .993 | | 3.3 | .005 | |
| unrolled GAN, the same | 7.6 | .356 | | 23.6 | .16 | |
| VEEGAN | 8 | .529 | | 24.6 | .40 | |
| GAN, PacGAN's table 1 | 6.3 | .982 | .45 | 17.3 | .948 | .70 |
| PacGAN2, the same | 7.9 | .956 | .07 | 23.8 | .913 | .13 |"""
"""Srivastava et al., 2017 (means of 5), and Lin et al., 2018 (means of 10); their nets differ, and so do their GANs."""


def means_of(name: str) -> np.ndarray:
    """The means of the normals, (M, 2)."""
    if name == "ring":
        angles = 2 * np.pi * np.arange(8) / 8
        return 2 * np.column_stack([np.cos(angles), np.sin(angles)])
    side = np.arange(-4, 5, 2.0)
    return np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)


def draw(name: str, count: int, seed: int) -> np.ndarray:
    """Draws of the law, (count, 2)."""
    rng, means = seeds.generator(seed, "data"), means_of(name)
    return (means[rng.integers(len(means), size=count)] + SCALE * rng.normal(size=(count, 2))).astype(np.float32)


def optimiser(backend: str, rate: float) -> Any:
    """Adam with the betas that are usual for GANs."""
    if backend == "numpyro":
        import optax

        return optax.adam(rate, b1=0.5)
    import torch

    return partial(torch.optim.Adam, lr=rate, betas=(0.5, 0.999))


def train(a: argparse.Namespace, loss: str, seed: int) -> dict[str, Any]:
    """Train one model, and count its modes."""
    b, (game, beside) = backends.load(a.backend), KINDS[loss]
    epochs, rest = divmod(a.steps * a.batch_size, a.size)
    options: dict[str, Any] = {"epochs": max(1, epochs + bool(rest)), "batch_size": a.batch_size}
    options["optim"] = optimiser(a.backend, a.learning_rate)
    if game is None:
        svi = b.inference.SVI(b.inference.GMMN(bandwidth=a.bandwidth), **options)
    else:
        rate = a.learning_rate * (0.1 if a.slow_critic else 1.0)
        critic = Discriminator(tuple(a.hidden), learning_rate=rate, **beside)
        svi = b.inference.Adversarial(b.inference.GAN(game=game), critic=critic, **options)
    net = b.nets.MLP((a.latent_dim, *a.hidden, 2), seeds.generator(seed, "weights"))
    model = b.models.Implicit(b.models.StandardNormal(a.latent_dim), net)
    try:
        fit = svi.fit(model, b.guides.Empty(), draw(a.data, a.size, seed), seed=seed, progress=False)
    except NotFiniteLoss:
        return {"modes": None, "good": None, "reverse KL": None, "seconds": None}
    found = evaluation.modes(fit.generate(DRAWS, seed=seed), means_of(a.data), SCALE)
    return {"modes": found.found, "good": found.good, "reverse KL": found.reverse_kl, "seconds": fit.seconds}


def main() -> None:
    """Train what is not there yet, and print the table with means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="numpyro", choices=backends.NAMES)
    parser.add_argument("--data", default="ring", choices=("ring", "grid"))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, metavar="KIND")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=6000, help="of the generator")
    parser.add_argument("--slow-critic", action="store_true")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64])
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--size", type=int, default=128 * 100, help="draws of the law that are the data")
    parser.add_argument("--bandwidth", type=float, default=1.0, help="of the MMD")
    parser.add_argument("--published", action="store_true", help="print the published tables alone")
    parser.add_argument("--out", type=Path, default=Path("gan.jsonl"))
    a = parser.parse_args()
    if a.published:
        print(PUBLISHED)
        return
    made: dict[str, list[dict[str, Any]]] = {kind: [] for kind in a.kinds}
    cells = [{"loss": kind, "seed": seed} for kind in a.kinds for seed in a.seeds]
    table(a.out, COLUMNS, options_of(a, *AXES), cells, partial(train, a))
    for row in rows_of(a):
        made[row["loss"]].append(row)
    print("\n| loss | modes | good | reverse KL | seeds |\n| --- | --- | --- | --- | --- |")
    for kind, rows in made.items():
        ended = [row for row in rows if row["modes"] is not None]
        told = [np.array([row[name] for row in ended], float) for name in COLUMNS[2:5]]
        words = [f"{v.mean():.2f} +- {v.std(ddof=len(v) > 1):.2f}" if ended else "" for v in told]
        print(f"| {kind} |", " | ".join(words), f"| {len(ended)} of {len(rows)} |")


def rows_of(a: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the file that these options ask for."""
    known, options = [json.loads(line) for line in a.out.read_text().splitlines()], options_of(a, *AXES)
    return [r for r in known if r["options"] == options and r["loss"] in a.kinds and r["seed"] in a.seeds]


if __name__ == "__main__":
    main()

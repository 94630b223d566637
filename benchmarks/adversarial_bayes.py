"""What adversarial variational Bayes claims, and what its draws are worth, where the answer is known; and a figure.

    OMP_NUM_THREADS=1 python benchmarks/adversarial_bayes.py                  # some minutes on one core
    python benchmarks/adversarial_bayes.py --parts linear --seeds 0 --epochs 20

``linear``: a linear normal model that stands still, whose log p(x) and p(z | x) are known, and an implicit guide. The
claim is the mean value of the last tenth of the epochs; the other number is the ELBO of normals with the moments of the
guide's draws, which no guide with these moments exceeds. ``digits``: a VAE of binarised digits, with log p(x) of test
images by importance sampling, by the normal fitted to the draws of an implicit guide. ``figure``: draws of implicit
guides beside the posteriors of ``examples/flexible_posteriors.py``, and a normal and a spline flow. ``thin``: the first
of these posteriors under other guides and critics, 1,000 draws beside as many exact ones, as generated beside real.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import flexible_posteriors as flexible  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from ppl_vae import backends, data, evaluation, plots, recipes, seeds  # noqa: E402
from ppl_vae.critics import Critic  # noqa: E402

WIDTH, LATENT, SCALE = 4, 2, 0.7
CRITIC = Critic((64, 64), learning_rate=1e-3, betas=(0.5, 0.9))
KINDS = {
    "prior, one draw": {"num_particles": 1, "adaptive_contrast": False},
    "prior": {"num_particles": 8, "adaptive_contrast": False},
    "adaptive": {"num_particles": 8},
}
"""What codes are told from -> settings of AVB."""


THIN = {
    "as in the figure": (4, (64, 64), CRITIC),
    "5 steps of the critic": (4, (64, 64), replace(CRITIC, steps=5)),
    "16 numbers of noise": (16, (64, 64), CRITIC),
    "16 numbers of noise, 5 steps": (16, (64, 64), replace(CRITIC, steps=5)),
    "the same, three layers of 128": (16, (128,) * 3, replace(CRITIC, hidden=(128,) * 3, steps=5)),
}
"""Name -> numbers of noise and hidden units of the guide, and the critic."""


def implicit(
    b: Any, rng: np.random.Generator, width: int, latent: int, noise: int = 4, hidden: tuple[int, ...] = (64, 64)
) -> Any:
    """An implicit guide of a few dozen units."""
    nets = b.nets.MLP((width, 32, 16), rng), b.nets.MLP((16 + noise, *hidden, latent), rng)
    return b.guides.Amortised(b.conditionals.Implicit(*nets, noise))


def linear(b: Any, seed: int, epochs: int) -> None:
    """Print a row for each contrast."""
    rng = np.random.default_rng(seed)
    weight = np.random.default_rng(3).normal(size=(WIDTH, LATENT))
    x = (rng.normal(size=(1000, LATENT)) @ weight.T + SCALE * rng.normal(size=(1000, WIDTH))).astype(np.float32)
    whole = weight @ weight.T + SCALE**2 * np.eye(WIDTH)
    log_p = -0.5 * (np.einsum("ni,ij,nj->n", x, np.linalg.inv(whole), x) + np.linalg.slogdet(2 * np.pi * whole)[1])
    exact = np.linalg.inv(np.eye(LATENT) + weight.T @ weight / SCALE**2)
    decoder = b.nets.MLP((LATENT, WIDTH), rng)
    (layer,) = decoder.layers
    if b.name == "pyro":
        import torch

        layer.weight.data, layer.bias.data = torch.tensor(weight, dtype=torch.float32), torch.zeros(WIDTH)
    else:
        layer.weight[...], layer.bias[...] = np.asarray(weight, np.float32), np.zeros(WIDTH, np.float32)
    model = b.models.VAE(b.priors.StandardNormal(LATENT), b.conditionals.Normal(decoder, scale=SCALE))
    for kind, settings in KINDS.items():
        training = b.inference.Adversarial(
            b.inference.AVB(**settings), critic=CRITIC, epochs=epochs, batch_size=100, freeze_model=True
        )
        fit = training.fit(model, implicit(b, np.random.default_rng(seed), WIDTH, LATENT), x, seed=seed)
        z = fit.draws(x, 200)["z"].astype(float)
        away = z.mean(0) - x @ weight @ exact / SCALE**2
        covariance = np.einsum("kni,knj->nij", z - z.mean(0), z - z.mean(0)) / len(z)
        ratio = np.linalg.solve(exact, covariance)
        kl = np.trace(ratio, axis1=1, axis2=2) + np.einsum("ni,ij,nj->n", away, np.linalg.inv(exact), away)
        kl = (kl - LATENT - np.linalg.slogdet(ratio)[1]) / 2
        claim = -fit.history["loss"][-max(1, epochs // 10) :].mean()
        by_normal = evaluation.log_likelihood(fit, x[:200], 100, proposal="normal")
        print(
            f"| {kind} | {seed} | {log_p.mean():.2f} | {claim:.2f} | {(log_p - kl).mean():.2f} | "
            f"{by_normal.mean - log_p[:200].mean():.2f} | {by_normal.ess.mean():.0f} |",
            flush=True,
        )


def digits(b: Any, seed: int, epochs: int) -> None:
    """Print a row for the VAE and one for each contrast."""
    split = data.load("digits")
    rng = seeds.generator(seed, "binarise")
    train, test = ((rng.random(a.shape) < a).astype(np.float32) for a in (split.train, split.test))
    for kind in ("normal guide, ELBO", *KINDS):
        posterior = "implicit" if kind in KINDS else "standard"
        made = recipes.vae(train, latent_dim=8, hidden=(128,), posterior=posterior, backend=b.name)
        programs = made(seeds.generator(seed, "weights"))
        shared = {"epochs": epochs, "batch_size": 100}
        if kind in KINDS:
            critic = Critic((256, 256), learning_rate=1e-3, betas=(0.5, 0.9))
            training = b.inference.Adversarial(b.inference.AVB(**KINDS[kind]), critic=critic, **shared)
        else:
            training = b.inference.SVI(b.inference.TraceELBO(8), **shared)
        fit = training.fit(*programs, train, seed=seed)
        found = evaluation.log_likelihood(fit, test, 500, proposal="normal")
        claim = -fit.history["loss"][-3:].mean()
        print(f"| {kind} | {seed} | {claim:.2f} | {found.mean:.2f} | {found.ess.mean():.0f} |", flush=True)


def thin(b: Any, seed: int, epochs: int) -> None:
    """Print a row for each guide and critic, and one for exact draws in their place."""
    model_of = flexible.numpyro_model if b.name == "numpyro" else flexible.pyro_model
    energy, (points, area) = next(iter(flexible.POSTERIORS.values())), flexible.grid()
    p, rng = np.exp(flexible.exact(energy, points, area)), np.random.default_rng(seed)

    def drawn() -> np.ndarray:
        cells = rng.choice(len(points), 1000, p=p / p.sum())
        return points[cells] + np.sqrt(area) * (rng.random((1000, 2)) - 0.5)

    def told(name: str, z: np.ndarray) -> None:
        found = evaluation.sample_quality(z, exact, permutations=20).row()
        numbers = (f"{found[measure]:.2f}" for measure in ("MMD", "precision", "recall", "coverage"))
        print(f"| {name} | {seed} |", " | ".join(numbers), "|", flush=True)

    exact = drawn()
    told("exact draws", drawn())
    for name, (noise, hidden, critic) in THIN.items():
        shared = {"epochs": epochs, "batch_size": 50, "learning_rate": 1e-3}
        training = b.inference.Adversarial(b.inference.AVB(16), critic=critic, **shared)
        guide = implicit(b, np.random.default_rng(seed), 1, 2, noise, hidden)
        fit = training.fit(model_of(energy), guide, np.ones((500, 1), np.float32), seed=seed)
        told(name, fit.draws(np.ones((50, 1), np.float32), 400, seed=1)["z"].reshape(-1, 2)[:1000])


def draw(b: Any, seed: int, epochs: int, out: Path) -> None:
    """Save the figure: posteriors, a normal, a spline flow, and draws of implicit guides."""
    args = SimpleNamespace(backend=b.name, steps=flexible.STEPS, seed=seed)
    model_of = flexible.numpyro_model if b.name == "numpyro" else flexible.pyro_model
    points, area = flexible.grid()
    columns = ("exact", "normal", "spline", "implicit, AVB")
    figure = Figure(figsize=(6.0, 6.2), layout="constrained")
    axes = figure.subplots(len(flexible.POSTERIORS), len(columns))
    for row, (name, energy) in zip(axes, flexible.POSTERIORS.items(), strict=True):
        model = model_of(energy)
        log_p = flexible.exact(energy, points, area)
        heights = {"exact": log_p, **{kind: flexible.ours(kind, model, args)(points) for kind in columns[1:3]}}
        training = b.inference.Adversarial(
            b.inference.AVB(16), critic=CRITIC, epochs=epochs, batch_size=50, learning_rate=1e-3
        )
        guide = implicit(b, np.random.default_rng(seed), 1, 2)
        fit = training.fit(model, guide, np.ones((500, 1), np.float32), seed=seed)
        z = fit.draws(np.ones((50, 1), np.float32), 400)["z"].reshape(-1, 2)
        heights[columns[3]] = None
        for ax, column in zip(row, columns, strict=True):
            extent = (-flexible.REACH, flexible.REACH) * 2
            side = np.linspace(-flexible.REACH, flexible.REACH, flexible.POINTS)
            p = np.exp(log_p).reshape(flexible.POINTS, -1)
            if heights[column] is None:
                ax.hist2d(*z.T, bins=60, range=[extent[:2], extent[2:]], cmap="Blues", density=True, vmax=1.2 * p.max())
            else:
                q = np.exp(heights[column]).reshape(flexible.POINTS, -1)
                ax.imshow(q, origin="lower", extent=extent, cmap="Blues", vmin=0, vmax=1.2 * p.max())
            ax.contour(side, side, p, levels=[0.1 * p.max(), 0.5 * p.max()], colors="#b03a2e", linewidths=0.6)
            ax.set_aspect("equal")
            ax.set_xticks([])
            ax.set_yticks([])
            if name == next(iter(flexible.POSTERIORS)):
                ax.set_title(column, fontsize=9)
        row[0].set_ylabel(name, fontsize=9)
        print(f"{name}: drawn", file=sys.stderr)
    plots.save(figure, out)


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["linear", "digits", "figure"])
    parser.add_argument("--backend", default="numpyro", choices=backends.NAMES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="of each training; by default 200, of digits 60")
    parser.add_argument("--out", type=Path, default=Path("adversarial_bayes.png"), help="of the figure")
    arguments = parser.parse_args()
    b = backends.load(arguments.backend)
    if "linear" in arguments.parts:
        print("| contrast | seed | log p(x) | claimed | by moments | log p by IS, off by | draws of 100 |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for seed in arguments.seeds:
            linear(b, seed, arguments.epochs or 200)
    if "digits" in arguments.parts:
        print("| guide | seed | claimed, train | log p(x), test | draws of 500 |\n| --- | --- | --- | --- | --- |")
        for seed in arguments.seeds:
            digits(b, seed, arguments.epochs or 60)
    if "thin" in arguments.parts:
        print(
            "| guide and critic | seed | MMD | precision | recall | coverage |\n| --- | --- | --- | --- | --- | --- |"
        )
        for seed in arguments.seeds:
            thin(b, seed, arguments.epochs or 200)
    if "figure" in arguments.parts:
        draw(b, arguments.seeds[0], arguments.epochs or 200, arguments.out)


if __name__ == "__main__":
    main()

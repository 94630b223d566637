"""Draws that HMC moves within a training: the model's gradient, what a model learns by them, and what a step costs.

    OMP_NUM_THREADS=1 python benchmarks/mcmc_in_training.py toy      # a linear normal model, whose log p(x) is exact
    OMP_NUM_THREADS=1 python benchmarks/mcmc_in_training.py digits   # a VAE; log p(x) by annealing

``toy``: the guide of the gradients is off by 0.4 in mean and has 0.6 of the posterior's deviations, and its error is
relative to the exact gradient of log p(x) by the decoder's weights, from 3,000 draws. The guide of the trainings has
deviations of 0.1, which no step changes. Seconds are CPU time of a training over that by the ELBO.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [path for path in map(str, (ROOT, ROOT / "tests")) if path not in sys.path]

import numpy as np  # noqa: E402
import scipy.stats  # noqa: E402
import torch  # noqa: E402
from oracles import PCA, SCALE, gradient, names_of_the_guide  # noqa: E402
from pairs import untrained  # noqa: E402

from ppl_vae import backends, data, evaluation, objectives, recipes, seeds  # noqa: E402

WRONG = {"shift": 0.4, "widen": 0.6}


def choice(transitions: int, draws: int = 1, step_size: float = 0.1) -> objectives.Objective:
    """The ELBO for no transition."""
    if not transitions:
        return objectives.TraceELBO(draws)
    return objectives.HMCELBO(draws, transitions=transitions, step_size=step_size)


def exact_gradient(pca: PCA) -> np.ndarray:
    """Of -sum log p(x), by the decoder's weights, in order of size."""
    weights, mean = torch.tensor(pca.weights, requires_grad=True), torch.tensor(pca.mean)
    cov = weights @ weights.T + SCALE**2 * torch.eye(len(mean), dtype=torch.float64)
    log_p = torch.distributions.MultivariateNormal(mean, cov).log_prob(torch.tensor(pca.x, dtype=torch.float64))
    (grad,) = torch.autograd.grad(-log_p.sum(), weights)
    return np.sort(grad.numpy().ravel())


def error(b: backends.Backend, transitions: int) -> float:
    """The distance of the model's gradient from the exact one, over its norm."""
    pca = PCA()
    exact, own = exact_gradient(pca), untrained(*pca.pair(b, **WRONG), b, pca.x).pair
    found = gradient(b, b.inference.adopt(choice(transitions, 3000)), own, pca.x, 0)[~names_of_the_guide(own)]
    weights = found[: exact.size] if b.name == "pyro" else found[-exact.size :]
    return float(np.linalg.norm(np.sort(weights) - exact) / np.linalg.norm(exact))


def log_p(gain: np.ndarray, mean: np.ndarray, x: np.ndarray) -> float:
    """The mean log p(x) of x = gain z + mean + SCALE * noise."""
    cov = gain @ gain.T + SCALE**2 * np.eye(len(mean))
    return float(scipy.stats.multivariate_normal(mean, cov).logpdf(x).mean())


def toy(b: backends.Backend, counts: list[int]) -> None:
    """Print errors, the exact log p(x) of what was learnt, and the seconds."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(5, 2))
    x = (rng.normal(size=(200, 2)) @ weights.T + SCALE * rng.normal(size=(200, 5))).astype(np.float32)
    print(f"{b.name}; the true model: log p(x) {log_p(weights, np.zeros(5), x):.3f}")
    plain = 1.0
    for transitions in counts:
        own = np.random.default_rng(0)
        encoder, decoder = b.nets.MLP((5, 2), own), b.nets.MLP((2, 5), own)
        model = b.models.VAE(b.priors.StandardNormal(2), b.conditionals.Normal(decoder, scale=SCALE))
        guide = b.guides.Amortised(b.conditionals.Normal(encoder, scale=0.1))
        svi = b.inference.SVI(choice(transitions), epochs=100, batch_size=50, learning_rate=0.02)
        clock: list[float] = []
        fit = svi.fit(model, guide, x, seed=0, callback=lambda *_, clock=clock: clock.append(time.process_time()))
        seconds = float(np.median(np.diff(clock)))
        plain = plain if transitions else seconds
        means = fit.decode(np.concatenate([np.zeros((1, 2)), np.eye(2)]).astype(np.float32))
        found = log_p((means[1:] - means[0]).T, means[0], x)
        told = f"gradient off by {error(b, transitions):.3f}, learnt log p(x) {found:.3f}"
        print(f"{transitions} transitions: {told}, {seconds / plain:.1f} plain steps", flush=True)


def digits(b: backends.Backend, counts: list[int], epochs: int) -> None:
    """Print log p(x) of test digits by annealing, and the ELBO."""
    images = data.load("digits")
    for transitions in counts:
        pair = recipes.vae(images, latent_dim=8, hidden=(100,), backend=b.name)(seeds.generator(0, "weights"))
        fit = b.inference.SVI(choice(transitions), epochs=epochs, patience=None).fit(*pair, images, seed=0)
        x = images.test[:200]
        by: Any = evaluation.ais(fit, x, evaluation.Annealing(num_temperatures=300, num_chains=8, num_steps=5))
        elbo = evaluation.elbo(fit, x, 50).mean
        print(
            f"{transitions} transitions: log p(x) {by.mean:.2f} +- {by.mean_mc_error:.2f}, ELBO {elbo:.2f}", flush=True
        )


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("toy", "digits"))
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--transitions", type=int, nargs="+", default=[0, 1, 2, 5])
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()
    b = backends.load(options.backend)
    if options.part == "toy":
        toy(b, options.transitions)
    else:
        digits(b, options.transitions, options.epochs)


if __name__ == "__main__":
    main()

"""Autoregressive nets: seconds of a draw, in steps and by whole passes; what they learn of digits, and of codes.

    python benchmarks/autoregressive.py            # all three tables, half an hour on two cores
    python benchmarks/autoregressive.py --parts draws --sides 28
    python benchmarks/autoregressive.py --parts fits --backends pyro

A draw by whole passes runs the net once for each pixel; the seconds are those of one pass, times the pixels. In steps,
each pixel is computed once. Compiling is not counted. A fit is ``FullyVisible`` on the 8 x 8 digits, cut at one half,
with early stopping; nats per test image, larger is better. The codes are a VQ-VAE's, with priors of a second fit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from ppl_vae import backends, data, evaluation, recipes, seeds

Shape = tuple[int, int]
NETS: dict[str, Callable[[Any, Shape, np.random.Generator], Any]] = {
    "MADE, 500 units": lambda nets, shape, rng: nets.MADE(shape[0] * shape[1], (500,), rng),
    "PixelCNN, 4 layers of 32": lambda nets, shape, rng: nets.PixelCNN(shape, rng, layers=4, channels=32, kernel=5),
    "transformer, 3 layers of 64": lambda nets, shape, rng: nets.CausalTransformer(shape[0] * shape[1], rng, width=64),
}
"""Name -> a net over the pixels of an image of that shape."""


def seconds(run: Callable[[], Any], rounds: int) -> float:
    """Median time of a run, after a first one."""
    found = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        jax.block_until_ready(run())
        found.append(time.perf_counter() - start)
    return float(np.median(found[1:]))


def draws(backend: str, sides: list[int], count: int, rounds: int) -> Iterator[list[str]]:
    """Yield the side, backend, net, seconds of ``count`` draws by whole passes and in steps, and their ratio."""
    b = backends.load(backend)
    for side in sides:
        for name, make in NETS.items():
            net = make(b.nets, (side, side), np.random.default_rng(0))
            if backend == "pyro":
                one_pass = partial(torch.no_grad()(net.forward), torch.zeros(count, side * side))
                run = partial(b.priors.Autoregressive(net)().sample, (count,))
            else:
                y, key = jnp.zeros((count, side * side)), jax.random.key(0)
                whole_net = jax.jit(lambda n, y: n(y))
                sample = jax.jit(lambda n, key: b.priors.Autoregressive(n)().sample(key, (count,)))
                one_pass, run = partial(whole_net, net, y), partial(sample, net, key)
            whole = seconds(one_pass, max(rounds, 3)) * side * side
            if hasattr(net, "step"):
                steps = seconds(run, rounds)
                yield [str(side), backend, name, f"{whole:.3g}", f"{steps:.3g}", f"{whole / steps:.0f}"]
            else:
                yield [str(side), backend, name, f"{whole:.3g}", "", ""]


def fits(backend: str, epochs: int, num_seeds: int) -> Iterator[list[str]]:
    """Yield the backend, the net, nats per training and test image, bits per pixel, epochs and seconds of a fit."""
    b, digits = backends.load(backend), data.load("digits").with_binarisation("threshold")
    for name, make in NETS.items():
        found = []
        for seed in range(num_seeds):
            net = make(b.nets, digits.image_shape, seeds.generator(seed, "weights"))
            start = time.perf_counter()
            svi = b.inference.SVI(epochs=epochs, patience=10, learning_rate=1e-3, batch_size=50)
            fit = svi.fit(b.models.FullyVisible(b.priors.Autoregressive(net)), b.guides.Empty(), digits, seed=seed)
            passed = time.perf_counter() - start
            train, test = (evaluation.elbo(fit, x, 1).values.mean() for x in (digits.train, digits.test))
            bits = -test / (np.log(2) * digits.test.shape[1])
            found.append([train, test, bits, len(fit.history["loss"]), passed])
        train, test, bits, length, passed = np.mean(found, 0)
        spread = np.std([row[1] for row in found])
        yield [
            backend,
            name,
            f"{train:.2f}",
            f"{test:.2f} ({spread:.2f})",
            f"{bits:.3f}",
            f"{length:.0f}",
            f"{passed:.0f}",
        ]


PRIORS: dict[str, Callable[[Any, np.random.Generator], Any]] = {
    "table of logits": lambda b, rng: b.priors.FactorisedCategorical(8, 16),
    "MADE, 64 units": lambda b, rng: b.priors.Autoregressive(b.nets.MADE(8, (64,), rng, num_categories=16)),
    "PixelCNN, 3 layers of 32": lambda b, rng: b.priors.Autoregressive(
        b.nets.PixelCNN((2, 4), rng, layers=3, kernel=3, num_categories=16)
    ),
    "transformer, 2 layers of 32": lambda b, rng: b.priors.Autoregressive(
        b.nets.CausalTransformer(8, rng, width=32, layers=2, num_categories=16)
    ),
}
"""Name -> a prior over 8 codes of 16."""


def codes(backend: str, epochs: int, num_seeds: int) -> Iterator[list[str]]:
    """Yield the backend, the prior over a VQ-VAE's codes, and the test ELBO and KL: uniform, and after a second fit."""
    b, digits = backends.load(backend), data.load("digits")
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(num_seeds):
        recipe = recipes.vae(
            digits, latents="vq", latent_dim=8, num_codes=16, code_dim=4, hidden=(100,), backend=backend
        )
        svi = b.inference.SVI(b.inference.VQELBO(), epochs=30)
        fit = svi.fit(*recipe(seeds.generator(seed, "weights")), digits, seed=seed)
        fitted = {"uniform": fit}
        for name, make in PRIORS.items():
            before = fit.with_prior(make(b, seeds.generator(seed, "weights")))
            again = b.inference.SVI(b.inference.PriorELBO(), epochs=epochs, patience=10, learning_rate=3e-3)
            fitted[name] = again.fit(before.model, before.guide, digits, seed=seed)
        for name, one in fitted.items():
            elbo = evaluation.elbo(one, digits.test, 1)
            found.setdefault(name, []).append((elbo.mean, float(elbo.kl.mean())))
    for name, numbers in found.items():
        yield [backend, name, *(f"{mean:.2f}" for mean in np.mean(numbers, 0))]


HEADS = {
    "draws": ["side", "backend", "net", "whole passes, s", "in steps, s", "ratio"],
    "fits": ["backend", "net", "training", "test (sd over seeds)", "bits per pixel", "epochs", "seconds"],
    "codes": ["backend", "prior over the codes", "test ELBO", "KL"],
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(HEADS), choices=HEADS)
    parser.add_argument("--backends", nargs="+", default=list(backends.NAMES), choices=backends.NAMES)
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 28])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    for part in arguments.parts:
        head = HEADS[part]
        print("|", " | ".join(head), "|\n|", " | ".join("---" for _ in head), "|")
        for backend in arguments.backends:
            if part == "draws":
                rows = draws(backend, arguments.sides, arguments.images, arguments.rounds)
            else:
                rows = {"fits": fits, "codes": codes}[part](backend, arguments.epochs, arguments.seeds)
            for row in rows:
                print("|", " | ".join(row), "|", flush=True)
        print()


if __name__ == "__main__":
    main()

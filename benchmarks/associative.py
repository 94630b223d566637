"""Nats of digits given a neighbour's code, by an associative compression network, beside the ELBO of the same pair.

    OMP_NUM_THREADS=1 python benchmarks/associative.py                       # Pyro, a minute
    OMP_NUM_THREADS=1 python benchmarks/associative.py --backend numpyro --neighbours 5

Digits binarised at one half. A test image has the nearest training image's code; 'named' adds log N, for which of them
it is, and is comparable with the ELBO.
"""

from __future__ import annotations

import argparse
import time

from ppl_vae import backends, data, evaluation, objectives, recipes, seeds


def main() -> None:
    """Train by the ELBO, and by ACN with each number of neighbours; print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--neighbours", type=int, nargs="*", default=[1, 5, 20])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    b, images = backends.load(options.backend), data.load("digits").with_binarisation("threshold")
    losses = [objectives.TraceELBO(), *(objectives.ACN(neighbours=count) for count in options.neighbours)]
    for loss in losses:
        recipe = recipes.vae(images, latent_dim=8, hidden=(100,), backend=b.name)
        began = time.process_time()
        svi = b.inference.SVI(loss, epochs=options.epochs)
        fit = svi.fit(*recipe(seeds.generator(options.seed, "weights")), images, seed=options.seed)
        seconds = time.process_time() - began
        if loss.prior_apart:
            found = evaluation.code_lengths(fit, images.test, images.train, 20)
            told = f"{found.mean:.2f} nats given a neighbour, {-found.bound:.2f} named"
            name = f"ACN, {loss.neighbours} neighbours"
        else:
            elbo = evaluation.elbo(fit, images.test, 20)
            told, name = f"{-elbo.mean:.2f} nats, of which KL {elbo.kl.mean():.2f}", "ELBO"
        print(f"{name}: {told}; {seconds:.0f} s of CPU", flush=True)


if __name__ == "__main__":
    main()

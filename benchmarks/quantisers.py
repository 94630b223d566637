"""Codes in use and ELBO of quantisers on digits: a codebook moved by a gradient or by averages, residuals, FSQ, LFQ.

``python benchmarks/quantisers.py``: a table in Markdown, a minute on one core; nats per test image, means over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from ppl_vae import backends, data, evaluation, recipes, seeds

VQ: dict[str, Any] = {"latents": "vq", "num_codes": 16, "code_dim": 4}
RESIDUAL: dict[str, Any] = {"latents": "residual-vq", "num_codes": 4, "num_stages": 2, "code_dim": 4}
AVERAGED: dict[str, Any] = {"decay": 0.99}
RESTARTED: dict[str, Any] = {"restart_codes": True}
QUANTISERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "VQ, gradient": (VQ, {}),
    "VQ, gradient, restarts": (VQ, RESTARTED),
    "VQ, averages": (VQ, AVERAGED),
    "VQ, averages, restarts": (VQ, {**AVERAGED, **RESTARTED}),
    "residual VQ, 2 of 4 codes, gradient": (RESIDUAL, {}),
    "residual VQ, 2 of 4 codes, averages": (RESIDUAL, AVERAGED),
    "FSQ, 4 x 4 levels": ({"latents": "fsq", "code_levels": (4, 4)}, {"commitment": 0.0}),
    "LFQ, 4 bits": ({"latents": "lfq", "num_bits": 4}, {}),
    "LFQ, 4 bits, entropy 0.1": ({"latents": "lfq", "num_bits": 4}, {"entropy": 0.1}),
    "LFQ, 4 bits, entropy 1": ({"latents": "lfq", "num_bits": 4}, {"entropy": 1.0}),
}
"""Name -> settings of the recipe, of 16 joint codes for each of 8 vectors, and settings of the objective."""
COLUMNS = ("elbo", "reconstruction", "codes_used", "perplexity", "seconds")


def rows(backend: str, epochs: int, num_seeds: int) -> Iterator[list[str]]:
    """Yield the name of each quantiser, and the mean of each column over seeds."""
    digits, b = data.load("digits"), backends.load(backend)
    for name, (latents, settings) in QUANTISERS.items():
        found = []
        for seed in range(num_seeds):
            recipe = recipes.vae(digits, latent_dim=8, hidden=(100,), backend=backend, **latents)
            svi = b.inference.SVI(b.inference.VQELBO(**settings), epochs=epochs)
            fit = svi.fit(*recipe(seeds.generator(seed, "weights")), digits, seed=seed)
            row = evaluation.evaluate(fit, digits.test, 1, elbo_particles=1).row()
            found.append([row[column] for column in COLUMNS])
        yield [name, *(f"{mean:.1f}" for mean in np.mean(found, 0))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    head = ["quantiser", *COLUMNS]
    print("|", " | ".join(head), "|\n|", " | ".join("---" for _ in head), "|")
    for row in rows(arguments.backend, arguments.epochs, arguments.seeds):
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()

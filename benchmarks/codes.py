"""Codes in use and ELBO of a VQ-VAE on digits, by where the codes start, the losses' weights and restarts.

``python benchmarks/codes.py``: a table in Markdown, two minutes on one core; nats per test image, means over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from ppl_vae import backends, data, evaluation, recipes, seeds

STARTS = ("encodings", "normal", "uniform")
SETTINGS: dict[str, dict[str, Any]] = {
    "weights 1, 1/4": {},
    "weights 1, 1": {"commitment": 1.0},
    "weights 1/10, 1/40": {"commitment": 0.025, "codebook": 0.1},
    "weights 10, 5/2": {"commitment": 2.5, "codebook": 10.0},
    "restarts": {"restart_codes": True},
}
"""Name -> settings of the objective; the weights are those of ``codebook`` and ``commitment``."""
COLUMNS = ("elbo", "reconstruction", "codes_used", "perplexity")


def rows(backend: str, epochs: int, num_seeds: int, sizes: list[int]) -> Iterator[list[str]]:
    """Yield the number of codes, their start, the settings, and the mean of each column over seeds."""
    digits, b = data.load("digits"), backends.load(backend)
    for num_codes in sizes:
        for start in STARTS:
            for name, settings in SETTINGS.items():
                found = []
                for seed in range(num_seeds):
                    recipe = recipes.vae(
                        digits,
                        latents="vq",
                        latent_dim=8,
                        num_codes=num_codes,
                        code_dim=4,
                        codebook_start=start,
                        hidden=(100,),
                        backend=backend,
                    )
                    svi = b.inference.SVI(b.inference.VQELBO(**settings), epochs=epochs)
                    fit = svi.fit(*recipe(seeds.generator(seed, "weights")), digits, seed=seed)
                    row = evaluation.evaluate(fit, digits.test, 1, elbo_particles=1).row()
                    found.append([row[column] for column in COLUMNS])
                yield [str(num_codes), start, name, *(f"{mean:.1f}" for mean in np.mean(found, 0))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num-codes", type=int, nargs="+", default=[16, 128])
    arguments = parser.parse_args()
    head = ["codes", "start", "setting", *COLUMNS]
    print("|", " | ".join(head), "|\n|", " | ".join("---" for _ in head), "|")
    for row in rows(arguments.backend, arguments.epochs, arguments.seeds, arguments.num_codes):
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()

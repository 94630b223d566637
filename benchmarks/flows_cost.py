"""Cost of flow posteriors beside a plain one, under objectives that ask for log q of draws as given values, too.

    python benchmarks/flows_cost.py                       # some minutes on one core
    python benchmarks/flows_cost.py --backend numpyro --posteriors iaf spline

A step of the ELBO, of the ELBO that sticks the landing, of IWAE and of DReG with 5 draws on a 784-300-300-40 VAE, batch
100, one thread. Numbers are CPU time over that of the ELBO of a diagonal normal: the median over rounds of the ratio
within a round. Sticking the landing and DReG take the gradient of each inverse at the known pre-image.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cost
import torch

from ppl_vae import backends, recipes

POSTERIORS = {
    "standard": {},
    "iaf": {"flow_hidden": (320,)},
    "planar": {"flow_steps": 16},
    "radial": {"flow_steps": 16},
    "coupling": {},
    "spline": {},
    "sylvester": {},
}
"""Posterior -> settings other than 4 steps and nets of 128 hidden units."""
OBJECTIVES = ("ELBO", "STL", "IWAE", "DReG")


def main() -> None:
    """Print a row for each posterior."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--posteriors", nargs="+", default=list(POSTERIORS), choices=POSTERIORS)
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=OBJECTIVES)
    parser.add_argument("--steps", type=int, default=4, help="of a block")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="for the numbers as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    inference, scale = backends.load(arguments.backend).inference, cost.Scale()
    losses = {
        "ELBO": lambda: inference.TraceELBO(),
        "STL": lambda: inference.TraceELBO(stick_the_landing=True),
        "IWAE": lambda: inference.IWAE(5),
        "DReG": lambda: inference.DReG(5),
    }
    images = cost.random_images(arguments.steps * scale.batch, scale.pixels)
    found: dict[str, dict[str, float]] = {}
    print("| posterior |", " | ".join(arguments.objectives), "|\n|", " --- |" * (1 + len(arguments.objectives)))
    for posterior in arguments.posteriors:
        blocks = {}
        cells = {("standard", "ELBO"), *((posterior, objective) for objective in arguments.objectives)}
        for cell in cells:
            settings = {"latent_dim": scale.latents, "hidden": (300, 300), **POSTERIORS[cell[0]]}
            recipe = recipes.vae(images, posterior=cell[0], backend=arguments.backend, **settings)
            blocks[str(cell)] = cost.epochs(scale, losses[cell[1]](), recipe, images, arguments.steps)
        seconds = cost.timed(blocks, arguments.rounds)
        plain = seconds[str(("standard", "ELBO"))]
        found[posterior] = {
            objective: cost.ratios(seconds[str((posterior, objective))], plain)["cpu_ratio"]
            for objective in arguments.objectives
        }
        told = [f"{ratio:.2f}" for ratio in found[posterior].values()]
        print(f"| {posterior} |", " | ".join(told), "|", flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps({"backend": arguments.backend, "cpu_ratios": found}, indent=2))


if __name__ == "__main__":
    main()

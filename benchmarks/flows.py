"""Priors and posteriors that are flows: test ELBO, log p(x), their gap and seconds, on digits or static MNIST.

    python benchmarks/flows.py --out flows.jsonl                     # digits; goes on where it stopped
    python benchmarks/flows.py --data static_mnist --epochs 20 --out mnist.jsonl

Each training is a line of the file; the table in Markdown has nats per test image, the last of them log p(x) by
importance sampling less the ELBO.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

from ppl_vae import backends, data, evaluation, recipes, seeds

PRIORS = {
    "standard": {},
    "coupling": {"prior": "flow"},
    "spline": {"prior": "flow", "prior_flow": "spline"},
    "MAF": {"prior": "flow", "prior_flow": "maf"},
}
POSTERIORS = ("standard", "iaf", "planar", "radial", "coupling", "spline")
COLUMNS = ("prior", "posterior", "sticking", "ELBO", "log p(x)", "gap", "seconds")


def train(arguments: argparse.Namespace, images: Any, prior: str, posterior: str, sticking: bool) -> dict[str, Any]:
    """Train one pair, and evaluate it."""
    b = backends.load(arguments.backend)
    settings: dict[str, Any] = {"latent_dim": arguments.latent_dim, "hidden": tuple(arguments.hidden)}
    recipe = recipes.vae(images, posterior=posterior, backend=arguments.backend, **settings, **PRIORS[prior])
    svi = b.inference.SVI(b.inference.TraceELBO(stick_the_landing=sticking), epochs=arguments.epochs)
    began = time.perf_counter()
    fit = svi.fit(*recipe(seeds.generator(arguments.seed, "weights")), images, seed=arguments.seed)
    seconds = time.perf_counter() - began
    test = images.test[: arguments.test]
    elbo = float(evaluation.elbo(fit, test, num_particles=20).mean)
    log_p = float(evaluation.log_likelihood(fit, test, arguments.particles).mean)
    row = dict(zip(COLUMNS, (prior, posterior, sticking, elbo, log_p, log_p - elbo, seconds), strict=True))
    return {**row, "data": arguments.data, "epochs": arguments.epochs, "seed": arguments.seed}


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--hidden", type=int, nargs="+", default=[100])
    parser.add_argument("--particles", type=int, default=500)
    parser.add_argument("--test", type=int, default=400, help="test images")
    parser.add_argument("--priors", nargs="+", default=list(PRIORS), choices=list(PRIORS))
    parser.add_argument("--posteriors", nargs="+", default=list(POSTERIORS), choices=POSTERIORS)
    parser.add_argument("--sticking", type=int, nargs="+", default=[0, 1], choices=(0, 1))
    arguments = parser.parse_args()
    known = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    mine = {"data": arguments.data, "epochs": arguments.epochs, "seed": arguments.seed}
    images = data.load(arguments.data)
    print("|", " | ".join(COLUMNS), "|\n|", " | ".join("---" for _ in COLUMNS), "|")
    for prior, posterior, sticking in itertools.product(arguments.priors, arguments.posteriors, arguments.sticking):
        cell = {"prior": prior, "posterior": posterior, "sticking": bool(sticking), **mine}
        row = next((r for r in known if all(r[name] == value for name, value in cell.items())), None)
        if row is None:
            row = train(arguments, images, prior, posterior, bool(sticking))
            with arguments.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
        told = [f"{row[name]:.2f}" if isinstance(row[name], float) else str(row[name]) for name in COLUMNS]
        print("|", " | ".join(told), "|", flush=True)


if __name__ == "__main__":
    main()

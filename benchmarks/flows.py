"""Priors and posteriors that are flows: test ELBO, log p(x), their gap and seconds, on digits or static MNIST.

    python benchmarks/flows.py --out flows.jsonl                     # digits; goes on where it stopped
    python benchmarks/flows.py --data static_mnist --epochs 20 --hidden 300 300 --latent-dim 40 --out mnist.jsonl \
        --priors standard vampprior coupling --posteriors standard iaf planar spline --sticking 0

Each training is a line of the file; an interrupted one goes on from its checkpoint, beside the file. A VampPrior over a
flow posterior is refused, which its line says. The table in Markdown has nats per test image; log p(x) is by importance
sampling, and the gap is what the ELBO misses of it.
"""

from __future__ import annotations

import argparse
import itertools
import time
from functools import partial
from pathlib import Path
from typing import Any

from rows import checkpoint_of, options_of, table

from ppl_vae import backends, data, evaluation, recipes, seeds

PRIORS = {
    "standard": {},
    "vampprior": {"prior": "vampprior"},
    "coupling": {"prior": "flow"},
    "spline": {"prior": "flow", "prior_flow": "spline"},
    "MAF": {"prior": "flow", "prior_flow": "maf"},
}
POSTERIORS = ("standard", "iaf", "planar", "radial", "coupling", "spline", "sylvester")
AXES = ("priors", "posteriors", "sticking")
COLUMNS = ("prior", "posterior", "sticking", "ELBO", "log p(x)", "gap", "seconds")


def train(arguments: argparse.Namespace, images: Any, prior: str, posterior: str, sticking: bool) -> dict[str, Any]:
    """Train one pair, and evaluate it."""
    b = backends.load(arguments.backend)
    settings: dict[str, Any] = {"latent_dim": arguments.latent_dim, "hidden": tuple(arguments.hidden)}
    cell = {"prior": prior, "posterior": posterior, "sticking": sticking}
    try:
        recipe = recipes.vae(images, posterior=posterior, backend=arguments.backend, **settings, **PRIORS[prior])
    except ValueError as error:
        return {**dict.fromkeys(COLUMNS[3:], "refused"), "why": str(error)}
    svi = b.inference.SVI(b.inference.TraceELBO(stick_the_landing=sticking), epochs=arguments.epochs)
    began = time.perf_counter()
    path = checkpoint_of(arguments.out, cell, options_of(arguments, *AXES))
    pair = recipe(seeds.generator(arguments.seed, "weights"))
    fit = svi.fit(*pair, images, seed=arguments.seed, checkpoint=path, resume=True)
    seconds = time.perf_counter() - began  # of the last part alone, where it was interrupted
    test = images.test[: arguments.test]
    elbo = float(evaluation.elbo(fit, test, num_particles=20).mean)
    log_p = float(evaluation.log_likelihood(fit, test, arguments.particles).mean)
    path.unlink(missing_ok=True)
    numbers = (elbo, log_p, log_p - elbo, seconds)
    return dict(zip(COLUMNS[3:], numbers, strict=True))


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
    axes = itertools.product(arguments.priors, arguments.posteriors, map(bool, arguments.sticking))
    cells = (dict(zip(COLUMNS[:3], cell, strict=True)) for cell in axes)
    make = partial(train, arguments, data.load(arguments.data))
    table(arguments.out, COLUMNS, options_of(arguments, *AXES), cells, make)


if __name__ == "__main__":
    main()

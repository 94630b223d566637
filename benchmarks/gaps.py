"""How much of log p(x) the guide of a trained VAE loses, and whether two independent estimates of log p(x) agree.

    python benchmarks/gaps.py                          # embedded digits, both backends, both priors: some ten minutes
    python benchmarks/gaps.py --data static_mnist --epochs 30

For each backend and prior a VAE (two hidden layers of 300) is trained, resumable from ``--out``. On training and on
test images: log p(x) by importance sampling with ``--draws`` draws and by annealed importance sampling, which starts at
the prior and knows nothing of the guide; the approximation and the amortisation gap (Cremer, Li and Duvenaud, 2018);
the share of images whose k-hat is above 0.7. On simulated images, which come with an exact draw of their posterior, the
lower and the upper bound of bidirectional Monte Carlo (Wu et al., 2017). Nats per image, and standard errors: of the
draws for estimates of log p(x), over images for gaps. Written as ``gaps.csv``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ppl_vae import backends, data, evaluation, recipes
from ppl_vae.results import Fit

PRIORS = ("standard", "vampprior")


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--backends", nargs="+", choices=backends.NAMES, default=list(backends.NAMES))
    parser.add_argument("--priors", nargs="+", choices=PRIORS, default=list(PRIORS))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--hidden", type=int, default=300)
    parser.add_argument("--latents", type=int, default=40)
    parser.add_argument("--images", type=int, default=50, help="of the training part, of the test part, and simulated")
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--temperatures", type=int, default=500)
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
    parser.add_argument("--out", type=Path, default=Path("runs/gaps"))
    return parser.parse_args()


def trained(backend: str, prior: str, split: data.Split, args: argparse.Namespace) -> Fit:
    """A VAE with early stopping out of the way: what is measured is its guide."""
    settings: dict[str, Any] = {"prior": prior, "hidden": (args.hidden, args.hidden), "latent_dim": args.latents}
    recipe = recipes.vae(split, backend=backend, **settings)
    svi = backends.load(backend).inference.SVI(epochs=args.epochs, batch_size=100)
    place = args.out / f"{args.data}-{backend}-{prior}"
    beside = {"checkpoint": place, "resume": True, "description": f"{backend}, {prior}"}
    return svi.fit_seeds(recipe, split, seeds=[args.seed], **beside)[0]


def annealing(args: argparse.Namespace) -> evaluation.Annealing:
    """The ladder, from the prior."""
    return evaluation.Annealing(num_temperatures=args.temperatures, num_chains=args.chains)


def rows(fit: Fit, split: data.Split, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Training images, test images, simulated ones."""
    rng = np.random.default_rng(args.seed)
    for name, part in (("training", split.train), ("test", split.test)):
        x = np.asarray(part[np.sort(rng.permutation(len(part))[: args.images])])
        x = (x > rng.random(x.shape)).astype(np.float32) if split.binarisation == "dynamic" else x
        began = time.perf_counter()
        sampled = evaluation.log_likelihood(fit, x, args.draws, seed=args.seed)
        between = time.perf_counter()
        annealed = evaluation.ais(fit, x, annealing(args), seed=args.seed)
        ended = time.perf_counter()
        gaps = evaluation.gaps(fit, x, log_p=(sampled, annealed), seed=args.seed)
        yield {
            "images": name,
            "importance": sampled.mean,
            "importance_error": sampled.mean_mc_error,
            "importance_seconds": between - began,
            "annealed": annealed.mean,
            "annealed_error": annealed.mean_mc_error,
            "annealed_seconds": ended - between,
            "elbo": float(gaps.amortised.mean()),
            **gaps.row(),
            "k_above_0.7": evaluation.diagnose(fit, x, args.draws, seed=args.seed).share_above(0.7),
        }
    both = evaluation.bdmc(fit, args.images, annealing(args), seed=args.seed)
    bounds = {"lower": both.lower.mean, "upper": both.upper.mean, "bounds_error": both.gap_error}
    yield {"images": "simulated", **bounds}


def main() -> None:
    """Train, decompose, print and write the table."""
    args = arguments()
    torch.set_num_threads(args.threads)
    split, found = data.load(args.data), []
    for backend in args.backends:
        for prior in args.priors:
            fit = trained(backend, prior, split, args)
            for row in rows(fit, split, args):
                found.append({"backend": backend, "prior": prior, **row})
                print(pd.DataFrame([found[-1]]).to_string(index=False, float_format="{:.2f}".format), flush=True)
                pd.DataFrame(found).to_csv(args.out / "gaps.csv", index=False)
    print(pd.DataFrame(found).to_string(index=False, float_format="{:.2f}".format))


if __name__ == "__main__":
    main()

"""Discrete latents with and without a prior that is learned after the pair, in nats and bits per pixel.

``python benchmarks/code_priors.py``: digits as black and white, minutes on one core; a table in Markdown.
``python benchmarks/code_priors.py --data static_mnist --subset 10000 1000 1000``: MNIST, or all of it without a subset.

A VQ-VAE and a dVAE (categories under Gumbel-Softmax) on the same grid of cells, and beside them a VAE of Gaussian
latents over the same convolutions. Each is trained once, its prior uniform; then the pair stays as it is, and
each prior is trained on its codes by ``PriorELBO``, with early stopping on the validation images. All numbers are of
the test images: the ELBO, in nats, its two parts, and bits per dimension, -ELBO / (P log 2) for P pixels: an upper
bound of the bits that a lossless code needs for a pixel. It goes on where it stopped (``--out``).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ppl_vae import backends, baselines, data, evaluation, recipes, schedules, seeds
from ppl_vae.arrays.pixel_levels import bits_per_dim
from ppl_vae.results import Fit

K = 16
"""Codes, or categories, of each cell."""
CATEGORIES = {"net": "grid", "latents": "categorical", "num_categories": K}
PAIRS: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "VAE": ({"net": "conv"}, lambda i: i.TraceELBO()),
    "VQ-VAE": (
        {"net": "grid", "latents": "vq", "num_codes": K, "code_dim": 8},
        lambda i: i.VQELBO(restart_codes=True),
    ),
    "dVAE": (CATEGORIES, lambda i: i.GumbelSoftmax(temperature=0.5)),
    "dVAE, t 1": (CATEGORIES, lambda i: i.GumbelSoftmax(temperature=1.0)),
    "dVAE, t 0.1": (CATEGORIES, lambda i: i.GumbelSoftmax(temperature=0.1)),
    "dVAE, t 1 to 0.1": (CATEGORIES, lambda i: i.GumbelSoftmax(temperature=COOLED)),
    "dVAE, straight through, t 0.5": (
        CATEGORIES,
        lambda i: i.GumbelSoftmax(temperature=0.5, straight_through=True),
    ),
    "dVAE, RLOO 4": (CATEGORIES, lambda i: i.TraceGraphELBO(4, baseline=baselines.LeaveOneOut())),
    "dVAE, beta 0.3": (CATEGORIES, lambda i: i.GumbelSoftmax(temperature=0.5, beta=0.3)),
    "dVAE, beta 0.1": (CATEGORIES, lambda i: i.GumbelSoftmax(temperature=0.5, beta=0.1)),
    "dVAE, t 1 to 0.1, beta 0.1": (CATEGORIES, lambda i: i.GumbelSoftmax(temperature=COOLED, beta=0.1)),
    "dVAE, beta 0": (CATEGORIES, lambda i: i.GumbelSoftmax(temperature=0.5, beta=0.0)),
}
"""Name -> settings of the recipe, and the objective."""
COOLED = schedules.Exponential(1.0, 0.1, over=40)
PRIORS = ("factorised", "MADE", "PixelCNN", "transformer")
COLUMNS = ("pair", "prior", "ELBO", "reconstruction", "KL", "bits/dim", "seconds")


def settings_of(name: str, split: data.Split) -> tuple[dict[str, Any], tuple[int, int]]:
    """Settings of a pair's recipe, and the height and width of its grid."""
    few = split.image_shape[0] < 16
    channels, side = ((32,), split.image_shape[0] // 2) if few else ((32, 32), split.image_shape[0] // 4)
    chosen = {
        **PAIRS[name][0],
        "channels": channels,
        "hidden": (64,),
        "latent_dim": 16 if name == "VAE" else side * side,
    }
    return chosen, (side, side)


def prior_of(name: str, backend: Any, grid: tuple[int, int]) -> Any:
    """A prior over the numbers of a grid of codes, as it starts."""
    rng, dim = seeds.generator(0, "weights", "prior"), grid[0] * grid[1]
    if name == "factorised":
        return backend.priors.FactorisedCategorical(dim, K)
    nets = {
        "MADE": partial(backend.nets.MADE, dim, (200,), rng),
        "PixelCNN": partial(backend.nets.PixelCNN, grid, rng, channels=24, layers=3, kernel=3),
        "transformer": partial(backend.nets.CausalTransformer, dim, rng, width=48, layers=2),
    }
    return backend.priors.Autoregressive(nets[name](num_categories=K))


def numbers(fit: Fit, split: data.Split, seconds: float) -> dict[str, float]:
    """The columns of a fit, of the test images."""
    found = evaluation.elbo(fit, split.test, 5)
    bits = bits_per_dim(found.mean, split.test.shape[1])
    parts = float(found.reconstruction.mean()), float(found.kl.mean())
    return {"ELBO": found.mean, "reconstruction": parts[0], "KL": parts[1], "bits/dim": bits, "seconds": seconds}


def rows(args: argparse.Namespace, split: data.Split) -> Iterator[dict[str, Any]]:
    """Yield a row for each pair and prior, from the folder where it stands there already."""
    backend = backends.load(args.backend)
    inference = backend.inference
    for pair in args.pairs:
        chosen, grid = settings_of(pair, split)
        recipe = recipes.vae(split, backend=args.backend, **chosen)
        kept = {"patience": None if args.last else args.patience}
        svi = inference.SVI(PAIRS[pair][1](inference), epochs=args.epochs, learning_rate=2e-3, **kept)
        programs, path = recipe(seeds.generator(0, "weights")), args.out / f"{pair}.checkpoint"
        fit = svi.fit(*programs, split, checkpoint=path, resume=True)
        for name in ("standard", *(() if pair == "VAE" else args.priors)):
            file = args.out / f"{pair}-{name}.json"
            if not file.exists():
                whole, began = fit, fit.seconds
                if name != "standard":
                    start = time.perf_counter()
                    whole = fit.with_prior(prior_of(name, backend, grid))
                    loss = inference.PriorELBO()
                    second = inference.SVI(loss, epochs=args.prior_epochs, patience=args.patience, learning_rate=3e-3)
                    path = args.out / f"{pair}-{name}.checkpoint"
                    whole = second.fit(whole.model, whole.guide, split, checkpoint=path, resume=True)
                    began = time.perf_counter() - start
                file.write_text(json.dumps(numbers(whole, split, began)), encoding="utf-8")
            told = "N(0, I)" if pair == "VAE" else "uniform" if name == "standard" else name
            yield {"pair": pair, "prior": told, **json.loads(file.read_text(encoding="utf-8"))}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("digits", "static_mnist"), default="digits")
    parser.add_argument("--subset", type=int, nargs=3, help="numbers of training, validation and test images")
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=["VAE", "VQ-VAE", "dVAE"])
    parser.add_argument("--priors", nargs="+", choices=PRIORS, default=list(PRIORS))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--prior-epochs", type=int, default=60)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--last", action="store_true", help="keep a pair's last weights, not those of the best ELBO")
    parser.add_argument("--out", type=Path, help="folder; by default runs/code_priors-<data>-<backend>")
    args = parser.parse_args()
    if args.backend == "pyro":
        import torch

        torch.set_num_threads(1)
    args.out = args.out or Path("runs") / f"code_priors-{args.data}-{args.backend}{'-last' if args.last else ''}"
    args.out.mkdir(parents=True, exist_ok=True)
    split = data.load(args.data, binarisation="threshold" if args.data == "digits" else None)
    split = split.subset(*args.subset) if args.subset else split
    print("|", " | ".join(COLUMNS), "|\n|", " | ".join("---" for _ in COLUMNS), "|")
    for row in rows(args, split):
        told = [f"{row[c]:.3f}" if c == "bits/dim" else f"{row[c]:.1f}" for c in COLUMNS[2:]]
        print("|", " | ".join([row["pair"], row["prior"], *told]), "|", flush=True)


if __name__ == "__main__":
    main()

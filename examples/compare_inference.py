"""One pair, many inferences, one table: the strategy is swapped, the pair stays as it is.

    python examples/compare_inference.py                         # digits, a minute or two on two cores
    python examples/compare_inference.py --backend numpyro --seeds 0 1 2

A VAE with Gaussian latents under reparameterised objectives, and a sigmoid belief net under score functions and exact
enumeration. The ELBO and log p(x) are those of the test images, whatever was trained on; ``objective`` is what the
training itself maximised. Nats per image; higher is better.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ppl_vae import backends, data, evaluation, plots, recipes

COLUMNS = ["elbo", "kl", "objective", "log_p", "test_error", "mc_error", "active_units", "seconds"]


def strategies(inference: Any) -> dict[str, dict[str, Any]]:
    """Name -> objective, for each of the two pairs."""
    return {
        "gaussian": {
            "ELBO": inference.TraceELBO(),
            "mean field": inference.TraceMeanFieldELBO(),
            "sticking the landing": inference.TraceELBO(stick_the_landing=True),
            "IWAE 10": inference.IWAE(10),
            "DReG 10": inference.DReG(10),
            "Renyi 0.5, 10": inference.RenyiELBO(10, alpha=0.5),
        },
        "bernoulli": {
            "REINFORCE 4": inference.TraceGraphELBO(4),
            "REINFORCE 4, leave-one-out": inference.TraceGraphELBO(4, baseline="leave-one-out"),
            "VIMCO 10": inference.VIMCO(10),
            "wake-wake 10": inference.WakeWake(10),
            "enumeration": inference.TraceEnumELBO(),
        },
    }


def compare(kind: str, losses: Mapping[str, Any], split: data.Split, args: argparse.Namespace) -> pd.DataFrame:
    """Train the pair of this kind under each strategy and seed; draw the curves; return the table."""
    inference = backends.load(args.backend).inference
    options = {"latent_dim": 16, "hidden": (100,)} if kind == "gaussian" else {"latent_dim": 8, "hidden": (100,)}
    recipe = recipes.vae(split, latents=kind, backend=args.backend, **options)
    epochs = 2 if args.smoke else args.epochs
    fits = {}
    for name, loss in losses.items():
        svi = inference.SVI(loss, epochs=epochs, batch_size=100, learning_rate=2e-3)
        fits[name] = svi.fit_seeds(recipe, split, seeds=args.seeds, device=args.device, description=f"{kind}, {name}")
    histories = {name: {"valid_elbo": group[0].history["valid_elbo"]} for name, group in fits.items()}
    curves = plots.training_curves(histories, title=f"{kind} latents ({split.name}, {args.backend})")
    plots.save(curves, args.out / f"{kind}.png")
    table = evaluation.compare(fits, split.test, num_particles=20 if args.smoke else 500)
    table.to_csv(args.out / f"{kind}.csv", index_label="strategy")
    return table


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--dataset", default="digits", help=f"{', '.join(data.names())}, or a .npy or .npz file")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each with weights of its own")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--out", type=Path, help="a folder; by default runs/compare-<dataset>-<backend>")
    parser.add_argument("--smoke", action="store_true", help="a few images, epochs and draws: seconds")
    return parser.parse_args()


def main() -> int:
    """Compare on both pairs and print the tables."""
    args = arguments()
    try:
        if args.backend == "pyro":
            import torch

            torch.set_num_threads(1)  # nets this small run faster on one thread
        split = data.load(args.dataset)
        split = split.subset(200, 40, 40) if args.smoke else split
        args.out = args.out or Path("runs") / f"compare-{split.name}-{args.backend}"
        args.out.mkdir(parents=True, exist_ok=True)
        losses = strategies(backends.load(args.backend).inference)
        tables = {kind: compare(kind, losses[kind], split, args) for kind in losses}
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for kind, table in tables.items():
        columns = [c for column in COLUMNS for c in (column, f"{column}_sd") if c in table]
        print(f"\n{kind} latents ({split.name}, {args.backend}, {len(args.seeds)} seed(s)):")
        print(table[columns].round(3).to_string())
    print(f"\nELBO and log p(x): nats per test image, higher is better. Written to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

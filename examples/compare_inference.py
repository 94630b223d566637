"""One pair, many inferences, one table: the strategy is swapped, the pair stays as it is.

    python examples/compare_inference.py                         # digits, about two minutes on two cores
    python examples/compare_inference.py --backend numpyro --seeds 0 1 2

A VAE with Gaussian latents under reparameterised objectives and other guides, and a sigmoid belief net under score
functions and exact enumeration. The ELBO and log p(x) are those of the test images, whatever was trained on;
``objective`` is what the training itself maximised. Nats per image; higher is better. Each pair leaves a report to open
in a browser, with the noise of the gradients. What was interrupted goes on when the command is given again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from ppl_vae import backends, baselines, data, evaluation, recipes
from ppl_vae.runtime import folders, scripts

COLUMNS = ["elbo", "kl", "objective", "log_p", "log_p_difference", "difference_error", "active_units", "seconds"]


def strategies(inference: Any) -> dict[str, dict[str, Any]]:
    """Pair -> {name -> objective}. With a guide of its own: (objective, settings of the pair, settings of the SVI)."""
    elbo, graph = inference.TraceELBO, inference.TraceGraphELBO
    return {
        "gaussian": {
            "ELBO": elbo(),
            "mean field": inference.TraceMeanFieldELBO(),
            "sticking the landing": elbo(stick_the_landing=True),
            "IWAE 10": inference.IWAE(10),
            "DReG 10": inference.DReG(10),
            "Renyi 10": inference.RenyiELBO(10, alpha=0.5),
            "semi-amortised": (elbo(), {"guide": "semi-amortised"}, {}),
            "per-datapoint, joint": (elbo(), {"guide": "per-datapoint"}, {}),
            "per-datapoint, inner loop": (elbo(), {"guide": "per-datapoint"}, {"local_steps": 10}),
        },
        "bernoulli": {
            "REINFORCE 4": graph(4),
            "running average 4": graph(4, baseline=baselines.RunningAverage()),
            "NVIL 4": graph(4, baseline=baselines.Neural()),
            "leave-one-out 4": graph(4, baseline=baselines.LeaveOneOut()),
            "VIMCO 10": inference.VIMCO(10),
            "wake-wake 10": inference.WakeWake(10),
            "wake-sleep 10": inference.WakeSleep(10),
            "enumeration": inference.TraceEnumELBO(),
        },
    }


def chosen(inference: Any, names: list[str] | None) -> dict[str, dict[str, Any]]:
    """The strategies of these names; pairs without any are left out."""
    known = strategies(inference)
    unknown = [n for n in names or [] if not any(n in group for group in known.values())]
    if unknown:
        there = ", ".join(repr(n) for group in known.values() for n in group)
        raise ValueError(f"unknown strategy {unknown[0]!r}; there are {there}")
    some = {kind: {n: s for n, s in group.items() if not names or n in names} for kind, group in known.items()}
    return {kind: group for kind, group in some.items() if group}


def study(kind: str, losses: dict[str, Any], split: data.Split, args: argparse.Namespace) -> evaluation.Study:
    """The pair of this kind under each strategy and seed."""
    inference = backends.load(args.backend).inference
    pair = {"latent_dim": 16 if kind == "gaussian" else 8, "hidden": (100,), "latents": kind, "backend": args.backend}
    settings = {"epochs": 2 if args.smoke else args.epochs, "batch_size": 100, "learning_rate": 2e-3}
    cells = []
    for name, strategy in losses.items():
        loss, own, how = strategy if isinstance(strategy, tuple) else (strategy, {}, {})
        svi = inference.SVI(loss, **{**settings, **how})
        cells.append(evaluation.Cell(name, args.backend, recipes.vae(split, **{**pair, **own}), svi))
    draws = 20 if args.smoke else 500
    return evaluation.Study(args.out / kind, split, cells, args.seeds, num_particles=draws)


def compare(one: evaluation.Study, args: argparse.Namespace) -> pd.DataFrame:
    """Train what is not trained yet, write the report, return the table."""
    table = one.run(device=args.device)
    gradients = evaluation.study_gradients(one, repeats=5 if args.smoke else 50, device=args.device)
    evaluation.write_report(one, gradients=gradients, command=f"python {' '.join(sys.argv)}")
    return table


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--dataset", default="digits", help=f"{', '.join(data.names())}, or a .npy or .npz file")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each with weights of its own")
    parser.add_argument("--strategies", nargs="+", metavar="NAME", help="some of those in the code; by default all")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--out", type=Path, help="a folder; by default runs/compare-<dataset>-<backend>")
    parser.add_argument("--smoke", action="store_true", help="a few images, epochs and draws: seconds")
    return parser.parse_args()


def main() -> None:
    """Compare on both pairs and print the tables."""
    args = arguments()
    if args.backend == "pyro":
        import torch

        torch.set_num_threads(1)  # nets this small run faster on one thread
    split = data.load(args.dataset)
    split = split.subset(200, 40, 40) if args.smoke else split
    args.out = args.out or Path("runs") / f"compare-{split.name}-{args.backend}"
    folders.claim(args.out, "the work of examples/compare_inference.py", earlier="*/cells")
    losses = chosen(backends.load(args.backend).inference, args.strategies)
    tables = {kind: compare(study(kind, losses[kind], split, args), args) for kind in losses}
    for kind, table in tables.items():
        columns = [c for column in COLUMNS for c in (column, f"{column}_sd") if c in table]
        print(f"\n{kind} latents ({split.name}, {args.backend}, {len(args.seeds)} seed(s)):")
        print(table[columns].round(3).to_string())
    print(f"\nELBO and log p(x): nats per test image, higher is better. Reports: {args.out}/*/index.html")


if __name__ == "__main__":
    sys.exit(scripts.run(main, "what is done is kept; give the same command again to go on"))

"""Strategies on static MNIST beside published cells: importance weighting on a VAE, scores on a Bernoulli pair.

    python benchmarks/inference_mnist.py --strategy iwae-50 --epochs 50
    python benchmarks/inference_mnist.py --strategy nvil --epochs 100 --num-particles 500

The continuous pair is the one-layer model of Burda et al. (2016): 784-200-200-50, tanh. The Bernoulli pair is linear,
200 units, as in the comparisons of score-function estimators (Tucker et al., 2017). Both train on Larochelle's train
and validation images together (60,000), batch 100, Adam at 1e-3 that falls to 1e-4, and are evaluated on all 10,000
test images. One row of JSON per run is written to ``--out``; an interrupted run goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import runs

from ppl_vae import backends, baselines, data, recipes, schedules

PAIRS: dict[str, dict[str, Any]] = {
    "gaussian": {"latent_dim": 50, "hidden": (200, 200), "activation": "tanh"},
    "bernoulli": {"latents": "bernoulli", "latent_dim": 200, "hidden": ()},
}


def strategies(i: Any) -> dict[str, tuple[str, Any]]:
    """Name -> (pair, objective)."""
    return {
        "vae": ("gaussian", i.TraceELBO()),
        "iwae-5": ("gaussian", i.IWAE(5)),
        "iwae-50": ("gaussian", i.IWAE(50)),
        "dreg-50": ("gaussian", i.DReG(50)),
        "reinforce": ("bernoulli", i.TraceGraphELBO()),
        "average": ("bernoulli", i.TraceGraphELBO(baseline=baselines.RunningAverage())),
        "nvil": ("bernoulli", i.TraceGraphELBO(baseline=baselines.Neural())),
        "rloo-5": ("bernoulli", i.TraceGraphELBO(5, baseline=baselines.LeaveOneOut())),
        "vimco-5": ("bernoulli", i.VIMCO(5)),
        "wake-wake-5": ("bernoulli", i.WakeWake(5)),
    }


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(strategies(backends.load("numpyro").inference))
    parser.add_argument("--strategy", choices=names, required=True)
    runs.add_options(parser, out="runs/inference_mnist", epochs=50, num_particles=5000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Train, evaluate, print and write one row."""
    args = arguments()
    inference = backends.load(args.backend).inference
    pair, loss = strategies(inference)[args.strategy]
    recipe = recipes.vae((28, 28), backend=args.backend, **PAIRS[pair])
    factor = schedules.Exponential(1.0, 0.1, over=args.epochs)
    options = {"learning_rate": 1e-3, "learning_rate_factor": factor, "batch_size": 100}
    svi = inference.SVI(loss, epochs=args.epochs, **options)
    stem = f"{args.strategy}-{args.backend}-seed{args.seed}"
    words = f"--strategy {args.strategy} --epochs {args.epochs} --seed {args.seed} --backend {args.backend}"
    training = runs.Training(
        args.out,
        stem,
        recipe,
        svi,
        runs.whole(data.load("static_mnist")),
        args.seed,
        args.num_particles,
        command=f"python benchmarks/inference_mnist.py {words} --num-particles {args.num_particles}",
        about={"strategy": args.strategy, "pair": pair},
        extends=False,
    )
    row = training.done() or training.run(device=args.device)
    print(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()

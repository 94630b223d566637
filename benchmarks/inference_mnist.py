"""Strategies on static MNIST beside published cells: importance weighting on a VAE, scores on a Bernoulli pair.

    python benchmarks/inference_mnist.py --strategy iwae-50 --epochs 50
    python benchmarks/inference_mnist.py --strategy iwae-50 --burda 0.2     # a fifth of the paper's 3,280 epochs
    python benchmarks/inference_mnist.py --strategy nvil --epochs 100 --num-particles 500

The continuous pair is the one-layer model of Burda et al. (2016): 784-200-200-50, tanh. The Bernoulli pair is linear,
200 units, as in the comparisons of score-function estimators (Tucker et al., 2017). Both train on Larochelle's train
and validation images together (60,000), batch 100, Adam at 1e-3 that falls to 1e-4, and are evaluated on all 10,000
test images. ``--burda 1`` has the training of Burda et al. in their place: batches of 20, Adam with an epsilon of 1e-4,
and rates of 0.001 10^(-i/7) for 3^i epochs, i = 0 to 7; a part of 1 has that part of each of these epochs. One row of
JSON per run is written to ``--out``; an interrupted run goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from functools import partial
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


BURDA = tuple(3**i for i in range(8))
"""Epochs at each rate, 3,280 in all."""


def burda(part: float, backend: str) -> dict[str, Any]:
    """Settings of ``SVI``: the training of Burda et al., 2016, or a part of the epochs at each of its rates.

    >>> settings = burda(0.5, "numpyro")
    >>> settings["epochs"], settings["learning_rate_factor"].boundaries[:3]
    (1640, (0.5, 2.0, 6.5))
    """
    if backend == "numpyro":
        import optax

        optim: Any = optax.adam(1e-3, eps=1e-4)
    else:
        import torch

        optim = partial(torch.optim.Adam, lr=1e-3, eps=1e-4)
    ends = tuple(part * end for end in itertools.accumulate(BURDA))
    rates = tuple(10 ** (-i / 7) for i in range(len(BURDA)))
    factor = schedules.PiecewiseConstant(rates, boundaries=ends[:-1])
    return {"optim": optim, "learning_rate_factor": factor, "batch_size": 20, "epochs": math.ceil(ends[-1])}


def share(text: str) -> float:
    """A number above 0 and at most 1, from a command line."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number above 0, at most 1")
    return value


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(strategies(backends.load("numpyro").inference))
    parser.add_argument("--strategy", choices=names, required=True)
    runs.add_options(parser, out="runs/inference_mnist", epochs=50, num_particles=5000)
    parser.add_argument("--seed", type=int, default=0)
    text = "the training of Burda et al., 1, or that part of its epochs; in place of --epochs"
    parser.add_argument("--burda", type=share, metavar="PART", help=text)
    return parser.parse_args()


def main() -> None:
    """Train, evaluate, print and write one row."""
    args = arguments()
    inference = backends.load(args.backend).inference
    pair, loss = strategies(inference)[args.strategy]
    recipe = recipes.vae((28, 28), backend=args.backend, **PAIRS[pair])
    if args.burda:
        options, setting = burda(args.burda, args.backend), f"--burda {args.burda:g}"
    else:
        factor = schedules.Exponential(1.0, 0.1, over=args.epochs)
        options = {"learning_rate": 1e-3, "learning_rate_factor": factor, "batch_size": 100, "epochs": args.epochs}
        setting = f"--epochs {args.epochs}"
    svi = inference.SVI(loss, **options)
    stem = f"{args.strategy}-{'burda-' if args.burda else ''}{args.backend}-seed{args.seed}"
    words = f"--strategy {args.strategy} {setting} --seed {args.seed} --backend {args.backend}"
    training = runs.Training(
        args.out,
        stem,
        recipe,
        svi,
        runs.whole(data.load("static_mnist")),
        args.seed,
        args.num_particles,
        command=f"python benchmarks/inference_mnist.py {words} --num-particles {args.num_particles}",
        about={"strategy": args.strategy, "pair": pair, "setting": setting},
        extends=False,
    )
    row = training.done() or training.run(device=args.device)
    print(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()

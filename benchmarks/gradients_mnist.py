"""The noise of score-function gradients on static MNIST, at the parameters of a sigmoid belief net trained by NVIL.

    python benchmarks/inference_mnist.py --strategy nvil --epochs 100 --num-particles 500
    python benchmarks/gradients_mnist.py --fit runs/inference_mnist/nvil-numpyro-seed0-100epochs.safetensors

Prints the natural logarithm of the variance of one gradient, and at equal compute (times the draws), for parameters of
the model and of the guide; writes the table and a figure beside the fit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ppl_vae import backends, baselines, data, evaluation, plots
from ppl_vae.results import Fit


def main() -> None:
    """Draw the gradients; print and write the table; draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=Path, required=True, help="a fit that inference_mnist.py saved")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=100)
    args = parser.parse_args()
    fit = Fit.load(args.fit)
    i = backends.load(fit.backend).inference
    losses = {
        "REINFORCE": i.TraceGraphELBO(),
        "running average": i.TraceGraphELBO(baseline=baselines.RunningAverage()),
        "NVIL": i.TraceGraphELBO(baseline=baselines.Neural()),
        "leave-one-out 5": i.TraceGraphELBO(5, baseline=baselines.LeaveOneOut()),
        "VIMCO 5": i.VIMCO(5),
        "wake-wake 5": i.WakeWake(5),
    }
    x = data.load("static_mnist").train[: args.images]
    report = evaluation.gradient_report(fit, losses, x, repeats=args.repeats, progress=None)
    report["log_variance_per_draw"] = np.log(report["variance_per_draw"])
    print(report[["num_draws", "log_variance", "log_variance_per_draw", "snr", "seconds"]].round(3).to_string())
    report.to_csv(args.fit.with_suffix(".gradients.csv"))
    plots.save(plots.gradient_noise(report, per_draw=True), args.fit.with_suffix(".gradients.png"))


if __name__ == "__main__":
    main()

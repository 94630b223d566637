"""How many digits are on a canvas, and where: attend, infer, repeat, trained without labels.

    python examples/attend_infer_repeat.py                 # a minute on two cores, two on Pyro (--backend pyro)
    python examples/attend_infer_repeat.py --strategy rloo

A canvas of 32 x 32 pixels has none, one or two of the 8 x 8 digits. The model draws a number of objects, for each a
window and a code, and what the code looks like in the window:

    count ~ uniform on 0, 1, 2;  where, what ~ N(0, I);  x | . ~ N(sum of the objects present, 0.3^2)

The guide says the number from the canvas, and finds one object after the other in what is left of it. The number is
discrete: its gradient is exact (enumeration), or that of scores. The table has the share of test canvases whose number
is right, for each number. The figure shows test canvases with the windows of a draw, and what the model makes of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae import backends, baselines, data, evaluation, plots, recipes, seeds
from ppl_vae.runtime import folders, scripts

STRATEGIES = {
    "enumeration": lambda inference: inference.TraceEnumELBO(),
    "rloo": lambda inference: inference.TraceGraphELBO(4, baseline=baselines.LeaveOneOut()),
    "vimco": lambda inference: inference.VIMCO(4),
}
SHOWN = (2, 4, 6)
"""Test canvases in the figure, of none, one and two digits."""


def windows_of(fit: Any, x: np.ndarray) -> np.ndarray:
    """The windows of one draw for each canvas, (N, T, 4): upper and left edge, height and width; NaN where absent."""
    draws = {name: values[0] for name, values in fit.draws(x, 1).items()}
    found = []
    for t in range(fit.model.most):
        top, left, side = fit.guide.windows.edges(draws[f"where_{t}"])
        found.append(np.where(draws["count"] > t, np.stack([top, left, side, side], -1), np.nan))
    return np.stack(found, 1)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="numpyro")
    parser.add_argument("--strategy", choices=STRATEGIES, default="enumeration")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--out", type=Path, help="a folder; by default runs/attend-infer-repeat-<backend>")
    parser.add_argument("--smoke", action="store_true", help="a few canvases and one epoch: seconds")
    return parser.parse_args()


def main() -> None:
    """Train, say how often the number is right, draw the windows."""
    args = arguments()
    out = args.out or Path("runs") / f"attend-infer-repeat-{args.backend}"
    folders.claim(out, "the work of examples/attend_infer_repeat.py")
    canvases = data.load("canvases")
    canvases = canvases.subset(200, 20, 60) if args.smoke else canvases
    inference = backends.load(args.backend).inference
    rng = seeds.generator(args.seed, "weights")
    pair = recipes.attend_infer_repeat(canvases.image_shape, rng, backend=args.backend)
    svi = inference.SVI(
        STRATEGIES[args.strategy](inference),
        epochs=1 if args.smoke else args.epochs,
        batch_size=64,
        learning_rate=1e-3,
    )
    fit = svi.fit(*pair, canvases, seed=args.seed, device=args.device, description=args.strategy)
    elbo = evaluation.elbo(fit, canvases.test, 20)
    fit.save(out / "fit.safetensors")
    count = canvases.labels["test"][:, 0]
    right = fit.encode(canvases.test)[:, 0] == count  # the code of a categorical site is its most likely value
    print("digits  canvases  number right")
    for number in range(3):
        print(f"{number:6d}  {(count == number).sum():8d}  {right[count == number].mean():12.1%}")
    print(
        f"   all  {len(count):8d}  {right.mean():12.1%}\n\nELBO {elbo.mean:.1f} nats per test canvas. Written to {out}"
    )
    x = canvases.test[np.concatenate([np.flatnonzero(count == n)[:k] for n, k in enumerate(SHOWN)])]
    rows = {"canvas": x, "reconstruction": fit.reconstruct(x), "new": fit.generate(len(x))}
    figure = plots.labelled_rows(
        rows, canvases.image_shape, boxes={"canvas": windows_of(fit, x)}, title="Digits found, one after the other"
    )
    plots.save(figure, out / "windows.png")


if __name__ == "__main__":
    sys.exit(scripts.run(main))

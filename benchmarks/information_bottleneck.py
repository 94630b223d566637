"""The deep variational information bottleneck on digits: what codes keep of the image and tell of its class, by weight.

    python benchmarks/information_bottleneck.py
    python benchmarks/information_bottleneck.py --betas 0.001 0.1 --epochs 20

Codes of 8 numbers, a guide of 100 units; pixels in [0, 1]. On the training images, in nats: H(Y) - D <= I(Z; Y) <=
I(X; Z) <= R, with I(X; Z) at most log N; on the test images the accuracy of the most likely class, by the mean of
p(y | z), and -log p(y | x) beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import rows

from ppl_vae import backends, data, evaluation, recipes, seeds
from ppl_vae.objectives import TraceMeanFieldELBO

COLUMNS = ("beta", "seed", "H - D", "I(X; Z)", "R", "accuracy", "-log p(y | x)")


def make(beta: float, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """The numbers of a row."""
    digits, backend = data.load("digits", binarisation="none"), backends.load(args.backend)
    y, truth = (np.reshape(digits.labels[part], (-1, 1)).astype(np.float32) for part in ("train", "test"))
    pair = recipes.bottleneck(64, 10, seeds.generator(seed, "weights"), backend=args.backend)
    svi = backend.inference.SVI(TraceMeanFieldELBO(beta=beta), epochs=args.epochs, batch_size=74, learning_rate=2e-3)
    fit = svi.fit(*pair, digits.train, given=y, seed=seed)
    table = evaluation.rate_distortion({beta: fit}, digits.train, entropy=evaluation.data_entropy(y), given=y).iloc[0]
    each = [evaluation.predictive(fit, digits.test, given=np.full_like(truth, c)) for c in range(10)]
    log_p = np.stack(each, 1)
    return {
        "H - D": float(table.lower),
        "I(X; Z)": float(table.mutual_information),
        "R": float(table.rate),
        "accuracy": float((log_p.argmax(1) == truth[:, 0]).mean()),
        "-log p(y | x)": float(-np.take_along_axis(log_p, truth.astype(int), 1).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--betas", nargs="+", type=float, default=[1e-3, 1e-2, 0.1, 0.3, 1.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--backend", choices=backends.NAMES, default="numpyro")
    parser.add_argument("--out", type=Path, default=Path("runs/information_bottleneck.jsonl"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"beta": beta, "seed": seed} for beta in args.betas for seed in args.seeds]
    rows.table(
        args.out, COLUMNS, rows.options_of(args, "betas", "seeds"), cells, lambda **cell: make(args=args, **cell)
    )


if __name__ == "__main__":
    main()

"""How many seconds each disentanglement metric takes on codes of the size of the dSprites grid.

    python benchmarks/metrics_cost.py
    python benchmarks/metrics_cost.py --usefulness                 # with boosted trees on up to 10,000 labels

The codes are made up: 3 x 6 x 10 x 16 x 16 = 46,080 rows and 10 dimensions, of which five mix the factors a little, two
are noise and three are dead. On cores that others use as well it says more than the metrics take.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np

from ppl_vae.evaluation import disentanglement

SIZES = (3, 6, 10, 16, 16)


def codes(sizes: tuple[int, ...], dims: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means and standard deviations of a made-up posterior, (N, D), and the factors of the full grid, (N, F)."""
    rng = np.random.default_rng(0)
    factors = np.indices(sizes).reshape(len(sizes), -1).T
    unit = (factors - factors.mean(0)) / factors.std(0)
    mixed = unit @ (np.eye(len(sizes)) + 0.2 * rng.standard_normal((len(sizes), len(sizes))))
    means = np.concatenate([mixed, rng.standard_normal((len(unit), max(0, dims - len(sizes))))], 1)[:, :dims]
    scale = np.where(np.arange(dims) < len(sizes) + 2, 1.0, 1e-3)
    sds = np.where(scale == 1, 0.1, 1.0) * np.ones_like(means)
    return means * scale, sds, factors


def seconds(block: Callable[[], object], rounds: int) -> list[float]:
    """Of each round."""
    took = []
    for _ in range(rounds):
        begin = time.perf_counter()
        block()
        took.append(time.perf_counter() - begin)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="how many values each factor has")
    parser.add_argument("--dims", type=int, default=10)
    parser.add_argument(
        "--usefulness", action="store_true", help="with usefulness, which is not one of the default metrics"
    )
    args = parser.parse_args()
    means, sds, factors = codes(tuple(args.sizes), args.dims)
    print(
        f"{len(means)} codes of {args.dims} dimensions, {os.cpu_count()} cores: "
        f"median and least of {args.rounds} rounds"
    )
    blocks: dict[str, Callable[[], object]] = {
        name: lambda name=name: disentanglement.metrics(means, factors, sds=sds, which=[name])
        for name in disentanglement.METRICS
    }
    if args.usefulness:
        blocks["usefulness"] = lambda: disentanglement.usefulness(means, factors)
    medians, least = {}, {}
    for name, block in blocks.items():
        took = seconds(block, args.rounds)
        medians[name], least[name] = float(np.median(took)), min(took)
        print(f"{name:28} {medians[name]:8.2f} s {least[name]:8.2f} s", flush=True)
    total = [name for name in blocks if name != "usefulness"]
    print(f"{'the default metrics':28} {sum(medians[n] for n in total):8.2f} s {sum(least[n] for n in total):8.2f} s")


if __name__ == "__main__":
    main()

"""How many seconds each disentanglement metric takes on codes of the size of the dSprites grid.

    python benchmarks/metrics_cost.py
    python benchmarks/metrics_cost.py --usefulness                 # and boosted trees on up to 10,000 labels
    python benchmarks/metrics_cost.py --boosting 10 100 1000       # these beside other boosted trees of scikit-learn

The codes are made up: 3 x 6 x 10 x 16 x 16 = 46,080 rows and 10 dimensions, of which five mix the factors a little, two
are noise and three are dead. On cores that others use as well the CPU says more than the clock.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier

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


def seconds(block: Callable[[], object], rounds: int) -> np.ndarray:
    """Of the clock and of the CPU, in each round, (R, 2)."""
    took = []
    for _ in range(rounds):
        begin = time.perf_counter(), time.process_time()
        block()
        took.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    return np.array(took)


def boosting(means: np.ndarray, factors: np.ndarray, labels: int) -> None:
    """The trees of ``usefulness`` beside GradientBoostingClassifier as it comes, on the same labels."""
    rows = np.random.default_rng(1).permutation(len(means))
    train, test = rows[:labels], rows[labels:][-5000:]
    begin = time.process_time()
    ours = disentanglement.usefulness(means, factors, labels=(labels,)).mean[0]
    told = [ours, time.process_time() - begin]
    begin, right = time.process_time(), []
    for column in factors.T:
        model = GradientBoostingClassifier(random_state=0).fit(means[train], column[train])
        right.append(model.score(means[test], column[test]))
    told += [float(np.mean(right)), time.process_time() - begin]
    print(
        "{:6} labels: accuracy {:.3f}, {:.1f} s of CPU; GradientBoosting {:.3f}, {:.1f} s".format(labels, *told),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="how many values each factor has")
    parser.add_argument("--dims", type=int, default=10)
    parser.add_argument(
        "--usefulness", action="store_true", help="with usefulness, which is not one of the default metrics"
    )
    parser.add_argument(
        "--boosting", type=int, nargs="+", metavar="LABELS", help="compare boosted trees, and nothing else"
    )
    args = parser.parse_args()
    means, sds, factors = codes(tuple(args.sizes), args.dims)
    if args.boosting:
        for labels in args.boosting:
            boosting(means, factors, labels)
        return
    print(
        f"{len(means)} codes of {args.dims} dimensions, {os.cpu_count()} cores: "
        f"median and least of {args.rounds} rounds, and CPU"
    )
    blocks: dict[str, Callable[[], object]] = {
        name: lambda name=name: disentanglement.metrics(means, factors, sds=sds, which=[name])
        for name in disentanglement.METRICS
    }
    if args.usefulness:
        blocks["usefulness"] = lambda: disentanglement.usefulness(means, factors)
    total = np.zeros(3)
    for name, block in blocks.items():
        took = seconds(block, args.rounds)
        row = np.array([np.median(took[:, 0]), took[:, 0].min(), np.median(took[:, 1])])
        total += row if name != "usefulness" else 0
        show(name, row)
    show("the default metrics", total)


def show(name: str, row: np.ndarray) -> None:
    print(f"{name:28}", "".join(f"{number:8.2f} s" for number in row), flush=True)


if __name__ == "__main__":
    main()

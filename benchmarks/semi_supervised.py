"""Semi-supervised learning by what is done with labels that are not known: summed, drawn or relaxed; over seeds.

    python benchmarks/semi_supervised.py                       # what is missing, then the table: some minutes
    python benchmarks/semi_supervised.py --strategies enumerated --seeds 0 --labels 100
    PPL_VAE_DATA=<folder> python benchmarks/semi_supervised.py --data mnist --epochs 20 --latent-dim 3 --known 10000

The data are binary: digits or MNIST, at half their grey levels. Each seed draws the labels that are known, as
many of each class, and starts another pair; log q(y | x) of a known label counts as ``--weight`` data. Accuracy is that
of the most likely class of test images; the ELBO sums over the class. Each row is written to ``--out`` when it is done.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import runs
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from ppl_vae import backends, baselines, data, recipes, seeds
from ppl_vae.objectives import GumbelSoftmax, Labelled, TraceEnumELBO, TraceGraphELBO
from ppl_vae.runtime import storage

STRATEGIES: dict[str, tuple[str, Callable[[], Any], dict[str, int]]] = {
    "sampled": ("drawn, NVIL's baseline", lambda: TraceGraphELBO(baseline=baselines.Neural()), {}),
    "rloo": ("drawn 4 times, leave one out", lambda: TraceGraphELBO(4, baseline=baselines.LeaveOneOut()), {}),
    "relaxed": ("relaxed, temperature 0.5", lambda: GumbelSoftmax(), {}),
    "enumerated": ("summed over", lambda: TraceEnumELBO(), {}),
    "auxiliary": ("summed over, with an auxiliary variable", lambda: TraceEnumELBO(), {"auxiliary_dim": 10}),
}
SUPERVISED = {
    "logistic": ("labels alone, logistic regression", lambda seed: LogisticRegression(max_iter=5000)),
    "perceptron": (
        "labels alone, a net of 100 units",
        lambda seed: MLPClassifier((100,), max_iter=2000, random_state=seed),
    ),
}


def parts(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Binary images and classes, of the training and of the test part."""
    split = data.load(name)
    train, test = ((np.asarray(x) > 0.5).astype(np.float32) for x in (split.train, split.test))
    of_train, of_test = (
        np.asarray(split.labels[part]).reshape(len(x), -1)[:, 0] for part, x in (("train", train), ("test", test))
    )
    return train, of_train.astype(int), test, of_test.astype(int)


def known(classes: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Labels (N, 1) of which so many are known, as many of each class; -1 elsewhere."""
    rng, given = np.random.default_rng([seed, number]), np.full((len(classes), 1), -1.0, np.float32)
    for each in np.unique(classes):
        rows = rng.choice(np.flatnonzero(classes == each), number // 10, replace=False)
        given[rows] = each
    return given


def trained(strategy: str, number: int, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train a pair, or a classifier on the labels alone, and evaluate it."""
    train, classes, test, truth = parts(args.data)
    given, began = known(classes, number, seed), time.process_time()
    if strategy in SUPERVISED:
        rows = given[:, 0] >= 0
        accuracy = SUPERVISED[strategy][1](seed).fit(train[rows], given[rows, 0]).score(test, truth)
        return {"accuracy": float(accuracy), "cpu_seconds": time.process_time() - began}
    _, make, settings = STRATEGIES[strategy]
    backend = backends.load(args.backend)
    pair = recipes.semi_supervised(
        train.shape[1],
        10,
        seeds.generator(seed, "weights"),
        latent_dim=args.latent_dim,
        hidden=(100,),
        backend=args.backend,
        **settings,
    )
    loss, known_rows = Labelled(make(), weight=args.weight), np.flatnonzero(given[:, 0] >= 0)
    rows = np.concatenate([np.arange(len(train)), np.tile(known_rows, max(0, args.known // number - 1))])
    svi = backend.inference.SVI(loss, epochs=args.epochs, batch_size=100, learning_rate=2e-3)
    fit = svi.fit(
        *pair, train[rows], given=given[rows], seed=seed, description=f"{strategy}, {number} labels, seed {seed}"
    )
    seconds, unknown = time.process_time() - began, np.full((len(test), 1), -1.0)
    order = [site.name for site in fit.pair.sites.latent].index("y")
    column = 0 if order == 0 else settings["auxiliary_dim"]
    elbo = np.concatenate(
        [
            TraceEnumELBO(10).bound(
                fit.pair.terms(test[rows], TraceEnumELBO(10).request, seed, {"given": unknown[rows].astype(np.float32)})
            )
            for rows in np.array_split(np.arange(len(test)), max(1, len(test) // 500))
        ]
    ).mean()
    return {
        "accuracy": float((fit.encode(test, given=unknown)[:, column] == truth).mean()),
        "elbo": float(elbo),
        "cpu_seconds": seconds,
        **runs.provenance(fit.pair.device_name),
    }


def path_of(strategy: str, number: int, seed: int, args: argparse.Namespace) -> Path:
    backend = (
        ""
        if strategy in SUPERVISED
        else f"-{args.backend}-{args.epochs}epochs-{args.weight:g}-{args.known}rows-{args.latent_dim}latents"
    )
    return args.out / f"{args.data}-{strategy}{backend}-{number}-{seed}.json"


def table(args: argparse.Namespace) -> str:
    """The rows that there are, in Markdown: means and standard deviations over seeds."""
    lines = ["| the label is | " + " | ".join(f"{n} labels, accuracy | ELBO" for n in args.labels) + " | CPU seconds |"]
    lines.append("| --- |" + " --- | --- |" * len(args.labels) + " --- |")
    for strategy in (*SUPERVISED, *STRATEGIES):
        cells, seconds = [], []
        for number in args.labels:
            paths = [path_of(strategy, number, seed, args) for seed in args.seeds]
            rows = [json.loads(path.read_text()) for path in paths if path.exists()]
            for key, scale, digits in (("accuracy", 100, 1), ("elbo", 1, 2)):
                values = scale * np.array([row[key] for row in rows if key in row])
                cells.append(f"{values.mean():.{digits}f} ± {values.std():.{digits}f}" if values.size else "")
            seconds += [row["cpu_seconds"] for row in rows]
        name = {**SUPERVISED, **STRATEGIES}[strategy][0]
        lines.append(
            f"| {name} | " + " | ".join(cells) + f" | {np.mean(seconds):.0f} |" if seconds else f"| {name} | not run |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("digits", "mnist"), default="digits")
    parser.add_argument(
        "--strategies", nargs="+", choices=(*SUPERVISED, *STRATEGIES), default=[*SUPERVISED, *STRATEGIES]
    )
    parser.add_argument("--labels", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--weight", type=float, default=10.0)
    parser.add_argument("--known", type=int, default=0, help="rows that those with a label come to, by repetition")
    parser.add_argument("--latent-dim", type=int, default=10)
    parser.add_argument("--backend", choices=("pyro", "numpyro"), default="numpyro")
    parser.add_argument("--table", action="store_true", help="of what is done")
    parser.add_argument("--out", type=Path, default=Path("runs/semi_supervised"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in [] if args.table else args.seeds:
        for number in args.labels:
            for strategy in args.strategies:
                path = path_of(strategy, number, seed, args)
                if not path.exists():
                    row = trained(strategy, number, seed, args)
                    storage.write_atomically(path, json.dumps(row, indent=1).encode())
                    print(path.stem, row, flush=True)
    print(table(args))


if __name__ == "__main__":
    main()

"""Attend, infer, repeat under estimators of the gradient through the number of digits, over seeds.

    python benchmarks/air.py                                # what is missing, then the table: some ten minutes
    python benchmarks/air.py --strategies enumeration --seeds 0
    python benchmarks/air.py --table                        # of what is done

Each training is 30 epochs on 8,000 canvases of none, one or two digits. Its row, in ``--out``, is written when it is
done; an interrupted one goes on from its checkpoint. Accuracy is the share of test canvases whose number of digits is
the most likely one under q(count | x), beside that of the most frequent number and of a perceptron that learned from
the labels. A digit is found where a window of one draw has its centre within two pixels of the digit's. CPU seconds
are those of the training, compilation included; an interrupted one has none.
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
from rows import mean_and_deviation

from ppl_vae import backends, baselines, data, evaluation, objectives, recipes, schedules, seeds
from ppl_vae.data.sets.canvases import DIGIT
from ppl_vae.runtime import locks, storage

PARTS = [f"{part}_{t}" for t in range(2) for part in ("where", "what")]
"""The sites that follow their path."""
STRATEGIES: dict[str, Callable[[Any], Any]] = {
    "reinforce": lambda inference: inference.TraceGraphELBO(1, baseline=baselines.Neural()),
    "reinforce-4": lambda inference: inference.TraceGraphELBO(4, baseline=baselines.Neural()),
    "reinforce-weighted": lambda inference: inference.PerSite(
        {"count": objectives.Score(baselines.Neural()), **dict.fromkeys(PARTS, objectives.Reparameterise())},
        weights={"count": schedules.Linear(100.0, 1.0, over=10)},
    ),
    "rloo": lambda inference: inference.TraceGraphELBO(4, baseline=baselines.LeaveOneOut()),
    "vimco": lambda inference: inference.VIMCO(4),
    "vimco-pathwise": lambda inference: inference.VIMCO(4, pathwise=True),
    "enumeration": lambda inference: inference.TraceEnumELBO(),
}
NAMES = {
    "reinforce": "REINFORCE, neural baseline, 1 draw",
    "reinforce-4": "the same, 4 draws",
    "reinforce-weighted": "the same, 1 draw, KL of the count weighted 100 to 1 in 10 epochs",
    "rloo": "RLOO, 4 draws",
    "vimco": "VIMCO, 4 draws, all scored",
    "vimco-pathwise": "VIMCO, 4 draws, the count alone scored",
    "enumeration": "enumeration of the count",
    "supervised": "a net trained on the labels",
    "majority": "the most frequent number",
}
NEAR = 2.0
"""Pixels between centres within which a digit counts as found."""


def trained(strategy: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one pair."""
    split, backend = data.load("canvases"), backends.load(args.backend)
    pair = recipes.attend_infer_repeat(split.image_shape, seeds.generator(seed, "weights"), backend=args.backend)
    svi = backend.inference.SVI(
        STRATEGIES[strategy](backend.inference), epochs=args.epochs, batch_size=64, learning_rate=1e-3
    )
    checkpoint = path_of(strategy, seed, args).with_suffix(".checkpoint")
    whole, before = not checkpoint.exists(), time.process_time()
    fit = svi.fit(*pair, split, seed=seed, checkpoint=checkpoint, resume=True, description=f"{strategy}-{seed}")
    seconds = time.process_time() - before
    fit.save(checkpoint.with_suffix(".safetensors"))
    labels = split.labels["test"]
    return {
        "accuracy": float((fit.encode(split.test)[:, 0] == labels[:, 0]).mean()),
        "found": found(fit, split.test, labels, seed),
        "elbo": evaluation.elbo(fit, split.test, 20, seed=seed).mean,
        **({"cpu_seconds": seconds} if whole else {}),
        **runs.provenance(fit.pair.device_name),
    }


def found(fit: Any, x: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Share of the digits near whose centre a window of one draw has its own."""
    draws = {name: values[0] for name, values in fit.draws(x, 1, seed=seed).items()}
    steps = range(fit.model.most)
    centres = []
    for t in steps:
        top, left, side = fit.guide.windows.edges(draws[f"where_{t}"])
        centre = np.stack([top + side / 2, left + side / 2], -1)
        centres.append(np.where(draws["count"] > t, centre, np.inf))
    true = labels[:, 1:].reshape(len(x), -1, 3)[..., :2] + DIGIT / 2
    there = np.arange(true.shape[1]) < labels[:, :1]
    away = np.linalg.norm(true[:, :, None] - np.stack(centres, 1)[:, None], axis=-1).min(-1)
    return float((away[there] <= NEAR).mean())


def supervised(seed: int) -> dict[str, Any]:
    """The accuracy of a perceptron of the guide's size, trained on the labels and stopped early."""
    from sklearn.neural_network import MLPClassifier

    split = data.load("canvases")
    y = {part: labels[:, 0] for part, labels in split.labels.items()}
    net = MLPClassifier((200, 100), early_stopping=True, random_state=seed).fit(split.train, y["train"])
    return {"accuracy": float(net.score(split.test, y["test"]))}


def majority() -> dict[str, Any]:
    """The accuracy of the number that most training canvases have."""
    labels = data.load("canvases").labels
    most = np.bincount(labels["train"][:, 0]).argmax()
    return {"accuracy": float((labels["test"][:, 0] == most).mean())}


def path_of(strategy: str, seed: int, args: argparse.Namespace) -> Path:
    """The row of a training."""
    return args.out / f"{strategy}-{args.backend}-{args.epochs}epochs-{seed}.json"


def row(strategy: str, seed: int, args: argparse.Namespace) -> dict[str, Any] | None:
    """The row of a training: what was written, or else what it makes now, unless only the table is asked for."""
    path = path_of(strategy, seed, args)
    done = runs.read_row(path)
    if done or args.table:
        return done
    with locks.only_writer(path):
        if strategy == "majority":
            made = majority()
        else:
            made = supervised(seed) if strategy == "supervised" else trained(strategy, seed, args)
        made = {"strategy": strategy, "seed": seed, **made}
        storage.write_atomically(path, (json.dumps(made, indent=2) + "\n").encode())
    return made


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown, a line for each strategy."""
    lines = [
        "| strategy | accuracy of the count, % | digits found, % | test ELBO, nats | CPU seconds |",
        "| --- " * 5 + "|",
    ]
    for strategy, found in rows.items():
        cells = [NAMES[strategy]]
        for column, scale, digits in (("accuracy", 100, 1), ("found", 100, 1), ("elbo", 1, 1), ("cpu_seconds", 1, 0)):
            values = [scale * r[column] for r in found if column in r]
            cells.append(mean_and_deviation(values, digits) if values else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Make what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="numpyro", choices=backends.NAMES)
    parser.add_argument("--strategies", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=runs.positive, default=30)
    parser.add_argument("--out", type=Path, default=Path("runs/air"))
    parser.add_argument("--table", action="store_true", help="train nothing")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in args.seeds:  # every strategy once, before any a second time
        for strategy in args.strategies:
            if made := row(strategy, seed, args):
                rows.setdefault(strategy, []).append(made)
    print(table(rows))


if __name__ == "__main__":
    main()

"""Fair codes of Adult: what probes find of income and of sex, by prior and penalty, over seeds.

    PPL_VAE_DATA=<folder> python benchmarks/fair.py                 # UCI's adult.data and adult.test
    python benchmarks/fair.py --csv adult.csv                       # one-hot columns with names, split by the seed
    python benchmarks/fair.py --seeds 0 --cells features vampprior+mmd

Features are those of ``data.adult``: no sex, no income, no survey weight. Each cell is a variational fair auto-encoder
of 16 latents, whose label has the weight 1 + ``--weight``; with ``+mmd`` less ``--strength`` times the MMD of the codes
of the two sexes. Probes are trained on the codes of the training rows and scored on those of the test rows, the means
of q(z | x, s) and a draw of each; the demographic gap is that of the probe's incomes. Each row is written to ``--out``
when it is done.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ppl_vae import backends, evaluation, recipes, seeds
from ppl_vae.data import adult
from ppl_vae.objectives import GroupMMD, Labelled, TraceELBO
from ppl_vae.seeds import derive

CELLS = {
    "features": None,
    "standard": ("standard", False),
    "vampprior": ("vampprior", False),
    "standard+mmd": ("standard", True),
    "vampprior+mmd": ("vampprior", True),
}
"""Name -> prior, and whether the penalty is there."""
COLUMNS = ("cell", "seed", "codes", "y_linear", "y_forest", "s_linear", "s_forest", "gap_linear", "gap_forest", "elbo")


def from_csv(path: Path, seed: int) -> tuple[adult.Adult, adult.Adult]:
    """Rows of a table with a column of 0 and 1 for each category, ``race_White``; as many to train on as of UCI's."""
    table = pd.read_csv(path)
    columns: dict[str, Any] = {name: table[name].to_numpy() for name in adult.NUMBERS}
    for name in (*adult.CATEGORIES, *adult.CLASSES):
        stem = {"income": "salary"}.get(name, name)
        of = [column for column in table if column.startswith(f"{stem}_")]
        columns[name] = [of[i].removeprefix(f"{stem}_") for i in table[of].to_numpy().argmax(1)]
    whole = adult.encode(columns)
    order = seeds.generator(seed, "split").permutation(len(whole.x))
    parts = order[: adult.COUNTS[0]], order[adult.COUNTS[0] :]
    return tuple(adult.Adult(*(values[part] for values in whole)) for part in parts)  # type: ignore[return-value]


def make(cell: str, seed: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The numbers of a cell's rows: of the features, or of the means and of one draw of each code."""
    train, test = from_csv(args.csv, seed) if args.csv else adult.read()
    codes, more = {"x": (train.x, test.x)}, {}
    if CELLS[cell] is not None:
        codes, more = encoded(cell, seed, train, test, args)
    table = evaluation.fairness(codes, (train.income, test.income), (train.sex, test.sex), seed=seed)
    return [{"codes": name, **{n: float(v) for n, v in row.items()}, **more} for name, row in table.iterrows()]


def encoded(
    cell: str, seed: int, train: adult.Adult, test: adult.Adult, args: argparse.Namespace
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, float]]:
    """The codes of both parts, by a pair that is trained; the ELBO of p(x | s) on the test part."""
    prior, penalised = CELLS[cell] or ("", False)
    backend, s = backends.load(args.backend), train.sex[:, None]
    given = np.column_stack([s, train.income]).astype(np.float32)
    pair = recipes.fair(
        train.x.shape[1], 2, seeds.generator(seed, "weights"), prior=prior, images=train.x, given=given,
        backend=args.backend,
    )  # fmt: skip
    loss: Any = Labelled(TraceELBO(), weight=args.weight)
    loss = GroupMMD(loss, strength=args.strength) if penalised else loss
    svi = backend.inference.SVI(loss, epochs=args.epochs, batch_size=500, learning_rate=1e-3)
    began = time.process_time()
    fit = svi.fit(*pair, train.x, given=given, seed=seed, description=f"{cell}, seed {seed}")
    seconds = time.process_time() - began
    unknown = [np.column_stack([part.sex, np.full(len(part.sex), -1.0)]) for part in (train, test)]
    both = list(zip((train, test), unknown, (0, 1), strict=True))
    means, draws = (
        tuple(encode(part.x, given, number) for part, given, number in both)
        for encode in (
            lambda x, given, _: fit.encode(x, given=given),
            lambda x, given, number: fit.draws(x, 1, seed=derive(seed, "draws", number), given=given)["z"][0],
        )
    )
    elbo = evaluation.elbo(fit, test.x, given=unknown[1], seed=seed).mean
    return {"means": means, "draws": draws}, {
        "elbo": float(elbo),
        "loss": float(fit.history["loss"][-1]),
        "cpu_seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--csv", type=Path, help="a table in place of UCI's files")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--weight", type=float, default=9.0)
    parser.add_argument("--strength", type=float, default=200.0)
    parser.add_argument("--backend", choices=backends.NAMES, default="numpyro")
    parser.add_argument("--out", type=Path, default=Path("runs/fair.jsonl"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    options = {**vars(args), "csv": args.csv.name if args.csv else "", "out": "", "cells": "", "seeds": ""}
    known = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    print("|", " | ".join(COLUMNS), "|\n|", " | ".join("---" for _ in COLUMNS), "|")
    for seed in args.seeds:
        for cell in args.cells:
            key = {"cell": cell, "seed": seed, "options": options}
            found = [row for row in known if key.items() <= row.items()]
            if not found:
                found = [{**key, **row} for row in make(cell, seed, args)]
                with args.out.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in found)
            for row in found:
                told = (row.get(name, "") for name in COLUMNS)
                print("|", " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in told), "|", flush=True)


if __name__ == "__main__":
    main()

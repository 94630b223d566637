"""The thesis of 2020 on disentanglement, the eight trainings behind its tables 5.3 and 5.6: a page beside its numbers.

    OMP_NUM_THREADS=1 python benchmarks/thesis.py --steps 2160 --seeds 0 1 2 --frugal   # trains what is missing
    python benchmarks/thesis.py --steps 2160 --seeds 0 1 2 --frugal --page-only         # of the rows that are there
    python benchmarks/thesis.py --steps 2160 --frugal --kept --page-only     # of those of thesis.json, here beside
    python benchmarks/thesis.py --smoke

The setting is that of ``examples/disentanglement.py --thesis``, on all 737,280 images, which are drawn, or as many of
them at random as the steps of a short training read. Trainings come one by one, seed after seed: each row is kept as
soon as its training is judged, and a killed run goes on from the last checkpoint. ``--frugal`` judges on the grid of
46,080 images in place of all, and by trees of binned codes: without it that takes longer than 2,160 steps. The page
says of how many trainings it is; the thesis's figures are of 170. ``--kept`` begins with the rows of these settings in
``thesis.json``, so that they are not trained again, and puts into it those that are made, on whatever machine. A
longer training goes on from a shorter one of as many steps an epoch, ``--steps 89040 --epochs 40`` from 22,260 in ten,
in a new folder with ``checkpoints`` and ``.made_by`` of the other's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [path for path in (str(ROOT / "examples"), str(ROOT / "benchmarks")) if path not in sys.path]

import disentanglement as study  # noqa: E402
import runs  # noqa: E402
import thesis_page  # noqa: E402

from ppl_vae import backends  # noqa: E402
from ppl_vae.runtime import scripts, storage  # noqa: E402

CELLS = (
    ("beta-VAE", 1.0),
    ("FactorVAE", 10.0),
    ("beta-TCVAE", 1.0),
    ("DIP-VAE", 1.0),
    ("beta-VAE", 3.0),
    ("beta-VAE", 10.0),
    ("beta-VAE", 30.0),
    ("FactorVAE", 25.0),
)
"""Those of table 5.6 first, one of each objective, then the others of both tables."""
KEPT = Path(__file__).with_suffix(".json")
"""Rows of trainings that were made, with the settings they were made at."""


def settings(options: argparse.Namespace) -> argparse.Namespace:
    """What the study's own command line would say.

    Raises:
        ValueError: steps that are not so many equal epochs.
    """
    if options.steps is not None and options.steps % options.epochs:
        raise ValueError(
            f"--steps should be a multiple of {options.epochs}, for as many points of a curve; got {options.steps}."
        )
    words = ["--thesis", "--data", "rendered", "--backend", options.backend, "--out", str(options.out)]
    words += ["--smoke"] * options.smoke
    args = study.arguments([*words, "--seeds", *map(str, options.seeds)])
    if options.steps is not None:
        args.steps = options.steps
        args.scale = replace(args.scale, steps=args.steps, steps_per_epoch=args.steps // options.epochs)
    args.steps_per_epoch = args.scale.steps_per_epoch
    args.checkpoint_every = 1
    if options.frugal:
        args.conventions = replace(args.conventions, all_images=False, trees="binned")
    return args


def rows(
    args: argparse.Namespace, seeds: list[int], told: list[Any] | None, cells: Sequence[tuple[str, float]]
) -> Iterator[dict[str, Any]]:
    """The rows of these cells and seeds that are there, or are made now: of ``told``, images and those to judge by."""
    for seed in seeds:
        args.seeds = [seed]
        for name, strength in cells:
            if told is not None or study.file_of(name, strength, seed, args).exists():
                images, judged = told or (None, None)
                yield from study.rows_of(name, (strength,), images, judged, args)


def of_settings(file: Path, args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All studies in a file of rows, and the rows of the one with these settings, which is there afterwards."""
    told = {"steps": args.steps, "backend": args.backend, "smoke": args.smoke, "conventions": asdict(args.conventions)}
    studies: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    if not any(one["settings"] == told for one in studies):
        studies.append({"settings": told, "rows": []})
    return studies, next(one["rows"] for one in studies if one["settings"] == told)


def take(file: Path, args: argparse.Namespace) -> None:
    """Put the kept rows of these settings where the folder has none."""
    for row in of_settings(file, args)[1]:
        path = study.file_of(row["model"], row["strength"], row["seed"], args)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            storage.write_atomically(path, json.dumps(row).encode())


def keep(made: list[dict[str, Any]], file: Path, args: argparse.Namespace) -> None:
    """Put rows into the file, in the order of cells and seeds; those of the same training are replaced."""

    def place(row: dict[str, Any]) -> tuple[int, int]:
        return CELLS.index((row["model"], row["strength"])), row["seed"]

    studies, there = of_settings(file, args)
    there[:] = sorted({place(row): row for row in (*there, *made)}.values(), key=place)
    storage.write_atomically(file, (json.dumps(studies, indent=1) + "\n").encode())


def main() -> None:
    """Train what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--steps", type=int, help="of each training; by default 22,260 of the text")
    text = "points of a training's curve: a training goes on from one of fewer epochs of as many steps each"
    parser.add_argument("--epochs", type=runs.positive, default=10, help=text)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    text = "only so many cells, those of table 5.6 first: 1 is beta-VAE with beta = 1"
    parser.add_argument("--cells", type=runs.positive, metavar="N", help=text)
    parser.add_argument("--frugal", action="store_true", help="judge by fewer images and by faster trees")
    parser.add_argument("--page-only", action="store_true", help="train nothing")
    text = "a file of rows to begin with and to add to; by default thesis.json, here beside"
    parser.add_argument("--kept", nargs="?", type=Path, const=KEPT, metavar="FILE", help=text)
    parser.add_argument("--smoke", action="store_true", help="tiny images, a few steps: seconds")
    parser.add_argument("--out", type=Path, help="a folder; by default runs/thesis-<steps>")
    options = parser.parse_args()
    if options.smoke and options.kept == KEPT:
        parser.error("the numbers of --smoke mean nothing: give --kept another file")
    if options.steps is None and options.epochs != parser.get_default("epochs"):
        parser.error("--epochs parts the steps of --steps: give both, as --steps 89040 --epochs 40")
    options.out = options.out or ROOT / "runs" / f"thesis-{'smoke' if options.smoke else options.steps or 'text'}"
    args = settings(options)
    study.settle(args)
    if options.kept:
        take(options.kept, args)
    told = None
    if not options.page_only:
        images = study.load(args.data, args.smoke, args.out)
        told = [images, study.judged(images, args)]
    cells = CELLS[: options.cells]
    found = list(rows(args, options.seeds, told, cells))
    if options.kept:
        keep(found, options.kept, args)
    print(thesis_page.write(found, args, len(cells) * len(options.seeds)))


if __name__ == "__main__":
    sys.exit(scripts.run(main))

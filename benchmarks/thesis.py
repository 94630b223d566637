"""The thesis of 2020 on disentanglement, the eight trainings behind its tables 5.3 and 5.6: a page beside its numbers.

    OMP_NUM_THREADS=1 python benchmarks/thesis.py --steps 2160 --seeds 0 1 2 --frugal   # trains what is missing
    python benchmarks/thesis.py --steps 2160 --seeds 0 1 2 --frugal --page-only         # of the rows that are there
    python benchmarks/thesis.py --smoke

The setting is that of ``examples/disentanglement.py --thesis``, on all 737,280 images, which are drawn, or as many of
them at random as the steps of a short training read. Trainings come one by one, seed after seed: each row is kept as
soon as its training is judged, and a killed run goes on from the last checkpoint. ``--frugal`` judges on the grid of
46,080 images in place of all, and by trees of binned codes: without it that takes longer than 2,160 steps. The page
says of how many trainings it is; the thesis's figures are of 170.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [path for path in (str(ROOT / "examples"), str(ROOT / "benchmarks")) if path not in sys.path]

import disentanglement as study  # noqa: E402
import thesis_page  # noqa: E402

from ppl_vae import backends  # noqa: E402
from ppl_vae.runtime import scripts  # noqa: E402

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
EPOCHS = 10
"""Points of a training's curve."""


def settings(options: argparse.Namespace) -> argparse.Namespace:
    """What the study's own command line would say.

    Raises:
        ValueError: steps that are not so many equal epochs.
    """
    if options.steps is not None and options.steps % EPOCHS:
        raise ValueError(
            f"--steps should be a multiple of {EPOCHS}, for as many points of a curve; got {options.steps}."
        )
    words = ["--thesis", "--data", "rendered", "--backend", options.backend, "--out", str(options.out)]
    words += ["--smoke"] * options.smoke
    args = study.arguments([*words, "--seeds", *map(str, options.seeds)])
    if options.steps is not None:
        args.steps = options.steps
        args.scale = replace(args.scale, steps=args.steps, steps_per_epoch=args.steps // EPOCHS)
    args.steps_per_epoch = args.scale.steps_per_epoch
    args.checkpoint_every = 1
    if options.frugal:
        args.conventions = replace(args.conventions, all_images=False, trees="binned")
    return args


def rows(args: argparse.Namespace, seeds: list[int], told: list[Any] | None) -> Iterator[dict[str, Any]]:
    """The rows of every cell and seed that are there, or are made now: of ``told``, images and those to judge by."""
    for seed in seeds:
        args.seeds = [seed]
        for name, strength in CELLS:
            if told is not None or study.file_of(name, strength, seed, args).exists():
                images, judged = told or (None, None)
                yield from study.rows_of(name, (strength,), images, judged, args)


def main() -> None:
    """Train what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--steps", type=int, help="of each training, in ten epochs; by default 22,260 of the text")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--frugal", action="store_true", help="judge by fewer images and by faster trees")
    parser.add_argument("--page-only", action="store_true", help="train nothing")
    parser.add_argument("--smoke", action="store_true", help="tiny images, a few steps: seconds")
    parser.add_argument("--out", type=Path, help="a folder; by default runs/thesis-<steps>")
    options = parser.parse_args()
    options.out = options.out or ROOT / "runs" / f"thesis-{'smoke' if options.smoke else options.steps or 'text'}"
    args = settings(options)
    study.settle(args)
    told = None
    if not options.page_only:
        images = study.load(args.data, args.smoke, args.out)
        told = [images, study.judged(images, args)]
    found = list(rows(args, options.seeds, told))
    print(thesis_page.write(found, args, len(CELLS) * len(options.seeds)))


if __name__ == "__main__":
    sys.exit(scripts.run(main))

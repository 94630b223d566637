"""``ppl-vae reconstruct``: decode the codes of images, and show both side by side; fill in the cells of tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .. import inputs, pictures, runs, tables
from ..console import Console, keys
from ..options import IMAGES, OUTPUT, add_device, add_image_shape, add_images, add_output, add_seed
from ..outputs import open_with_output
from ..parsing import PICTURES, Group, Parser, add_run, positive_int

KEYS = {
    "out": "the file",
    "run": "the run",
    "data": "name or file of the images",
    "part": "which of them",
    "shape": "(N, *image shape) of the reconstructions",
    "seed": "of the draws",
    "squared_error": "mean of (x - reconstruction)^2 over images and pixels; null of a table",
    "columns": "of a table, column -> rmse of its numbers, share right of others, where a cell was seen; else null",
    "filled": "of a table with --impute, number of cells that were filled in; else null",
}

ABOUT = """\
Reconstruct images: z ~ q(z | x) for each, then the mean of p(x | z). Of a run on a table also fill in its cells.

reads   RUN, and its data or --data, as 'ppl-vae encode' does
writes  --out, over a file that is there:
          .png  a grid, each image with its reconstruction to its right; values outside [0, 1] drawn as 0 or 1
          .npy  the reconstructions, float32 (N, *image shape), row i that of image i
        both have the same draws of z under the same --num and --seed
          .csv, .parquet  of a run on a table: rows of the same columns, units and types, each cell the middle of 100
                draws of x given z: a mean, of grades the median, of names the most frequent. With --impute cells that
                were seen stay as they are, and only the others are filled in, by draws of x given what was seen
"""

EXAMPLES = """\
examples:
  ppl-vae reconstruct runs/digits --out pairs.png
  ppl-vae reconstruct runs/mine --data images.npy --part all --out reconstructions.npy
  ppl-vae reconstruct runs/digits --part train --num 100 --seed 1 --out pairs.png
  ppl-vae reconstruct runs/people --impute --out filled.csv          # of a run on a table
"""

DEFAULTS: dict[str, Any] = {
    **OUTPUT,
    **IMAGES,
    **{"part": None, "impute": False, "refine": None, "num": None, "image_shape": None, "seed": 0, "device": None},
}


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae reconstruct RUN --out FILE [OPTIONS]", EXAMPLES + keys(KEYS)
    parser: Parser = commands.add_parser("reconstruct", usage=usage, help=text, description=ABOUT, epilog=end)
    add_run(parser)
    add_output(
        parser, DEFAULTS, "a .png, .jpg or .npy file; of a run on a table a .csv or .parquet file", metavar="FILE"
    )
    images = Group(parser, "images", DEFAULTS)
    add_images(images, part=True, which="test; of a table all")
    images.switch("--impute", "of a run on a table: leave the cells that were seen, and fill in the others")
    default = f"{pictures.PAIRS} in a .png, else all"
    images.option("--num", "how many images, the first of them", default, type=positive_int, metavar="N")
    add_image_shape(images)
    add_seed(images, "the draws of z")
    add_device(images)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Reconstruct the images; write the array or the picture."""
    opened, out = open_with_output(arguments, *PICTURES, ".npy", ".csv", ".parquet")
    console = Console.of(arguments)
    if tables.writes_rows(opened, out):
        _cells(arguments, opened, out, console)
        return
    if arguments.impute:
        raise ValueError(f"--impute is for a run on a table, and {opened.folder} is of arrays: leave it out")
    part, picture = arguments.part or "test", out.suffix.lower() in PICTURES
    shape = pictures.image_shape(opened, arguments.image_shape, drawn=picture)
    x = inputs.images(opened, arguments.data, arguments.binarisation, part, arguments.stream)
    number = arguments.num or (pictures.PAIRS if picture else None)
    fit, x, index = runs.ready(opened.fit(arguments.device), x, number, arguments.refine, console.progress)
    made = fit.reconstruct(x, seed=arguments.seed, mean=fit.sites.has_data_means, index=index).astype(np.float32)
    data, what = arguments.data or opened.data, f"{part} {opened.datum}s"
    if picture:
        pictures.pairs(out, x, made, shape, f"{opened.folder.resolve().name}: {what}, each with its reconstruction")
    else:
        runs.write_array(out, made.reshape(-1, *shape))
    error = float(np.mean((x - made) ** 2))
    unit = "pixel" if len(shape) > 1 else "number"
    console.say(f"{out}: {len(x)} {what} in {data} reconstructed, mean squared error {error:.4f} per {unit}")
    record = {"out": str(out), "run": str(opened.folder), "data": data, "part": part, "shape": [len(x), *shape]}
    console.result({**record, "seed": arguments.seed, "squared_error": error, "columns": None, "filled": None})


def _cells(arguments: argparse.Namespace, opened: runs.Run, out: Path, console: Console) -> None:
    """Make the cells of a table's rows, or those that were not seen; write them under the names of its columns."""
    columns, part = tables.of_run(opened), arguments.part or "all"
    x, seen = inputs.masked(opened, arguments.data, arguments.binarisation, part, arguments.stream)
    assert seen is not None
    x, seen = x[: arguments.num], seen[: arguments.num]
    fit = opened.fit(arguments.device)
    if arguments.refine:
        fit = fit.refine(x, steps=arguments.refine, mask=seen, progress=console.progress)
    made = tables.middle(fit, x, seen, columns, impute=arguments.impute, seed=arguments.seed)
    data = arguments.data or opened.data
    if arguments.impute and part == "all":
        tables.write_frame(out, columns.fill(tables.as_frame(data)[: arguments.num], made))
    else:
        tables.write_rows(out, columns, made)
    filled = int((~seen).sum()) if arguments.impute else None
    found = None if arguments.impute else tables.errors(columns, x, seen, made)
    done = "reconstructed; of the cells that were seen:" if filled is None else f"with {filled:,} cells filled in"
    rows = "rows" if part == "all" else f"{part} rows"
    console.say(f"{out}: {len(x):,} {rows} in {data} {done}", *map(_told, (found or {}).items()))
    record = {"out": str(out), "run": str(opened.folder), "data": data, "part": part, "shape": list(x.shape)}
    console.result({**record, "seed": arguments.seed, "squared_error": None, "columns": found, "filled": filled})


def _told(column: tuple[str, dict[str, float | None]]) -> str:
    """Say a column's error in a line."""
    name, found = column
    ((what, value),) = found.items()
    if value is None:
        return f"  {name}: none"
    return f"  {name}: {value:.0%} right" if what == "right" else f"  {name}: root mean squared error {value:.4g}"


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return f"nothing was written to {arguments.out}"

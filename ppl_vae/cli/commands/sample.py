"""``ppl-vae sample``: draw new images from the model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .. import labels, pictures, tables
from ..console import Console, keys
from ..options import OUTPUT, add_device, add_image_shape, add_output, add_seed
from ..outputs import open_with_output
from ..parsing import PICTURES, Group, Parser, add_run, non_negative_int, positive_int
from ..runs import Run, write_array

KEYS = {
    "out": "the file",
    "run": "the run",
    "shape": "(N, *image shape) of the images",
    "label": "of the images; null where they are of any",
    "draw": "whether they are draws from p(x | z), not its means",
    "seed": "of the draws",
}

ABOUT = """\
Generate images: z ~ p(z) (for a VampPrior a component first), then the mean of p(x | z), or a draw from it.

reads   RUN
writes  --out, over a file that is there:
          .png  a grid of the images, values outside [0, 1] drawn as 0 or 1
          .npy  the images, float32 (N, *image shape)
          .csv, .parquet  of a run on a table: new rows of the same columns, drawn
"""

EXAMPLES = """\
examples:
  ppl-vae sample runs/digits --out grid.png
  ppl-vae sample runs/digits --out images.npy --num 1000 --draw --seed 1
  ppl-vae sample runs/people --out new.csv --num 1000       # of a run on a table
  ppl-vae sample runs/few --out threes.png --label 3        # of a run with --labels
"""

DEFAULTS: dict[str, Any] = {
    **OUTPUT,
    "num": 64,
    "draw": False,
    "label": None,
    "image_shape": None,
    "seed": 0,
    "device": None,
}


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae sample RUN --out FILE [OPTIONS]", EXAMPLES + keys(KEYS)
    parser: Parser = commands.add_parser("sample", usage=usage, help=text, description=ABOUT, epilog=end)
    add_run(parser)
    text = "a .png, .jpg or .npy file; of a run on a table also .csv or .parquet"
    add_output(parser, DEFAULTS, text, metavar="FILE")
    images = Group(parser, "images", DEFAULTS)
    images.option("--num", "how many images", type=positive_int, metavar="N")
    text = "x ~ p(x | z), what the model says data look like, instead of E[x | z], the smoother pictures"
    images.switch("--draw", text)
    text = "images of this label, of a run with --labels"
    images.option("--label", text, "any", type=non_negative_int, metavar="N")
    add_image_shape(images)
    add_seed(images, "the draws")
    add_device(images)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Draw images; write the array or the picture."""
    opened, out = open_with_output(arguments, *PICTURES, ".npy", ".csv", ".parquet")
    console = Console.of(arguments)
    if tables.writes_rows(opened, out):
        _run_of_table(arguments, opened, out, console)
        return
    picture = out.suffix.lower() in PICTURES
    shape = pictures.image_shape(opened, arguments.image_shape, drawn=picture)
    options = {"seed": arguments.seed, "mean": not arguments.draw}
    given = None if arguments.label is None else labels.given(opened.settings, arguments.label, arguments.num)
    fit = opened.fit(arguments.device)
    if not (arguments.draw or fit.sites.implicit):
        fit.sites.check_data_means("--draw")
    images = fit.generate(arguments.num, given=given, **options)
    what = "draws from p(x | z)" if arguments.draw else "means of p(x | z)"
    what = "draws of the generator" if fit.sites.implicit else what
    if picture:
        pictures.grid(out, images, shape, f"{opened.folder.resolve().name}: {what}")
    else:
        write_array(out, images.reshape(-1, *shape).astype(np.float32))
    console.say(f"{out}: {len(images)} {opened.datum}s of shape {shape}, {what}, seed {arguments.seed}")
    record = {"out": str(out), "run": str(opened.folder), "shape": [len(images), *shape]}
    console.result({**record, "label": arguments.label, "draw": arguments.draw, "seed": arguments.seed})


def _run_of_table(arguments: argparse.Namespace, opened: Run, out: Path, console: Console) -> None:
    """Draw rows of a table; write them under the names of its columns."""
    columns = tables.of_run(opened)
    rows = opened.fit(arguments.device).generate(arguments.num, seed=arguments.seed, mean=False)
    tables.write_rows(out, columns, rows)
    console.say(f"{out}: {len(rows)} rows of {len(columns.names)} columns, draws from p(x | z), seed {arguments.seed}")
    record = {"out": str(out), "run": str(opened.folder), "shape": list(rows.shape)}
    console.result({**record, "label": None, "draw": True, "seed": arguments.seed})


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return f"nothing was written to {arguments.out}"

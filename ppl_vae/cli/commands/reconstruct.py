"""``ppl-vae reconstruct``: decode the codes of images, and show both side by side."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from .. import inputs, pictures, runs
from ..console import Console, datum, keys
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
    "squared_error": "mean of (x - reconstruction)^2 over images and pixels",
}

ABOUT = """\
Reconstruct images: z ~ q(z | x) for each, then the mean of p(x | z).

reads   RUN, and its data or --data, as 'ppl-vae encode' does
writes  --out, over a file that is there:
          .png  a grid, each image with its reconstruction to its right; values outside [0, 1] drawn as 0 or 1
          .npy  the reconstructions, float32 (N, *image shape), row i that of image i
        both have the same draws of z under the same --num and --seed
"""

EXAMPLES = """\
examples:
  ppl-vae reconstruct runs/digits --out pairs.png
  ppl-vae reconstruct runs/mine --data images.npy --part all --out reconstructions.npy
  ppl-vae reconstruct runs/digits --part train --num 100 --seed 1 --out pairs.png
"""

DEFAULTS: dict[str, Any] = {
    **OUTPUT,
    **IMAGES,
    **{"part": "test", "refine": None, "num": None, "image_shape": None, "seed": 0, "device": None},
}


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae reconstruct RUN --out FILE [OPTIONS]", EXAMPLES + keys(KEYS)
    parser: Parser = commands.add_parser("reconstruct", usage=usage, help=text, description=ABOUT, epilog=end)
    add_run(parser)
    add_output(parser, DEFAULTS, "a .png, .jpg or .npy file", metavar="FILE")
    images = Group(parser, "images", DEFAULTS)
    add_images(images, part=True)
    default = f"{pictures.PAIRS} in a .png, all in a .npy"
    images.option("--num", "how many images, the first of them", default, type=positive_int, metavar="N")
    add_image_shape(images)
    add_seed(images, "the draws of z")
    add_device(images)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Reconstruct the images; write the array or the picture."""
    (opened, out), console = open_with_output(arguments, *PICTURES, ".npy"), Console.of(arguments)
    picture = out.suffix.lower() in PICTURES
    shape = pictures.image_shape(opened, arguments.image_shape, drawn=picture)
    x = inputs.images(opened, arguments.data, arguments.binarisation, arguments.part, arguments.stream)
    number = arguments.num or (pictures.PAIRS if picture else None)
    fit, x, index = runs.ready(opened.fit(arguments.device), x, number, arguments.refine, console.progress)
    made = fit.reconstruct(x, seed=arguments.seed, mean=fit.sites.has_data_means, index=index).astype(np.float32)
    data, what = arguments.data or opened.data, f"{arguments.part} {datum(shape)}s"
    if picture:
        pictures.pairs(out, x, made, shape, f"{opened.folder.resolve().name}: {what}, each with its reconstruction")
    else:
        runs.write_array(out, made.reshape(-1, *shape))
    error = float(np.mean((x - made) ** 2))
    unit = "pixel" if len(shape) > 1 else "number"
    console.say(f"{out}: {len(x)} {what} in {data} reconstructed, mean squared error {error:.4f} per {unit}")
    record = {"out": str(out), "run": str(opened.folder), "data": data, "part": arguments.part}
    console.result({**record, "shape": [len(x), *shape], "seed": arguments.seed, "squared_error": error})


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return f"nothing was written to {arguments.out}"

"""``ppl-vae encode``: encode images as latents."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from .. import inputs, runs
from ..console import Console, keys
from ..options import IMAGES, OUTPUT, add_device, add_images, add_output
from ..outputs import open_with_output
from ..parsing import Group, Parser, add_run

KEYS = {
    "out": "the file",
    "run": "the run",
    "data": "name or file of the images",
    "part": "which of them",
    "shape": "(N, D) of the codes",
    "dtype": "float32",
}

ABOUT = """\
Encode images: the mean of q(z | x) for each.

reads   RUN, and its data or --data: the name of a data set, a .npy or .npz file of images like those of the fit, or a
        folder of .npy files; of sequences also those that 'fit' reads with their ends.
        uint8 is divided by what that of the fit was divided by, whatever its values, booleans and floats by nothing;
        the run's rule of binarisation holds.
writes  --out, a .npy file, float32 (N, D), or a .csv with the columns z0, z1, ..., in nine digits, which are all: row i
        is the code of image i; over a file that is there
          --part all    every image in the order of the file; of an .npz with parts train, then valid, then test.
                        Under 'dynamic' grey images are encoded as they are, nothing is drawn
          --part test   (or train, valid) the part that 'fit' and 'evaluate' see, in their order
"""

EXAMPLES = """\
examples:
  ppl-vae encode runs/digits --out z.npy
  ppl-vae encode runs/mine --data images.npy --out z.csv
  ppl-vae encode runs/digits --part test --out z_test.npy
"""

DEFAULTS: dict[str, Any] = {**OUTPUT, **IMAGES, "part": "all", "refine": None, "device": None}


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae encode RUN --out FILE [OPTIONS]", EXAMPLES + keys(KEYS)
    parser: Parser = commands.add_parser("encode", usage=usage, help=text, description=ABOUT, epilog=end)
    add_run(parser)
    add_output(parser, DEFAULTS, "where the codes go, a .npy or .csv file", metavar="FILE")
    images = Group(parser, "images", DEFAULTS)
    add_images(images, part=True)
    add_device(images)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Encode the images; write the codes."""
    (opened, out), console = open_with_output(arguments, ".npy", ".csv"), Console.of(arguments)
    x, ends = inputs.masked(opened, arguments.data, arguments.binarisation, arguments.part, arguments.stream)
    fit = opened.fit(arguments.device)
    if ends is None:
        fit, x, index = runs.ready(fit, x, None, arguments.refine, console.progress)
        z = fit.encode(x, index=index)
    else:
        z = (fit.refine(x, steps=arguments.refine, mask=ends) if arguments.refine else fit).encode(x, mask=ends)
    z = z.astype(np.float32)
    runs.write_array(out, z, "z")
    data = arguments.data or opened.data
    console.say(f"{out}: posterior means, float32 {z.shape}, of {arguments.part} {opened.datum}s in {data}")
    record = {"out": str(out), "run": str(opened.folder), "data": data, "part": arguments.part}
    console.result({**record, "shape": list(z.shape), "dtype": str(z.dtype)})


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return f"nothing was written to {arguments.out}"

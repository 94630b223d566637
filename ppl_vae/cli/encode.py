"""``ppl-vae encode``: images to latents."""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..data.checks import PARTS
from ..storage import write_atomically
from . import inputs
from .parsing import Parser, add_binarisation, add_device, add_run, name_or_file, output
from .runs import Run

ABOUT = """\
Encode images: the mean of q(z | x) for each.

reads   RUN, and --data: the name of a data set, or a .npy or .npz file of images like those of the fit. uint8 grey
        levels are divided by what those of the fit were divided by; the run's rule of binarisation holds.
writes  --out, a .npy file: float32 (N, D), row i the code of image i; over a file that is there
          --part all    every image in the order of the file; of an .npz with parts train, then valid, then test.
                        Under 'dynamic' grey images are encoded as they are, nothing is drawn
          --part test   (or train, valid) the part that 'fit' and 'evaluate' see, in their order
"""

EXAMPLES = """\
examples:
  ppl-vae encode runs/digits --data digits --out z.npy
  ppl-vae encode runs/mine --data images.npy --out z.npy
  ppl-vae encode runs/digits --data digits --part test --out z_test.npy
"""


def add(commands: Any) -> Parser:
    """The parser of this command."""
    text = "posterior means of images, as a .npy file"
    parser: Parser = commands.add_parser("encode", help=text, description=ABOUT, epilog=EXAMPLES)
    add_run(parser)
    text = "name of a data set, or a .npy or .npz file"
    parser.add_argument("--data", type=name_or_file, required=True, metavar="NAME|FILE", help=text)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the codes go, a .npy file")
    text = "which images (default: all)"
    parser.add_argument("--part", choices=("all", *PARTS), default="all", help=text)
    add_binarisation(parser)
    add_device(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Encode; write the codes."""
    out, opened = output(arguments.out, ".npy"), Run.open(arguments.folder)
    if out.exists() and os.path.exists(arguments.data) and os.path.samefile(out, arguments.data):
        raise ValueError(f"--out and --data are the same file, {str(out)!r}: the images would be lost; give another")
    if arguments.part == "all":
        x = inputs.rows(opened, arguments.data, arguments.binarisation)
    else:
        x = getattr(inputs.load(opened, arguments.data, arguments.binarisation), arguments.part)
    z = opened.fit(arguments.device).encode(x).astype(np.float32)
    write_array(out, z)
    print(f"{out}: posterior means, float32 {z.shape}, of {arguments.part} images in {arguments.data}")


def interrupted(arguments: argparse.Namespace) -> str:
    """What Ctrl-C leaves."""
    return f"nothing was written to {arguments.out}"


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file, atomically."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomically(path, buffer.getvalue())

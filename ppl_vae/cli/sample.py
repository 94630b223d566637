"""``ppl-vae sample``: new images."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from .encode import write_array
from .parsing import Parser, add_device, add_run, add_seed, output, positive_int
from .runs import Run

ABOUT = """\
Generate images: z ~ p(z) (for a VampPrior a component first), then the mean of p(x | z), or a draw from it.

reads   RUN
writes  --out, over a file that is there:
          .png  a grid of the images, values outside [0, 1] drawn as 0 or 1
          .npy  the images, float32 (size, *image shape)
"""

EXAMPLES = """\
examples:
  ppl-vae sample runs/digits --out grid.png
  ppl-vae sample runs/digits --out images.npy --size 1000 --draw --seed 1
"""


def add(commands: Any) -> Parser:
    """The parser of this command."""
    text = "new images, as a grid or an array"
    parser: Parser = commands.add_parser("sample", help=text, description=ABOUT, epilog=EXAMPLES)
    add_run(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .png or .npy file")
    parser.add_argument("--size", type=positive_int, default=64, metavar="N", help="how many images (default: 64)")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--mean", action="store_true", help="E[x | z], the smoother pictures (the default)")
    either.add_argument("--draw", action="store_true", help="x ~ p(x | z), what the model says data look like")
    text = "shape of one image, for a run on flat rows (default: as in the data of the fit)"
    parser.add_argument("--image-shape", type=positive_int, nargs="+", metavar="N", help=text)
    add_device(parser)
    add_seed(parser, "the draws")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Generate; write the images."""
    out, opened = output(arguments.out, ".png", ".npy"), Run.open(arguments.folder)
    shape = _shape(opened, arguments.image_shape, figure=out.suffix.lower() != ".npy")
    images = opened.fit(arguments.device).generate(arguments.size, seed=arguments.seed, mean=not arguments.draw)
    what = "draws from p(x | z)" if arguments.draw else "means of p(x | z)"
    if out.suffix.lower() == ".npy":
        write_array(out, images.reshape(-1, *shape).astype(np.float32))
    else:
        _draw(out, images, shape, f"{opened.folder.name}: {what}")
    print(f"{out}: {len(images)} images of shape {shape}, {what}, seed {arguments.seed}")


def interrupted(arguments: argparse.Namespace) -> str:
    """What Ctrl-C leaves."""
    return f"nothing was written to {arguments.out}"


def _shape(opened: Run, asked: list[int] | None, *, figure: bool) -> tuple[int, ...]:
    from .. import plots

    shape = tuple(asked) if asked else opened.shape
    if math.prod(shape) != opened.dim:
        raise ValueError(f"--image-shape should have {opened.dim} numbers in all, as the run's images; got {shape}")
    if figure and not plots.is_drawable(shape):
        raise ValueError(
            f"images of shape {shape} cannot be drawn: give --image-shape HEIGHT WIDTH (and 3 for colours), "
            f"{opened.dim} numbers in all, or an --out that ends in .npy"
        )
    return shape


def _draw(out: Path, images: np.ndarray, shape: tuple[int, ...], title: str) -> None:
    from .. import plots

    columns = math.ceil(math.sqrt(len(images)))
    plots.save(plots.image_grid(images, shape, columns=columns, title=title), out)

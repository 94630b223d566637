"""``ppl-vae explore``: one offline page with sliders over the latents."""

from __future__ import annotations

import argparse
from typing import Any

from ...runtime.storage import write_atomically
from .. import inputs, pictures, runs
from ..console import Console, keys
from ..options import IMAGES, OUTPUT, add_device, add_image_shape, add_images, add_output, add_seed
from ..outputs import open_with_output
from ..parsing import Group, Parser, add_run, positive_int

KEYS = {
    "out": "the file",
    "run": "the run",
    "data": "name or file of the images",
    "part": "which of them",
    "num_images": "that the page shows",
    "latents": "numbers of a code, each with a slider",
    "bytes": "size of the file",
    "seed": "of the ELBO's draws and of those from the prior",
}

ABOUT = """\
Make one HTML page of a run: sliders over the latents that move the decoded image, reconstructions, the nearest images
in code space, the worst-served ones, traversals, and the training. The decoder's weights are in the page; it needs no
network.

For one site of real latents, a Bernoulli or normal likelihood, and the decoders 'mlp', gated or not, and 'conv'.
Flat rows are shown as squares where they can be, else as strips with their numbers; or as --image-shape says.

reads   RUN, and its data or --data, as 'ppl-vae encode' does
writes  --out, a .html file, over a file that is there
"""

EXAMPLES = """\
examples:
  ppl-vae explore runs/digits --out digits.html
  ppl-vae explore runs/mine --data images.npy --part all --num 500 --out mine.html
"""

NUMBER = 300
DEFAULTS: dict[str, Any] = {
    **OUTPUT,
    **IMAGES,
    **{"part": "test", "refine": None, "num": NUMBER, "image_shape": None, "seed": 0, "device": None},
}


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae explore RUN --out FILE [OPTIONS]", EXAMPLES + keys(KEYS)
    parser: Parser = commands.add_parser("explore", usage=usage, help=text, description=ABOUT, epilog=end)
    add_run(parser)
    add_output(parser, DEFAULTS, "a .html file", metavar="FILE")
    images = Group(parser, "images", DEFAULTS)
    add_images(images, part=True)
    images.option("--num", "how many images, the first of them", type=positive_int, metavar="N")
    add_image_shape(images)
    add_seed(images, "the draws")
    add_device(images)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Make the page and write it."""
    from ...explorer import to_html

    (opened, out), console = open_with_output(arguments, ".html"), Console.of(arguments)
    flat = len(opened.shape) == 1 and arguments.image_shape is None
    shape = pictures.image_shape(opened, arguments.image_shape, drawn=not flat)
    x = inputs.images(opened, arguments.data, arguments.binarisation, arguments.part, arguments.stream)
    fit, x, index = runs.ready(opened.fit(arguments.device), x, arguments.num, arguments.refine, console.progress)
    title = f"{opened.folder.resolve().name}: {arguments.data or opened.data}"
    text = to_html(fit, x, image_shape=None if flat else shape, title=title, seed=arguments.seed, index=index).encode()
    write_atomically(out, text)
    latents = fit.encode(x[:1], index=None if index is None else index[:1]).shape[1]
    console.say(f"{out}: {len(x)} {arguments.part} images, {latents} latents, {len(text) / 1024:.0f} KiB")
    about = {"out": str(out), "run": str(opened.folder), "data": arguments.data or opened.data, "part": arguments.part}
    console.result({**about, "num_images": len(x), "latents": latents, "bytes": len(text), "seed": arguments.seed})


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return f"nothing was written to {arguments.out}"

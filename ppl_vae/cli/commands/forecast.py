"""``ppl-vae forecast``: draw what follows sequences."""

from __future__ import annotations

import argparse
import io
from typing import Any

import numpy as np

from ...runtime.storage import write_atomically
from .. import inputs
from ..console import Console, keys
from ..options import IMAGES, OUTPUT, add_device, add_images, add_output, add_seed
from ..outputs import open_with_output
from ..parsing import Group, Parser, add_run, fraction, needed, positive_int

METHODS = ("sir", "guide", "importance", "smc", "backward")
"""Ways to draw the last state, of ``Fit.draws``."""
KEYS = {
    "out": "the file",
    "run": "the run",
    "data": "name or file of the sequences",
    "part": "which of them",
    "shape": "(N, H, P) of each array",
    "draws": "for each sequence",
    "level": "of the intervals",
    "seed": "of the draws",
}

ABOUT = """\
Draw what follows sequences: the H steps after the last that is seen of each.

reads   RUN, a training on sequences by --prior markov, --program recurrent or --program hidden-markov, and its data or
        --data, as 'ppl-vae encode' does
writes  --out, a .npz file, over a file that is there: float32 (N, H, P) under the keys
          mean         of x given what is seen
          low, high    between them lies --level of the draws, of each number by itself
"""

EXAMPLES = """\
examples:
  ppl-vae forecast runs/flows --steps 20 --out next.npz
  ppl-vae forecast runs/jsb --steps 8 --part test --method smc --out next.npz
"""

DEFAULTS: dict[str, Any] = {
    **OUTPUT,
    **IMAGES,
    **{"part": "test", "steps": None, "num_draws": 100, "method": "sir", "level": 0.9, "seed": 0, "device": None},
}


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae forecast RUN --steps H --out FILE [OPTIONS]", EXAMPLES + keys(KEYS)
    parser: Parser = commands.add_parser("forecast", usage=usage, help=text, description=ABOUT, epilog=end)
    add_run(parser)
    add_output(parser, DEFAULTS, "a .npz file", metavar="FILE")
    images = Group(parser, "sequences", DEFAULTS)
    add_images(images, part=True, refine=False)
    ahead = Group(parser, "forecast", DEFAULTS)
    ahead.option("--steps", "how many follow", "required, here or in --config", type=positive_int, metavar="H")
    ahead.option("--num-draws", "draws for each sequence", type=positive_int, metavar="K")
    text = "of the state at the end of each: sir corrects the guide by weights, smc and backward are particle filters"
    ahead.option("--method", text, choices=METHODS)
    ahead.option("--level", "share of the draws within an interval", type=fraction, metavar="SHARE")
    add_seed(ahead, "the draws")
    add_device(ahead)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Forecast; write the arrays."""
    (opened, out), console = open_with_output(arguments, ".npz"), Console.of(arguments)
    steps = needed("forecast", "steps", arguments.steps, "how many steps follow")
    x, ends = inputs.masked(opened, arguments.data, arguments.binarisation, arguments.part, arguments.stream)
    options: dict[str, Any] = {"num_draws": arguments.num_draws, "method": arguments.method, "seed": arguments.seed}
    options |= {} if ends is None else {"mask": ends}
    later = opened.fit(arguments.device).forecast(x, steps, **options)
    low, high = later.interval(arguments.level)
    arrays: dict[str, Any] = {
        name: a.reshape(len(x), steps, -1).astype(np.float32)
        for name, a in (("mean", later.mean), ("low", low), ("high", high))
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(out, buffer.getvalue())
    shape, data = list(arrays["mean"].shape), arguments.data or opened.data
    console.say(f"{out}: {steps} steps after each of {len(x)} sequences, mean and intervals of {arguments.level:g}")
    record = {"out": str(out), "run": str(opened.folder), "data": data, "part": arguments.part, "shape": shape}
    console.result({**record, "draws": arguments.num_draws, "level": arguments.level, "seed": arguments.seed})


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return f"nothing was written to {arguments.out}"

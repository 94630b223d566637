"""``ppl-vae evaluate``: how good is a run on test images?"""

from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..data import Split
from . import inputs
from .parsing import Parser, add_binarisation, add_device, add_run, add_seed, name_or_file, positive_int
from .runs import METRICS, Run, write_json

if TYPE_CHECKING:
    from ..results import Fit

ABOUT = f"""\
Estimate log p(x) of the test images, the ELBO and its parts, and count the latents in use. All in nats per image.

log p(x) is importance sampled with K = --num-particles draws: a lower bound in expectation that tightens with K. It
has two standard errors: the test error comes from which images were seen, the MC error from sampling z.

reads   RUN, and the test part of the run's data, or of --data (a file without parts is split by the run's seed)
writes  the table to stdout, and RUN/{METRICS}, over that of an earlier evaluation
"""

EXAMPLES = """\
examples:
  ppl-vae evaluate runs/digits
  ppl-vae evaluate runs/digits --num-particles 5000 --seed 1 --json
"""

ELBO_PARTICLES = 10


def add(commands: Any) -> Parser:
    """The parser of this command."""
    text = "log p(x), ELBO and active units on test images"
    parser: Parser = commands.add_parser("evaluate", help=text, description=ABOUT, epilog=EXAMPLES)
    add_run(parser)
    text = "name of a data set, or a .npy or .npz file (default: the data of the run)"
    parser.add_argument("--data", type=name_or_file, metavar="NAME|FILE", help=text)
    add_binarisation(parser)
    text = "draws per image for log p(x), K (default: 500)"
    parser.add_argument("--num-particles", type=positive_int, default=500, metavar="K", help=text)
    add_device(parser)
    add_seed(parser, "the draws")
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON instead of a table")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Evaluate; write the metrics; print them."""
    opened = Run.open(arguments.folder)
    split = inputs.load(opened, arguments.data, arguments.binarisation)
    fit = opened.fit(arguments.device)
    metrics = _metrics(fit, split.test, arguments.num_particles, arguments.seed, False if arguments.quiet else None)
    record = {
        "seed": arguments.seed,
        "version": __version__,
        "backend": fit.backend,
        "data": split.to_dict(),
    }
    write_json(opened.folder / METRICS, {**metrics, **record})
    if arguments.json:
        print(json.dumps({**metrics, **record}, indent=2))
    else:
        _print(metrics, split)
        print(f"\nwritten to {opened.folder / METRICS}")


def interrupted(arguments: argparse.Namespace) -> str:
    """What Ctrl-C leaves."""
    return f"nothing was written to {arguments.folder}"


def _metrics(fit: Fit, test: np.ndarray, num_particles: int, seed: int, progress: bool | None) -> dict[str, Any]:
    """Nats per image; None stands for what one image or one draw cannot tell."""
    from ..evaluation import evaluate

    evaluation = evaluate(fit, test, num_particles, elbo_particles=ELBO_PARTICLES, seed=seed, progress=progress)
    ess = evaluation.log_p.ess
    numbers = {**evaluation.row(), "ess_median": float(np.median(ess)), "ess_smallest": float(ess.min())}
    return {
        **{name: None if value is None or not math.isfinite(value) else value for name, value in numbers.items()},
        "latent_dim": fit.encode(test[:1]).shape[1],
        "num_images": len(test),
        "num_particles": num_particles,
        "elbo_particles": ELBO_PARTICLES,
    }


def _print(metrics: dict[str, Any], split: Split) -> None:
    print(f"{split.name}: {metrics['num_images']} test images, binarisation {split.binarisation!r}; nats per image\n")
    for name, text in (
        ("log_p", f"log p(x), K = {metrics['num_particles']}"),
        ("test_error", "  test error, from which images were seen"),
        ("mc_error", "  MC error, from sampling z"),
        ("elbo", "ELBO"),
        ("reconstruction", "  reconstruction, E_q[log p(x | z)]"),
        ("kl", "  KL, E_q[log q(z | x) - log p(z)]"),
    ):
        print(f"{text:<42}{_shown(metrics[name], '.3f'):>12}")
    if "bits_per_dim" in metrics:
        print(f"{'-log p(x), bits per dimension':<42}{_shown(metrics['bits_per_dim'], '.3f'):>12}")
    units = f"{_shown(metrics['active_units'], 'd')} of {metrics['latent_dim']}"
    print(f"{'active units':<42}{units:>12}")
    ess = f"{_shown(metrics['ess_median'], '.1f')}, smallest {_shown(metrics['ess_smallest'], '.1f')}"
    print(f"effective draws per image: median {ess}; where they are a handful, the MC error is unreliable")


def _shown(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)

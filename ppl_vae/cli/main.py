"""The parser of all commands, and what an error or an interruption looks like."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from .. import __version__
from . import compare, data, encode, evaluate, fit, sample
from .parsing import Parser

ABOUT = """\
Train a variational auto-encoder on a data set or on your own arrays, and use it.

A training leaves a run: a folder with the fit, its settings and its history. The other commands read that folder;
'compare' makes a folder of its own, with many trainings and a report on them. 'data' lists the data sets known by name.
"""

WALK_THROUGH = """\
from data to pictures:
  ppl-vae fit --data digits --out runs/digits --epochs 50
  ppl-vae evaluate runs/digits
  ppl-vae encode runs/digits --data digits --out z.npy
  ppl-vae sample runs/digits --out grid.png

the data sets known by name (all without one), and where they are:
  ppl-vae data mnist freyfaces

from data to a comparison of inference strategies:
  ppl-vae compare --data digits --out runs/compared --strategies elbo iwae-10 dreg-10 --seeds 0 1 2 --epochs 50

'ppl-vae COMMAND --help' says what a command reads and writes. Exit codes: 0 done, 2 an error, 130 interrupted.
"""


def parser() -> Parser:
    """The parser with every command; a command is a module with ``add``, ``run`` and ``interrupted``."""
    top = Parser(prog="ppl-vae", description=ABOUT, epilog=WALK_THROUGH)
    top.add_argument("--version", action="version", version=f"ppl-vae {__version__}")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for module in (fit, evaluate, encode, sample, compare, data):
        command = module.add(commands)
        command.set_defaults(run=module.run, interrupted=module.interrupted)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 2 an error told in one line on stderr, 130 interrupted.

    Args:
        arguments: those of the command line, without the program's name; by default the process's own.
    """
    try:
        options = parser().parse_args(arguments)
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    except ValueError as error:
        return _fail(error)
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)  # which platforms JAX has not found
    try:
        options.run(options)
    except KeyboardInterrupt:
        _tell(f"interrupted: {options.interrupted(options)}")
        return 130
    except (ValueError, FloatingPointError, OSError) as error:
        return _fail(error)
    return 0


def _fail(error: Exception) -> int:
    _tell(f"error: {_message(error)}")
    return 2


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _tell(message: str) -> None:
    """One line on stderr."""
    print("ppl-vae:", *message.split(), file=sys.stderr, flush=True)

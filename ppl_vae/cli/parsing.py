"""How options are read: types that say what they expect, help that keeps its paragraphs, errors in one line."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import Any, NoReturn

from .. import data
from ..data.checks import closest

BACKENDS_NOTE = "cpu, cuda, cuda:1 ...; by default the CPU under pyro and JAX's own choice under numpyro"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ``ValueError``s, and whose help keeps the line breaks of its texts."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, "allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Raise ``ValueError``; the message names the help to read."""
        raise ValueError(f"{message} (see '{self.prog} --help')")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    return _number(text, int, "a whole number of at least 1", lambda n: n >= 1)


def seed(text: str) -> int:
    """A whole number of at least 0."""
    return _number(text, int, "a whole number of at least 0", lambda n: n >= 0)


def positive_float(text: str) -> float:
    """A finite number above 0."""
    return _number(text, float, "a number above 0", lambda n: 0 < n < math.inf)


def non_negative_float(text: str) -> float:
    """A finite number of at least 0."""
    return _number(text, float, "a number of at least 0", lambda n: 0 <= n < math.inf)


def _number(text: str, kind: Any, expected: str, fits: Any) -> Any:
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not fits(number):
        raise argparse.ArgumentTypeError(f"it should be {expected}; got {text!r}")
    return number


def name_or_file(text: str) -> str:
    """The name of a data set, or the absolute path of a ``.npy`` or ``.npz`` file."""
    if text in data.names():
        return text
    if Path(text).suffix not in (".npy", ".npz"):
        raise argparse.ArgumentTypeError(
            f"there is no data set {text!r}{closest(text, data.names())}: give one of {', '.join(data.names())}, or a "
            ".npy or .npz file"
        )
    return os.path.abspath(Path(text).expanduser())


def output(path: Path, *suffixes: str) -> Path:
    """``path``, checked before the work begins.

    Raises:
        ValueError: another suffix, or a folder.
    """
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"--out should end in {' or '.join(suffixes)}; got {str(path)!r}")
    if path.is_dir():
        raise ValueError(f"--out should be a file; {str(path)!r} is a folder")
    return path


def add_run(parser: argparse.ArgumentParser) -> None:
    """The argument RUN."""
    parser.add_argument("folder", type=Path, metavar="RUN", help="the folder that 'ppl-vae fit --out RUN' made")


def add_device(parser: Any, **settings: Any) -> None:
    """The option --device."""
    parser.add_argument("--device", metavar="NAME", help=BACKENDS_NOTE, **settings)


def add_seed(parser: Any, what: str) -> None:
    """The option --seed."""
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help=f"of {what} (default: 0)")


def add_binarisation(parser: Any) -> None:
    """The option --binarisation of a command that reads data for a run."""
    text = "how pixels become what the model sees (default: as in the run); see 'ppl-vae fit --help'"
    parser.add_argument("--binarisation", choices=data.BINARISATIONS, help=text)

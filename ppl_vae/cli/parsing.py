"""Parsing of options: types that say what they expect, help that keeps its paragraphs, errors in one line."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

BACKENDS_NOTE = "cpu, cuda, cuda:1 ...; by default the CPU under pyro and JAX's own choice under numpyro"


class Parser(argparse.ArgumentParser):
    """Argument parser whose errors are ``ValueError``s, and whose help keeps the line breaks of its texts.

    ``values`` holds the default of every option of a ``Group``. An option that is not given is absent from the
    namespace, so that its value can come from a configuration, or from the run that is resumed.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, "allow_abbrev": False, **settings})
        self.values: dict[str, Any] = {}

    def error(self, message: str) -> NoReturn:
        """Raise ``ValueError``; the message names the help to read."""
        raise ValueError(f"{message} (see '{self.prog} --help')")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)


LONGEST = 90
"""Characters of choices that stand beside an option."""


class Group:
    """Group of options whose help ends with their default; an option that is not given is absent."""

    def __init__(self, parser: Parser, title: str, defaults: Mapping[str, Any]) -> None:
        self.parser, self.defaults = parser, defaults
        self.group = parser.add_argument_group(title)

    def option(self, name: str, text: str, default: str | None = None, **settings: Any) -> None:
        """Add an option; ``default`` stands in its help where the value itself says little, and so do many choices."""
        destination = name.removeprefix("--").replace("-", "_")
        value = self.parser.values[destination] = self.defaults[destination]
        value = " ".join(map(str, value)) if isinstance(value, list | tuple) else value
        default = str(value) if default is None else default
        if "metavar" not in settings and len(names := ", ".join(settings.get("choices", ()))) > LONGEST:
            text, settings["metavar"] = f"{text}: {names}", "NAME"
        text = f"{text} ({default if default.startswith('required') else f'default: {default}'})"
        self.group.add_argument(name, default=argparse.SUPPRESS, help=text, **settings)

    def switch(self, name: str, text: str, default: str | None = None) -> None:
        """Add an option that is on or off: ``--name`` or ``--no-name``."""
        on = self.defaults[name.removeprefix("--").replace("-", "_")]
        self.option(name, text, default or ("yes" if on else "no"), action=argparse.BooleanOptionalAction)


def flag(name: str) -> str:
    """Write the name of an option as on the command line.

    >>> flag("latent_dim")
    '--latent-dim'
    """
    return "--" + name.replace("_", "-")


@dataclass(frozen=True)
class Number:
    """Type of an option: a number of a kind, within limits."""

    kind: type[int] | type[float]
    expected: str
    fits: Callable[[Any], bool]

    def __call__(self, text: str) -> Any:
        """Convert the text to the number.

        Raises:
            argparse.ArgumentTypeError: a text that is no number, or one outside the limits.
        """
        try:
            number = self.kind(text)
        except ValueError:
            number = None
        if number is None or not self.fits(number):
            raise argparse.ArgumentTypeError(f"it should be {self.expected}; got {text!r}")
        return number

    def is_one(self, value: Any) -> bool:
        """Return whether a value is a number of this kind; limits are not checked."""
        return isinstance(value, int if self.kind is int else int | float) and not isinstance(value, bool)


positive_int = Number(int, "a whole number of at least 1", lambda n: n >= 1)
non_negative_int = Number(int, "a whole number of at least 0", lambda n: n >= 0)
seed = non_negative_int
positive_float = Number(float, "a number above 0", lambda n: 0 < n < math.inf)
non_negative_float = Number(float, "a number of at least 0", lambda n: 0 <= n < math.inf)
finite_float = Number(float, "a finite number", math.isfinite)
fraction = Number(float, "a number between 0 and 1", lambda n: 0 < n < 1)
weight = Number(float, "a number in 0 to 1", lambda n: 0 <= n <= 1)


def data_set(text: str) -> str:
    """Return the name of a data set, which ``data.catalogue`` checks."""
    return text


PICTURES = (".png", ".jpg", ".jpeg")
"""Endings of a picture that a command writes."""
IMAGE = "np.asarray(PIL.Image.open({!r}))[None]"
READERS = {
    ".tsv": "np.loadtxt({!r}, delimiter='\\t', skiprows=1)",
    ".txt": "np.loadtxt({!r})",
    ".mat": "scipy.io.loadmat({!r})['NAME']",
    **dict.fromkeys(PICTURES, IMAGE),
}
"""Ending of a file -> what reads its numbers."""


NAMED_FILES = (".csv", ".parquet", ".pq", ".h5", ".hdf5", ".zarr", *READERS)
"""Endings by which a text is the name of a file, and of no data set."""


def name_or_file(text: str) -> str:
    """Return the name of a data set, or the absolute path of a file or a folder of shards.

    Files are ``.npy``, ``.npz``, a ``.csv`` of sequences, whose first columns are ``id,time``, or a table, ``.csv`` or
    ``.parquet``.
    """
    from .. import data
    from ..data.checks import closest
    from ..data.files.groups import is_group
    from ..data.tables.reading import is_table_file

    if text in data.names():
        return text
    path = Path(text).expanduser()
    if (is_table_file(path) and path.is_file()) or (is_group(path) and path.exists()):
        return os.path.abspath(path)
    if path.suffix not in (".npy", ".npz") and path.is_file():
        how = READERS.get(path.suffix.lower(), "the array")
        raise argparse.ArgumentTypeError(
            f"{text!r} is a file of another kind than .npy and .npz: save its numbers in Python, a row for each datum, "
            f"np.save('{path.stem}.npy', {how.format(text)}), and give that file"
        )
    if path.suffix in NAMED_FILES and not path.exists():
        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise argparse.ArgumentTypeError(
            f"there is no file {text!r}{closest(path.name, beside)}, and relative paths start at {str(Path.cwd())!r}: "
            "give the path of one that is there"
        )
    if path.suffix not in (".npy", ".npz") and not (text and path.is_dir()):
        raise argparse.ArgumentTypeError(
            f"there is no data set {text!r}{closest(text, data.names())}: give one of {', '.join(data.names())}, a "
            ".npy or .npz file, a folder of .npy files, or a table, .csv or .parquet"
        )
    return os.path.abspath(Path(text).expanduser())


def needed(command: str, name: str, value: Any, what: str) -> Any:
    """Return the value of an option that the command line or a configuration has to give.

    Raises:
        ValueError: an option that is in neither.
    """
    if value is None:
        raise ValueError(f"{command} needs --{name}, {what} (see 'ppl-vae {command} --help')")
    return value


def output(arguments: argparse.Namespace, *suffixes: str) -> Path:
    """Return the file to write, checked before the work begins.

    Raises:
        ValueError: no file, another suffix, a folder, or the file with the data.
    """
    path: Path = needed(arguments.command, "out", arguments.out, f"a {' or '.join(suffixes)} file")
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"--out should end in {' or '.join(suffixes)}; got {str(path)!r}")
    if path.is_dir():
        raise ValueError(f"--out should be a file; {str(path)!r} is a folder")
    source = getattr(arguments, "data", None)
    if source and path.exists() and os.path.exists(source) and os.path.samefile(path, source):
        raise ValueError(f"--out and --data are the same file, {str(path)!r}: the data would be lost; give another")
    return path


def folder(arguments: argparse.Namespace) -> Path:
    """Return the folder to write.

    Raises:
        ValueError: no folder, or a file.
    """
    path: Path = needed(arguments.command, "out", arguments.out, "the folder to write")
    if path.exists() and not path.is_dir():
        raise ValueError(f"--out should be a folder; {str(path)!r} is a file")
    return path


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the argument RUN."""
    parser.add_argument("folder", type=Path, metavar="RUN", help="the folder that 'ppl-vae fit --out RUN' made")

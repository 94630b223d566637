"""``ppl-vae data``: list the known data sets, with their places and licences."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...data import Listing, catalogue
from ...data.checks import PARTS
from ...data.files.places import CACHE_VARIABLE, DATA_VARIABLE, cache, data_folder
from ..console import Console, keys
from ..options import OUTPUT, add_console
from ..parsing import Group, Parser, data_set

KEYS = {
    "data_folder": f"what {DATA_VARIABLE} names, or null",
    "cache": "the folder of what is downloaded",
    "sets": "an object for each: name, sizes, image_shape, binarisation, place, files, licence and so on",
}

ABOUT = f"""\
List the data sets known by name: their sizes, the default rule of binarisation, where they are, and their licence.

A set is looked for in the folder that the environment variable {DATA_VARIABLE} names, then in the cache (the folder
that {CACHE_VARIABLE} names, else the system's cache folder). What is in neither is downloaded when it is loaded.

reads   nothing: files are looked for, and verified by their checksums when they are loaded
writes  nothing, and nothing is downloaded: the table goes to stdout
"""

EXAMPLES = f"""\
examples:
  ppl-vae data
  ppl-vae data freyfaces omniglot
  {DATA_VARIABLE}=~/data ppl-vae data --json
"""

WHERE = {"installed": "installed", "data folder": DATA_VARIABLE, "cache": "cache"}


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae data [NAME ...] [OPTIONS]", EXAMPLES + keys(KEYS)
    parser: Parser = commands.add_parser("data", usage=usage, help=text, description=ABOUT, epilog=end)
    text = "tell of these only, and more (default: all)"
    parser.add_argument("names", type=data_set, nargs="*", metavar="NAME", help=text)
    add_console(Group(parser, "output", OUTPUT), "print only the names, one to a line")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print the list of data sets."""
    listings, folder, console = catalogue(arguments.names or None), data_folder(), Console.of(arguments)
    if console.json:
        folders = {"data_folder": None if folder is None else str(folder), "cache": str(cache())}
        console.result({**folders, "sets": [listing.to_dict() for listing in listings]})
        return
    if console.quiet:
        print(*(listing.name for listing in listings), sep="\n")
        return
    console.say(*_table(listings))
    if arguments.names:
        console.say(*(line for listing in listings for line in _details(listing)))
    console.say(f"\n{DATA_VARIABLE}: {_folder(folder)}", f"cache: {_folder(cache())}")


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return "nothing was written"


def size(count: int) -> str:
    """Write a number of bytes in megabytes.

    >>> size(11_594_722), size(872_124), size(999_999)
    ('11.6 MB', '0.9 MB', '1.0 MB')
    """
    return f"{count / 1e6:.1f} MB"


def _table(listings: list[Listing]) -> list[str]:
    rows: list[tuple[str, ...]] = [("name", *PARTS, "image", "rule", "where", "licence")]
    for listing in listings:
        sizes = (f"{listing.sizes[part]:,}" for part in PARTS)
        shape = " x ".join(map(str, listing.image_shape))
        rows.append((listing.name, *sizes, shape, listing.binarisation, _where(listing), listing.licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ([f"{cell:{'>' if 0 < i <= len(PARTS) else '<'}{widths[i]}}" for i, cell in enumerate(r)] for r in rows)
    return ["  ".join(cells).rstrip() for cells in aligned]


def _where(listing: Listing) -> str:
    return WHERE.get(listing.place) or f"download, {size(listing.download_bytes)}"


def _details(listing: Listing) -> list[str]:
    found = (f"  found at {file}" for file in listing.files)
    return [
        f"\n{listing.name}: {listing.source}",
        *found,
        *(f"  to be downloaded from {url}" for url in listing.urls),
    ]


def _folder(path: Path | None) -> str:
    if path is None:
        return "not set"
    return str(path) if path.is_dir() else f"{path} (no such folder)"

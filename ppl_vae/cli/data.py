"""``ppl-vae data``: which data sets there are, where they are, and on what terms."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..data import Listing, catalogue
from ..data.checks import PARTS
from ..data.places import CACHE_VARIABLE, DATA_VARIABLE, cache, data_folder
from .parsing import Parser

ABOUT = f"""\
List the data sets known by name: their sizes, the default rule of binarisation, where they are, and their licence.

A set is looked for in the folder that the environment variable {DATA_VARIABLE} names, then in the cache (the folder
that {CACHE_VARIABLE} names, else the system's cache folder). What is in neither is downloaded when it is loaded.

reads   nothing: files are looked for, and verified by their checksums when they are loaded
writes  the table to stdout; nothing is downloaded
"""

EXAMPLES = f"""\
examples:
  ppl-vae data
  ppl-vae data freyfaces omniglot
  {DATA_VARIABLE}=~/data ppl-vae data --json
"""

WHERE = {"installed": "installed", "data folder": DATA_VARIABLE, "cache": "cache"}


def add(commands: Any) -> Parser:
    """The parser of this command."""
    text = "data sets known by name, where they are, their licences"
    parser: Parser = commands.add_parser("data", help=text, description=ABOUT, epilog=EXAMPLES)
    text = "tell of these only, and more (default: all)"
    parser.add_argument("names", nargs="*", metavar="NAME", help=text)
    parser.add_argument("--json", action="store_true", help="print everything as JSON instead of a table")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """List."""
    listings = catalogue(arguments.names or None)
    folder = data_folder()
    if arguments.json:
        folders = {"data_folder": None if folder is None else str(folder), "cache": str(cache())}
        print(json.dumps({**folders, "sets": [listing.to_dict() for listing in listings]}, indent=2))
        return
    _print_table(listings)
    if arguments.names:
        for listing in listings:
            _print_more(listing)
    print(f"\n{DATA_VARIABLE}: {_folder(folder)}\ncache: {_folder(cache())}")


def interrupted(arguments: argparse.Namespace) -> str:
    """What Ctrl-C leaves."""
    return "nothing was written"


def size(count: int) -> str:
    """How a number of bytes is written.

    >>> size(11_594_722), size(872_124), size(999_999)
    ('11.6 MB', '0.9 MB', '1.0 MB')
    """
    return f"{count / 1e6:.1f} MB"


def _print_table(listings: list[Listing]) -> None:
    rows: list[tuple[str, ...]] = [("name", *PARTS, "image", "rule", "where", "licence")]
    for listing in listings:
        sizes = (f"{listing.sizes[part]:,}" for part in PARTS)
        shape = " x ".join(map(str, listing.image_shape))
        rows.append((listing.name, *sizes, shape, listing.binarisation, _where(listing), listing.licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{'>' if 0 < i <= len(PARTS) else '<'}{widths[i]}}" for i, cell in enumerate(row))
        print("  ".join(cells).rstrip())


def _where(listing: Listing) -> str:
    return WHERE.get(listing.place) or f"download, {size(listing.download_bytes)}"


def _print_more(listing: Listing) -> None:
    print(f"\n{listing.name}: {listing.source}")
    for file in listing.files:
        print(f"  found at {file}")
    for url in listing.urls:
        print(f"  to be downloaded from {url}")


def _folder(path: Path | None) -> str:
    if path is None:
        return "not set"
    return str(path) if path.is_dir() else f"{path} (no such folder)"

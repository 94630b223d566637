"""Output of a command: text for people, or one JSON object for scripts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Console:
    """Output of one command under its options ``--quiet`` and ``--json``."""

    quiet: bool
    json: bool

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Console:
        """Make the output that the options ask for."""
        return cls(arguments.quiet, arguments.json)

    @property
    def progress(self) -> bool | None:
        """Whether to show a progress bar on stderr; None shows it on a terminal only."""
        return False if self.quiet else None

    def say(self, *lines: str) -> None:
        """Print text for people: on stdout, with --json on stderr, with --quiet nowhere."""
        if lines and not self.quiet:
            print(*lines, sep="\n", file=sys.stderr if self.json else sys.stdout)

    def result(self, record: Mapping[str, Any]) -> None:
        """Print the record with --json, as one object on stdout."""
        if self.json:
            print(json.dumps(record, indent=2, allow_nan=False))


def keys(meanings: Mapping[str, str]) -> str:
    """Format the keys of a command's JSON object for the end of its help, one line each.

    >>> print(keys({"out": "the file"}))
    <BLANKLINE>
    --json prints one object with the keys
      out              the file
    """
    return "\n".join(["\n--json prints one object with the keys", *(f"  {n:<16} {t}" for n, t in meanings.items())])

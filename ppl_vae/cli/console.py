"""What a command says, and where: text for people, or one JSON object for scripts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Console:
    """``--quiet`` and ``--json`` of one command."""

    quiet: bool
    json: bool

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Console:
        """As the options say."""
        return cls(arguments.quiet, arguments.json)

    @property
    def progress(self) -> bool | None:
        """Whether there is a progress bar, which goes to stderr; None is on a terminal only."""
        return False if self.quiet else None

    def say(self, *lines: str) -> None:
        """Text for people: on stdout, with --json on stderr, with --quiet nowhere."""
        if not self.quiet:
            print(*lines, sep="\n", file=sys.stderr if self.json else sys.stdout)

    def result(self, record: Mapping[str, Any]) -> None:
        """With --json the record as one object on stdout."""
        if self.json:
            print(json.dumps(record, indent=2, allow_nan=False))


def keys(meanings: Mapping[str, str]) -> str:
    """The keys of a command's JSON object for the end of its help, a line each.

    >>> print(keys({"out": "the file"}))
    <BLANKLINE>
    --json prints one object with the keys
      out              the file
    """
    return "\n".join(["\n--json prints one object with the keys", *(f"  {n:<16} {t}" for n, t in meanings.items())])

"""``ppl-vae --print-completion SHELL``: a script that completes commands, options and their values."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .parsing import data_set, name_or_file

SHELLS = ("bash", "zsh", "fish", "tcsh")


class PrintCompletion(argparse.Action):
    """Option that prints the script and ends the program, as --help does."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> None:
        """Print the script for the shell that is named."""
        _, shell, _ = arguments
        print(script(parser, shell))
        parser.exit()


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script that the shell should source; it runs no program when it completes a word."""
    import shtab

    from .. import data, strategies
    from . import objectives

    offered: dict[Any, list[str]] = {objectives.name: [*strategies.STRATEGIES], data_set: [*data.names()]}
    for action in _every_action(parser):
        if action.type in (Path, name_or_file):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.type in offered:  # it takes others too
            action.choices = offered[action.type]
    return shtab.complete(parser, shell)


def _every_action(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _every_action(command)

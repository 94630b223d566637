"""Docstrings as the site shows them: bare doctests as code, and those that a class takes over from its bases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

DOCTEST = re.compile(r"^( *)>>> .*\n?(?:^.+\n?)*", re.MULTILINE)


def fenced(text: str) -> str:
    r"""The docstring with its bare doctests, each up to a blank line, as blocks of code.

    >>> fenced("Adds.\n\n>>> 1 + 1\n2").splitlines()
    ['Adds.', '', '```pycon', '>>> 1 + 1', '2', '```']
    """
    return DOCTEST.sub(lambda found: f"{found[1]}```pycon\n{found[0].rstrip()}\n{found[1]}```\n", text).rstrip()


class Docstrings(griffe.Extension):
    """Changes every docstring of a package once it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Inherit, then fence."""
        for thing in list(_objects(pkg)):
            if isinstance(thing, griffe.Class) and thing.docstring is None:
                thing.docstring = next((base.docstring for base in thing.mro() if base.docstring), None)
        for docstring in {id(thing.docstring): thing.docstring for thing in _objects(pkg)}.values():
            if docstring is not None:
                docstring.value = fenced(docstring.value)


def _objects(thing: griffe.Object) -> Iterator[griffe.Object]:
    yield thing
    for member in thing.members.values():
        if not member.is_alias:
            yield from _objects(member)

"""Configurations: TOML files with options by their names; options on the command line override them."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..arrays.plain import as_python
from ..data.checks import closest
from ..runtime.storage import write_atomically
from .parsing import Number, Parser

CONFIG = "config.toml"
WITH = "with"
"""Key of a configuration for the modules that --with named."""
LEFT_OUT = ("help", "config", "print_completion")


def read(path: Path, parser: Parser) -> dict[str, Any]:
    """Read the options of a command from a TOML file, or from the ``config.toml`` of a folder.

    Raises:
        ValueError: no TOML, an unknown name, or a value of a wrong type.
    """
    path = path / CONFIG if path.is_dir() else path
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"--config should be a TOML file, or a folder with a {CONFIG}; there is no {path}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    modules = _missing(path, content.pop(WITH, []))
    try:
        return _options(path, parser, content)
    except ValueError as error:
        words = " ".join(f"--with {name}" for name in modules)
        remedy = f"; it was written with '{words}': if that registers it, give the same again" if modules else ""
        raise ValueError(f"{error}{remedy}") from None


def _options(path: Path, parser: Parser, content: Mapping[str, Any]) -> dict[str, Any]:
    known = {a.dest: a for a in parser._actions if a.option_strings and a.dest not in LEFT_OUT}
    options: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in known:
            raise ValueError(f"{path}: '{parser.prog}' has no option {key!r}{closest(name, known)}; see its --help")
        if name in options:
            raise ValueError(f"{path}: {name!r} stands there twice, with a dash and with an underscore: keep one")
        try:
            options[name] = _value(known[name], value)
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise ValueError(f"{path}: {key!r}: {error}") from None
    return options


def _missing(path: Path, names: Any) -> list[str]:
    """Return the modules that a configuration names and that are not imported; a file never imports them."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: {WITH!r}: it should be a list of modules, in square brackets; got {_toml(names)}")
    return [name for name in names if name not in sys.modules]


def write(path: Path, options: Mapping[str, Any], heading: str) -> None:
    """Write options as TOML, atomically, below the heading as a comment; options that are None are left out."""
    import tomli_w

    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    text = comment + "\n" + tomli_w.dumps({name: v for name, v in as_python(options).items() if v is not None})
    write_atomically(path, text.encode())


def _value(action: argparse.Action, value: Any) -> Any:
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"it should be true or false; got {_toml(value)}")
        return value
    if action.nargs == "+":
        if not isinstance(value, list) or not value:
            raise ValueError(f"it should be a list, in square brackets; got {_toml(value)}")
        return [_convert(action, entry) for entry in value]
    return _convert(action, value)


def _convert(action: argparse.Action, value: Any) -> Any:
    """Convert one value to the option's type, with the checks of the command line."""
    if isinstance(action.type, Number):
        if not action.type.is_one(value):
            raise ValueError(f"it should be {action.type.expected}; got {_toml(value)}")
        return action.type(repr(value))
    if not isinstance(value, str):
        raise ValueError(f"it should be a text, in quotes; got {_toml(value)}")
    if action.choices is not None and value not in action.choices:
        raise ValueError(f"it should be one of {', '.join(action.choices)}; got {_toml(value)}")
    return action.type(value) if callable(action.type) else value


def _toml(value: Any) -> str:
    """Write a value as the file has it, for an error message; a table is only named."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "a table" if isinstance(value, dict) else repr(value)

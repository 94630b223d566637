"""Options of the command line that are fields of objectives, declared with the fields.

``strength: float = option(10.0, "weight of the penalty", kind="non-negative")`` is a field with that default, and the
option ``--strength`` of every objective that has it. A field that only Python can set says why: ``from_python``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["count", "number", "non-negative", "share", "switch"]


@dataclass(frozen=True)
class Option:
    """The option of a field.

    Args:
        about: the text of its help.
        name: of the option, with underscores; None for the field's own.
        kind: the numbers that it takes, a switch, or a tuple of names to choose from.
        metavar: the name of its value in the help.
    """

    about: str
    name: str | None = None
    kind: Kind | tuple[str, ...] = "number"
    metavar: str | None = None


def option(
    default: Any,
    about: str,
    *,
    name: str | None = None,
    kind: Kind | tuple[str, ...] = "number",
    metavar: str | None = None,
    kw_only: bool = True,
) -> Any:
    """Declare a field of an objective that is an option of the command line, too."""
    metadata = {"option": Option(about, name, kind, metavar)}
    return field(default=default, kw_only=kw_only, metadata=metadata)


def from_python(default: Any, reason: str) -> Any:
    """Declare a field of an objective that the command line cannot set, with the reason."""
    return field(default=default, kw_only=True, metadata={"from_python": reason})


def options_of(objective: Any) -> dict[str, Option]:
    """Map fields to options, of an objective or its class; fields in its ``unused`` are left out.

    >>> from ppl_vae.objectives import FreeBitsELBO
    >>> options_of(FreeBitsELBO)["floor"].name
    'free_bits'
    """
    unused = objective.unused
    found = {f.name: _declared(objective, f.name).get("option") for f in dataclasses.fields(objective)}
    return {name: o for name, o in found.items() if o is not None and name not in unused}


def reasons_of(objective: Any) -> dict[str, str]:
    """Map fields that only Python can set to the reason, of an objective or its class."""
    found = {f.name: _declared(objective, f.name).get("from_python") for f in dataclasses.fields(objective)}
    return {name: reason for name, reason in found.items() if reason is not None}


def _declared(objective: Any, name: str) -> Mapping[str, Any]:
    """Find the metadata of a field: its own, or its base's where a subclass changes the default alone."""
    cls = objective if isinstance(objective, type) else type(objective)
    fields = (base.__dict__.get("__dataclass_fields__", {}).get(name) for base in cls.__mro__)
    return next((f.metadata for f in fields if f is not None and f.metadata), {})

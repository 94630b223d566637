"""Options of the command line that are fields of objectives, declared with the fields.

``strength: float = option(10.0, "weight of the penalty", kind="non-negative")`` is a field with that default, and the
option ``--strength`` of every objective that has it. A field that only Python can set says why: ``from_python``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import kinds
from ..arrays import ops
from ..kinds import Kind
from ..schedules import Schedule


@dataclass(frozen=True)
class Option:
    """The option of a field.

    Args:
        about: the text of its help.
        name: of the option, with underscores; None for the field's own.
        kind: the numbers that it takes, a switch, or a tuple of names to choose from.
        metavar: the name of its value in the help.
        function: the arguments of a function that Python may give in place of a name.
        methods: those of an object that Python may give in place of a name.
    """

    about: str
    name: str | None = None
    kind: Kind | tuple[str, ...] = "number"
    metavar: str | None = None
    function: str | None = None
    methods: tuple[str, ...] = ()


def option(
    default: Any,
    about: str,
    *,
    name: str | None = None,
    kind: Kind | tuple[str, ...] = "number",
    metavar: str | None = None,
    function: str | None = None,
    methods: tuple[str, ...] = (),
    kw_only: bool = True,
) -> Any:
    """Declare a field of an objective that is an option of the command line, too."""
    metadata = {"option": Option(about, name, kind, metavar, function, methods)}
    return field(default=default, kw_only=kw_only, metadata=metadata)


def from_python(default: Any, reason: str, *, kind: Kind | None = None, kw_only: bool = True) -> Any:
    """Declare a field of an objective that the command line cannot set, with the reason; any value without a kind."""
    return field(default=default, kw_only=kw_only, metadata={"from_python": reason, "kind": kind})


def check_fields(objective: Any) -> None:
    """Refuse values that are not of their fields' declared kinds; None fits where it is the default.

    Raises:
        ValueError: names the class and the field, and says what fits.
        TypeError: a function in place of a schedule.
    """
    scheduled = {objective.scheduled, objective.cooled, getattr(objective, "weight_field", None)}
    for f in dataclasses.fields(objective):
        declared, value = _declared(objective, f.name), getattr(objective, f.name)
        of_python = Option("", kind=declared["kind"]) if declared.get("kind") else None
        known = declared.get("option", of_python)
        if known is not None and not (value is None and f.default is None):
            check_value(f"{type(objective).__name__}: {f.name!r}", value, known, scheduled=f.name in scheduled)


def check_value(name: str, value: Any, known: Option, *, scheduled: bool = False) -> None:
    """Refuse a value that is not of an option's kind; with ``scheduled`` a schedule and its value, an array (), fit."""
    if scheduled and (isinstance(value, Schedule) or (ops.foreign(value) is not None and value.ndim == 0)):
        return
    if scheduled and callable(value):
        raise TypeError(
            f"{name} should be a number or a schedule with an 'end', such as schedules.Linear(0.0, 1.0, over=20); "
            f"got {value!r}."
        )
    if known.function and callable(value):
        return
    if known.methods and all(callable(getattr(value, method, None)) for method in known.methods):
        return
    if isinstance(known.kind, tuple):
        fits = isinstance(value, str) and value in known.kind
        expected = f"one of {', '.join(known.kind)}" + (f" or a function of {known.function}" if known.function else "")
        expected += f" or an object with {' and '.join(known.methods)}" if known.methods else ""
    else:
        fits, expected = kinds.fits(known.kind, value), kinds.EXPECTED[known.kind]
    if not fits:
        raise ValueError(f"{name} should be {expected}; got {value!r}.")


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

"""Kinds of settings: the numbers that a field takes, in words and as a check, when an object is made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, Literal

Kind = Literal["count", "whole", "number", "positive", "non-negative", "share", "decay", "between", "switch"]
EXPECTED: dict[Kind, str] = {
    "count": "an integer of at least 1",
    "whole": "an integer of at least 0",
    "number": "a finite number",
    "positive": "a finite number above 0",
    "non-negative": "a finite number of at least 0",
    "share": "in [0, 1]",
    "decay": "in [0, 1)",
    "between": "above 0 and below 1",
    "switch": "True or False",
}
PRECISIONS = ("full", "bfloat16")
"""Of the products of a training's step: as the backend has them, or of operands rounded to bfloat16."""


def fits(kind: Kind, value: Any) -> bool:
    """Whether a value is of a kind; True and False are no numbers.

    >>> fits("decay", 0.9), fits("decay", 1.0), fits("count", True)
    (True, False, False)
    """
    if kind == "switch" or isinstance(value, bool):
        return kind == "switch" and isinstance(value, bool)
    if kind in ("count", "whole"):
        return isinstance(value, Integral) and int(value) >= (kind == "count")
    if not isinstance(value, Real) or not math.isfinite(value):
        return False
    number = float(value)
    return {
        "number": True,
        "positive": number > 0,
        "non-negative": number >= 0,
        "share": 0 <= number <= 1,
        "decay": 0 <= number < 1,
        "between": 0 < number < 1,
    }[kind]


def check(owner: Any, kinds: dict[str, Kind], name: str | None = None, *, optional: Iterable[str] = ()) -> None:
    """Refuse fields that are not of their kinds; a tuple holds values of the kind, and optional ones may be None.

    Args:
        owner: the object with the fields.
        kinds: field -> kind.
        name: the owner's in the message, by default that of its class.
        optional: fields that may be None.

    Raises:
        ValueError: names the owner and the field, and says what fits.
    """
    for field, kind in kinds.items():
        value = getattr(owner, field)
        if value is None and field in optional:
            continue
        several = isinstance(value, tuple)
        if not all(fits(kind, one) for one in (value if several else (value,))):
            each, told = "numbers, each " * several, name or type(owner).__name__
            raise ValueError(f"{told}: {field!r} should be {each}{EXPECTED[kind]}; got {value!r}.")


def check_counts(where: str, /, **settings: Any) -> None:
    """Refuse arguments that are no integers of at least 1.

    Raises:
        ValueError: names the function and the argument.

    >>> check_counts("generate", size=1.5)
    Traceback (most recent call last):
    ValueError: generate: 'size' should be an integer of at least 1; got 1.5.
    """
    for name, value in settings.items():
        if not fits("count", value):
            raise ValueError(f"{where}: {name!r} should be {EXPECTED['count']}; got {value!r}.")

"""Products of normal densities, on any backend's arrays."""

from __future__ import annotations

from typing import Any

Moments = tuple[Any, Any]
"""Mean and standard deviation."""


def product(one: Moments, other: Moments) -> Moments:
    """Return mean and standard deviation of the normal in proportion to N(.; m1, s1^2) N(.; m2, s2^2).

    s^2 = 1 / (1/s1^2 + 1/s2^2) and m = (m1 s2^2 + m2 s1^2) / (s1^2 + s2^2), written so that nothing is divided by the
    square of a small scale.

    >>> product((0.0, 1.0), (2.0, 1.0))[0]
    1.0
    """
    (m1, s1), (m2, s2) = one, other
    total = s1**2 + s2**2
    return m2 + (m1 - m2) * (s2**2 / total), s1 * s2 / total**0.5


def check_normal(what: str, is_normal: bool, found: str) -> None:
    """Refuse a factor that is not normal.

    Raises:
        ValueError: says what it is.
    """
    if not is_normal:
        raise ValueError(
            f"{what} multiplies diagonal normal densities, and one of them is {found}: use conditionals.DiagNormal for "
            "both, or conditionals.Beside, which takes any posterior."
        )

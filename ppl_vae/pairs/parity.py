"""Two pairs that are to be one program: their sites side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PARAMETERS = (
    "logits",
    "loc",
    "scale",
    "rate",
    "concentration",
    "concentration0",
    "concentration1",
    "df",
    "low",
    "high",
)
"""Attributes of distributions that both libraries name alike; of discrete ones the logits alone."""


@dataclass(frozen=True)
class SiteDensity:
    """One site of a run."""

    value: np.ndarray
    """plates and event"""
    log_prob: np.ndarray
    """plates; with the site's mask and scale"""
    observed: bool
    kind: str
    """the distribution's name, for messages"""
    plates: tuple[int, ...]
    """dims of its plates"""
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)


Densities = dict[str, SiteDensity]
"""Site -> its log-density, in the order of the program."""


def of_sites(
    arrays: Mapping[str, tuple[np.ndarray, np.ndarray, bool, list[int]]],
    distributions: Mapping[str, Any],
    array: Callable[[Any], np.ndarray],
) -> Densities:
    """Describe sites by their distributions and ``array``, which makes an array of a tensor.

    Args:
        arrays: site -> its value, its log-density, whether it is observed, and the dims of its plates.
        distributions: site -> its own.
        array: of a tensor.
    """
    found = {}
    for name, (value, log_prob, observed, plates) in arrays.items():
        fn = distributions[name]
        known = {p: getattr(fn, p, None) for p in PARAMETERS}
        own = {p: np.asarray(v) for p, v in known.items() if isinstance(v, int | float)}
        own |= {p: array(v) for p, v in known.items() if hasattr(v, "shape")}
        found[name] = SiteDensity(value, log_prob, observed, type(fn).__name__, tuple(sorted(plates)), own)
    return found


def first_difference(
    program: str, ours: Densities, theirs: Densities, names: tuple[str, str], rtol: float, atol: float
) -> str | None:
    """Name the first site of a program in which two runs on the same values differ, or return None.

    Args:
        program: 'model' or 'guide', for the message.
        ours: of the first library.
        theirs: of the second.
        names: of the libraries.
        rtol: relative tolerance of log-densities.
        atol: absolute tolerance, nats.
    """
    (first, second), here = names, f"of the {program}"
    for name, site in ours.items():
        other = theirs.get(name)
        if other is None:
            there = ", ".join(map(repr, theirs)) or "none"
            return f"Site {name!r} {here} is in {first} alone; the sites in {second} are {there}."
        called, what = f"Site {name!r} {here}", ("observed" if site.observed else "latent")
        if site.observed != other.observed:
            return f"{called} is {what} in {first}, and in {second} it is not: compare its obs=."
        for told, a, b in _shapes(site, other):
            if a != b:
                return (
                    f"{called}: {told} have shape {a} in {first} ({site.kind}) and {b} in {second} ({other.kind}); "
                    "compare its plates and .to_event()."
                )
        if site.plates != other.plates:
            return (
                f"{called} stands in plates at the dims {list(site.plates)} in {first} and {list(other.plates)} in "
                f"{second}: compare its plates."
            )
        if not np.allclose(site.log_prob, other.log_prob, rtol=rtol, atol=atol, equal_nan=True):
            return f"{called}: {_numbers(site, other, names, rtol, atol)}"
    for name in theirs:
        if name not in ours:
            there = ", ".join(map(repr, ours)) or "none"
            return f"Site {name!r} {here} is in {second} alone; the sites in {first} are {there}."
    return None


def _shapes(site: SiteDensity, other: SiteDensity) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    yield "its values", site.value.shape, other.value.shape
    yield "its log-densities", site.log_prob.shape, other.log_prob.shape


def _numbers(site: SiteDensity, other: SiteDensity, names: tuple[str, str], rtol: float, atol: float) -> str:
    """Say where the numbers of a site differ most, and which of the distributions' parameters does."""
    gap = np.abs(site.log_prob - other.log_prob)
    place = np.unravel_index(np.nanargmax(np.where(np.isnan(gap), np.inf, gap)), gap.shape)
    at = f" at {[int(i) for i in place]}" if gap.ndim else ""
    told = " and ".join(
        f"{float(s.log_prob[place]):.6g} in {name} ({s.kind})" for s, name in zip((site, other), names, strict=True)
    )
    if ((site.log_prob == 0) != (other.log_prob == 0)).any():
        return f"its log-density is{at} {told}, and 0 in one of them alone: compare its mask."
    ratio = site.log_prob / np.where(other.log_prob == 0, np.nan, other.log_prob)
    constant = bool(np.isfinite(ratio).all() and ratio.size > 1 and np.allclose(ratio, ratio.flat[0], rtol=1e-4))
    if constant:
        return f"its log-density is{at} {told}, everywhere {ratio.flat[0]:.4g} times as large: compare its scale."
    for name, a in site.parameters.items():
        b = other.parameters.get(name)
        if b is None:
            continue
        try:
            same = np.allclose(a, b, rtol=rtol, atol=max(atol, 1e-6))
        except ValueError:
            return (
                f"its log-density is{at} {told}. Its parameter {name!r} has shape {a.shape} in {names[0]} and "
                f"{b.shape} in {names[1]}."
            )
        if not same:
            wide = np.abs(a - b)
            return f"its log-density is{at} {told}. Its parameter {name!r} differs by up to {np.nanmax(wide):.3g}."
    return f"its log-density is{at} {told}. None of the parameters that can be compared differs: compare the families."

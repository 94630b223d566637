"""Binarisation: the rules that turn stored pixels into the values that a model sees, and the seeds they use."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ppl_vae.data.checks import check_binary, check_unit_interval, closest

Binarisation = Literal["none", "threshold", "fixed", "dynamic"]
BINARISATIONS: tuple[Binarisation, ...] = get_args(Binarisation)

# Each generator is seeded by (seed, purpose), so that the draws for one purpose never change those for another.
PURPOSES = {"split": 0, "valid": 1, "test": 2, "subset": 3}


def binarise(x: np.ndarray, rule: Binarisation, part: str, seed: int, rows: np.ndarray | None = None) -> np.ndarray:
    """Apply a rule to the float32 intensities (N, P) of a part.

    With ``rows``, ``x`` holds those rows of the part, and each gets the values that it has in the whole part. Under
    'dynamic', 'train' stays as it is: it is drawn afresh in each epoch.

    Returns:
        float32 (N, P); ``x`` itself where the rule changes nothing.

    """
    if rule == "threshold":
        return (x > 0.5).astype(np.float32)
    if rule == "dynamic" and part != "train":
        return (_uniform([seed, PURPOSES[part]], x.shape, rows) < x).astype(np.float32)
    return x


def _uniform(seed: list[int], shape: tuple[int, ...], rows: np.ndarray | None) -> np.ndarray:
    """Draw uniform float32 numbers (N, P); with ``rows``, only those of some rows, by moving the generator to them."""
    rng = np.random.default_rng(seed)
    if rows is None:
        return rng.random(shape, dtype=np.float32)
    values, start = np.empty(shape, np.float32), rng.bit_generator.state
    for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else ():
        rng.bit_generator.state = start
        words, odd = divmod(int(rows[run[0]]) * shape[1], 2)  # a draw of 64 bits makes two of these numbers
        rng.bit_generator.advance(words)  # type: ignore[attr-defined]
        rng.random(odd, dtype=np.float32)
        values[run[0] : run[-1] + 1] = rng.random((len(run), shape[1]), dtype=np.float32)
    return values


def check_rule(rule: str) -> None:
    """Raise ValueError unless ``rule`` is one of BINARISATIONS."""
    if rule not in BINARISATIONS:
        hint = closest(rule, BINARISATIONS)
        raise ValueError(f"'binarisation' should be one of {', '.join(BINARISATIONS)}; got {rule!r}{hint}.")


def check_suits(x: np.ndarray, rule: Binarisation, scale: float, what: str, first: int = 0) -> None:
    """Raise ValueError if the rule does not apply to these pixels / scale; the first of them is row ``first``."""
    if rule == "fixed":
        remedy = "under binarisation='fixed' the data are binary already; choose another rule"
        check_binary(x, what, upper=scale, remedy=remedy, first=first)
    elif rule in ("threshold", "dynamic"):
        remedy = f"binarisation={rule!r} needs intensities; rescale the pixels or use binarisation='none'"
        check_unit_interval(x, what, upper=scale, remedy=remedy, first=first)

"""The rules by which stored pixels become what a model sees, and the seeds they use."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ppl_vae.data.checks import check_binary, check_unit_interval, closest

Binarisation = Literal["none", "threshold", "fixed", "dynamic"]
BINARISATIONS: tuple[Binarisation, ...] = get_args(Binarisation)

# What a generator is for: each is seeded from (seed, purpose), so that one use never shifts another.
PURPOSES = {"split": 0, "valid": 1, "test": 2, "subset": 3}


def binarise(x: np.ndarray, rule: Binarisation, part: str, seed: int) -> np.ndarray:
    """Apply a rule to the float32 intensities (N, P) of a part; under 'dynamic', 'train' stays as it is.

    Returns:
        float32 (N, P); `x` itself where the rule changes nothing.

    """
    if rule == "threshold":
        return (x > 0.5).astype(np.float32)
    if rule == "dynamic" and part != "train":
        uniform = np.random.default_rng([seed, PURPOSES[part]]).random(x.shape, dtype=np.float32)
        return (uniform < x).astype(np.float32)
    return x


def check_rule(rule: str) -> None:
    """Raise ValueError unless `rule` is one of BINARISATIONS."""
    if rule not in BINARISATIONS:
        hint = closest(rule, BINARISATIONS)
        raise ValueError(f"binarisation should be one of {', '.join(BINARISATIONS)}; got {rule!r}{hint}")


def check_suits(x: np.ndarray, rule: Binarisation, scale: float, what: str) -> None:
    """Raise ValueError if stored pixels are not such that the rule can take pixels / scale."""
    if rule == "fixed":
        remedy = "under binarisation='fixed' the data are binary already; choose another rule"
        check_binary(x, what, upper=scale, remedy=remedy)
    elif rule in ("threshold", "dynamic"):
        remedy = f"binarisation={rule!r} needs intensities; rescale the pixels or use binarisation='none'"
        check_unit_interval(x, what, upper=scale, remedy=remedy)

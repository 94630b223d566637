"""What a refusal of samples advises, followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pairs import follow

from ppl_vae.divergences import sliced_wasserstein, wasserstein

RNG = np.random.default_rng(0)
FEW, MANY = RNG.normal(size=(20, 3)), RNG.normal(size=(30, 3))
BROKEN = np.where(np.arange(20)[:, None] == 3, np.nan, FEW)
REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "take fewer rows, or divergences.sliced_wasserstein": (
        lambda _: wasserstein(FEW, MANY),
        lambda _: wasserstein(FEW, MANY[:20]),
        lambda _: float(sliced_wasserstein(FEW, MANY[:20], np.eye(3))),
    ),
    "Samples should be finite; got NaN or infinite numbers: leave those rows out": (
        lambda _: wasserstein(BROKEN, MANY[:20]),
        lambda _: wasserstein(BROKEN[np.isfinite(BROKEN).all(1)], MANY[:19]),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str) -> None:
    follow(says, None, *REMEDIES[says])

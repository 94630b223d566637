"""What a refusal of samples advises, followed, in the library and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import follow, refused, told

from ppl_vae.divergences import by_learned_ratio, classifier_test
from ppl_vae.divergences.families import FAMILIES
from ppl_vae.evaluation import sample_quality

RNG = np.random.default_rng(0)
X, Y, TRAIN = RNG.normal(size=(3, 40, 2))
LABELS = np.repeat([0, 1], 20)
BROKEN = np.where(np.arange(40)[:, None] == 3, np.nan, X)


def compared(samples: Any = X, reference: Any = Y, **options: Any) -> Callable[[Any], list[float]]:
    return lambda _: list(sample_quality(samples, reference, permutations=2, **options).row().values())


def by_command(*, saved: bool) -> Callable[[Path], str]:
    def work(at: Path) -> str:
        for name, rows in (("a", X), ("b", Y)):
            np.savetxt(at / f"{name}.txt", rows)
            np.save(at / f"{name}.npy", rows)
        files = [at / f"{name}.{'npy' if saved else 'txt'}" for name in "ab"]
        return told("two-sample", *files, "--permutations", 2)

    return work


REMEDIES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "should be finite; {} of its rows are not: leave these rows out": (
        compared(BROKEN),
        compared(BROKEN[np.isfinite(BROKEN).all(1)]),
    ),
    "one for each of its rows; got no 'train': pass both": (
        compared(labels=LABELS),
        compared(labels=LABELS, train=TRAIN),
    ),
    "Features are those of a net that tells classes: pass 'train' and its 'labels', too": (
        compared(features=True, train=TRAIN),
        compared(features=True, train=TRAIN, labels=LABELS),
    ),
    "is one of 'train': give data that the model has not seen": (
        compared(X, TRAIN, train=TRAIN),
        compared(X, Y, train=TRAIN),
    ),
    "a sample should be a .npy file that is there; got {}: save it with np.save": (
        by_command(saved=False),
        by_command(saved=True),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str, tmp_path: Path) -> None:
    follow(says, tmp_path, *REMEDIES[says])


@pytest.mark.parametrize(
    ("says", "call"),
    [
        ("'samples' should be at least 20 rows of numbers, (N, ...); got float64 of shape (5, 2)", compared(X[:5])),
        ("'reference' should be at least 20 rows of numbers", compared(X, np.array(["a"] * 40))),
        ("the same number of entries; got samples 2, reference 1", compared(X, Y[:, :1])),
        ("of the 40 rows of 'train'", compared(train=TRAIN, labels=LABELS[:3])),
        ("got int64 of shape (40,) with 1 value.", compared(train=TRAIN, labels=0 * LABELS)),
        ("got float64 of shape (40,) with 40 values.", compared(train=TRAIN, labels=X[:, 0])),
        ("'neighbours' should be an integer of at least 1; got 0", compared(neighbours=0)),
        ("'neighbours' should be below 40, the number of rows of each sample; got 40", compared(neighbours=40)),
        ("'max_rows' should be an integer of at least 20; got 5", compared(max_rows=5)),
        ("there is nothing to compare", compared(np.ones((40, 2)), np.ones((40, 2)))),
        ("at least 4 rows of each sample, half of them to learn from; got 3", lambda _: classifier_test(X[:3], Y)),
        ("at least 4 rows of each sample", lambda _: by_learned_ratio(FAMILIES["kl"], X, Y[:2])),
    ],
)
def test_what_cannot_be_compared_is_named(says: str, call: Callable[[Any], Any]) -> None:
    refused(says, lambda: call(None))

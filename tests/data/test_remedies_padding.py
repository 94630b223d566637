"""What a refusal of sequences advises, followed."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import follow

from ppl_vae import data
from ppl_vae.data.sets import jsb_chorales

SEQUENCES = [np.random.default_rng(0).normal(size=(length, 2)) for length in (3, 1, 4)]


def music(path: Path, content: Any) -> Any:
    path.write_bytes(pickle.dumps(content))
    return jsb_chorales.from_pickle(path)[1]["train"]


def lengths(content: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return music(Path(folder) / "jsb_chorales.pickle", content)


REMEDIES: dict[str, Any] = {
    "lists of notes by part; got {}: copy it again from where it came": (
        lambda: lengths([1]),
        lambda: lengths({"train": [[(60,), ()]], "valid": [], "test": []}),
    ),
    "be a list of arrays (T, P); got none: give at least one": (lambda: data.pad([]), lambda: data.pad(SEQUENCES).x),
    "should all have steps of as many numbers": (
        lambda: data.pad([np.zeros((2, 1)), np.zeros((2, 2))]),
        lambda: data.pad([np.array([[0, np.nan]] * 2), np.zeros((2, 2))]).x,
    ),
    "the longest of the sequences; got {}: raise it, or cut": (
        lambda: data.pad(SEQUENCES, length=3),
        lambda: data.pad(SEQUENCES, length=4).x,
        lambda: data.pad([a[:3] for a in SEQUENCES], length=3).x,
    ),
    "leave it out, or put NaN where a number is not known": (
        lambda: data.pad([np.array([1.0, np.inf])]),
        lambda: data.pad([np.array([1.0, np.nan])]).x,
        lambda: data.pad([np.array([1.0])]).x,
    ),
    "give the number of steps of each sequence": (
        lambda: data.lengths_to_mask([0, 2], (3, 1)),
        lambda: data.lengths_to_mask([1, 2], (3, 1)),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_of_sequences_works(says: str) -> None:
    wrong, *ways = REMEDIES[says]
    follow(says, None, lambda _: wrong(), *(lambda _, way=way: way() for way in ways))

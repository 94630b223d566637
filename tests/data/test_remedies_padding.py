"""What a refusal of sequences advises, followed."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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


def table(*lines: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flows.csv"
        if lines:
            path.write_text("\n".join(lines))
        return data.pad(path).x


NAMES = "id,time,flow"
REMEDIES: dict[str, Any] = {
    "cut it, or replace them": (
        lambda: data.sonnets.coded(["to be & not"], 6),
        lambda: data.sonnets.coded(["to be "], 6),
        lambda: data.sonnets.coded(["to be and not"], 13),
    ),
    "lists of notes by part; got {}: copy it again from where it came": (
        lambda: lengths([1]),
        lambda: lengths({"train": [[(60,), ()]], "valid": [], "test": []}),
    ),
    "be a list of arrays (T, P); got none: give at least one": (lambda: data.pad([]), lambda: data.pad(SEQUENCES).x),
    "got a {}: pass list(sequences.values()) of a dictionary, [frame.to_numpy()] of a frame": (
        lambda: data.pad({"a": [1.0]}),  # type: ignore[arg-type]
        lambda: data.pad(list({"a": [1.0]}.values())).x,
        lambda: data.pad([pd.DataFrame({"u": [1.0, 2.0], "v": 0.0}).to_numpy()]).x,
    ),
    "of two times, and the longest has {} lines: correct these times, or number the steps 0, 1, 2 and so on": (
        lambda: table(NAMES, "a,1,5", "a,2,6", "a,1000000000,7"),
        lambda: table(NAMES, "a,1,5", "a,2,6", "a,10,7"),
        lambda: table(NAMES, "a,0,5", "a,1,6", "a,2,7"),
    ),
    "(T, P) of numbers; got {}: give each step as many numbers, NaN where": (
        lambda: data.pad([[[1.0, 2.0], [3.0]]]),
        lambda: data.pad([[[1.0, 2.0], [3.0, np.nan]]]).x,
    ),
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
    "give the path of a CSV of columns id, time and values": (lambda: table(), lambda: table(NAMES, "a,0,1")),
    "has two lines of the time {}: keep one": (
        lambda: table(NAMES, "a,0,1", "a,0,2"),
        lambda: table(NAMES, "a,0,1", "b,0,2"),
    ),
    "have lines under that of the names; there is none: give one for each step": (
        lambda: table(NAMES),
        lambda: table(NAMES, "a,0,1"),
    ),
    "give a line for each step, under one of names": (
        lambda: table("time,flow", "0,1"),
        lambda: table(NAMES, "a,0,1"),
    ),
    "columns of the first line; it has {}: leave a cell empty": (
        lambda: table("id,time,u,v", "a,0,1"),
        lambda: table("id,time,u,v", "a,0,1,"),
    ),
    "the time should be known; got {}: give the number of the step": (
        lambda: table(NAMES, "a,,1"),
        lambda: table(NAMES, "a,0,1"),
    ),
    "the id should be known; got {}: give the name of the sequence": (
        lambda: table(NAMES, ",0,1"),
        lambda: table(NAMES, "a,0,1"),
    ),
    "leave an index out, frame.to_csv(file, index=False), or give the column a name": (
        lambda: table(f",{NAMES}", "0,a,0,1"),
        lambda: table(NAMES, "a,0,1"),
        lambda: table(f"n,{NAMES}", "0,a,0,1"),
    ),
    "give dates as numbers of steps, categories as columns of 0 and 1": (
        lambda: table(NAMES, "a,1871-01-01,1"),
        lambda: table(NAMES, "a,1871,1"),
        lambda: table("id,time,x,y", "a,0,1,0", "a,1,0,1"),
        lambda: table(NAMES, "a,0,1", "a,1,"),
    ),
    "in the sequence {} the time {} does not: number the steps 0, 1, 2 and so on": (
        lambda: table(NAMES, "a,0,1", "a,1,1", "a,2.5,1"),
        lambda: table(NAMES, "a,0,1", "a,1,1", "a,2,1"),
    ),
    "give the number of steps that are data": (
        lambda: data.pad(SEQUENCES, lengths=[3, 2, 1]),
        lambda: data.pad(SEQUENCES, lengths=[3, 1, 1]).x,
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

"""Laws of sequences as padded rows."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppl_vae import data
from ppl_vae.data.sets import jsb_chorales

RNG = np.random.default_rng(0)
SEQUENCES = [RNG.normal(size=(length, 2)) for length in (3, 1, 4)]


def test_rows_hold_the_sequences_and_the_mask_what_is_there() -> None:
    holed = [a.copy() for a in SEQUENCES]
    holed[0][1, 0] = np.nan
    padded = data.pad(holed, length=5)
    assert padded.shape == (5, 2) and padded.lengths.tolist() == [3, 1, 4]
    for row, seen, a in zip(padded.x, padded.mask, holed, strict=True):
        np.testing.assert_array_equal(row[: a.size][seen[: a.size]], a.astype(np.float32).ravel()[~np.isnan(a).ravel()])
        assert not row[a.size :].any() and not seen[a.size :].any() and seen.sum() == (~np.isnan(a)).sum()
    whole = data.pad(SEQUENCES)
    assert (data.lengths_to_mask(whole.lengths, whole.shape) == whole.mask).all()


def test_a_pickle_that_runs_something_is_refused_unrun(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "jsb_chorales.pickle"
    for content in ({"train": Bomb()}, {"train": [[(300,)]], "valid": [], "test": []}, [1]):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match="should be the pickle of the JSB chorales"):
            jsb_chorales.from_pickle(path)
    assert not (tmp_path / "ran").exists()

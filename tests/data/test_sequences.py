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


def test_an_array_and_a_table_are_the_list(tmp_path: Path) -> None:
    """The same sequences as a list, an array with lengths, and lines in any order, with a gap and an empty cell."""
    whole = [a.astype(np.float32) for a in SEQUENCES]
    whole[2][1] = np.nan  # a step that has no line
    whole[0][2, 1] = np.nan
    listed = data.pad(whole)
    array = np.full((3, 4, 2), 7.0)
    lines = []
    for name, row, a in zip("bac", array, whole, strict=True):
        row[: len(a)] = a
        for t, (u, v) in enumerate(a):
            if not np.isnan(u):
                lines.append(f"{name},{1990 + 0.25 * t},{u},{'' if np.isnan(v) else v}")
    path = tmp_path / "flows.csv"
    path.write_text("\n".join(["id,time,u,v", lines[0], *reversed(lines[1:])]))
    from_table = data.pad(str(path))
    assert from_table.ids == ("b", "c", "a")
    for found, order in ((data.pad(array, lengths=[3, 1, 4]), [0, 1, 2]), (from_table, [0, 2, 1])):
        assert found.shape == (4, 2) and (found.lengths == listed.lengths[order]).all()
        assert (found.x == listed.x[order]).all() and (found.mask == listed.mask[order]).all()


def test_columns_called_id_and_time_are_these_wherever_they_stand(tmp_path: Path) -> None:
    lines = [("a", 1, 0.5, 2.0), ("a", 2, 0.25, 3.0), ("b", 5, 1.5, 4.0)]
    read = []
    for order in ([0, 1, 2, 3], [2, 0, 1, 3], [2, 3, 1, 0]):
        names = ["ID", "time", "u", "v"]
        rows = [[names[i] for i in order], *([line[i] for i in order] for line in lines)]
        (tmp_path / "x.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
        read.append(data.pad(tmp_path / "x.csv"))
    for other in read[1:]:
        assert list(other.ids) == list(read[0].ids) == ["a", "b"] and other.lengths.tolist() == [2, 1]
        np.testing.assert_array_equal(other.x, read[0].x)


def test_published_sequences_are_those_of_their_papers() -> None:
    """Counts, lengths and moments as published: UCI's description, and Durbin and Koopman's table of the Nile."""
    flows = data.nile.read().x[0]
    assert len(data.nile.YEARS) == len(flows) == 100 and (flows[0], flows[-1], flows.min()) == (1120, 740, 456)
    assert flows.mean() == pytest.approx(919.35) and flows[:28].mean() > 1090 and flows[28:].mean() < 860
    vowels = data.load("japanese_vowels")
    assert vowels.labels is not None
    for part, count in (("train", 243), ("valid", 27), ("test", 370)):
        mask = data.lengths_to_mask(vowels.labels[part], vowels.image_shape)
        x = getattr(vowels, part)
        assert len(x) == count == len(data.japanese_vowels.speakers(part))
        assert not x[~mask].any() and (vowels.images(x).any(-1) == mask[:, ::12]).all()
        assert vowels.labels[part].min() >= 7 and vowels.labels[part].max() < 30
    assert sum(labels.sum() for labels in vowels.labels.values()) == 9961
    assert vowels.train[0, :2] == pytest.approx([1.860936, -0.207383])


def test_sonnets_are_spelled_as_they_were_coded() -> None:
    """154 of 14 lines, one of 15 and one of 12; the rows of each part, to their lengths, are the lines."""
    split, ends = data.load("sonnets"), {"train": "From fairest", "valid": "Is it for", "test": "For shame"}
    assert split.labels is not None and sum(split.sizes.values()) == 154 * 14 - 1
    for part, first in ends.items():
        lines = data.sonnets.spelled(getattr(split, part), split.labels[part])
        assert lines[0].startswith(first.lower()) and [len(line) for line in lines] == split.labels[part].tolist()
        assert lines == data.sonnets.spelled(data.sonnets.coded(lines) / data.sonnets.SCALE)
    mask = data.lengths_to_mask(split.labels["test"], split.image_shape)
    assert not split.test[~mask].any() and split.labels["test"].max() <= 60


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

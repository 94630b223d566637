"""Adult: columns, gaps, weights that are no feature, and files that are others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppl_vae import data
from ppl_vae.data.sets.adult import CATEGORIES, FEATURES, NUMBERS

ROW = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, "
    "Cuba, <=50K"
)
OTHER = "17, Private, 1, 10th, 1, Divorced, Sales, Wife, Other, Female, 0, 4356, 99, Japan, >50K"
GAP = ROW.replace("State-gov", "?")


def written(folder: Path, *rows: str) -> Path:
    """The two files with these rows; the test's have a first line and full stops of their own."""
    (folder / "adult.data").write_text("\n".join([*rows, "", ""]))
    (folder / "adult.test").write_text("\n".join(["|1x3 Cross validator", *(f"{row}." for row in rows)]) + "\n")
    return folder


def test_rows_are_read_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adult").mkdir()
    written(tmp_path / "adult", ROW, GAP, OTHER)
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    train, test = data.adult.read(counts=(2, 2))
    for part in (train, test):
        assert part.income.tolist() == [0, 1] and part.sex.tolist() == [1, 0]
        assert part.x.shape == (2, 101) and part.x.dtype == np.float32 and part.x.min() == 0 and part.x.max() == 1
    assert not any("fnlwgt" in name or name in ("sex", "income") for name in FEATURES)
    one = dict(zip(FEATURES, train.x[0], strict=True))
    assert one["age"] == pytest.approx(22 / 73) and one["capital-gain"] == pytest.approx(np.log(2175) / np.log(100_000))
    assert {name for name in FEATURES if one[name] == 1 and name not in NUMBERS} == {
        "workclass=State-gov",
        "education=Bachelors",
        "marital-status=Never-married",
        "occupation=Adm-clerical",
        "relationship=Not-in-family",
        "race=White",
        "native-country=Cuba",
    }
    assert len(FEATURES) == len(NUMBERS) + sum(map(len, CATEGORIES.values())) == 101


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW.replace(", Cuba", ""), "line 1: should have the 15 columns age, workclass"),
        (ROW.replace("Cuba", "Atlantis"), "'native-country' should be one of Cambodia.*row 0 holds 'Atlantis'"),
        (ROW.replace("39", "10"), "'age' should be within 17 and 90; row 0 holds 10"),
        (ROW.replace("39", "old"), "'age' should hold numbers"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.adult.read(written(tmp_path, row), counts=None)

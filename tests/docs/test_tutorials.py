"""The tutorials run, show what is stored, and are what a reader can finish."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
LONG = ("one_pair_many_inferences", "your_own_model")
"""Those that take over five seconds."""

spec = importlib.util.spec_from_file_location("tutorials", ROOT / "docs" / "hooks" / "tutorials.py")
assert spec and spec.loader
tutorials = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tutorials)


def said(cell: dict[str, Any]) -> list[tuple[list[str], str]]:
    """The kinds of what a cell shows, and its text but for the digits of numbers."""
    data = [output.get("data") or {"text/plain": output["text"]} for output in cell.get("outputs", ())]
    texts = [
        re.sub(r"-?\d[\d.,]*(e-?\d+)?|\s+|\binf\b|\bnot\b", "", tutorials.text_of(each["text/plain"])) for each in data
    ]
    return [(sorted(each), text) for each, text in zip(data, texts, strict=True)]


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else (), id=path.stem) for path in NOTEBOOKS],
)
def test_it_runs_and_shows_what_is_stored(path: Path) -> None:
    stored = tutorials.read(path)
    assert 10 <= len(stored) <= 15
    assert [said(cell) for cell in tutorials.run(stored)] == [said(cell) for cell in stored]


def test_there_are_six_and_each_ends_in_a_picture_and_what_to_do_next() -> None:
    assert len(NOTEBOOKS) == 6
    for path in NOTEBOOKS:
        *_, last_code, last = tutorials.read(path)
        assert tutorials.text_of(last["source"]).startswith("## What to do next\n\n- "), path.stem
        assert [kinds for kinds, _ in said(last_code)] == [["image/png", "text/plain"]], path.stem
        assert path.stat().st_size < 100_000 and json.loads(path.read_text(encoding="utf-8"))["nbformat"] == 4

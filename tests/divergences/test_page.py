"""The page on divergences: its code runs, and prints the numbers that stand below it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "divergences.md"
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def test_the_page_prints_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    pairs = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(pairs) == 2
    for code, shown in pairs:
        exec(compile(code, str(PAGE), "exec"), names)
        printed = capsys.readouterr().out
        found, right = ([float(number) for number in NUMBER.findall(text)] for text in (printed, shown))
        assert found == pytest.approx(right, abs=0.01) and NUMBER.sub("", printed) == NUMBER.sub("", shown)

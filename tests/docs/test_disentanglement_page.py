"""What is written about disentanglement metrics runs, and shows what it prints."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from ppl_vae.evaluation import disentanglement

ROOT = Path(__file__).resolve().parents[2]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.slow
def test_the_page_of_metrics_runs_and_its_table_is_what_it_prints(capsys: pytest.CaptureFixture) -> None:
    page = (ROOT / "docs" / "disentanglement_metrics.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    exec(compile(code, "disentanglement_metrics.md", "exec"), names)
    shown = {name: numbers for name, *numbers in map(cells, page.splitlines()) if name in names["codes"]}
    assert list(shown) == list(names["rows"])
    for name, row in names["rows"].items():
        assert [float(number) for number in shown[name]] == pytest.approx(list(row.values())[:8], abs=0.02), name
    by_width = list(names["wide"].values())
    assert by_width == sorted(by_width, reverse=True) and "sample efficiency" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rounds", "1"], [*disentanglement.METRICS, "the default metrics"]),
        (["--boosting", "10", "30"], ["10 labels", "30 labels"]),
    ],
)
def test_the_cost_of_metrics_is_measured(
    options: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", ["metrics_cost.py", "--sizes", "3", "4", "6", "--dims", "5", *options])
    importlib.import_module("metrics_cost").main()
    lines = capsys.readouterr().out.splitlines()[-len(words) :]
    assert all(re.match(rf" *{word}\b.* \d+\.\d+ s", line) for word, line in zip(words, lines, strict=True)), lines

"""Tables of lines of JSON: a row is made once for each set of options, and never shown under others."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("rows")


def run(rows: ModuleType, out: Path, made: list[Any], seeds: list[int], **options: Any) -> None:
    """Ask for a table; ``made`` gets the rows that were made."""
    arguments = argparse.Namespace(out=out, seeds=seeds, **options)

    def make(seed: int) -> dict[str, Any]:
        made.append((seed, options["epochs"]))
        return {"ELBO": -1.0 * options["epochs"] - seed}

    cells = ({"seed": seed} for seed in seeds)
    rows.table(out, ("seed", "ELBO", "KL"), rows.options_of(arguments, "seeds"), cells, make)


def test_a_row_is_made_once_for_its_options(
    rows: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, made = tmp_path / "rows.jsonl", []
    for epochs, seeds in ((1, [0]), (1, [0, 1]), (2, [0]), (1, [1])):
        run(rows, out, made, seeds, epochs=epochs, hidden=[8])
        told = capsys.readouterr().out.splitlines()[2:]
        assert told == [f"| {seed} | {-epochs - seed:.2f} |  |" for seed in seeds]
    assert made == [(0, 1), (1, 1), (0, 2)]
    assert [json.loads(line)["options"] for line in out.read_text().splitlines()] == [
        {"epochs": epochs, "hidden": [8]} for epochs in (1, 1, 2)
    ]


def test_checkpoints_are_apart_where_cells_or_options_are(rows: ModuleType, tmp_path: Path) -> None:
    keys = [({"seed": 0}, {"epochs": 1}), ({"seed": 1}, {"epochs": 1}), ({"seed": 0}, {"epochs": 2})]
    paths = {rows.checkpoint_of(tmp_path / "rows.jsonl", cell, options) for cell, options in keys}
    assert len(paths) == 3 and all(path.parent == tmp_path and path.suffix == ".checkpoint" for path in paths)
    assert rows.checkpoint_of(tmp_path / "rows.jsonl", *keys[0]) in paths

"""Laws of ``ppl-vae data``, and what is told of a set that cannot be had."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pairs import command, one_line

from ppl_vae import data


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and no folder of data."""
    monkeypatch.delenv("PPL_VAE_DATA", raising=False)
    monkeypatch.setenv("PPL_VAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def table(text: str) -> dict[str, list[str]]:
    """Name -> the cells of its line."""
    lines = text.split("\n\n")[0].splitlines()
    return {cells[0]: cells for cells in (re.split(r"  +", line) for line in lines)}


def test_data_lists_every_set(
    no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("data") == 0
    out = capsys.readouterr().out
    listed = table(out)
    assert tuple(listed) == ("name", *data.names())
    where = listed["name"].index("where")
    assert listed["digits"][where] == "installed" and listed["mnist"][where] == "download, 11.6 MB"
    assert listed["fashion_mnist"] == [
        *("fashion_mnist", "50,000", "10,000", "10,000", "28 x 28", "dynamic", "download, 30.9 MB", "MIT")
    ]
    assert f"PPL_VAE_DATA: not set\ncache: {no_data} (no such folder)" in out
    assert max(map(len, out.splitlines())) <= 120
    for folder in (no_data, tmp_path / "mine"):
        (folder / "freyfaces").mkdir(parents=True)
    (no_data / "freyfaces" / "frey_rawface.mat").touch()
    assert command("data") == 0
    assert table(capsys.readouterr().out)["freyfaces"][where] == "cache"
    (tmp_path / "mine" / "freyfaces" / "freyfaces.npz").touch()
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path / "mine"))
    assert command("data") == 0
    out = capsys.readouterr().out
    assert table(out)["freyfaces"][where] == "PPL_VAE_DATA" and table(out)["mnist"][where].startswith("download")
    assert f"PPL_VAE_DATA: {tmp_path / 'mine'}\ncache: {no_data}\n" in out


def test_data_tells_more_of_sets_that_are_named(no_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (no_data / "freyfaces").mkdir(parents=True)
    (no_data / "freyfaces" / "frey_rawface.mat").touch()
    assert command("data", "freyfaces", "omniglot") == 0
    out = capsys.readouterr().out
    assert tuple(table(out)) == ("name", "freyfaces", "omniglot")
    assert f"found at {no_data / 'freyfaces' / 'frey_rawface.mat'}" in out
    assert "to be downloaded from https://raw.githubusercontent.com/brendenlake/omniglot/" in out
    assert "8 of 50 alphabets" in out


def test_data_as_json(no_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("data", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["data_folder"] is None and printed["cache"] == str(no_data)
    assert printed["sets"] == [listing.to_dict() for listing in data.catalogue()]
    assert [entry["name"] for entry in printed["sets"]] == list(data.names())
    assert command("data", "mnist", "--json") == 0
    (mnist,) = json.loads(capsys.readouterr().out)["sets"]
    assert mnist["place"] == "download" and mnist["download_bytes"] == 11_594_722 and len(mnist["urls"]) == 4


def test_a_set_that_cannot_be_had_is_told_in_one_line(
    no_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "afile").touch()
    monkeypatch.setenv("PPL_VAE_CACHE", str(tmp_path / "afile"))
    assert command("fit", "--data", "freyfaces", "--out", tmp_path / "run") == 2
    assert "cannot be written" in one_line(capsys)
    (no_data / "mnist").mkdir(parents=True)
    for file in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (no_data / "mnist" / f"{file}-ubyte.gz").write_bytes(b"<html>")
    monkeypatch.setenv("PPL_VAE_CACHE", str(no_data))
    assert command("fit", "--data", "mnist", "--out", tmp_path / "run") == 2
    assert "train-images-idx3-ubyte.gz' is truncated or damaged" in one_line(capsys)

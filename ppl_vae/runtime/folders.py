"""Folders that something wrote: each belongs to what made it, and nothing else writes over what is in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .storage import write_atomically

RUN, COMPARISON = "a run of 'ppl-vae fit'", "a comparison of 'ppl-vae compare'"
STUDY, TRAINING, REPORT = "a study", "a training of a study", "a report on a study"
RUN_KIND = "ppl_vae run"
"""The ``kind`` in the settings of a run."""
MARK = ".made_by"
"""The file that says what made a folder, where its other files do not."""


def owner(folder: Path) -> str | None:
    """Say what made a folder, which its settings, cells, configuration or a mark tell; None if nothing of ours did."""
    settings = _read(folder / "settings.json")
    if isinstance(settings, dict) and (settings.get("kind") == RUN_KIND or "cell" in settings):
        return TRAINING if "cell" in settings else RUN
    if any((folder / name).is_file() for name in ("fit.safetensors", "checkpoint.safetensors")):
        return RUN
    if (folder / MARK).is_file():
        return (folder / MARK).read_text(encoding="utf-8").strip()
    config = folder / "config.toml"
    if config.is_file() and config.read_bytes().startswith(b"# Options of 'ppl-vae compare'"):
        return COMPARISON
    if any("cell" in (_read(file) or {}) for file in folder.glob("cells/*/settings.json")):
        return STUDY
    return REPORT if has_report(folder) else None


def has_report(folder: Path) -> bool:
    """Whether a study's report is there."""
    results = _read(folder / "results.json")
    return bool(isinstance(results, list) and results and isinstance(results[0], dict) and "strategy" in results[0])


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def refuse_others(folder: Path, *own: str, remedy: str = "give another --out") -> None:
    """Refuse a folder that something else made than one of ``own``.

    Raises:
        ValueError: names what made it.
    """
    made = owner(folder)
    if made is not None and made not in own:
        raise ValueError(f"{folder} is {made}, and belongs to that alone: {remedy}")


def refuse_loss(folder: Path, names: Iterable[str], remedy: str = "give another --out") -> None:
    """Refuse a folder with files of these names, which would be overwritten.

    Raises:
        ValueError: names the first.
    """
    for name in names:
        if (folder / name).exists():
            raise ValueError(f"{folder} holds {name}, which was made by something else and would be lost: {remedy}")


def claim(folder: Path, maker: str, *, earlier: str = "", remedy: str = "give another --out") -> None:
    """Make a folder that belongs to ``maker`` from now on, or use it again.

    Args:
        folder: that is absent, empty, or the maker's own.
        maker: of the folder, in words that follow 'is'.
        earlier: the pattern of files by which a folder is known that was made when folders had no marks.
        remedy: of a refusal.

    Raises:
        ValueError: something else made it, or it holds files.
    """
    refuse_others(folder, maker, remedy=remedy)
    if owner(folder) is None:
        known = bool(earlier) and any(folder.glob(earlier))
        there = folder.iterdir() if folder.is_dir() and not known else ()
        refuse_loss(folder, sorted(path.name for path in there if path.name != ".lock"), remedy)
        write_atomically(folder / MARK, f"{maker}\n".encode())


def belongs(path: Path) -> tuple[Path, str] | None:
    """Find the nearest folder above a file that something made, with what made it."""
    for folder in path.resolve().parents[:3]:
        made = owner(folder)
        if made is not None and made != TRAINING:
            return folder, made
    return None

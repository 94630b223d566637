"""Checkpoints: writing and reading them, and refusing that of another training."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import errors
from ..runtime import storage
from ..runtime.versions import __version__, versions
from .settings import LATER

KEYS = frozenset({"settings", "epochs_done", "probe", "stopped", "best", "history"})
"""Keys of a checkpoint's header."""


def write(path: Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
    """Write a checkpoint, atomically; the header has ``KEYS``."""
    storage.write(path, arrays, {"kind": "checkpoint", "versions": _versions(), **header})


def read(path: Path, settings: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the arrays and the header of a checkpoint of a training with these settings.

    Raises:
        UnreadableFile: damaged, or no checkpoint.
        ValueError: of other settings or data, or written by other versions of the libraries.
    """
    arrays, header = storage.read(path)
    if header.get("kind") != "checkpoint" or not set(header) >= KEYS:
        raise errors.UnreadableFile(
            f"{path} is a {header.get('kind')!r}, not a checkpoint to go on from: use another file, or resume=False."
        )
    _check_settings(path, settings, header["settings"])
    _check_versions(path, header.get("versions", {}))
    return arrays, header


def _check_settings(path: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    names = (name for name in {**ours, **theirs} if name in theirs or name not in LATER)
    different = [name for name in names if ours.get(name) != theirs.get(name)]
    if different:
        name = min(different, key=LATER.__contains__)  # what a user set, before what was recorded of it
        what = f"its {name!r} is {theirs.get(name)!r}, here it is {ours.get(name)!r}"
        what = "it saw other data" if name == "data" else what
        raise ValueError(
            f"The checkpoint {path} belongs to another training: {what}. Use the same settings and data, another file, "
            "or resume=False."
        )


def _check_versions(path: Path, theirs: Mapping[str, str]) -> None:
    ours = _versions()
    for name, version in theirs.items():
        if ours.get(name) != version:
            raise ValueError(
                f"The checkpoint {path} was written with {name} {version}, and here is {ours.get(name)}, which may end "
                "with other numbers: go on with that version, or start anew with another file or resume=False."
            )


@functools.cache
def _versions() -> dict[str, str]:
    """Versions of the libraries that a training's numbers depend on, without the labels of their builds."""
    found = {"ppl_vae": __version__, **versions()}
    return {name: version.partition("+")[0] for name, version in found.items() if name != "python"}

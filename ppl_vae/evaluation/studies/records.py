"""Records of a study's trainings, as JSON files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import UnsuitableObjective
from ...runtime import storage
from ...training.settings import LATER


def differences(theirs: Any, ours: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Find every leaf of two nested settings that is not the same: its dotted name and both values."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in (k for k in {**ours, **theirs} if k in theirs or k not in LATER):
            yield from differences(theirs.get(key), ours.get(key), f"{name}.{key}" if name else key)
    elif theirs != ours:
        yield name, theirs, ours


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write JSON, atomically."""
    storage.write_atomically(path, (json.dumps(content, indent=indent, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ValueError: a damaged file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove its folder, and run the study again.") from None


def reason(error: Exception) -> str:
    """Say why a training failed or was refused, in a table."""
    if isinstance(error, UnsuitableObjective):
        return f"refused: {error}"
    return f"failed: {str(error).partition(';')[0].rstrip('.')}."

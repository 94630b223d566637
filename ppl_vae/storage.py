"""Arrays and JSON in one file, written atomically; reading runs no code.

The format is safetensors, with the JSON in its header: one ``os.replace`` makes the whole file appear, so an
interruption at any moment leaves the old file or the new one, never a part.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

HEADER = "ppl_vae"


class UnreadableFile(ValueError):
    """The file is not one of ours, or it is damaged."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary neighbour of ``path``, flush it to the disk, then put it in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """What a plain ``open`` would mask out; the system tells it only when it is set."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write(path: Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
    """Write named arrays and a JSON-able header to ``path``, atomically."""
    arrays = {name: np.ascontiguousarray(a).reshape(np.shape(a)) for name, a in arrays.items()}
    write_atomically(path, save(arrays, {HEADER: json.dumps(header)}))


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the header that ``write`` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableFile: it is not one of ours, or it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except KeyError:
        raise UnreadableFile(f"{path} is a safetensors file, but not one that ppl_vae wrote.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UnreadableFile(f"{path} cannot be read as a file of ppl_vae ({error}): is it damaged?") from error


def below(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names start with the prefix, without it."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

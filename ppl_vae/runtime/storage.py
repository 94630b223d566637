"""Arrays and JSON in one file, written atomically; reading runs no code.

The format is safetensors, with the JSON in its header: one ``os.replace`` makes the whole file appear, so an
interruption at any moment leaves the old file or the new one, never a part. A SHA-256 of everything in it stands in the
header too, so that a bit that has flipped since is found.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..arrays.plain import as_python
from ..errors import UnreadableFile

HEADER, DIGEST = "ppl_vae", "sha256"


PART = ".part"
"""The ending of a temporary file's name."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary neighbour of ``path``, flush it to the disk, then put it in place.

    Raises:
        OSError: the disk is full, or writing is not permitted; ``path`` is as it was.
    """
    try:
        _write_atomically(path, content)
    except OSError as error:
        reason = f"{error.strerror}; nothing was written, what was there is as it was: make room, or permit writing"
        raise type(error)(error.errno, reason, str(path)) from error


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
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


def remove_parts(*paths: Path) -> None:
    """Remove what a killed process left of writing these files; only for who alone writes them."""
    for path in paths:
        if path.parent.is_dir():
            for entry in path.parent.iterdir():
                if entry.name.startswith(f".{path.name}.") and entry.suffix == PART:
                    entry.unlink(missing_ok=True)


def _umask() -> int:
    """The permissions that a plain ``open`` masks out; the system says which only when they are set."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write(path: Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
    """Write named arrays and a JSON-able header to ``path``, atomically."""
    arrays = {name: np.ascontiguousarray(a).reshape(np.shape(a)) for name, a in arrays.items()}
    text = json.dumps(as_python(header))
    write_atomically(path, save(arrays, {HEADER: text, DIGEST: _digest(arrays, text)}))


def _digest(arrays: Mapping[str, np.ndarray], header: str) -> str:
    """SHA-256 of the header's text, and of each array's name, type, shape and bytes."""
    sha = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"\0{name}\0{array.dtype}\0{array.shape}\0".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


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
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = metadata[HEADER]
        if DIGEST in metadata and metadata[DIGEST] != _digest(arrays, text):
            raise ValueError("its content is not what was written: the checksum differs")
        header = json.loads(text)
    except KeyError:
        raise UnreadableFile(f"{path} is a safetensors file, but not one that ppl_vae wrote.") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UnreadableFile(f"{path} cannot be read as a file of ppl_vae ({error}): is it damaged?") from error
    if not isinstance(header, dict):
        raise UnreadableFile(f"{path} is a safetensors file, but not one that ppl_vae wrote.")
    return arrays, header


def below(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names start with the prefix, without it."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

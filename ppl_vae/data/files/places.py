"""Folders in which the files of named sets are looked for: the one in ``PPL_VAE_DATA``, and the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

DATA_VARIABLE = "PPL_VAE_DATA"
CACHE_VARIABLE = "PPL_VAE_CACHE"


def cache() -> Path:
    """Return the folder for downloads: ``PPL_VAE_CACHE``, or the operating system's cache folder for ppl_vae."""
    import pooch

    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("ppl_vae")).expanduser()


def data_folder() -> Path | None:
    """Return the folder that ``PPL_VAE_DATA`` names, or None where it is not set."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named).expanduser() if named else None


def places(root: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Yield the folders to look in: ``root`` alone if it is given, else ``PPL_VAE_DATA`` (if set) and the cache."""
    if root is not None:
        yield Path(root).expanduser()
        return
    folder = data_folder()
    if folder is not None:
        yield folder
    yield cache()

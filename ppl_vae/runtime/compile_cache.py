"""A folder in which compiled programs are kept for the next process, where the user names one."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "PPL_VAE_COMPILE_CACHE"


def cache_folder(compiler: str) -> Path | None:
    """The folder that keeps the programs of a compiler (``jax``, ``inductor``); None where nobody asked for it.

    Raises:
        ValueError: the environment variable names a file.

    >>> os.environ.pop(CACHE_VARIABLE, None) and None
    >>> cache_folder("jax") is None
    True
    """
    named = os.environ.get(CACHE_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser() / compiler
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(
            f"The environment variable {CACHE_VARIABLE} should name a folder; {named!r} is a file: name another."
        ) from error
    return folder

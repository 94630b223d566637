"""Where the files of a named set lie, and how one that lies nowhere is fetched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

DATA_VARIABLE = "PPL_VAE_DATA"
CACHE_VARIABLE = "PPL_VAE_CACHE"


def cache() -> Path:
    """Return the folder for downloads: `PPL_VAE_CACHE`, or the operating system's cache folder for ppl_vae."""
    import pooch

    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("ppl_vae")).expanduser()


def places(root: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Yield the folders to look in: `root` alone if it is given, else `PPL_VAE_DATA` (if set) and the cache."""
    if root is not None:
        yield Path(root).expanduser()
        return
    if os.environ.get(DATA_VARIABLE):
        yield Path(os.environ[DATA_VARIABLE]).expanduser()
    yield cache()


def find(relative: str, root: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the file `relative` below the first of `places(root)` that has it, or None.

    Raises:
        FileNotFoundError: if `root` is given and lacks it: then nothing is downloaded.

    """
    for place in places(root):
        if (place / relative).is_file():
            return place / relative
    if root is not None:
        raise FileNotFoundError(
            f"there is no {relative!r} below root={str(root)!r}: give the folder that holds it as root= or in the "
            f"environment variable {DATA_VARIABLE}, or leave root out to download it"
        )
    return None


def fetch(url: str, sha256: str, folder: Path, *, wanted: str) -> Path:
    """Download `url` into `folder` and check its SHA-256; the file appears there only when it is whole and right.

    Args:
        url: of the file.
        sha256: its digest, in hexadecimals.
        folder: where to put it.
        wanted: the file below a data folder that would have made this unnecessary, for the message.

    Raises:
        ConnectionError: if there is no network or the server fails; says what else can be done.
        ValueError: if the file has another SHA-256; it is deleted.

    """
    import pooch

    downloader = pooch.HTTPDownloader(progressbar=find_spec("tqdm") is not None)
    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", fname=Path(url).name, path=folder, downloader=downloader))
    except PermissionError:
        raise
    except OSError as error:
        looked = " and ".join(repr(str(place)) for place in places())
        raise ConnectionError(
            f"could not download {url} ({type(error).__name__}), and there is no {wanted!r} below {looked}. Either "
            f"connect to the network and try again, or give the folder that holds {wanted!r} as root= or in the "
            f"environment variable {DATA_VARIABLE}"
        ) from None

"""Download of a file into the cache, with a progress bar; a file that is incomplete or wrong is not kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ppl_vae.data.files.places import CACHE_VARIABLE, DATA_VARIABLE, cache, places

TIMEOUT = 30
"""Seconds without a byte after which a download is given up."""


@dataclass(frozen=True)
class Remote:
    """File on the network.

    Attributes:
        path: its path below a data folder and in the cache.
        urls: its addresses, tried in this order: the canonical one, then mirrors of the same bytes.
        size: the number of bytes.
        sha256: the SHA-256 of the bytes, or None where none is published; then ``check`` decides.
        check: called with the downloaded file; raises ValueError if it is not the right one.

    """

    path: str
    urls: tuple[str, ...]
    size: int
    sha256: str | None = None
    check: Callable[[Path], object] | None = None


def fetch(remote: Remote, target: Path, *, wanted: str | None = None) -> Path:
    """Download a file to ``target``, which appears only when it is complete and verified.

    Several processes may download the same file at once.

    Args:
        remote: what to download.
        target: the path to write, below the cache.
        wanted: the file below a data folder that would have made this unnecessary, for the message; default its path.

    Raises:
        ConnectionError: if no server delivers it; the message has each answer and what else can be done.
        ValueError: if a server delivers another file; it is not kept.
        OSError: if the cache cannot be written.

    """
    import requests

    failures, wrong = [], False
    with workspace(target.parent) as folder:
        part = folder / target.name
        for url in remote.urls:
            try:
                _download(url, part, remote.size)
                _check(remote, part)
            except requests.RequestException as error:
                failures.append(f"{url} ({_reason(error)})")
            except ValueError as error:
                failures.append(f"{url} ({str(error).removesuffix('.')})")
                wrong = True
            else:
                os.replace(part, target)
                return target
    wanted = wanted or remote.path
    looked = " and ".join(repr(str(place)) for place in places())
    message = (
        f"Could not download {'; '.join(failures)}. Nothing was kept, and there is no {wanted!r} below {looked}. "
        f"Either connect to the network and try again, or give the folder that holds {wanted!r} as root= or in the "
        f"environment variable {DATA_VARIABLE}."
    )
    raise ValueError(message) if wrong else ConnectionError(message)


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """Make ``folder``, and in it a temporary folder for this block, removed at its end.

    Raises:
        OSError: if a file cannot be written there or in the block; the message names the cache and the remedy.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as own:
            yield Path(own)
    except OSError as error:
        if error.errno is None:  # raised with a message of its own
            raise
        raise type(error)(
            f"The cache {str(cache())!r} cannot be written ({error.strerror}: {str(error.filename or folder)!r}): make "
            f"room or permit writing, name another folder in the environment variable {CACHE_VARIABLE}, or one that "
            f"holds the data in {DATA_VARIABLE}."
        ) from None


def _download(url: str, part: Path, size: int) -> None:
    import pooch
    from tqdm import tqdm

    with tqdm(total=size, desc=part.name, unit="B", unit_scale=True, disable=None) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=TIMEOUT)
        downloader(url, str(part), None)


def _check(remote: Remote, part: Path) -> None:
    import pooch

    if remote.sha256 is not None:
        found = pooch.file_hash(str(part), alg="sha256")
        if found != remote.sha256:
            raise ValueError(
                f"it should have {remote.size} bytes of SHA-256 {remote.sha256}; got {part.stat().st_size} bytes of "
                f"{found}, so that it was cut, or another file is served there"
            )
    if remote.check is not None:
        remote.check(part)


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return "the download was cut in the middle"
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT} seconds"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__

"""Files of a published set: the names under which they are looked for, and the download where they are missing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ppl_vae.data.files.download import Remote, fetch
from ppl_vae.data.files.places import DATA_VARIABLE, cache, places


@dataclass(frozen=True)
class Source:
    """Files of a set, by their paths below a data folder or the cache.

    Attributes:
        remotes: the files that a download fetches.
        forms: alternative lists of paths, each of which holds the whole set; by default the paths of the remotes.

    """

    remotes: tuple[Remote, ...]
    forms: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        """Fill in the default of ``forms``."""
        if not self.forms:
            object.__setattr__(self, "forms", (tuple(remote.path for remote in self.remotes),))

    def find(self, root: str | os.PathLike[str] | None = None) -> tuple[Path, ...] | None:
        """Return the files of the first form that is complete in one of ``places(root)``, or None.

        Raises:
            FileNotFoundError: if ``root`` is given and lacks them; nothing is downloaded then.

        """
        for place in places(root):
            for form in self.forms:
                if not _missing(form, place):
                    return tuple(place / path for path in form)
        if root is not None:
            lacking = min((_missing(form, Path(root).expanduser()) for form in self.forms), key=len)
            raise FileNotFoundError(
                f"There is no {' and no '.join(map(repr, lacking))} below root={str(root)!r}: give the folder that "
                f"holds it as root= or in the environment variable {DATA_VARIABLE}, or leave root out to download it."
            )
        return None

    def obtain(self, root: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
        """Return the files as ``find`` does; if there are none, download those that the cache lacks.

        Raises:
            FileNotFoundError: if ``root`` is given and lacks them.
            ConnectionError: if a download is needed and fails.
            ValueError: if another file is served.
            OSError: if the cache cannot be written.

        """
        found = self.find(root)
        if found is None:
            for remote in self.to_download():
                fetch(remote, cache() / remote.path)
            found = tuple(cache() / remote.path for remote in self.remotes)
        return found

    def to_download(self) -> tuple[Remote, ...]:
        """Return the remote files that the cache lacks."""
        return tuple(remote for remote in self.remotes if not (cache() / remote.path).is_file())


def _missing(form: tuple[str, ...], place: Path) -> list[str]:
    return [path for path in form if not (place / path).is_file()]

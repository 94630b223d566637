"""What named sets there are, and where: nothing is read or downloaded to tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ppl_vae.data.binarisation import Binarisation
from ppl_vae.data.checks import PARTS, closest
from ppl_vae.data.files.places import cache
from ppl_vae.data.registry import REGISTRY, Entry

Place = Literal["installed", "data folder", "cache", "download"]


@dataclass(frozen=True)
class Listing:
    """A named set.

    Attributes:
        name: what `load` knows it by.
        sizes: the numbers of images to train on, for validation and to test.
        image_shape: the shape of one image.
        binarisation: the rule unless another is asked for.
        place: 'installed' (it comes with a package), 'data folder' (found below `PPL_VAE_DATA`), 'cache', or 'download'
            (`load` would fetch it).
        files: those found; they are verified when they are loaded.
        download_bytes: how much `load` would fetch.
        urls: from where.
        source: where the data come from.
        licence: on what terms.

    """

    name: str
    sizes: dict[str, int]
    image_shape: tuple[int, ...]
    binarisation: Binarisation
    place: Place
    files: tuple[Path, ...]
    download_bytes: int
    urls: tuple[str, ...]
    source: str
    licence: str

    def to_dict(self) -> dict[str, Any]:
        """Return every attribute as values that JSON can hold."""
        plain = {"image_shape": list(self.image_shape), "files": [str(path) for path in self.files]}
        return {**vars(self), **plain, "urls": list(self.urls)}


def catalogue(names: Iterable[str] | None = None) -> list[Listing]:
    """Return the named sets, or those of them that are asked for, with where each is.

    Raises:
        ValueError: for an unknown name.

    >>> [listing.place for listing in catalogue(["digits"])]
    ['installed']

    """
    names = list(REGISTRY if names is None else names)
    for name in names:
        if name not in REGISTRY:
            raise ValueError(
                f"there is no data set {name!r}{closest(name, REGISTRY)}: give some of {', '.join(REGISTRY)}"
            )
    return [_listing(name, REGISTRY[name]) for name in names]


def _listing(name: str, entry: Entry) -> Listing:
    assert entry.sizes is not None and entry.image_shape is not None and entry.binarisation is not None
    place: Place = "installed"
    found: tuple[Path, ...] = ()
    missing: tuple[Any, ...] = ()
    if entry.files is not None:
        found = entry.files.find() or ()
        place = "download" if not found else "cache" if found[0].is_relative_to(cache()) else "data folder"
        missing = () if found else entry.files.to_download()
    return Listing(
        name=name,
        sizes=dict(zip(PARTS, entry.sizes, strict=True)),
        image_shape=entry.image_shape,
        binarisation=entry.binarisation,
        place=place,
        files=found,
        download_bytes=sum(remote.size for remote in missing),
        urls=tuple(remote.urls[0] for remote in missing),
        source=entry.source,
        licence=entry.licence,
    )

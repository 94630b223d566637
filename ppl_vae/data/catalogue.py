"""Catalogue of the data sets known by name, and of where their files are; nothing is read or downloaded."""

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
    """Entry of the catalogue: a data set, its sizes, and where its files are.

    Attributes:
        name: the name that ``load`` takes.
        sizes: the numbers of images to train on, for validation and to test.
        image_shape: the shape of one image.
        binarisation: the default rule.
        place: 'installed' (it comes with a package), 'data folder' (found below ``PPL_VAE_DATA``), 'cache', or
            'download' (``load`` would fetch it).
        files: the files found; they are verified when they are loaded.
        download_bytes: the number of bytes that ``load`` would fetch.
        urls: the addresses that it would fetch them from.
        source: the origin of the data.
        licence: the licence of the data.

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
    """Return the entries of all named sets, or of the ``names`` given.

    Raises:
        ValueError: for an unknown name.

    >>> [listing.place for listing in catalogue(["digits"])]
    ['installed']

    """
    names = list(REGISTRY if names is None else names)
    for name in names:
        if name not in REGISTRY:
            raise ValueError(
                f"There is no data set {name!r}{closest(name, REGISTRY)}: give some of {', '.join(REGISTRY)}."
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

"""Registry of the data sets known by name, and ``load``, which makes a ``Split`` of a name or a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ppl_vae.data.binarisation import Binarisation, check_rule
from ppl_vae.data.checks import closest
from ppl_vae.data.files.readers import read_file
from ppl_vae.data.files.sources import Source
from ppl_vae.data.parts import Parts, from_arrays
from ppl_vae.data.sets import (
    caltech101_silhouettes,
    canvases,
    digits,
    dsprites,
    dsprites_grid,
    dsprites_subset,
    fashion_mnist,
    freyfaces,
    japanese_vowels,
    jsb_chorales,
    mnist,
    omniglot,
    sonnets,
    sprites,
    static_mnist,
)
from ppl_vae.data.sets.dsprites_files import LICENCE, SHAPE
from ppl_vae.data.split import Split


@dataclass(frozen=True)
class Entry:
    """Entry of the registry: the reader of a named set, and its description.

    Attributes:
        read: root -> Parts; finds or downloads the files and checks them. Missing parts are drawn by the seed.
        binarisation: the default rule; None leaves it to ``from_arrays``.
        source: the origin of the data.
        licence: the licence of the data.
        scale: the divisor of the stored pixels; None leaves it to ``from_arrays``.
        sizes: the numbers of images to train on, for validation and to test.
        image_shape: the shape of one image.
        files: the files and their download; None for a set that needs none.
        lengths: whether it has padded sequences, of which the labels are the lengths.

    """

    read: Callable[[str | os.PathLike[str] | None], Parts]
    binarisation: Binarisation | None
    source: str
    licence: str
    scale: float | None = None
    sizes: tuple[int, int, int] | None = None
    image_shape: tuple[int, ...] | None = None
    files: Source | None = None
    lengths: bool = False


_MATTHEY = "Matthey, Higgins, Hassabis & Lerchner 2017; github.com/deepmind/dsprites-dataset"

REGISTRY: dict[str, Entry] = {
    "digits": Entry(
        read=digits.read,
        binarisation="dynamic",
        source="Optical Recognition of Handwritten Digits, test part; Alpaydin & Kaynak 1998; by way of scikit-learn",
        licence="CC BY 4.0",
        scale=digits.SCALE,
        sizes=(1258, 180, 359),
        image_shape=(8, 8),
    ),
    "static_mnist": Entry(
        read=static_mnist.read,
        binarisation="fixed",
        source="MNIST binarised once; Salakhutdinov & Murray 2008, Larochelle & Murray 2011; cs.toronto.edu/~larocheh",
        licence="not stated (derived from MNIST)",
        sizes=(50_000, 10_000, 10_000),
        image_shape=(28, 28),
        files=static_mnist.SOURCE,
    ),
    "mnist": Entry(
        read=mnist.read,
        binarisation="dynamic",
        source="MNIST; LeCun, Bottou, Bengio & Haffner 1998; yann.lecun.com/exdb/mnist",
        licence="not stated (often CC BY-SA 3.0)",
        scale=255.0,
        sizes=(50_000, 10_000, 10_000),
        image_shape=(28, 28),
        files=mnist.SOURCE,
    ),
    "fashion_mnist": Entry(
        read=fashion_mnist.read,
        binarisation="dynamic",
        source="Fashion-MNIST; Xiao, Rasul & Vollgraf 2017; github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
        scale=255.0,
        sizes=(50_000, 10_000, 10_000),
        image_shape=(28, 28),
        files=fashion_mnist.SOURCE,
    ),
    "freyfaces": Entry(
        read=freyfaces.read,
        binarisation="none",
        source="Frey Faces, split by the SHA-256 of the frames; Frey, Colmenarez & Huang 1998; cs.nyu.edu/~roweis/data",
        licence="not stated (for research)",
        scale=255.0,
        sizes=freyfaces.SIZES,
        image_shape=freyfaces.SHAPE,
        files=freyfaces.SOURCE,
    ),
    "caltech101_silhouettes": Entry(
        read=caltech101_silhouettes.read,
        binarisation="fixed",
        source="Caltech 101 Silhouettes 28, split 1, 1 = object; Marlin et al. 2010; people.cs.umass.edu/~marlin/data",
        licence="not stated (for research)",
        sizes=(4100, 2264, 2307),
        image_shape=(28, 28),
        files=caltech101_silhouettes.SOURCE,
    ),
    "omniglot": Entry(
        read=omniglot.read,
        binarisation="dynamic",
        source="Omniglot, the two small background sets only (8 of 50 alphabets), 28 x 28; Lake, Salakhutdinov & "
        "Tenenbaum 2015; github.com/brendenlake/omniglot",
        licence="MIT",
        scale=omniglot.SCALE,
        sizes=(3146, 484, 1210),
        image_shape=(omniglot.SIDE, omniglot.SIDE),
        files=omniglot.SOURCE,
    ),
    "jsb_chorales": Entry(
        read=jsb_chorales.read,
        binarisation="fixed",
        source="JSB chorales as piano rolls, padded, labels are lengths; Boulanger-Lewandowski, Bengio & Vincent 2012",
        licence="not stated (for research)",
        sizes=jsb_chorales.SIZES,
        image_shape=jsb_chorales.SHAPE,
        files=jsb_chorales.SOURCE,
        lengths=True,
    ),
    "japanese_vowels": Entry(
        read=japanese_vowels.read,
        binarisation="none",
        source="Japanese Vowels, padded, labels are lengths; Kudo, Toyama & Shimbo 1999; doi.org/10.24432/C5NS47",
        licence="CC BY 4.0",
        sizes=japanese_vowels.SIZES,
        image_shape=japanese_vowels.SHAPE,
        lengths=True,
    ),
    "sonnets": Entry(
        read=sonnets.read,
        binarisation="none",
        source="Shakespeare's sonnets by lines, padded, labels are lengths; Shakespeare 1609; from Project Gutenberg",
        licence="public domain",
        scale=sonnets.SCALE,
        sizes=sonnets.SIZES,
        image_shape=sonnets.SHAPE,
        lengths=True,
    ),
    "dsprites": Entry(
        read=dsprites.read,
        binarisation="fixed",
        source=f"dSprites, the original file; {_MATTHEY}",
        licence=LICENCE,
        sizes=(516_096, 73_728, 147_456),
        image_shape=SHAPE,
        files=dsprites.SOURCE,
    ),
    "dsprites_grid": Entry(
        read=dsprites_grid.read,
        binarisation="fixed",
        source=f"dSprites, 46,080 original images on a full grid; {_MATTHEY}",
        licence=LICENCE,
        sizes=(32_256, 4608, 9216),
        image_shape=SHAPE,
        files=dsprites_grid.SOURCE,
    ),
    "dsprites_subset": Entry(
        read=dsprites_subset.read,
        binarisation="fixed",
        source=f"dSprites, 20,000 original images at random; {_MATTHEY}",
        licence=LICENCE,
        sizes=(14_000, 2000, 4000),
        image_shape=SHAPE,
        files=dsprites_subset.SOURCE,
    ),
    "sprites": Entry(
        read=sprites.read,
        binarisation="fixed",
        source=f"drawn by ppl_vae on a coarse grid, after dSprites; {_MATTHEY}",
        licence="Apache 2.0 (as ppl_vae)",
        sizes=(2823, 403, 806),
        image_shape=(sprites.COARSE_SIDE, sprites.COARSE_SIDE),
    ),
    "canvases": Entry(
        read=canvases.read,
        binarisation="none",
        source="drawn by ppl_vae: none, one or two of the 'digits' on each canvas; after Eslami et al. 2016",
        licence="CC BY 4.0 (as the digits)",
        scale=canvases.SCALE,
        sizes=canvases.SIZES,
        image_shape=(canvases.SIDE, canvases.SIDE),
    ),
}


def names() -> tuple[str, ...]:
    """Return the names that ``load`` knows.

    >>> names()[:5]
    ('digits', 'static_mnist', 'mnist', 'fashion_mnist', 'freyfaces')
    """
    return tuple(REGISTRY)


def load(
    name_or_file: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    binarisation: Binarisation | None = None,
    seed: int = 0,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.2,
    stream: bool = False,
    scale: float | None = None,
) -> Split:
    """Load a data set by its name, or from a ``.npy`` or ``.npz`` file, or open a folder of ``.npy`` shards.

    A named set is looked for below ``root``. Without ``root`` it is looked for below the folder that the environment
    variable ``PPL_VAE_DATA`` names and in the cache (``PPL_VAE_CACHE``); if it is in neither, it is downloaded.
    A file holds one array, or the parts under their names; see ``ppl_vae.data.files.readers.read_file``. A folder holds
    one array in shards and stays on the disk: the parts of the split are ``Stream``s, which read rows when asked.

    Args:
        name_or_file: one of ``names()``, a path that ends in .npy or .npz, or that of a folder of .npy files.
        root: the folder with the files of the named sets; relative paths start there too.
        binarisation: one of BINARISATIONS; None means the set's own, for a file 'fixed' if its pixels are all 0 or 1,
            and else 'none'.
        seed: the seed of the split, where none is published, and of the binarisation that is drawn once.
        valid_fraction: the share of the training images that is set aside, where there is no validation part.
        test_fraction: the same for a test part.
        stream: leave a .npy file on the disk, too, because it is larger than memory.
        scale: the divisor of the stored pixels; None means the set's own, for a file the guess of ``from_arrays``.

    Raises:
        FileNotFoundError: if a file is not there.
        ConnectionError: if a download is needed and fails.
        OSError: if a download is needed and the cache cannot be written.
        TypeError: for arrays of objects, strings or complex numbers, and integers other than uint8 beyond {0, 1}.
        ValueError: for an unknown name, a damaged file, one with other values than the published ones, and whatever
            ``from_arrays`` refuses.

    >>> digits = load("digits", binarisation="threshold", seed=1)
    >>> digits.train.shape, digits.train.dtype.name, sorted(set(digits.train.flat)) == [0, 1]
    ((1258, 64), 'float32', True)

    """
    if not isinstance(name_or_file, (str, os.PathLike)):
        raise TypeError(
            f"'load' takes a name or a path; got {type(name_or_file).__name__}: for arrays use from_arrays."
        )
    if binarisation is not None:
        check_rule(binarisation)
    name, entry = _entry(name_or_file, root, stream)
    parts = entry.read(root)
    return from_arrays(
        parts.pixels["train"],
        parts.pixels.get("valid"),
        parts.pixels.get("test"),
        labels=parts.labels,
        name=name,
        binarisation=binarisation or entry.binarisation,
        seed=seed,
        valid_fraction=valid_fraction,
        test_fraction=test_fraction,
        scale=entry.scale if scale is None else scale,
        source=entry.source,
        licence=entry.licence,
    )


def _entry(
    name_or_file: str | os.PathLike[str], root: str | os.PathLike[str] | None, stream: bool
) -> tuple[str, Entry]:
    if isinstance(name_or_file, str) and name_or_file in REGISTRY:
        if stream:
            raise ValueError(f"{name_or_file!r} is read into memory: only .npy files and folders of them are streamed.")
        return name_or_file, REGISTRY[name_or_file]
    path = Path(name_or_file).expanduser()
    if root is not None:
        path = Path(root).expanduser() / path
    bare = isinstance(name_or_file, str) and not path.suffix and len(Path(name_or_file).parts) < 2
    if not name_or_file or (bare and not path.is_dir()):
        hint = closest(name_or_file, REGISTRY)
        raise ValueError(
            f"There is no data set {name_or_file!r}{hint}: give one of {', '.join(REGISTRY)}, a .npy or .npz file, or "
            "a folder of .npy files."
        )
    return path.stem, Entry(lambda _: read_file(path, stream=stream), None, source=str(path), licence="not stated")

"""Reading of ``.npy`` and ``.npz`` files; pickles are refused, and so are keys that are ambiguous."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ppl_vae.data.checks import PARTS
from ppl_vae.data.files.groups import is_group, read_group
from ppl_vae.data.files.images import NAMES, holds_images, read_images
from ppl_vae.data.parts import Parts
from ppl_vae.data.stored import stored

PIXEL_KEYS = ("{}", "{}_images", "x_{}", "X_{}", "{}_data")
LABEL_KEYS = ("{}_labels", "labels_{}", "y_{}")
SINGLE_KEYS = ("images", "imgs", "data", "x", "X")
SINGLE_LABEL_KEYS = ("labels", "y", "Y")
MASK_KEYS = ("mask", "masks", *(f"{part}_mask" for part in PARTS))
"""Keys of what was seen, which a ``Split`` has no place for."""
SPARSE_KEYS = {"format", "shape", "data"}
"""Keys of a file of ``scipy.sparse.save_npz``."""

_MAGIC = (b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")


def read_file(path: Path, *, stream: bool = False) -> Parts:
    """Read the pixels and labels of a file or a folder of images, or open a folder of ``.npy`` files.

    A ``.npy`` file holds one array. An ``.npz`` file holds either

    - the keys ``train``, ``valid`` (or ``val``, ``validation``) and ``test``, of which the last two may be missing.
      The names ``train_images`` and ``x_train`` serve as well. Labels are ``train_labels`` or ``y_train``;
    - or one array, under any key if it is the only one, else ``images``, ``imgs``, ``data``, ``x`` or ``X``. Labels
      are ``labels``, ``y`` or ``Y``;
    - or a sparse matrix, as ``scipy.sparse.save_npz`` writes it, which is made dense.

    Other keys are not read; those of an HDF5 file (``.h5``) or a Zarr store (``.zarr``) are the same. A folder of PNG
    and JPEG images is read by ``images.read_images``, its sub-folders being parts or classes. Another folder holds the
    shards of one array in the order of their names. It stays on the disk, and with ``stream`` so does a ``.npy`` file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for another extension, a damaged file, or keys that do not say which array holds the pixels.
        TypeError: for arrays of Python objects, which are stored as pickles and refused.

    """
    if is_group(path) and path.exists() and not stream:
        return _sorted_out(read_group(path), path)
    if not stream and holds_images(path):
        return read_images(path)
    if stream or path.is_dir():
        return Parts({"train": stored(path)}, {})
    if path.suffix not in (".npy", ".npz") and not is_group(path):
        raise ValueError(f"A data file should be .npy or .npz; got {str(path)!r}: save it with np.save or np.savez.")
    if not path.is_file():
        raise FileNotFoundError(
            f"The data file {str(path)!r} does not exist (relative paths start at {str(Path.cwd())!r})."
        )
    arrays = read_arrays(path)
    if isinstance(arrays, np.ndarray):
        return Parts({"train": arrays}, {})
    return _sorted_out(arrays, path)


def read_arrays(path: Path, keys: Iterable[str] | None = None) -> np.ndarray | dict[str, np.ndarray]:
    """Return the array of a ``.npy`` file, or key -> array of an ``.npz`` file, of the keys given or of all known ones.

    Raises:
        ValueError: if the file is damaged.
        TypeError: if an array is one of Python objects.

    """
    with path.open("rb") as stream:
        start = stream.read(6)
        if not start.startswith(_MAGIC):
            raise ValueError(
                f"{str(path)!r} is no NumPy file: it begins with {start!r}. It is damaged or of another format "
                "(pickles are refused); save the array with np.save or np.savez."
            )
        stream.seek(0)
        return _read_stream(stream, path, keys)


def _read_stream(stream: BinaryIO, path: Path, keys: Iterable[str] | None) -> np.ndarray | dict[str, np.ndarray]:
    key = None
    try:
        loaded = np.load(stream, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if stream.read(1):
                raise ValueError("there are more bytes behind the array")
            return loaded
        with loaded:
            if keys is None and set(loaded.files) >= SPARSE_KEYS:
                return {"data": _read_sparse(path)}
            arrays = {}
            for key in _wanted(loaded.files) if keys is None else keys:
                arrays[key] = loaded[key]
            return arrays
    except MemoryError:
        raise
    except Exception as error:  # NumPy and zipfile raise many kinds of error on damaged bytes
        where = f"{str(path)!r}" if key is None else f"Array {key!r} of {str(path)!r}"
        if "Object arrays" in str(error):
            raise TypeError(
                f"{where} holds Python objects, stored as a pickle, which is refused because it can run code: "
                "save one array of numbers, np.save(file, np.array(images.tolist()))."
            ) from None
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{where} is truncated or damaged ({reason}): copy or save it again.") from None


def _read_sparse(path: Path) -> np.ndarray:
    """Return a sparse matrix as an array of floating numbers, (N, P)."""
    from scipy.sparse import load_npz

    matrix = load_npz(path)
    return np.asarray(matrix.astype(np.promote_types(matrix.dtype, np.float32)).toarray())


def _wanted(keys: list[str]) -> list[str]:
    """Return the keys that may hold pixels or labels; others, such as metadata, are not read."""
    if len(keys) == 1:
        return keys
    known = {form.format(word) for words in NAMES.values() for word in words for form in PIXEL_KEYS + LABEL_KEYS}
    known.update(SINGLE_KEYS, SINGLE_LABEL_KEYS, MASK_KEYS)
    wanted = [key for key in keys if key in known]
    return wanted or keys


def _sorted_out(arrays: dict[str, np.ndarray], path: Path) -> Parts:
    hidden = [key for key in MASK_KEYS if key in arrays]
    if hidden and len(arrays) > 1:
        raise ValueError(
            f"{str(path)!r} holds {hidden[0]!r}, and what a file hides would be learned: load its arrays and train in "
            "Python, SVI.fit(..., x, mask=mask), or give the key another name."
        )
    pixels: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    for part in PARTS:
        for found, forms in ((pixels, PIXEL_KEYS), (labels, LABEL_KEYS)):
            key = _one_of(arrays, [form.format(word) for word in NAMES[part] for form in forms], path)
            if key is not None:
                found[part] = arrays[key]
    if pixels:
        if "train" not in pixels:
            raise ValueError(f"{str(path)!r} holds {sorted(pixels)} and no 'train'; its keys are {sorted(arrays)}.")
        return Parts(pixels, labels)
    key = next(iter(arrays)) if len(arrays) == 1 else _one_of(arrays, SINGLE_KEYS, path)
    if key is None:
        raise ValueError(
            f"{str(path)!r} should hold the keys train, valid, test, or a single array, or one of "
            f"{', '.join(SINGLE_KEYS)}; got {sorted(arrays) or 'no array at all'}."
        )
    label_key = _one_of(arrays, SINGLE_LABEL_KEYS, path)
    return Parts({"train": arrays[key]}, {} if label_key in (None, key) else {"train": arrays[str(label_key)]})


def _one_of(arrays: dict[str, np.ndarray], names: Iterable[str], path: Path) -> str | None:
    found = [name for name in names if name in arrays]
    if len(found) > 1:
        raise ValueError(f"{str(path)!r} should hold only one of the keys {found}, which mean the same.")
    return found[0] if found else None

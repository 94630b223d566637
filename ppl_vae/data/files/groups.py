"""Reading of arrays in HDF5 files and Zarr stores, under the keys of an ``.npz`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

HDF5 = (".h5", ".hdf5")
ZARR = ".zarr"


def is_group(path: Path) -> bool:
    """Whether a path has the ending of an HDF5 file or of a Zarr store."""
    return path.suffix.lower() in (*HDF5, ZARR)


def read_group(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file or a store by their keys; those in groups within are not read.

    Raises:
        ImportError: the library that reads it is not installed.
        ValueError: a damaged file.
    """
    package, opened = _opener(path)
    try:
        with_arrays: Any = opened()
        keys = list(with_arrays)
        return {key: np.asarray(value[...]) for key in keys if hasattr(value := with_arrays[key], "shape")}
    except MemoryError:
        raise
    except Exception as error:  # the libraries raise many kinds of error on damaged bytes
        raise ValueError(f"{str(path)!r} cannot be read by {package} ({error}): copy or save it again.") from None


def _opener(path: Path) -> tuple[str, Any]:
    if path.suffix.lower() in HDF5:
        try:
            import h5py
        except ImportError as error:
            raise ImportError(f"{str(path)!r} is read by the package 'h5py': pip install h5py.") from error
        return "h5py", lambda: h5py.File(path, "r")
    try:
        import zarr
    except ImportError as error:
        raise ImportError(f"{str(path)!r} is read by the package 'zarr': pip install zarr.") from error
    return "zarr", lambda: zarr.open_group(str(path), mode="r")

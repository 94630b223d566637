"""Reading of MATLAB files: numbers only; no code in them is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def read_mat(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the arrays of a ``.mat`` file under the keys given; others are not read.

    Raises:
        ValueError: if the file is damaged or of another format, lacks a key, or holds no numbers there.

    """
    from scipy.io import loadmat

    try:
        arrays = loadmat(str(path), variable_names=list(keys))
    except MemoryError:
        raise
    except Exception as error:  # SciPy raises many kinds of error on damaged bytes
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{str(path)!r} is truncated, damaged or no MATLAB file ({reason}): get it again.") from None
    for key in keys:
        if not isinstance(arrays.get(key), np.ndarray) or arrays[key].dtype.kind not in "buif":
            raise ValueError(f"{str(path)!r} should hold numbers under {key!r}: it is another file, or damaged.")
    return {key: arrays[key] for key in keys}

"""Data with a mask on the command line: sequences that end, and tables of mixed columns with cells not seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Split, lengths_to_mask, pad
from ..data.long_form import is_long
from ..data.registry import REGISTRY
from .tables import is_table

LASTING = "evaluate, encode and forecast"
"""The commands that know where sequences end."""


def has_ends(name_or_file: str) -> bool:
    """Say whether data are sequences of several lengths: a set with lengths, or a table of ``id,time,...``."""
    if name_or_file in REGISTRY:
        return REGISTRY[name_or_file].lengths
    return is_long(Path(name_or_file))


def has_mask(name_or_file: str) -> bool:
    """Say whether data have a mask in the place of labels: sequences of several lengths, and tables."""
    return has_ends(name_or_file) or is_table(name_or_file)


def check_ends(name_or_file: str) -> None:
    """Refuse sequences that end, for a command that cannot tell a model where they do.

    Raises:
        ValueError: they are some.
    """
    if is_table(name_or_file):
        raise ValueError(
            f"{Path(name_or_file).name} is a table of mixed columns, and this command takes arrays: use 'ppl-vae fit', "
            "and then evaluate, encode, reconstruct or sample, or compare, or ppl_vae.TabularVAE in Python"
        )
    if has_ends(name_or_file):
        raise ValueError(
            f"{Path(name_or_file).name} holds sequences that end, and this command has no mask that says where: use "
            f"'ppl-vae fit', and then {LASTING}, or pass mask=data.lengths_to_mask(split.labels['train'], "
            "split.image_shape) in Python, or save sequences of one length as (N, T, P) in a .npy file"
        )


def read_table(path: Path, length: int | None = None) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Read a table as the rows (N, T, P) of one part and, in the place of labels, which numbers are there."""
    padded = pad(path, length=length)
    rows = padded.x.reshape(len(padded.x), *padded.shape)
    return {"train": rows}, {"train": padded.mask}


def mask_of(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Make the mask (N, T P) from the lengths of sequences (N,), or from what a table has in their place."""
    if labels.ndim == 1:
        return lengths_to_mask(labels, (shape[0], shape[1]))
    return labels.astype(bool)


def masks(split: Split) -> dict[str, np.ndarray]:
    """Make the mask of each part of sequences that end, or of a table."""
    assert split.labels is not None
    return {part: mask_of(labels, split.image_shape) for part, labels in split.labels.items()}


def steps(mask: np.ndarray, shape: tuple[int, ...]) -> int:
    """Count the steps of sequences, to the last number that is seen of each."""
    from ..arrays.sequences import lasts

    return int(lasts(mask, shape[0]).sum())


def of_training(split: Split, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the keywords of a training that say what was seen of its sequences or its table, none for other data.

    Raises:
        ValueError: labels are asked for, too.
    """
    if not has_mask(options["data"]):
        return {}
    if options["labels"]:
        raise ValueError(
            f"--labels needs classes, and {split.name} has a mask, of the ends of sequences or of a table's cells, in "
            "their place: leave --labels out"
        )
    found = masks(split)
    return {"mask": found["train"], "valid_mask": found["valid"]}


def of_study(split: Split, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the side inputs of a study, those of a training and the mask of the test data.

    Raises:
        ValueError: as ``of_training``.
    """
    beside = of_training(split, options)
    return {**beside, "test_mask": masks(split)["test"]} if beside else {}

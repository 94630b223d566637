"""The data of a training: checked arrays or streams, with their side inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data import Split, Stream
from ..data.registry import REGISTRY
from ..data.streams import Data
from ..pairs.inputs import as_batch, digest
from ..pairs.side_inputs import Arrays, apply_mask, check_given


def holds_padding(split: Split) -> bool:
    """Whether it is one of the sets whose labels are lengths of padded sequences."""
    return split.name in REGISTRY and REGISTRY[split.name].lengths


@dataclass(frozen=True)
class TrainingData:
    """Data of a training, (N, P), and whether the training part is binarised afresh in each epoch.

    ``side`` and ``valid_side`` hold the side inputs that there are: ``given`` (N, G) and ``mask`` (N, P).
    """

    train: Data
    valid: Data | None
    dynamic: bool
    record: dict[str, Any] = field(default_factory=dict)
    side: Arrays = field(default_factory=dict)
    valid_side: Arrays = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        data: Split | Data,
        valid: Data | None = None,
        *,
        given: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        valid_given: np.ndarray | None = None,
        valid_mask: np.ndarray | None = None,
    ) -> TrainingData:
        """Read a split, or check plain arrays and streams; check their side inputs.

        Raises:
            ValueError: arrays that are not (N, P), are empty, or hold NaN or infinite values where they were seen;
                side information or masks that do not fit them.
        """
        split = data if isinstance(data, Split) else None
        if split is not None and valid is not None:
            raise ValueError("'valid' goes with an array; a Split brings its own validation part.")
        if split is not None and holds_padding(split) and (mask is None or valid_mask is None):
            raise ValueError(
                f"{split.name} has padded sequences, and their padding would be data: pass both mask= and valid_mask=, "
                "data.lengths_to_mask(split.labels['train'], split.image_shape) and that of 'valid'; or split.train, "
                "with its mask alone."
            )
        train, side = apply_mask(data if split is None else split.train, mask, "data")
        if mask is not None and not side["mask"].any():
            raise ValueError("The mask hides every pixel, so that there is nothing to learn from: true is seen.")
        train = as_batch(train, "data")
        side |= check_given(given, len(train))
        if valid is None and split is None and (valid_given is not None or valid_mask is not None):
            raise ValueError("'valid_given' and 'valid_mask' go with validation data: pass valid=, too.")
        valid, valid_side = apply_mask(valid if split is None else split.valid, valid_mask, "valid")
        if valid is not None:
            valid = as_batch(valid, "valid", train.shape[1])
            valid_side |= check_given(valid_given, len(valid), "valid_given")
            if ("given" in side) != ("given" in valid_side):
                raise ValueError(
                    "Side information goes with the training data and with the validation data, or with neither: pass "
                    "both given= and valid_given=."
                )
        record: dict[str, Any] = {"sizes": {"train": len(train)}}
        record |= {"fingerprint": digest(train, valid)} if split is None else split.to_dict()
        if isinstance(train, Stream):
            record["scale"] = float(train.scale)
        record["train"] = digest(train)
        if side:
            record["side"] = digest(*side.values())
        if side or valid_side:
            record["fingerprint"] = digest(*side.values(), *valid_side.values()) + record["fingerprint"]
        dynamic = split is not None and split.binarisation == "dynamic"
        return cls(train, valid, dynamic, record, side, valid_side)

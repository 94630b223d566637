"""The errors and warnings of the package, each of which says what was expected, what came and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class UnsuitableObjective(ValueError):
    """The objective is wrong for the pair; the message names the site and the objectives that fit."""


class NotFiniteLoss(FloatingPointError):
    """The loss or a weight became NaN or infinite; the message names the step and the last good checkpoint."""


class UnreadableFile(ValueError):
    """The file is not one of ours, or it is damaged."""


class InUse(OSError):
    """Another training writes to this file or folder; the message says which process, and since when."""


class OutOfMemory(MemoryError):
    """Memory ran out; the message names the settings to lower, with the values that they have.

    Args:
        doing: where, as in "Out of memory in epoch 3".
        settings: name -> value of what can be lowered, the most promising first.
        kept: a sentence on what is not lost.
    """

    def __init__(self, doing: str, settings: Mapping[str, Any], kept: str = "") -> None:
        named = " or ".join(f"{name} (here {value})" for name, value in settings.items())
        said = f"Out of memory {doing}: lower {named or 'the size of the nets'}, or use a larger device."
        super().__init__(f"{said} {kept}".strip())


class WorkerLost(ConnectionError):
    """Another process of a parallel training ended; the message names the checkpoint to go on from."""


class Divergence(RuntimeWarning):
    """Trajectories of chains diverged; the message counts them and names the data."""

"""Errors and warnings of the package; each says what was expected, what came and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class UnsuitableObjective(ValueError):
    """Error for an objective that is wrong for the pair; the message names the site and the objectives that fit."""


class NotFiniteLoss(FloatingPointError):
    """Error for a loss or a weight that became NaN or infinite; it names the step and the last good checkpoint."""


class UnreadableFile(ValueError):
    """Error for a file that this package did not write, or that is damaged."""


class InUse(OSError):
    """Error for a file or folder to which another training writes; the message says which process, and since when."""


class OutOfMemory(MemoryError):
    """Error for a lack of memory; the message names the settings to lower, with the values that they have.

    Args:
        doing: the place, as in "Out of memory in epoch 3".
        settings: name -> value of the settings to lower, the most effective first.
        kept: a sentence that says what is kept.
    """

    def __init__(self, doing: str, settings: Mapping[str, Any], kept: str = "") -> None:
        named = " or ".join(f"{name} (here {value})" for name, value in settings.items())
        said = f"Out of memory {doing}: lower {named or 'the size of the nets'}, or use a larger device."
        super().__init__(f"{said} {kept}".strip())


class WorkerLost(ConnectionError):
    """Error for a parallel training of which another process ended; the message names the checkpoint to go on from."""


class DoubtfulScale(UserWarning):
    """Warning of pixels whose divisor may be another one, or of numbers far from 1 in size; it says what to do."""


class RoundedData(UserWarning):
    """Warning of columns whose values differ by little more than the last digit that programs compute with."""


class DoubtfulDraws(UserWarning):
    """Warning of data that draws of an implicit model are told from by their kind or units; it says what to do."""


class DoubtfulLikelihood(UserWarning):
    """Warning of log p(x) that another lower bound is above; it says by how much, and what to take in its place."""


class Divergence(RuntimeWarning):
    """Warning of trajectories of chains that diverged; the message counts them and names the data."""


class MixedRows(UserWarning):
    """Warning of a pair in which a datum's log-densities depend on the other rows of its batch; it names the sites."""


class UntrainedNet(UserWarning):
    """Warning of a net that the pair runs and that is no part of it, so that it is not trained; it says which."""


class Collapsed(UserWarning):
    """Warning of a fit whose latents say nothing of the data; the message says what to change."""


class ConstantColumns(UserWarning):
    """Warning of columns of one value under a density, whose log p(x) grows with it, or of none; it names the first."""


class SampledKL(UserWarning):
    """Warning of sites whose KL is sampled where an objective takes closed forms; it names them."""


class LowAcceptance(RuntimeWarning):
    """Warning of chains within a training that reject most of their transitions; it says how many, and what to set."""


class RoundedLoss(RuntimeWarning):
    """Warning of a training with products in bfloat16 whose loss they move too far; it says by how many nats."""

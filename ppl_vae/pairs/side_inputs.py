"""Side inputs of a datum: its position in the data set, side information, and the mask of the pixels that were seen."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypedDict

import numpy as np

from ..data import Stream
from ..data.checks import closest
from ..data.containers import as_array

Arrays = Mapping[str, np.ndarray]
"""Side inputs by name, those that there are: arrays with a row for each datum."""
NOTHING: Arrays = MappingProxyType({})


class Side(TypedDict, total=False):
    """The keywords that every method and function takes that reads data x (N, P) for a fit."""

    index: np.ndarray | None
    """Positions of the data in the training set, (N,), for a per-datapoint guide; not needed for the whole set."""
    given: np.ndarray | None
    """Side information c, (N, G), of a pair that is conditional on it; labels (N, 1), unknown where left out."""
    mask: np.ndarray | None
    """True where a pixel was seen, (N, P): the densities are of those, and what x holds elsewhere is not read."""


def check_names(side: Mapping[str, Any]) -> None:
    """Refuse keywords that are no side inputs of data, so that a mask under a wrong name is not left out in silence.

    Raises:
        TypeError: names the keyword, and those that there are.
    """
    for name in side:
        if name not in Side.__annotations__:
            raise TypeError(
                f"Unknown keyword {name!r}{closest(name, Side.__annotations__)}: beside the function's own arguments, "
                f"data are read with {', '.join(map(repr, Side.__annotations__))}."
            )


TOLD_BY = {"valid": "valid_mask={}", "images": "side={{'mask': {}}}"}
"""Name of data -> argument that says which of their values were seen; of others it is ``mask``."""


def told_by(what: str, mask: str) -> str:
    """Argument that says which values were seen, as a call has it.

    >>> told_by("x", "m"), told_by("valid", "m")
    ('mask=m', 'valid_mask=m')
    """
    return TOLD_BY.get(what, "mask={}").format(mask)


def apply_mask(x: Any, mask: Any, what: str = "x") -> tuple[Any, dict[str, np.ndarray]]:
    """Check a mask, and set x to zero where it hides it; without a mask, leave x as it is.

    Raises:
        ValueError: a mask that is not boolean or not of the shape of x, or a masked array, which has one of its own.

    >>> apply_mask(np.array([[1.0, np.nan]]), np.array([[True, False]]))[0]
    array([[1., 0.]])
    """
    if isinstance(x, np.ma.MaskedArray):
        seen = told_by(what, f"~np.ma.getmaskarray({what})")
        raise ValueError(f"{what!r} is a masked array: pass {what}.filled(0), and what was seen as {seen}.")
    if mask is None:
        return x, {}
    if isinstance(x, Stream):
        raise ValueError(
            f"A mask goes with an array in memory, and {what!r} is a stream: pass np.asarray of it, or some rows."
        )
    x, mask = as_array(x, what), as_array(mask, "mask")
    if mask.dtype != bool or mask.shape != x.shape:
        raise ValueError(
            f"The mask of {what!r} should be boolean, true where a pixel was seen, of shape {x.shape}; got dtype "
            f"{mask.dtype} and shape {mask.shape}: {told_by(what, f'np.isfinite({what})')}, say."
        )
    return np.where(mask, x, 0), {"mask": np.ascontiguousarray(mask)}


def check_given(given: Any, count: int, what: str = "given") -> dict[str, np.ndarray]:
    """Check side information; return an empty dictionary for None.

    Raises:
        ValueError: not one finite row of numbers for each of ``count`` data points.

    >>> check_given([[0.0, 1.0]], 1)["given"].shape
    (1, 2)
    """
    if given is None:
        return {}
    array = as_array(given, what)
    if array.ndim != 2 or len(array) != count or array.dtype.kind not in "fiub":
        raise ValueError(
            f"{what!r} should hold a row of numbers for each of the {count} data points, shape ({count}, G); got dtype "
            f"{array.dtype} and shape {array.shape}: labels go in as "
            "np.eye(num_classes)[labels], and into a semi-supervised pair as labels[:, None]."
        )
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"{what!r} holds NaN or infinite values, first at row {row}, column {column}.")
    return {"given": np.ascontiguousarray(array, array.dtype if array.dtype.kind == "f" else np.float32)}


def given_of(pair: Any, given: Any, count: int) -> dict[str, np.ndarray]:
    """Check side information for a pair; where it is left out, that of a model that knows what unknown is, such as -1.

    Raises:
        ValueError: not a row of the pair's width for each of ``count`` data points, or labels that are none.
    """
    unknown = getattr(pair.model, "unknown_given", None)
    if given is None and unknown is not None and pair.given_dim:
        given = np.full((count, pair.given_dim), unknown, np.float32)
    side = check_given(given, count)
    check_given_dim(side.get("given"), pair.given_dim)
    if hasattr(pair.model, "check_given"):
        pair.model.check_given(side.get("given"))
    return side


def check_labels(labels: np.ndarray | None, num_categories: int) -> None:
    """Refuse labels of a semi-supervised pair that are none of its categories, nor -1 for an unknown one.

    Raises:
        ValueError: names the first wrong row.

    >>> check_labels(np.array([[2.0], [-1.0]]), 3)
    """
    if labels is None:
        return
    if labels.shape[1] != 1:
        raise ValueError(
            f"The labels of a semi-supervised pair, 'given', should be one column (N, 1); got {labels.shape}: pass "
            "labels[:, None], of integers, or one_hot.argmax(1)[:, None]."
        )
    wrong = (labels != np.round(labels)) | (labels < -1) | (labels >= num_categories)
    if wrong.any():
        row = int(np.argmax(wrong[:, 0]))
        raise ValueError(
            f"Labels, 'given', should be whole numbers from 0 to {num_categories - 1}, or -1 where unknown; row {row} "
            f"holds {labels[row, 0]}: number the classes, known = np.unique(labels[labels >= 0]) and "
            "np.where(labels < 0, -1, np.searchsorted(known, labels))."
        )


LABEL: Any = {"label": True}
"""What the keyword ``infer`` of an observed site says that observes a label, and no part of x."""


def no_last_label() -> ValueError:
    """Make the error for a program without the side information in which its labels are."""
    return ValueError(
        "A FairVAE needs side information s and the label, of each datum: pass them, given=np.column_stack([s, y]), "
        "with y = -1 where it is not known."
    )


def check_last_label(given: np.ndarray | None, num_classes: int) -> None:
    """Refuse side information (N, G + 1) whose last column holds no labels, 0 to C - 1 or -1 for unknown ones.

    Raises:
        ValueError: there is no side information, or names the first wrong row.

    >>> check_last_label(np.array([[0.5, 2.0], [0.5, -1.0]]), 3)
    """
    if given is None or given.shape[1] < 2:
        raise no_last_label()
    check_labels(given[:, -1:], num_classes)


def no_targets() -> ValueError:
    """Make the error for a bottleneck without what it is to tell."""
    return ValueError(
        "An InformationBottleneck tells y from x: pass the targets y, given= of shape (N, Y), a class as labels[:, "
        "None]."
    )


def check_targets(given: np.ndarray | None, num_classes: int) -> None:
    """Refuse targets that are not there or, of ``num_classes``, are no classes 0 to C - 1; none may be unknown.

    Raises:
        ValueError: names the first wrong row.

    >>> check_targets(np.array([[0.0], [2.0]]), 3)
    """
    if given is None:
        raise no_targets()
    if not num_classes:
        return
    check_labels(given, num_classes)
    if (given < 0).any():
        row = int(np.argmax(given[:, 0] < 0))
        raise ValueError(
            f"A bottleneck learns from known classes alone; that of row {row} is not: leave such rows out."
        )


def check_unlabelled(given: np.ndarray | None) -> None:
    """Refuse labels of data that are yet to be drawn, each with a label of its own.

    Raises:
        ValueError: a label that is known.
    """
    if given is not None and (given[:, -1] >= 0).any():
        raise ValueError(
            "Simulated data have labels of their own, and a latent of theirs knows nothing of those in 'given': put "
            "-1, unknown, in its last column."
        )


def check_side(given: np.ndarray | None, count: int | None) -> None:
    """Refuse side information of pseudo-inputs that is not a row for each of them.

    Raises:
        ValueError: says the shape.

    >>> check_side(np.zeros((3, 1)), 3)
    """
    if given is not None and (np.ndim(given) != 2 or (count is not None and len(given) != count)):
        rows = "C" if count is None else count
        raise ValueError(
            f"'given', the side information of the pseudo-inputs, should be ({rows}, G); got {np.shape(given)}: write "
            "a number for each of them as given[:, None]."
        )


def no_groups(given: Any, columns: int) -> ValueError:
    """Make the error for side information without the columns of the groups."""
    return ValueError(
        f"The groups of data should be the first columns of 'given', {columns} here: pass them, given= of shape "
        f"(N, {columns}) or wider, of 0 and 1; got {'none' if given is None else tuple(given.shape)}."
    )


def check_groups(given: np.ndarray | None, columns: int) -> None:
    """Refuse groups, the first columns of side information, that are no groups, or of which there is a single one.

    Raises:
        ValueError: says what to pass.

    >>> check_groups(np.array([[0.0, 7.0], [1.0, 7.0]] * 2), 1)
    """
    if given is None or given.shape[1] < columns:
        raise no_groups(given, columns)
    groups = given[:, :columns]
    wrong = ~np.isin(groups, (0, 1)).all(1) | ((groups.sum(1) != 1) if columns > 1 else False)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"Groups, the first {columns} columns of 'given', should be {'one-hot rows' if columns > 1 else '0 or 1'}; "
            f"row {row} holds {groups[row].tolist()}: say how many columns are the groups', columns=, and write C "
            "groups as np.eye(C)[groups], or two as numbers 0 and 1, groups[:, None]."
        )
    counts = groups.sum(0) if columns > 1 else np.array([len(groups) - groups.sum(), groups.sum()])
    if (counts < 2).any():
        raise ValueError(
            f"Each group should have at least two data; they have {[int(n) for n in counts]}: leave the penalty out, "
            "or groups without data."
        )


def check_given_dim(given: np.ndarray | None, expected: int) -> None:
    """Compare the width of side information with that which a pair is conditional on.

    Raises:
        ValueError: another width, or side information for a pair that takes none.
    """
    found = 0 if given is None else given.shape[1]
    if expected != found:
        raise ValueError(
            f"The pair is conditional on {expected} numbers for each datum; 'given' has {found}: pass given= of "
            f"shape (N, {expected})."
            if expected
            else f"The pair was trained without side information; 'given' has {found} columns: leave it out."
        )


def take_rows(side: Arrays, rows: Any) -> dict[str, np.ndarray]:
    """Take the rows of every array.

    >>> take_rows({"index": np.arange(5)}, slice(2))
    {'index': array([0, 1])}
    """
    return {name: array[rows] for name, array in side.items()}


def placeholder(count: int, num_rows: int | None, given_dim: int) -> dict[str, np.ndarray]:
    """Make side inputs for ``count`` blank images: any positions, and zeros as side information.

    >>> placeholder(3, 2, 0)
    {'index': array([0, 1, 0])}
    """
    side = {} if num_rows is None else {"index": np.arange(count) % num_rows}
    return {**side, "given": np.zeros((count, given_dim), np.float32)} if given_dim else side

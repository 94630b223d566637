"""Quality of samples beside data: tests, fidelity, diversity and memorising, each with its null."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..divergences.neighbours import Manifold, classifier_test, manifold, radii
from ..divergences.nulls import divisions, permutation_test
from ..divergences.two_sample import mmd
from ..seeds import derive, generator

CLASSIFIERS = ("1-NN accuracy", "net accuracy")
LEAST = 20
"""The least number of rows of a sample."""


@dataclass(frozen=True)
class SampleQuality:
    """Measures of a sample beside a reference, and what they are for two samples of one law."""

    table: pd.DataFrame
    """a row for each measure: ``value``; ``null`` and ``null_sd``, its mean and standard deviation where both samples
    are random parts of all rows; ``p``, how often such parts look at least as bad"""
    rows: int
    """of each sample that were compared"""
    remarks: tuple[str, ...] = ()
    """what makes a measure doubtful"""

    def row(self) -> dict[str, float]:
        """Measure -> value."""
        return {str(name): float(value) for name, value in self.table["value"].items()}

    def __str__(self) -> str:
        return "\n".join([self.table.to_string(float_format=lambda number: f"{number:.4f}"), *self.remarks])


def sample_quality(
    samples: np.ndarray,
    reference: np.ndarray,
    *,
    train: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    features: bool = False,
    neighbours: int = 5,
    permutations: int = 100,
    max_rows: int = 1000,
    seed: int = 0,
) -> SampleQuality:
    """Compare generated rows with data that the model has not seen, by measures with different blind spots.

    ``MMD``, by a kernel as wide as the median squared distance, and a net's and the nearest neighbour's accuracy in
    telling the samples apart; ``precision`` and ``density`` of fidelity, ``recall`` and ``coverage`` of diversity;
    with ``train`` ``nearest train``, the mean distance to the nearest training row divided by the reference's: 1 is
    as far as new data are, 0 are copies; with ``labels`` ``modes``, the number of classes among the samples.

    A good value of one measure alone says little: copies of training data have all but the last, the mean image has
    precision, a normal law with the data's moments has MMD. Nor does any of them say how large log p(x) is. A Note on
    the Evaluation of Generative Models, Theis, van den Oord and Bethge, 2016.

    Args:
        samples: generated rows, (N, ...).
        reference: data to hold them against, (M, ...), of the same shape and scale, such as test images.
        train: the data that the model was trained on, (L, ...).
        labels: the class of each of them, (L,); a small net is then trained to tell the classes.
        features: whether to measure distances in the hidden layer of that net, not in pixels.
        neighbours: k of precision, recall, density and coverage.
        permutations: divisions of the rows for the null.
        max_rows: the most rows of each sample, drawn at random; both samples have the same number.
        seed: of the rows, the divisions and the nets.

    Raises:
        ValueError: rows of other shapes, too few, not finite or all the same; labels without ``train``, or features
            without labels; no permutation.

    >>> rng = np.random.default_rng(0)
    >>> found = sample_quality(rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 1, permutations=20)
    >>> bool(found.table.loc["MMD", "p"] < 0.05)
    True
    """
    x, y = (_rows(a, name) for a, name in ((samples, "samples"), (reference, "reference")))
    known = None if train is None else _rows(train, "train")
    count, remarks = _checked(x, y, known, labels, features, neighbours, permutations, max_rows), _units(x, y)
    rng = generator(seed, "rows of samples")
    x, y = (a[rng.permutation(len(a))[:count]] for a in (x, y))
    classes = None
    if known is not None and labels is not None:
        net = _classifier(known, np.asarray(labels), derive(seed, "classes"))
        classes = net.predict(np.concatenate([x, y]))
        if features:
            x, y, known = (_hidden(net, a) for a in (x, y, known))
    found = list(_measures(x, y, known, classes, neighbours, permutations, seed))
    table = pd.DataFrame([numbers for _, numbers in found], [name for name, _ in found])
    return SampleQuality(table, count, (*remarks, *_doubts(table, y, neighbours)))


Measured = tuple[str, dict[str, float]]


def _measures(
    x: np.ndarray,
    y: np.ndarray,
    known: np.ndarray | None,
    classes: np.ndarray | None,
    neighbours: int,
    permutations: int,
    seed: int,
) -> Iterable[Measured]:
    """Every measure of two samples of as many rows, in the order of the table."""
    from scipy.spatial.distance import cdist

    both, count = np.concatenate([x, y]), len(x)
    away = cdist(both, both)
    if not away.any():
        raise ValueError(f"All {2 * count} rows of both samples are the same: there is nothing to compare.")
    width = float(np.median(away[np.triu_indices(2 * count, 1)]) ** 2) or float((away**2).mean())
    test = permutation_test(partial(mmd, bandwidth=width), x, y, permutations=permutations, seed=seed)
    yield "MMD", _told(test.value, test.null, worse=1)
    parts = list(divisions(count, count, permutations, seed))
    split = [(np.arange(count), np.arange(count, 2 * count)), *parts]

    order = generator(seed, "ties").permutation(2 * count)  # of neighbours as near, any
    shuffled = away[np.ix_(order, order)] + np.diag(np.full(2 * count, np.inf))
    nearest = np.empty(2 * count, int)
    nearest[order] = order[shuffled.argmin(1)]

    def told_apart(first: np.ndarray, second: np.ndarray) -> float:
        of_x = np.zeros(2 * count, bool)
        of_x[first] = True
        return float((of_x == of_x[nearest]).mean())

    yield CLASSIFIERS[0], _over(told_apart, split, worse=1)
    net = classifier_test(x, y, seed=derive(seed, "net"))
    yield CLASSIFIERS[1], {"value": net.accuracy, "null": 0.5, "null_sd": net.null_sd, "p": net.p_value}
    shares = [asdict(manifold(away, *part, neighbours)) for part in split]
    for name in Manifold.__dataclass_fields__:
        values = np.array([share[name] for share in shares])
        yield name, _told(values[0], values[1:], worse=-1)
    if known is not None:
        to_train = np.concatenate(
            [cdist(both[first : first + 500], known).min(1) for first in range(0, len(both), 500)]
        )
        if not to_train[count:].any():
            raise ValueError("Every row of the reference is one of 'train': give data that the model has not seen.")
        yield "nearest train", _over(partial(_ratio, to_train), split, worse=-1)
    if classes is not None:
        yield "modes", _over(lambda first, _: float(len(np.unique(classes[first]))), split, worse=-1)


def _ratio(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    return float(values[first].mean() / max(values[second].mean(), np.finfo(float).tiny))


def _over(
    statistic: Callable[[np.ndarray, np.ndarray], float], split: list[tuple[np.ndarray, np.ndarray]], worse: int
) -> dict[str, float]:
    values = np.array([statistic(*part) for part in split])
    return _told(values[0], values[1:], worse)


def _told(value: float, null: np.ndarray, worse: int) -> dict[str, float]:
    """A row of the table; larger values are worse, or with -1 smaller ones."""
    as_bad = (worse * null >= worse * value - 1e-12).sum()
    return {
        "value": float(value),
        "null": float(null.mean()),
        "null_sd": float(null.std()),
        "p": float((1 + as_bad) / (1 + len(null))),
    }


def _classifier(train: np.ndarray, labels: np.ndarray, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    net = MLPClassifier((64,), alpha=1e-1, learning_rate_init=1e-2, max_iter=500, random_state=seed)
    return make_pipeline(StandardScaler(), net).fit(train, labels)


def _hidden(classifier: Any, rows: np.ndarray) -> np.ndarray:
    net = classifier[-1]
    return np.maximum(classifier[0].transform(rows) @ net.coefs_[0] + net.intercepts_[0], 0)


def _rows(a: Any, name: str) -> np.ndarray:
    """Rows of finite numbers, (N, D)."""
    array = np.asarray(a)
    if array.dtype.kind not in "fiub" or array.ndim < 1 or len(array) < LEAST:
        raise ValueError(
            f"{name!r} should be at least {LEAST} rows of numbers, (N, ...); got {array.dtype} of shape {array.shape}."
        )
    rows = array.reshape(len(array), -1).astype(np.float64)
    broken = int((~np.isfinite(rows)).any(1).sum())
    if broken:
        raise ValueError(f"{name!r} should be finite; {broken} of its rows are not: leave these rows out.")
    return rows


def _checked(
    x: np.ndarray,
    y: np.ndarray,
    train: np.ndarray | None,
    labels: Any,
    features: bool,
    neighbours: int,
    permutations: int,
    max_rows: int,
) -> int:
    """Return how many rows of each sample are compared.

    Raises:
        ValueError: what does not fit together.
    """
    widths = {"samples": x.shape[1], "reference": y.shape[1]} | ({} if train is None else {"train": train.shape[1]})
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise ValueError(f"All rows should have the same number of entries; got {told}.")
    if labels is not None and train is None:
        raise ValueError("'labels' are the classes of 'train', one for each of its rows; got no 'train': pass both.")
    if labels is not None and train is not None:
        kind, shape, classes = np.asarray(labels).dtype.kind, np.shape(labels), len(np.unique(labels))
        if kind not in "iubU" or shape != (len(train),) or classes < 2:
            raise ValueError(
                f"'labels' should be the classes, integers or names, of the {len(train)} rows of 'train', at least two "
                f"of them; got {np.asarray(labels).dtype} of shape {shape} with {classes} value{'s'[: classes != 1]}."
            )
    if features and labels is None:
        raise ValueError("Features are those of a net that tells classes: pass 'train' and its 'labels', too.")
    for name, value, least in (("neighbours", neighbours, 1), ("permutations", permutations, 1)):
        if int(value) != value or value < least:
            raise ValueError(f"{name!r} should be an integer of at least {least}; got {value!r}.")
    if int(max_rows) != max_rows or max_rows < LEAST:
        raise ValueError(f"'max_rows' should be an integer of at least {LEAST}; got {max_rows!r}.")
    count = int(min(len(x), len(y), max_rows))
    if neighbours >= count:
        raise ValueError(f"'neighbours' should be below {count}, the number of rows of each sample; got {neighbours}.")
    return count


def _units(x: np.ndarray, y: np.ndarray) -> tuple[str, ...]:
    """Say what speaks against the units of the numbers."""
    largest = [np.abs(a).max() or 1.0 for a in (x, y)]
    spread = y.std(0)[y.std(0) > 0]
    said = []
    if max(largest) > 50 * min(largest):
        said.append(f"The samples reach {largest[0]:.4g}, the reference {largest[1]:.4g}: are they in the same units?")
    if len(spread) and spread.max() > 100 * np.median(spread):
        said.append(
            "The column of largest spread has over 100 times the median one's: distances are those of it alone."
        )
    return tuple(said)


def _doubts(table: pd.DataFrame, y: np.ndarray, neighbours: int) -> tuple[str, ...]:
    """Say which measures should be read with care."""
    from scipy.spatial.distance import cdist

    said = []
    for name in CLASSIFIERS:
        value, _, sd = (float(table.loc[name, column]) for column in ("value", "null", "null_sd"))
        if value < 0.5 - 3 * sd:
            said.append(
                f"{name} is {value:.2f}, below one half: rows of one sample are near copies of rows of the other."
            )
    reach = radii(cdist(y, y), neighbours)
    if reach.max() > 10 * np.median(reach):
        said.append(
            f"A row of the reference is {reach.max() / np.median(reach):.0f} times as far from its neighbours as the "
            "median one: precision counts whatever is as near to it; density and coverage hardly do."
        )
    return tuple(said)

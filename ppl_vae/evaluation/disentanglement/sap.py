"""Separated attribute predictability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...seeds import derive, generator
from .checks import Labelled, labelled
from .score import Score, gap


def sap(codes: Any, factors: Any, *, categorical: Sequence[int | str] = (), seed: int = 0) -> Score:
    """SAP = 1/F sum_k (S_jk - max_{i != j} S_ik), where j predicts factor k best, by itself.

    S_jk of a factor whose values have an order is R^2 of its linear regression on z_j over all rows, the squared
    correlation Cov(z_j, v_k)^2 / (Var(z_j) Var(v_k)), with v_k = 0, 1, 2, ... . That of a categorical one is the
    balanced accuracy of thresholds on z_j, one fewer than there are values, found on half of the rows and scored on the
    other; it is 1 / C of C values for a dimension that says nothing, so that such a factor adds at most 1 - 1 / C. A
    constant dimension predicts nothing, and a single one is held against such a one. Studies that fit a linear
    classifier to every factor have other numbers.

    Variational Inference of Disentangled Latent Concepts from Unlabeled Observations, Kumar, Sattigeri and
    Balakrishnan, 2018.

    Args:
        codes: (N, D).
        factors: (N, F) integers in their order, or what has them as ``classes``.
        categorical: columns, or names, of the factors whose values have no order, such as a shape.
        seed: of the halves of a categorical factor.

    Returns:
        The score; the gap of each factor; and S, (D, F).

    Raises:
        ValueError: codes or factors that do not fit, fewer than ten rows, or a categorical factor that is not there.

    >>> grid = np.indices((4, 5)).reshape(2, -1).T
    >>> round(float(sap(2.0 - 3.0 * grid, grid)), 6)
    1.0
    """
    data = labelled(codes, factors, least=10).standardised
    values = data.classes - data.classes.mean(0)
    matrix, nothing = (data.codes.T @ (values / values.std(0)) / len(data)) ** 2, np.zeros(len(data.sizes))
    for factor in (_column(data, named) for named in categorical):
        matrix[:, factor], nothing[factor] = _accuracies(data, factor, seed), 1 / data.sizes[factor]
    parts = gap(matrix if len(matrix) > 1 else np.stack([matrix[0], np.minimum(matrix[0], nothing)]))
    return Score(float(parts.mean()), parts, matrix)


def _column(data: Labelled, named: int | str) -> int:
    if isinstance(named, str) and named in data.names:
        return data.names.index(named)
    if not isinstance(named, str) and 0 <= named < len(data.names):
        return int(named)
    raise ValueError(f"'categorical' names {named!r}; the factors are {', '.join(data.names)}.")


def _accuracies(data: Labelled, factor: int, seed: int) -> np.ndarray:
    """Balanced accuracy of as many intervals as values, for each dimension, (D,)."""
    from sklearn.tree import DecisionTreeClassifier

    half = generator(seed, "SAP", factor).permutation(len(data)) < len(data) // 2
    size, classes = data.sizes[factor], data.classes[:, factor]
    tree = DecisionTreeClassifier(max_leaf_nodes=size, class_weight="balanced", random_state=derive(seed, "SAP"))
    counts = np.bincount(classes[~half], minlength=size)
    found = np.full(data.codes.shape[1], 1 / size)
    for j in np.flatnonzero(data.varies):
        guess = tree.fit(data.codes[half, j, None], classes[half]).predict(data.codes[~half, j, None])
        hits = np.bincount(classes[~half][guess == classes[~half]], minlength=size)
        found[j] = (hits[counts > 0] / counts[counts > 0]).mean()
    return found

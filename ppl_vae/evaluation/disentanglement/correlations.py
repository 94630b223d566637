"""Rank correlations of metrics over trained models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.stats


def spearman(table: Any, other: Any = None) -> pd.DataFrame:
    """Rank correlations between the columns of a table, whose rows are trained models: (Q, Q).

    Ranks are means over ties. The correlation with a column whose values are all equal, which orders nothing, is 0, and
    such a column's own with itself 1, as any. Infinite values have a rank like others.

    Args:
        table: a data frame, or a mapping of columns (M,); what is no number is left out by the caller.
        other: a second table of the same models; then each column of the first (rows) with each of this one.

    Raises:
        ValueError: fewer than three models, tables of different models, NaN, or a column that holds no numbers.

    >>> spearman({"mig": [0.1, 0.2, 0.4], "sap": [0.3, 0.2, 0.1], "constant": [1, 1, 1]}).loc["mig"].round(6).tolist()
    [1.0, -1.0, 0.0]
    """
    rows, columns = _checked(table, "table"), _checked(table if other is None else other, "other")
    if len(rows) != len(columns) or (other is not None and not rows.index.equals(columns.index)):
        raise ValueError(
            f"'table' and 'other' should have a row for each of the same models, in the same order; got {len(rows)} "
            f"and {len(columns)} rows, labelled {list(rows.index)[:3]} ... and {list(columns.index)[:3]} ..."
        )
    values = _ranks(rows).T @ _ranks(columns)
    found = pd.DataFrame(np.clip(values, -1, 1), rows.columns, columns.columns)
    if other is None:
        found = found.where(~np.eye(len(found), dtype=bool), 1.0)
    return found


def _ranks(table: pd.DataFrame) -> np.ndarray:
    """Centred ranks of each column, of length 1, (M, Q); of a constant column zeros."""
    centred = scipy.stats.rankdata(table.to_numpy(), axis=0) - (len(table) + 1) / 2
    norm = np.sqrt((centred**2).sum(0))
    return np.asarray(centred / np.where(norm > 0, norm, 1.0))


def _checked(table: Any, what: str) -> pd.DataFrame:
    frame = pd.DataFrame(table)
    if len(frame) < 3:
        raise ValueError(f"{what!r} should have at least three rows, one for each trained model; got {len(frame)}.")
    for name, column in frame.items():
        if not pd.api.types.is_numeric_dtype(column):
            raise ValueError(f"Column {name!r} of {what!r} holds no numbers but {column.dtype}: leave it out.")
        if column.isna().any():
            raise ValueError(
                f"Column {name!r} of {what!r} has NaN at {column.index[column.isna()].tolist()}: leave the column or "
                "these models out, table.dropna()."
            )
    return frame.astype(float)

"""Estimator of tables of mixed columns, as a DataFrame holds them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from ..data.containers import check_unmasked
from ..data.tables.frames import Kinds, Schema, table
from ..data.tables.reading import as_frame
from ..estimators import VAE
from ..recipes.recipe import Recipe
from ..results.fit import Fit
from ..runtime.storage import write_atomically

if TYPE_CHECKING:
    import pandas as pd

FIT, TABLE = "fit.safetensors", "table.json"
"""Files of a saved estimator."""


@dataclass(kw_only=True, eq=False, repr=False)
class TabularVAE(VAE):
    """VAE of tables whose columns are of several kinds, with cells that were not seen.

    z ~ p(z);  x_j | z ~ p_j(x_j | z) for each column j, of the distribution of its kind (``conditionals.Columns``).
    ``fit`` takes a DataFrame of pandas or polars, columns by name, a CSV or Parquet file, or rows of numbers; None, NaN
    and NA are cells that were not seen. ``data.table`` says how the kind of a column is found. ``transform`` gives the
    means of q(z | x), ``sample`` and ``impute`` DataFrames with the dtypes of the training table.

    log p(x) is in nats: a density for one unit of each real or positive column, a probability of each other.

    The settings and the other methods are those of ``VAE`` and:

    Args:
        kinds: kinds of some columns by name, ``real``, ``positive``, ``count``, ``boolean``, ``categorical`` or
            ``ordinal``, or the grades of an ordinal one in order; None finds all by themselves.

    Attributes:
        schema_: the names, kinds, dtypes and values of the columns.

    Raises:
        ValueError: a column without a kind, or of one value; a value that its column did not have; the message says
            what to do.

    >>> people = {"age": [31, 45, None, 28, 60], "sex": ["f", "m", "m", None, "f"], "visits": [0, 3, 1, 0, 7]}
    >>> vae = TabularVAE(latent_dim=1, hidden=(4,), epochs=2, random_state=0).fit(people)
    >>> vae.schema_.kinds, vae.transform(people).shape
    (('count', 'categorical:2', 'count'), (5, 1))
    >>> vae.sample(3).columns.tolist()
    ['age', 'sex', 'visits']
    """

    likelihood: str = "columns"
    kinds: Kinds | None = None

    def inverse_transform(self, X: ArrayLike) -> pd.DataFrame:
        """Return the middle of p(x | z) for codes X (N, D), by ``num_particles`` draws, as ``impute`` does."""
        check_is_fitted(self)
        z = check_array(X, dtype=np.float32)
        drawn = self.fit_.decode(np.tile(z, (self.num_particles, 1)), mean=False, seed=self.seed_)
        return self.schema_.decode(self.schema_.middle(drawn.reshape(self.num_particles, len(z), -1)))

    def impute(self, X: Any) -> pd.DataFrame:
        """Return the table with its missing cells filled in, by ``num_particles`` draws of x_hidden given x_seen.

        Of numbers it is their mean, of counts rounded; of grades the median; of booleans and names the most frequent.
        """
        rows = self._rows(X)
        draws = self.fit_.impute(rows, num_particles=self.num_particles, num_draws=self.num_particles, seed=self.seed_)
        return self.schema_.fill(X, np.where(np.isnan(rows), self.schema_.middle(draws), rows))

    def sample(  # type: ignore[override]
        self, n_samples: int = 1, random_state: Any = None
    ) -> pd.DataFrame:
        """Draw new rows x ~ p(x) as a DataFrame; by default the seed is the estimator's own ``random_state``."""
        return self.schema_.decode(np.asarray(super().sample(n_samples, random_state), float))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the fit and the columns to a folder, of which ``load`` makes the estimator again, and runs no code.

        Raises:
            ValueError: a column with values that are no texts, numbers or booleans; names it.
        """
        check_is_fitted(self)
        self.schema_.check_plain()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.fit_.save(folder / FIT, recipe=self.recipe_)
        record = self.schema_.to_dict() | {"recipe": self.recipe_.to_dict()}
        record |= {"seed": self.seed_, "num_particles": self.num_particles}
        write_atomically(folder / TABLE, (json.dumps(record, indent=2) + "\n").encode())
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, device: str | None = None) -> Self:
        """Read an estimator that ``save`` wrote: its answers, without the settings of its training."""
        folder = Path(folder)
        record = json.loads((folder / TABLE).read_text(encoding="utf-8"))
        estimator = cls(num_particles=record["num_particles"], random_state=record["seed"], device=device)
        estimator.schema_, estimator.seed_ = Schema.from_dict(record), record["seed"]
        estimator.fit_ = Fit.load(folder / FIT, device=device)
        estimator.recipe_ = Recipe.from_dict(record["recipe"])
        estimator.n_features_in_ = len(estimator.schema_.fields)
        estimator.feature_names_in_ = np.array(estimator.schema_.names, object)
        return estimator

    def _rows(self, X: Any, *, reset: bool = False) -> np.ndarray:
        if not reset:
            check_is_fitted(self)
        check_unmasked(X)
        if hasattr(X, "toarray") or not (isinstance(X, Mapping | str | os.PathLike) or hasattr(X, "columns")):
            X = check_array(X, dtype=None, ensure_all_finite="allow-nan")
        frame = as_frame(X)
        validate_data(self, X if isinstance(X, np.ndarray) else frame, reset=reset, skip_check_array=True)
        if reset:
            read = table(frame, kinds=self.kinds)
            self.schema_ = read.schema
            return read.x
        return self.schema_.encode(frame)

    def _own_settings(self) -> dict[str, Any]:
        return {"columns": self.schema_.kinds}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.categorical = tags.input_tags.string = True
        return tags

"""Containers of data: recipes take what a training takes, and what neither takes is told what to pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from pairs import follow, refused
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ppl_vae import VAE, data, inference, recipes, schedules

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
SETTINGS: dict[str, Any] = {"likelihood": "normal", "latent_dim": 2, "hidden": (5,), "num_pseudo_inputs": 3}
SVI = inference.SVI(epochs=1, batch_size=20)


class Rows(Dataset):
    """A data set whose items are rows without a label."""

    def __len__(self) -> int:
        """N."""
        return len(X)

    def __getitem__(self, i: int) -> torch.Tensor:
        """A row."""
        if i >= len(X):
            raise IndexError(i)
        return torch.tensor(X[i])


TAKEN: dict[str, Any] = {
    "list of rows": X.tolist(),
    "list of arrays": list(X),
    "tuple of rows": tuple(map(tuple, X.tolist())),
    "tensor": torch.tensor(X),
    "tensor with a gradient": torch.tensor(X, requires_grad=True),
    "table": pd.DataFrame(X, columns=[f"c{i}" for i in range(4)]),
    "long floats": X.astype(np.longdouble),
    "sparse": scipy.sparse.csr_matrix(X),
    "sparse array": scipy.sparse.coo_array(X),
}
LOADED = TensorDataset(torch.tensor(X), torch.arange(20))
REFUSED: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "sparse tensor": (torch.tensor(X).to_sparse(), "pass data.to_dense()", lambda data: data.to_dense()),
    "data set": (
        LOADED,
        "np.stack([np.ravel(item[0]) for item in data])",
        lambda data: np.stack([np.ravel(item[0]) for item in data]),
    ),
    "data set of rows": (
        Rows(),
        "np.stack([np.ravel(item) for item in data])",
        lambda data: np.stack([np.ravel(item) for item in data]),
    ),
    "loader": (
        DataLoader(LOADED, batch_size=5),
        "np.stack([np.ravel(item[0]) for item in data.dataset]), and the size of a batch to SVI(batch_size=...)",
        lambda data: np.stack([np.ravel(item[0]) for item in data.dataset]),
    ),
    "generator": (
        (row for row in X),
        "np.stack([np.ravel(item) for item in data])",
        lambda data: np.stack([np.ravel(item) for item in data]),
    ),
    "objects": (X.astype(object), "np.asarray(data, float)", lambda data: np.asarray(data, float)),
    "text": (X.astype(str), "np.asarray(data, float)", lambda data: np.asarray(data, float)),
    "complex": (
        X[:, :2] + 1j * X[:, 2:],
        "np.concatenate([data.real, data.imag], -1)",
        lambda data: np.concatenate([data.real, data.imag], -1),
    ),
    "mapping": ({"x": X}, "pass one of its arrays", lambda data: data["x"]),
    "unequal rows": ([[1.0] * 4, [1.0] * 3], "pass rows of one length", lambda data: np.stack([X[0], X[1]])),
}


@pytest.mark.parametrize("held", TAKEN.values(), ids=TAKEN)
def test_recipes_and_trainings_take_the_same(held: Any) -> None:
    of_array, recipe = (recipes.vae(x, prior="vampprior-data", **SETTINGS) for x in (X, held))
    starts = [np.random.default_rng(0) for _ in range(2)]
    pairs = [r(rng) for r, rng in zip((of_array, recipe), starts, strict=True)]
    assert recipe.shape == (4,)
    expected, found = (SVI.fit(*pair, x) for pair, x in zip(pairs, (X, held), strict=True))
    assert found.history["loss"] == pytest.approx(expected.history["loss"], abs=1e-5)


@pytest.mark.parametrize(("held", "says", "way"), REFUSED.values(), ids=REFUSED)
def test_what_neither_takes_is_told_what_to_pass(held: Any, says: str, way: Callable[[Any], Any]) -> None:
    pair = recipes.vae(X, **SETTINGS)(np.random.default_rng(0))
    assert "\n" not in refused(says, lambda: recipes.vae(held, **SETTINGS))
    refused(says, lambda: SVI.fit(*pair, held))
    passed = way(held)
    assert recipes.vae(passed, **SETTINGS).shape == (4,)
    assert np.isfinite(inference.SVI(epochs=1, batch_size=2).fit(*pair, passed).history["loss"]).all()


def test_images_are_told_to_be_rows() -> None:
    images, pair = X.reshape(20, 2, 2), recipes.vae(X, **SETTINGS)(np.random.default_rng(0))
    for held in (images, torch.tensor(images)):
        follow(
            "pass data.reshape(len(data), -1)",
            held,
            lambda x: SVI.fit(*pair, x),
            lambda x: SVI.fit(*pair, x.reshape(len(x), -1)),
        )
    follow(
        "pass np.reshape(data, (len(data), -1))",
        images.tolist(),
        lambda x: SVI.fit(*pair, x),
        lambda x: SVI.fit(*pair, np.reshape(x, (len(x), -1))),
    )


def test_a_split_takes_a_tensor_and_a_sparse_matrix() -> None:
    x = scipy.sparse.csr_matrix(np.eye(10, dtype=np.uint8))
    assert len(data.from_arrays(torch.eye(10)).train) == 7
    np.testing.assert_array_equal(data.from_arrays(x).train, data.from_arrays(x.toarray()).train)


def test_settings_of_the_wrong_kind_are_told_what_to_write() -> None:
    follow(
        "'hidden' should be a tuple; got 64: write (64,)",
        X,
        lambda x: VAE(hidden=64, epochs=1).fit(x),  # type: ignore[arg-type]
        lambda x: VAE(hidden=(64,), epochs=1).fit(x).score(x),
        lambda x: VAE(hidden=[64], epochs=1).fit(x).score(x),  # type: ignore[arg-type]
    )
    assert VAE(latent_dim=2.0, hidden=(5,), epochs=1).fit(X).transform(X).shape == (20, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [pytest.param(lambda epoch: 0.5**epoch, id="function"), "0.5", 0.0, -1.0, np.inf, None],
)
def test_a_learning_rate_factor_is_a_number_or_a_schedule(wrong: Any) -> None:
    pair = recipes.vae(X, **SETTINGS)(np.random.default_rng(0))
    follow(
        "'learning_rate_factor' should be a positive number or a schedule",
        X,
        lambda x: inference.SVI(epochs=1, batch_size=20, learning_rate_factor=wrong),
        lambda x: inference.SVI(epochs=1, batch_size=20, learning_rate_factor=0.5).fit(*pair, x),
        lambda x: inference.SVI(
            epochs=1, batch_size=20, learning_rate_factor=schedules.Exponential(1.0, 0.01, over=50)
        ).fit(*pair, x),
    )

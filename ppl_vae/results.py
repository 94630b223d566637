"""Fit, what an inference returns. Inside it tensors, outside NumPy, xarray and ArviZ."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from . import __version__, storage
from .bounds import Terms
from .seeds import derive

CHUNK = 2000
"""Rows (draws times data points) per call of a net when a fit is asked about many."""


def as_batch(x: Any, what: str = "x", dim: int | None = None) -> np.ndarray:
    """A floating (N, P) array, checked.

    Raises:
        ValueError: not (N, P), another P than ``dim``, empty, or NaN or infinite values.
    """
    array = np.asarray(x)
    if array.ndim != 2 or (dim is not None and array.shape[1] != dim):
        raise ValueError(f"{what!r} should have shape (N, {'P' if dim is None else dim}); got {array.shape}.")
    if not len(array):
        raise ValueError(f"{what!r} is empty: it has shape {array.shape}.")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what!r} should hold numbers; got dtype {array.dtype}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"{what!r} holds NaN or infinite values, first at row {row}, column {column}: remove them.")
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def check_shapes(shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, np.ndarray]) -> None:
    """Compare names and shapes of weights before they are loaded.

    Raises:
        ValueError: names the first difference.
    """
    given = {name: np.shape(value) for name, value in state.items()}
    for name in {**shapes, **given}:
        if shapes.get(name) != given.get(name):
            raise ValueError(
                f"The weights do not fit the pair: {name!r} is {shapes.get(name, 'absent')} in the pair and "
                f"{given.get(name, 'absent')} in what is loaded."
            )


class Pair(Protocol):
    """A model and its guide on one backend, with parameters of their own: the inside of a fit."""

    @property
    def backend(self) -> str:
        """``pyro`` or ``numpyro``."""

    @property
    def model(self) -> Any:
        """The model, of the backend's own kind."""

    @property
    def guide(self) -> Any:
        """The guide, of the backend's own kind."""

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained; a shared encoder counts once."""

    def state(self) -> dict[str, np.ndarray]:
        """Every parameter and constant, by name."""

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what ``state`` gave."""

    def terms(self, x: np.ndarray, num_particles: int, seed: int, analytic_kl: bool) -> Terms:
        """Log-densities of draws from the guide, (K, B)."""

    def posterior(self, x: np.ndarray, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and standard deviation of q(z | x) for each latent site, (B, D) each."""

    def draws(self, x: np.ndarray, num_draws: int, seed: int) -> dict[str, np.ndarray]:
        """Draws from the guide for each latent site, (K, B, D)."""

    def reconstruct(self, x: np.ndarray, seed: int) -> np.ndarray:
        """E[x | z] for one draw z ~ q(z | x), (B, P)."""

    def generate(self, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """E[x | z] and x ~ p(x | z) for z ~ p(z), (size, P) each."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained pair with the record of its training. Arrays in, arrays out.

    ``history`` holds one number per epoch under ``epoch``, ``loss`` (the objective, nats per datum), ``valid_elbo``
    (nats per datum) and ``seconds``. ``settings`` is every setting, JSON-able.
    """

    pair: Pair = field(repr=False)
    history: Mapping[str, np.ndarray] = field(repr=False)
    settings: Mapping[str, Any]

    @property
    def model(self) -> Any:
        """The trained model, of the backend's own kind."""
        return self.pair.model

    @property
    def guide(self) -> Any:
        """The trained guide, of the backend's own kind."""
        return self.pair.guide

    @property
    def backend(self) -> str:
        """``pyro`` or ``numpyro``."""
        return self.pair.backend

    @property
    def num_parameters(self) -> int:
        """How many numbers were trained; a shared encoder counts once."""
        return self.pair.num_parameters

    @property
    def seconds(self) -> float:
        """The seconds that the training took."""
        return float(np.sum(self.history.get("seconds", 0.0)))

    def terms(self, x: np.ndarray, num_particles: int = 1, *, seed: int = 0, analytic_kl: bool = False) -> Terms:
        """log p(x | z), log p(z) and log q(z | x) for ``num_particles`` draws, (K, B) each, in nats.

        With ``analytic_kl`` the KL of a site with a closed form stands in ``log_prior``, negative, and 0 in
        ``log_guide``.
        """
        return terms_in_chunks(self.pair, as_batch(x), num_particles, seed, analytic_kl)

    def posterior(self, x: np.ndarray, *, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and standard deviation of q(z | x) for each latent site, (B, D) each."""
        chunks = _in_chunks(self.pair.posterior, as_batch(x), seed)
        return {
            name: (
                np.concatenate([moments[name][0][seen:] for moments, seen in chunks]),
                np.concatenate([moments[name][1][seen:] for moments, seen in chunks]),
            )
            for name in chunks[0][0]
        }

    def encode(self, x: np.ndarray) -> np.ndarray:
        """The mean of q(z | x), (B, D); several latent sites stand side by side, in the guide's order."""
        return np.concatenate([mean for mean, _ in self.posterior(x).values()], -1)

    def draws(self, x: np.ndarray, num_draws: int = 100, *, seed: int = 0) -> dict[str, np.ndarray]:
        """Draws from the guide for each latent site, (K, B, D)."""
        return self.pair.draws(as_batch(x), num_draws, seed)

    def reconstruct(self, x: np.ndarray, *, seed: int = 0) -> np.ndarray:
        """E[x | z] for one draw z ~ q(z | x), (B, P)."""
        return np.concatenate([means[seen:] for means, seen in _in_chunks(self.pair.reconstruct, as_batch(x), seed)])

    def generate(self, size: int = 1, *, seed: int = 0, mean: bool = True) -> np.ndarray:
        """New images, (size, P): z ~ p(z), for VampPrior a component first, then E[x | z], or x ~ p(x | z)."""
        if size < 1:
            raise ValueError(f"'size' should be at least 1; got {size}.")
        means, samples = self.pair.generate(size, seed)
        return means if mean else samples

    def save(self, path: str | Path, *, recipe: Any = None) -> Path:
        """Write weights, history and settings to one file; with the recipe, ``Fit.load`` needs nothing else.

        Args:
            path: the file, ``.safetensors`` by custom; written atomically.
            recipe: the recipe that made the pair.
        """
        header = {
            "kind": "fit",
            "version": __version__,
            "backend": self.backend,
            "settings": self.settings,
            "history": {name: np.asarray(values).tolist() for name, values in self.history.items()},
            "recipe": None if recipe is None else recipe.to_dict(),
        }
        storage.write(Path(path), self.pair.state(), header)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, *, pair: tuple[Any, Any] | None = None, device: str | None = None) -> Fit:
        """Read what ``save`` wrote. No code is run from the file.

        Args:
            path: the file.
            pair: (model, guide) of the same structure, where the file was saved without a recipe; it is copied.
            device: where the fit shall live.

        Raises:
            FileNotFoundError: no such file.
            UnreadableFile: not one of ours, or damaged.
            ValueError: no recipe and no pair, or weights that do not fit.
        """
        arrays, header = storage.read(Path(path))
        if header.get("kind") != "fit":
            raise storage.UnreadableFile(f"{path} is a {header.get('kind')}, not a fit: resume the training with it.")
        if pair is None and header["recipe"] is None:
            raise ValueError(f"{path} was saved without a recipe: pass pair=(model, guide) of the same structure.")
        from .backends import load as load_backend
        from .recipes import Recipe

        if pair is None:
            pair = Recipe.from_dict(header["recipe"])(np.random.default_rng(0))
        own = load_backend(header["backend"]).inference.Pair(*pair, device=device)
        own.load_state(arrays)
        return cls(own, {n: np.asarray(v) for n, v in header["history"].items()}, header["settings"])

    def to_arviz(self, x: np.ndarray, num_draws: int = 100, *, seed: int = 0) -> Any:
        """Draws from the guide as ``arviz.InferenceData``: posterior, log_likelihood, log_prior and observed_data.

        One chain of ``num_draws`` independent draws; dims (chain, draw, datum, <site>_dim).
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            import arviz
        x = as_batch(x)
        draws, terms = self.draws(x, num_draws, seed=seed), self.terms(x, num_draws, seed=seed)
        return arviz.from_dict(
            posterior={name: values[None] for name, values in draws.items()},
            log_likelihood={"x": terms.log_lik[None]},
            log_prior={"z": terms.log_prior[None]},
            observed_data={"x": x},
            dims={"x": ["datum", "pixel"], **{name: ["datum", f"{name}_dim"] for name in draws}},
            attrs={"library": "ppl_vae", "library_version": __version__, "settings": json.dumps(dict(self.settings))},
        )


def windows(count: int, rows: int) -> list[tuple[slice, int]]:
    """Windows of equal length that cover ``count`` rows, and how many rows of each the one before has covered.

    Equal lengths, so that a compiled program serves all of them.

    >>> windows(5, 2)
    [(slice(0, 2, None), 0), (slice(2, 4, None), 0), (slice(3, 5, None), 1)]
    """
    rows = min(rows, count)
    starts = range(0, count, rows)
    return [(slice(min(s, count - rows), min(s, count - rows) + rows), s - min(s, count - rows)) for s in starts]


def terms_in_chunks(pair: Pair, x: np.ndarray, num_particles: int, seed: int, analytic_kl: bool = False) -> Terms:
    """The terms of many data points, (K, N) each, a bounded number of rows at a time."""
    parts = []
    for number, (window, seen) in enumerate(windows(len(x), max(1, CHUNK // num_particles))):
        terms = pair.terms(x[window], num_particles, derive(seed, "terms", number), analytic_kl)
        parts.append([values[:, seen:] for values in terms[:3]])
    return Terms(*(np.concatenate(values, 1) for values in zip(*parts, strict=True)))


def _in_chunks(call: Any, x: np.ndarray, seed: int) -> list[Any]:
    """``call(part, seed)`` for windows of the data; every result is cut to the rows that are new."""
    results = []
    for number, (window, seen) in enumerate(windows(len(x), CHUNK)):
        results.append((call(x[window], derive(seed, "chunk", number)), seen))
    return results

"""Fit, what an inference returns. Inside it tensors, outside NumPy, xarray and ArviZ."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack, overload

import numpy as np

from . import __version__, levels, storage
from .baselines import LeaveOneOut
from .bounds import Terms
from .chunks import chunk, sample_in_chunks, windows, within_memory
from .data import Stream, check_unit_interval
from .data.streams import Data, blocks
from .importance import normalised, resample
from .init import check_index
from .objective import Sites
from .seeds import derive, generator
from .side import NOTHING, Arrays, Side, blank, informed, part, shown

if TYPE_CHECKING:
    from .chains import HMC
    from .draws import Draws

X = TypeVar("X", bound=Data)
REFINED_AT_ONCE = 500
"""Data points that ``refine`` infers together."""
FIT_KEYS = frozenset({"backend", "settings", "history", "recipe", "dim", "probe"})
"""What the header of a fit holds."""


@overload
def as_batch(x: Stream, what: str = "x", dim: int | None = None) -> Stream: ...
@overload
def as_batch(x: Any, what: str = "x", dim: int | None = None) -> np.ndarray: ...
def as_batch(x: Any, what: str = "x", dim: int | None = None) -> Data:
    """A floating (N, P) array, checked; of a stream, which looks at its values as it reads them, the shape is.

    Raises:
        ValueError: not (N, P), another P than ``dim``, empty, or NaN or infinite values.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError(f"{what!r} is a masked array: pass {what}.filled(0), and its mask as mask=~{what}.mask.")
    array: Any = x if isinstance(x, Stream) else np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)
    if array.ndim != 2 or (dim is not None and array.shape[1] != dim):
        raise ValueError(f"{what!r} should have shape (N, {'P' if dim is None else dim}); got {array.shape}.")
    if not len(array):
        raise ValueError(f"{what!r} is empty: it has shape {array.shape}.")
    if isinstance(array, Stream):
        return array
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what!r} should hold numbers; got dtype {array.dtype}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"{what!r} holds NaN or infinite values, first at row {row}, column {column}: remove "
            "them, or say with mask= which values were seen, mask=~np.isnan(x)."
        )
    array = array if array.dtype.kind == "f" else array.astype(np.float32)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


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

    @property
    def sites(self) -> Sites | None:
        """The sites, once the pair has run on a batch."""

    @property
    def dim(self) -> int:
        """P, the width of the data, once the pair has run on a batch."""

    @property
    def device_name(self) -> str:
        """Where the pair lives, as ``device=`` takes it."""

    @property
    def num_rows(self) -> int | None:
        """For how many data points the pair has parameters of their own; None where it serves any."""

    @property
    def given_dim(self) -> int:
        """G, the width of the side information, once the pair has run on a batch; 0 without any."""

    def prepare(self, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> Sites:
        """Run on a batch, so that every parameter exists; say what the sites are."""

    def sample(
        self,
        x: np.ndarray,
        num_particles: int,
        seed: int,
        analytic_kl: bool = False,
        side: Arrays = NOTHING,
    ) -> tuple[dict[str, np.ndarray], Terms]:
        """Draws from the guide for each latent site, (K, B, ...), and their log-densities, (K, B)."""

    def posterior(self, x: np.ndarray, seed: int, side: Arrays = NOTHING) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean (of categories the mode) and standard deviation of q(z | x) for each latent site, (B, D) each."""

    def predict(
        self, x: np.ndarray, num_particles: int, seed: int, side: Arrays = NOTHING
    ) -> tuple[np.ndarray, np.ndarray]:
        """For draws z ~ q(z | x): E[x | z], (K, B, P), and the log-weights of z, (K, B)."""

    def decode(self, z: Arrays, seed: int, side: Arrays = NOTHING) -> tuple[np.ndarray, np.ndarray]:
        """E[x | z] and x ~ p(x | z) for the values of all latent sites, (B, ...) each: (B, P) each."""

    def generate(self, size: int, seed: int, side: Arrays = NOTHING) -> tuple[np.ndarray, np.ndarray]:
        """E[x | z] and x ~ p(x | z) for z ~ p(z), (size, P) each."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained pair with the record of its training. Arrays in, arrays out.

    ``history`` holds one number per epoch under ``epoch``, ``loss`` (the objective, nats per datum), ``valid_elbo`` and
    its part ``valid_log_lik`` (nats per datum) and ``seconds``. ``settings`` is every setting, JSON-able.
    """

    pair: Pair = field(repr=False)
    history: Mapping[str, np.ndarray] = field(repr=False)
    settings: Mapping[str, Any]
    critic: Callable[[np.ndarray], np.ndarray] | None = field(default=None, repr=False)
    """of an adversarial training: codes (..., D) -> the log-ratio that its critic sees, (...); not saved"""

    @classmethod
    def untrained(cls, pair: Pair, x: np.ndarray, *, seed: int = 0, **side: Unpack[Side]) -> Fit:
        """A pair as it is, with nothing trained: what a guess, or an exact answer, is worth.

        Args:
            pair: ``inference.Pair(model, guide)`` of either backend.
            x: data (N, P); of a per-datapoint guide those that its rows are for.
            seed: of the run that finds the sites.
            side: what there is beside x.

        >>> from ppl_vae import inference, recipes
        >>> pair = inference.Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
        >>> Fit.untrained(pair, np.eye(6)).encode(np.eye(6)).shape
        (6, 2)
        """
        x, arrays = shown(x, side.get("mask"))
        x = as_batch(x)
        arrays |= informed(side.get("given"), len(x))
        pair.prepare(x, seed, arrays)
        beside = {"side": digest(*arrays.values())} if arrays else {}
        return cls(pair, {}, {"data": {"train": digest(x), **beside}})

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
    def generalises(self) -> bool:
        """Whether the guide serves any data; false for a per-datapoint guide, whose parameters are its data's own."""
        return self.pair.num_rows is None

    def is_trained_on(self, x: Data, arrays: Arrays = NOTHING) -> bool:
        """Whether these are the data of the training, with the same mask and side information."""
        record, beside = self.settings.get("data", {}), [a for n, a in arrays.items() if n != "index"]
        return digest(x) == record.get("train") and record.get("side") == (digest(*beside) if beside else None)

    def positions(self, x: Data, index: Any = None, arrays: Arrays = NOTHING) -> np.ndarray | None:
        """Which of the data with parameters of their own the rows of x are; None for a guide that serves any.

        Raises:
            ValueError: positions that do not fit, or none for data that are not those of the training.
        """
        rows = self.pair.num_rows
        if rows is None:
            return None
        if index is not None:
            index = np.asarray(index)
            if index.shape != (len(x),) or index.dtype.kind not in "iu":
                raise ValueError(f"'index' should hold {len(x)} integers, one for each row of x; got {index!r}.")
            check_index(index, rows)
            return index
        if len(x) == rows and self.is_trained_on(x, arrays):
            return np.arange(rows)
        raise ValueError(
            f"The guide has parameters for the {rows} data points that it was trained on and for no others: infer z "
            "for new ones, fit.refine(x), or say which of the training data these are, index=."
        )

    def refine(
        self,
        x: Data,
        *,
        steps: int = 300,
        learning_rate: float = 0.05,
        tolerance: float = 1e-3,
        loss: Any = None,
        seed: int = 0,
        progress: bool | None = False,
        **side: Unpack[Side],
    ) -> Fit:
        """Local inference: the best q(z) of the guide's family for each row of x (N, P), the model left as it is.

        Starts from the encoder's answer, or for a per-datapoint guide from the mean of its rows, and climbs until the
        mean bound of a batch gains less than ``tolerance``. Stochastic Variational Inference, Hoffman, Blei, Wang and
        Paisley, 2013; Inference Suboptimality in Variational Autoencoders, Cremer, Li and Duvenaud, 2018.

        Args:
            x: data (N, P).
            steps: at most, for each batch.
            learning_rate: of Adam on the variational parameters.
            tolerance: it ends when thirty steps gain less than this every ten, nats per datum.
            loss: the objective; by default an ELBO whose noise vanishes at the optimum.
            seed: of the draws.
            progress: a progress bar.
            side: ``given`` and ``mask``.

        Returns:
            A fit of the same model and a per-datapoint guide for these data, in this order.

        Raises:
            ValueError: a guide without a net to replace, whose family is not known.
        """
        from .backends import load as load_backend

        x, arrays = self.checked(x, located=False, **side)
        inference = load_backend(self.backend).inference
        if loss is None and self.pair.sites and all(site.reparameterised for site in self.pair.sites.latent):
            loss = inference.TraceELBO(4, stick_the_landing=True)
        elif loss is None:
            loss = inference.TraceGraphELBO(8, baseline=LeaveOneOut())
        at_once = min(REFINED_AT_ONCE, chunk())
        svi = inference.SVI(
            loss,
            epochs=1,
            batch_size=-(-len(x) // -(-len(x) // at_once)),
            local_steps=steps,
            local_learning_rate=learning_rate,
            local_tolerance=tolerance,
            freeze_model=True,
        )
        options = {"device": self.pair.device_name, "progress": progress, "description": "refine"}
        with within_memory(f"while refining {len(x)} data points"):
            fit = svi.fit(*inference.localised(self.pair, x, arrays), x, seed=seed, **arrays, **options)
        data = dict(self.settings.get("data", {}))
        data |= {"trained_on": data.get("trained_on", data.get("train")), "train": digest(x)}
        data["side"] = fit.settings["data"].get("side")
        return Fit(fit.pair, fit.history, {**self.settings, "data": data, "refined_by": fit.settings["svi"]})

    @property
    def seconds(self) -> float:
        """The seconds that the training took."""
        return float(np.sum(self.history.get("seconds", 0.0)))

    def terms(
        self,
        x: Data,
        num_particles: int = 1,
        *,
        seed: int = 0,
        analytic_kl: bool = False,
        **side: Unpack[Side],
    ) -> Terms:
        """log p(x | z), log p(z) and log q(z | x) for ``num_particles`` draws, (K, B) each, in nats.

        With ``analytic_kl`` the KL of a site with a closed form stands in ``log_prior``, negative, and 0 in
        ``log_guide``. Like the other methods that encode it takes what there is beside x (``side.Side``): ``index``, as
        a per-datapoint guide wants the data of its training, or which of them these are; ``given``; and ``mask``.
        """
        x, arrays = self.checked(x, **side)
        return sample_in_chunks(self.pair, x, num_particles, seed, analytic_kl, arrays)[1]

    def checked(
        self, x: X, *, located: bool = True, likely: bool = True, **side: Unpack[Side]
    ) -> tuple[X, dict[str, np.ndarray]]:
        """The data as the pair takes them, (N, P), and the arrays beside them.

        Args:
            x: data (N, P).
            located: whether to say where the data of a per-datapoint guide are.
            likely: whether the likelihood must be able to have these values; an encoder may be asked about any.
            side: what there is beside x.

        Raises:
            ValueError: another shape, NaN or infinite values where a pixel was seen, values that the likelihood cannot
                have, or side information, positions or a mask that do not fit.
        """
        values, arrays = shown(x, side.get("mask"))
        values = checked(self.pair, values) if likely else as_batch(values, dim=self.pair.dim)
        arrays |= informed(side.get("given"), len(values))
        self._check_given(arrays.get("given"))
        index = self.positions(values, side.get("index"), arrays) if located else None
        return values, arrays if index is None else {**arrays, "index": index}

    def _check_given(self, given: np.ndarray | None) -> None:
        expected, found = self.pair.given_dim, 0 if given is None else given.shape[1]
        if expected != found:
            raise ValueError(
                f"The pair is conditional on {expected} numbers for each datum; 'given' has {found}: pass given= of "
                f"shape (N, {expected})."
                if expected
                else f"The pair was trained without side information; 'given' has {found} columns: leave it out."
            )

    def posterior(self, x: Data, *, seed: int = 0, **side: Unpack[Side]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean (of categories the mode) and standard deviation of q(z | x) for each latent site, (B, D) each."""
        x, arrays = self.checked(x, likely=False, **side)
        with within_memory(f"on {len(x)} data points"):
            chunks = [
                (self.pair.posterior(x[window], derive(seed, "chunk", number), part(arrays, window)), seen)
                for number, (window, seen) in enumerate(windows(len(x), chunk(self.pair)))
            ]
        return {
            name: (
                np.concatenate([moments[name][0][seen:] for moments, seen in chunks]),
                np.concatenate([moments[name][1][seen:] for moments, seen in chunks]),
            )
            for name in chunks[0][0]
        }

    def encode(self, x: Data, **side: Unpack[Side]) -> np.ndarray:
        """The mean of q(z | x), of categories the mode, (B, D); several latent sites stand side by side, in order."""
        means = [mean for mean, _ in self.posterior(x, **side).values()]
        if not means:
            return np.empty((len(x), 0))
        return np.concatenate([mean.reshape(len(mean), -1) for mean in means], -1)

    def draws(
        self,
        x: Data,
        num_draws: int = 100,
        *,
        method: str | HMC = "guide",
        seed: int = 0,
        **side: Unpack[Side],
    ) -> Draws:
        """Draws for each latent site, (K, B, D): from the guide, or better ones that start from it.

        Args:
            x: data (B, P).
            num_draws: K.
            method: ``guide``, from q(z | x). ``importance``, of ten times as many K by their importance weights.
                ``refined``, from the best q(z) of the family for each datum, by ``refine``. ``hmc``, or ``HMC(...)``:
                from chains that start at draws of the guide.
            seed: of the draws.
            side: ``given``, ``mask``, ``index``.

        Returns:
            A dictionary by site, whose ``diagnostics()`` says what the guide's draws are worth and what these are.

        Raises:
            ValueError: fewer than one draw, an unknown method, or data that do not fit.
            UnsuitableObjective: a discrete site under HMC.
        """
        from .draws import draws

        return draws(self, x, num_draws, method, seed=seed, **side)

    def reconstruct(self, x: Data, *, seed: int = 0, **side: Unpack[Side]) -> np.ndarray:
        """E[x | z] for one draw z ~ q(z | x), (B, P)."""
        x, arrays = self.checked(x, likely=False, **side)
        parts = []
        with within_memory(f"on {len(x)} data points"):
            for number, (window, seen) in enumerate(windows(len(x), chunk(self.pair))):
                means, _ = self.pair.predict(x[window], 1, derive(seed, "chunk", number), part(arrays, window))
                parts.append(means[0, seen:])
        return np.concatenate(parts)

    def decode(self, z: np.ndarray, *, given: np.ndarray | None = None) -> np.ndarray:
        """E[x | z] for codes z (B, D), (B, P); several latent sites stand side by side, as ``encode`` returns them.

        A conditional pair needs ``given``, (B, G).

        Raises:
            ValueError: codes of another shape, NaN or infinite values, or a model that does not take ``size``.
        """
        assert self.pair.sites is not None
        latent = self.pair.sites.latent
        ends = np.cumsum([math.prod(site.event_shape) for site in latent])
        z = as_batch(z, "z", int(ends[-1]))
        arrays = informed(given, len(z))
        self._check_given(arrays.get("given"))
        codes = {}
        for site, columns in zip(latent, np.split(z, ends[:-1], axis=1), strict=True):
            values = columns.reshape(len(z), *site.event_shape)
            codes[site.name] = values.astype(np.int64) if site.distribution == "Categorical" else values
        parts = []
        with within_memory(f"on {len(z)} codes"):
            for window, seen in windows(len(z), chunk(self.pair)):
                parts.append(self.pair.decode(part(codes, window), 0, part(arrays, window))[0][seen:])
        return np.concatenate(parts)

    def impute(
        self,
        x: np.ndarray,
        *,
        num_particles: int = 100,
        num_draws: int | None = None,
        seed: int = 0,
        **side: Unpack[Side],
    ) -> np.ndarray:
        """x (N, P) with the pixels that were not seen filled in.

        By E[x_hidden | x_seen] ~ sum_k w_k E[x_hidden | z_k], z_k ~ q(z | x_seen), with weights w_k proportional to
        p(x_seen, z_k) / q(z_k | x_seen) that add up to 1; or by draws from p(x_hidden | x_seen): z_k with probability
        w_k, then x_hidden ~ p(x | z_k). MIWAE, Mattei and Frellsen, 2019.

        Args:
            x: data (N, P), NaN or anything else where ``mask`` is false.
            num_particles: K.
            num_draws: how many draws of the hidden pixels; None for their mean.
            seed: of the draws.
            side: ``mask``, by default ``~np.isnan(x)``; ``given``; ``index``.

        Returns:
            (N, P), or (num_draws, N, P); what was seen stays as it is.
        """
        mask = side.get("mask")
        side["mask"] = mask = ~np.isnan(np.asarray(x, float)) if mask is None else mask
        x, arrays = self.checked(x, **side)
        parts = []
        with within_memory(f"while imputing {len(x)} data points", num_particles=num_particles):
            for number, (window, skip) in enumerate(windows(len(x), max(1, chunk(self.pair) // num_particles))):
                chunk_seed = derive(seed, "impute", number)
                beside = part(arrays, window)
                if num_draws is not None:
                    filled = self._drawn(x[window], num_particles, num_draws, chunk_seed, beside)
                else:
                    means, log_w = self.pair.predict(x[window], num_particles, chunk_seed, beside)
                    filled = np.einsum("kb,kbp->bp", normalised(log_w), means)[None]
                parts.append(np.where(mask[window], x[window], filled)[:, skip:])
        values = np.concatenate(parts, 1)
        return values[0] if num_draws is None else values

    def _drawn(
        self, x: np.ndarray, num_particles: int, num_draws: int, seed: int, arrays: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Draws from p(x_new | x), (num_draws, B, P): z by sampling-importance-resampling, then x_new ~ p(x | z)."""
        values, terms = self.pair.sample(x, num_particles, seed, side=arrays)
        chosen, rows = resample(terms.log_weights, num_draws, generator(seed, "resample")), np.arange(len(x))
        z = {name: v[chosen, rows].reshape(num_draws * len(x), *v.shape[2:]) for name, v in values.items()}
        given = {name: np.tile(a, (num_draws, 1)) for name, a in arrays.items() if name == "given"}
        parts = []
        for number, (window, seen) in enumerate(windows(num_draws * len(x), chunk(self.pair))):
            drawn = self.pair.decode(part(z, window), derive(seed, "draw", number), part(given, window))[1]
            parts.append(drawn[seen:])
        return np.concatenate(parts).reshape(num_draws, *x.shape)

    def generate(
        self, size: int | None = None, *, seed: int = 0, mean: bool = True, given: np.ndarray | None = None
    ) -> np.ndarray:
        """New images, (size, P): z ~ p(z), for VampPrior a component first, then E[x | z], or x ~ p(x | z).

        Args:
            size: how many, 1 by default.
            seed: of the draws.
            mean: E[x | z] instead of a draw.
            given: of a conditional pair, (size, G): z ~ p(z | c) and x | z, c.
        """
        size = size if size is not None else 1 if given is None else len(given)
        if size < 1:
            raise ValueError(f"'size' should be at least 1; got {size}.")
        arrays = informed(given, size)
        self._check_given(arrays.get("given"))
        parts = []
        with within_memory("while generating", size=size):
            for number, (window, seen) in enumerate(windows(size, chunk(self.pair))):
                count, chunk_seed = window.stop - window.start, derive(seed, "generate", number)
                parts.append(self.pair.generate(count, chunk_seed, part(arrays, window))[0 if mean else 1][seen:])
        return np.concatenate(parts)

    def save(self, path: str | Path, *, recipe: Any = None) -> Path:
        """Write weights, history and settings to one file; with the recipe, ``Fit.load`` needs nothing else.

        Args:
            path: the file, ``.safetensors`` by custom; written atomically.
            recipe: the recipe that made the pair.
        """
        if hasattr(recipe, "skeleton"):
            self._check_recipe(recipe)
        header = {
            "kind": "fit",
            "version": __version__,
            "backend": self.backend,
            "settings": self.settings,
            "history": {name: np.asarray(values).tolist() for name, values in self.history.items()},
            "recipe": None if recipe is None else recipe.to_dict(),
            "dim": self.pair.dim,
            "given_dim": self.pair.given_dim,
            "probe": probe(self.pair, np.zeros((4, self.pair.dim)), 0),
        }
        storage.write(Path(path), self.pair.state(), header)
        return Path(path)

    def _check_recipe(self, recipe: Any) -> None:
        """Refuse a recipe that makes another pair, which could not be read again.

        Raises:
            ValueError: names the first difference.
        """
        from .backends import load as load_backend

        made = load_backend(recipe.backend).inference.Pair(*recipe.skeleton()).state()
        shapes = {name: value.shape for name, value in made.items()}
        try:
            check_shapes(shapes, self.pair.state())
        except ValueError as error:
            raise ValueError(
                f"The recipe makes another pair than this fit has, so that nothing could be loaded with it: {error} "
                "Save without a recipe, and load with pair=(model, guide); a refined fit is saved so."
            ) from None

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
            ValueError: no recipe and no pair, weights that do not fit, or a device that is not there.
        """
        arrays, header = storage.read(Path(path))
        if header.get("kind") != "fit" or not set(header) >= FIT_KEYS:
            raise storage.UnreadableFile(f"{path} is a {header.get('kind')}, not a fit: resume the training with it.")
        if pair is None and header["recipe"] is None:
            raise ValueError(f"{path} was saved without a recipe: pass pair=(model, guide) of the same structure.")
        from .backends import load as load_backend
        from .recipes import Recipe

        inference = load_backend(header["backend"]).inference
        inference.pair.find_device(device)
        if pair is None:
            pair = Recipe.from_dict(header["recipe"]).skeleton()
        own = inference.Pair(*pair, device=device)
        zeros = np.zeros((4, header["dim"]))
        own.prepare(zeros, 0, blank(len(zeros), 1, header.get("given_dim", 0)))
        own.load_state(arrays)
        if not np.isclose(probe(own, zeros, 0), header["probe"], rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ValueError(
                f"The weights in {path} fit the pair, but give another ELBO than when they were saved: it is another "
                "model (activations, likelihood, ...). Pass the recipe or the pair that was trained."
            )
        return cls(own, {n: np.asarray(v) for n, v in header["history"].items()}, header["settings"])

    def to_arviz(self, x: np.ndarray, num_draws: int = 100, *, seed: int = 0, **side: Unpack[Side]) -> Any:
        """Draws from the guide as ``arviz.InferenceData``.

        Groups: posterior; log_likelihood; sample_stats with log_prior and log_guide of each draw; observed_data. One
        chain of ``num_draws`` independent draws; dims (chain, draw, datum, <site>_dim).
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            import arviz
        x, arrays = self.checked(x, **side)
        draws, terms = sample_in_chunks(self.pair, x, num_draws, seed, side=arrays)
        return arviz.from_dict(
            posterior={name: values[None] for name, values in draws.items()},
            log_likelihood={"x": terms.log_lik[None]},
            sample_stats={"log_prior": terms.log_prior[None], "log_guide": terms.log_guide[None]},
            observed_data={"x": np.where(arrays["mask"], x, np.nan) if "mask" in arrays else x},
            dims={
                "x": ["datum", "pixel"],
                "log_prior": ["datum"],
                "log_guide": ["datum"],
                **{name: ["datum", *([f"{name}_dim"] if values.ndim > 2 else [])] for name, values in draws.items()},
            },
            attrs={"library": "ppl_vae", "library_version": __version__, "settings": json.dumps(dict(self.settings))},
        )


@overload
def checked(pair: Pair, x: Stream, what: str = "x") -> Stream: ...
@overload
def checked(pair: Pair, x: Any, what: str = "x") -> np.ndarray: ...
def checked(pair: Pair, x: Any, what: str = "x") -> Data:
    """Data as a pair takes them, (N, P).

    Raises:
        ValueError: another shape, NaN or infinite values, or values that the likelihood cannot have.
    """
    array = as_batch(x, what, pair.dim or None)
    sites = pair.sites.observed if pair.sites is not None else ()
    binary = any(site.binary for site in sites)
    wanted = [site.levels for site in sites if site.levels is not None]
    for first, block in blocks(array) if binary or wanted else ():
        if binary:
            check_unit_interval(block, f"{what!r}, under a Bernoulli likelihood,", first=first)
        for count in wanted:
            levels.check(block, count, what, first)
    return array


def probe(pair: Pair, x: np.ndarray, seed: int) -> float:
    """The ELBO of a few data points with fixed noise: what tells pairs apart whose weights have the same shapes."""
    side = blank(len(x), pair.num_rows, pair.given_dim)
    return float(pair.sample(x, 1, seed, side=side)[1].log_weights.mean())


def digest(*parts: Data | None) -> str:
    """SHA-256 of arrays' bytes: whether two data sets are the same."""
    sha = hashlib.sha256()
    for array in parts:
        if array is None:
            sha.update(b"none")
            continue
        for _, block in blocks(array):
            sha.update(np.ascontiguousarray(block).data)
    return sha.hexdigest()

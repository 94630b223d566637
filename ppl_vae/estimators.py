"""Estimators for scikit-learn: each makes the pair of a recipe, trains it by ``SVI`` and queries its ``Fit``."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from . import backends, seeds, strategies
from .evaluation import log_likelihood
from .recipes import published, recipe
from .recipes.components import COMMON, SLOTS
from .recipes.components import settings as component_settings
from .results.fit import Fit
from .training.protocols import Callback
from .training.svi import BaseSVI


@dataclass(kw_only=True, eq=False, repr=False)
class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """Variational auto-encoder as a scikit-learn transformer and density estimator.

    z ~ p(z);  x | z ~ p(x | z);  trained on rows x (N, P), dense, NaN where a value is missing. ``transform`` gives the
    means of q(z | x), ``inverse_transform`` E[x | z], ``score_samples`` log p(x) in nats of the observed values,
    ``impute`` the rows with missing values filled in, ``sample`` new rows. All in float32.

    Data are not scaled. The default ``likelihood``, ``normal``, suits columns of any range: put a
    ``StandardScaler`` before it, because one learned scale serves all columns. ``bernoulli`` is for columns in [0, 1].

    Args:
        prior: ``standard``, ``mixture``, ``vampprior``, ``vampprior-data``, or one that is registered.
        likelihood: ``normal``; ``normal-diagonal``, with a scale for each column from the decoder; ``bernoulli``; or,
            for columns of values k / (``levels`` - 1), ``discretised-logistic`` or ``categorical``; or one that is
            registered.
        levels: the number of levels of the last two likelihoods.
        latent_dim: D.
        hidden: the units of the encoder's hidden layers; the decoder has them in reverse.
        gated: gated hidden layers instead of ``activation``.
        activation: the activation of the hidden layers.
        full_covariance: a q(z | x) with full covariance instead of a diagonal one.
        num_pseudo_inputs: components of the last three priors, but at most the number of rows.
        pseudo_inputs_start: ``random`` rows, their ``mean`` plus noise, or the ``means`` net.
        strategy: the objective of the training: a name such as ``elbo`` or ``iwae-10``, or an objective of the backend.
        epochs: passes over the rows, at most.
        batch_size: rows per step; all rows if they are fewer.
        learning_rate: the learning rate of Adam.
        clip_norm: the largest norm of the gradient, or None.
        patience: stop when the ELBO of held-out rows has not risen for this number of epochs, and restore the best
            weights; None trains on every row to the end.
        validation_fraction: the part of the rows that is held out, if ``patience`` is set.
        num_particles: draws per row of ``score_samples`` and ``impute``.
        backend: ``pyro`` or ``numpyro``.
        device: ``cpu``, ``cuda`` and so on; None is the backend's default. An unpickled estimator is there.
        checkpoint: a file that the training writes, and resumes from if it exists and has the same settings, data and
            ``random_state``, which has to be an integer. With more ``epochs`` a finished training goes on.
        callback: called after each epoch with (epoch, metrics, fit so far), as those of ``ppl_vae.callbacks``.
        verbose: whether to show a progress bar.
        random_state: an integer gives the same numbers each time, those of ``SVI.fit`` with this seed.
        settings: further settings of ``Recipe`` by their names, and those of registered components, such as
            ``{"latents": "bernoulli"}``; None for none.

    Attributes:
        fit_: the ``Fit``, with the trained model and guide, the history and the other methods.
        recipe_: the ``Recipe`` that made the pair, as ``fit_.save`` takes it.
        seed_: the seed of the training.
        n_features_in_: P.
        feature_names_in_: the names of the columns, where they have names.

    Raises:
        ValueError: data or settings that do not fit; the message says what to do.
        TypeError: sparse data.

    Auto-Encoding Variational Bayes, Kingma and Welling, 2014.

    >>> x = np.random.default_rng(0).normal(size=(40, 3))
    >>> vae = VAE(latent_dim=2, hidden=(8,), epochs=2, random_state=0).fit(x)
    >>> vae.transform(x).shape, vae.score_samples(x).shape, vae.sample(5).shape
    ((40, 2), (40,), (5, 3))
    >>> vae.get_feature_names_out().tolist()
    ['vae0', 'vae1']
    """

    prior: str = "standard"
    likelihood: str = "normal"
    levels: int = 256
    latent_dim: int = 8
    hidden: tuple[int, ...] = (64, 64)
    gated: bool = False
    activation: str = "relu"
    full_covariance: bool = False
    num_pseudo_inputs: int = 50
    pseudo_inputs_start: str = "random"
    strategy: Any = "elbo"
    epochs: int = 100
    batch_size: int = 100
    learning_rate: float = 1e-3
    clip_norm: float | None = None
    patience: int | None = None
    validation_fraction: float = 0.1
    num_particles: int = 100
    backend: str = "pyro"
    device: str | None = None
    checkpoint: str | Path | None = None
    callback: Callback | None = None
    verbose: bool = False
    random_state: int | np.random.RandomState | None = None
    settings: Mapping[str, Any] | None = None

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train on rows X (N, P); ``y`` is ignored."""
        train, valid = self._rows(X, reset=True), None
        seed = _seed(self.random_state)
        if self.patience is not None:
            train, valid = train_test_split(train, test_size=self.validation_fraction, random_state=seed)
        recipe, svi = self._recipe(train), self._svi(len(train))
        fit = svi.fit(
            *recipe(seeds.generator(seed, "weights")),
            train,
            valid=valid,
            mask=_find_mask(train),
            valid_mask=None if valid is None else _find_mask(valid),
            seed=seed,
            device=self.device,
            callback=self.callback,
            checkpoint=self.checkpoint,
            resume=self.checkpoint is not None,
            progress=self.verbose,
        )
        self.recipe_, self.seed_, self.fit_ = dataclasses.replace(recipe, images=None), seed, fit
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Return the means of q(z | x), (N, D), for rows X (N, P)."""
        rows = self._rows(X)
        return self.fit_.encode(rows, mask=_find_mask(rows))

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:
        """Return E[x | z], (N, P), for codes X (N, D)."""
        check_is_fitted(self)
        return self.fit_.decode(check_array(X, dtype=np.float32))

    def score_samples(self, X: ArrayLike, y: Any = None) -> np.ndarray:
        """Estimate log p(x) of each row of X (N, P) by importance sampling with ``num_particles`` draws, (N,), in nats.

        For a row with NaN it is the log-density of the observed values. The estimate is a lower bound in expectation;
        with the likelihood ``normal`` p(x) is a density. The noise is the same in each call, and depends on a row's
        position.
        """
        rows = self._rows(X)
        return log_likelihood(self.fit_, rows, self.num_particles, seed=self.seed_, mask=_find_mask(rows)).values

    def impute(self, X: ArrayLike) -> np.ndarray:
        """Return X (N, P) with NaN replaced by E[x_hidden | x_seen], by importance sampling. ``Fit.impute`` draws."""
        return self.fit_.impute(self._rows(X), num_particles=self.num_particles, seed=self.seed_)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Return the mean of ``score_samples``, nats per row."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None, *, mean: bool = False) -> np.ndarray:
        """Draw new rows x ~ p(x), (n_samples, P); with ``mean``, return E[x | z] for z ~ p(z).

        By default the seed is the estimator's own ``random_state``: an integer gives the same rows each time.
        """
        check_is_fitted(self)
        seed = _seed(self.random_state if random_state is None else random_state)
        return self.fit_.generate(n_samples, seed=seed, mean=mean)

    def _rows(self, X: ArrayLike, *, reset: bool = False) -> np.ndarray:
        if not reset:
            check_is_fitted(self)
        return validate_data(self, X, reset=reset, dtype=np.float32, ensure_all_finite="allow-nan")

    def _recipe(self, train: np.ndarray) -> recipe.Recipe:
        settings = {name: getattr(self, name) for name in _RECIPE}
        settings["num_pseudo_inputs"] = min(self.num_pseudo_inputs, len(train))
        more = dict(self.settings or {})
        both = sorted(more.keys() & {f.name for f in dataclasses.fields(VAE)})
        if both:
            raise ValueError(f"{', '.join(map(repr, both))} should be given by itself, not in 'settings'.")
        settings |= more
        if isinstance(self.strategy, str):
            settings |= strategies.recipe_settings(self.strategy)
        if settings.get("guide") == "per-datapoint":
            raise ValueError(
                f"The strategy {self.strategy!r} infers z for the training rows only, so that it cannot transform "
                "others: use another one, or SVI and Fit.refine."
            )
        return published.vae(train, **settings)

    def _svi(self, num_rows: int) -> BaseSVI:
        settings = {name: getattr(self, name) for name in _SVI}
        settings["batch_size"] = min(self.batch_size, num_rows)
        if isinstance(self.strategy, str):
            return strategies.svi(self.strategy, self.backend, **settings)
        return backends.load(self.backend).inference.SVI(self.strategy, **settings)

    @property
    def _n_features_out(self) -> int:
        return self.recipe_.latent_dim

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        tags.input_tags.allow_nan = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, with the fit as the bytes of its file."""
        state = dict(super().__getstate__())
        if "fit_" in state:
            with tempfile.TemporaryDirectory() as folder:
                state["fit_"] = self.fit_.save(Path(folder, "fit"), recipe=self.recipe_).read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state of ``__getstate__``, on the backend's default device."""
        state = dict(state)
        if "fit_" in state:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "fit")
                path.write_bytes(state["fit_"])
                state["fit_"] = Fit.load(path)
        super().__setstate__(state)


@dataclass(kw_only=True, eq=False, repr=False)
class VampVAE(VAE):
    """VAE whose prior is a mixture of its own posteriors at learned pseudo-inputs u: p(z) = 1/C sum_c q(z | u_c).

    The settings and methods are those of ``VAE``. With ``prior="vampprior-data"`` the pseudo-inputs are random training
    rows and are not trained. VAE with a VampPrior, Tomczak and Welling, 2018; Large VAE report, 2021.

    >>> x = np.random.default_rng(0).normal(size=(40, 3))
    >>> VampVAE(num_pseudo_inputs=100, epochs=2, random_state=0).fit(x).recipe_.num_pseudo_inputs
    40
    """

    prior: str = "vampprior"


_NAMES = {f.name for f in dataclasses.fields(VAE)} - {"settings"}
_SVI = tuple(f.name for f in dataclasses.fields(BaseSVI) if f.name in _NAMES)
_RECIPE = tuple(n for n in (*SLOTS, *COMMON, *component_settings(own=True)) if n in _NAMES)


def _find_mask(rows: np.ndarray) -> np.ndarray | None:
    """Return the mask (N, P) of the values that are not NaN; None if no value is."""
    seen = ~np.isnan(rows)
    return None if seen.all() else seen


def _seed(random_state: Any) -> int:
    """Return an integer as the seed itself; a generator or None draws one."""
    generator = check_random_state(random_state)
    return int(random_state) if isinstance(random_state, Integral) else int(generator.randint(2**31 - 1))

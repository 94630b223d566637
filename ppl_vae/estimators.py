"""Estimators for scikit-learn: each makes the pair of a recipe, trains it by ``SVI`` and queries its ``Fit``."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, DensityMixin, TransformerMixin
from sklearn.base import ClassNamePrefixFeaturesOutMixin as Named
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from . import backends, seeds, strategies
from .data.containers import as_array, check_unmasked
from .errors import Collapsed
from .evaluation import class_probabilities, collapsed, log_likelihood
from .evaluation.independent import told_of_columns
from .objectives import Labelled
from .recipes import likelihoods, published, recipe
from .recipes.components import COMMON, SLOTS
from .recipes.components import settings as component_settings
from .results.fit import Fit
from .results.forecasts import Forecast
from .training.protocols import Callback
from .training.svi import BaseSVI

Auto = Literal["auto"]
_TAKEN: dict[str, Any] = {"dtype": np.float32, "ensure_all_finite": "allow-nan", "accept_sparse": "csr"}
COLLAPSED = (
    "no latent is used: the mean of q(z | x) is the same for every row, and the fit is a model of each column by "
    "itself. Set standardise=True where columns are not standardised; where they are, they may have nothing in common."
)


@dataclass(kw_only=True, eq=False, repr=False)
class VAE(Named, TransformerMixin, DensityMixin, BaseEstimator):
    """Variational auto-encoder as a scikit-learn transformer and density estimator.

    z ~ p(z);  x | z ~ p(x | z);  trained on rows x (N, P), NaN where a value is missing. ``transform`` gives the
    means of q(z | x), ``inverse_transform`` E[x | z], ``score_samples`` log p(x) in nats of the observed values,
    ``impute`` the rows with missing values filled in, ``sample`` new rows. All in float32.

    The default ``likelihood``, ``normal``, suits columns of any units: they are standardised within the model, and
    log p(x) stays in the units of the data. ``bernoulli`` is for columns in [0, 1]. What is ``auto`` follows the data;
    ``recipe_`` and ``fit_.settings`` say what it came to. A fit in which no latent is used warns, ``errors.Collapsed``.

    Args:
        prior: ``standard``, ``mixture``, ``vampprior``, ``vampprior-data``, ``aggregate``, or one that is
            registered.
        likelihood: ``normal``; ``normal-diagonal``, with a scale for each column from the decoder; ``bernoulli``; of
            counts ``poisson`` or ``negative-binomial``, with ``zero-inflated-`` before it, too; of values
            k / (``levels`` - 1) ``discretised-logistic`` or ``categorical``; or one that is registered.
        levels: the number of levels of the last two likelihoods.
        standardise: whether columns are standardised within the model, by the means and scales of the training rows,
            and each has a learned scale; ``auto`` for the normal likelihoods.
        latent_dim: D; ``auto`` is 16, or one less than the columns if they are fewer.
        hidden: the units of the encoder's hidden layers; the decoder has them in reverse. ``auto`` is (128,), and
            (256,) for more than 128 columns.
        gated: gated hidden layers instead of ``activation``.
        activation: the activation of the hidden layers.
        full_covariance: a q(z | x) with full covariance instead of a diagonal one.
        num_pseudo_inputs: components of the mixtures but ``aggregate``, at most the number of rows.
        pseudo_inputs_start: ``random`` rows, their ``mean`` plus noise, or the ``means`` net.
        strategy: the objective of the training: a name such as ``elbo`` or ``iwae-10``, or an objective of the backend.
        epochs: passes over the rows, at most. ``auto`` is 20,000 steps, but 50 epochs at least and 1000 at most; 100
            for fewer than 20 rows.
        batch_size: rows per step; all rows if they are fewer. ``auto`` is 32 below 1000 rows, then 100.
        learning_rate: the learning rate of Adam.
        clip_norm: the largest norm of the gradient, or None.
        patience: stop when the ELBO of held-out rows has not risen for this number of epochs, and restore the best
            weights; None trains on every row to the end. ``auto`` is a twentieth of the epochs, but 5 at least, where
            ``epochs`` is ``auto`` and there are 20 rows; else None.
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
    standardise: bool | Auto = "auto"
    latent_dim: int | Auto = "auto"
    hidden: tuple[int, ...] | Auto = "auto"
    gated: bool = False
    activation: str = "relu"
    full_covariance: bool = False
    num_pseudo_inputs: int = 50
    pseudo_inputs_start: str = "random"
    strategy: Any = "elbo"
    epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate: float = 2e-3
    clip_norm: float | None = None
    patience: int | Auto | None = "auto"
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
        return self._train(self._rows(X, reset=True))

    def _train(self, train: np.ndarray, given: np.ndarray | None = None) -> Self:
        """Train on checked rows and their labels, where there are some."""
        valid, valid_given = None, None
        seed = _seed(self.random_state)
        training = self._training(len(train))
        if training["patience"] is not None:
            held_out: dict[str, Any] = {"test_size": self.validation_fraction, "random_state": seed}
            if given is not None:
                given, valid_given = train_test_split(given, **held_out)
            train, valid = train_test_split(train, **held_out)
        recipe, svi = self._recipe(train), self._svi(training, len(train))
        fit = svi.fit(
            *recipe(seeds.generator(seed, "weights")),
            train,
            valid=valid,
            given=given,
            mask=_find_mask(train),
            valid_given=valid_given,
            valid_mask=None if valid is None else _find_mask(valid),
            seed=seed,
            device=self.device,
            callback=self.callback,
            checkpoint=self.checkpoint,
            resume=self.checkpoint is not None,
            progress=self.verbose,
        )
        self.recipe_, self.seed_, self.fit_ = dataclasses.replace(recipe, images=None), seed, fit
        if collapsed(fit, train, mask=_find_mask(train)):
            warnings.warn(f"{type(self).__name__}: {COLLAPSED}", Collapsed, stacklevel=3)
        for category, told in told_of_columns(fit.sites, train, recipe.standardise):
            warnings.warn(f"{type(self).__name__}: {told}", category, stacklevel=3)
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
        return as_array(validate_data(self, check_unmasked(X), reset=reset, **_TAKEN))

    def _recipe(self, train: np.ndarray) -> recipe.Recipe:
        settings = {name: getattr(self, name) for name in _RECIPE}
        settings["num_pseudo_inputs"] = min(self.num_pseudo_inputs, len(train))
        more, own = dict(self.settings or {}), self._own_settings()
        both = sorted(more.keys() & ({f.name for f in dataclasses.fields(self)} | own.keys()))
        if both:
            raise ValueError(f"{', '.join(map(repr, both))} should be given by itself, not in 'settings'.")
        settings |= {**more, **own}
        if isinstance(self.strategy, str):
            settings |= strategies.recipe_settings(self.strategy)
        if settings.get("guide") == "per-datapoint":
            raise ValueError(
                f"The strategy {self.strategy!r} infers z for the training rows only, so that it cannot transform "
                "others: use another one, or SVI and Fit.refine."
            )
        auto = {"standardise": False, "latent_dim": max(1, min(16, train.shape[1] - 1))}
        auto["hidden"] = (128,) if train.shape[1] <= 128 else (256,)
        settings |= {name: value for name, value in auto.items() if settings.get(name) == "auto"}
        recipe = published.vae(train, **settings)
        if self.standardise == "auto" and not likelihoods.unfit(recipe):
            return published.vae(train, **{**settings, "standardise": True})
        return recipe

    def _training(self, num_rows: int) -> dict[str, Any]:
        """Return the settings of ``SVI``, for so many rows."""
        settings = {name: getattr(self, name) for name in _SVI}
        if self.batch_size == "auto":
            settings["batch_size"] = 32 if num_rows < 1000 else 100
        few, auto = num_rows < 20, self.epochs == "auto"
        if auto:
            steps = math.ceil(num_rows / settings["batch_size"])
            settings["epochs"] = 100 if few else min(1000, max(50, 20_000 // steps))
        if self.patience == "auto":
            settings["patience"] = max(5, settings["epochs"] // 20) if auto and not few else None
        return settings

    def _own_settings(self) -> dict[str, Any]:
        """Return settings of ``Recipe`` that the kind of estimator fixes."""
        return {}

    def _svi(self, training: dict[str, Any], num_rows: int) -> BaseSVI:
        settings = {**training, "batch_size": min(training["batch_size"], num_rows)}
        if isinstance(self.strategy, str):
            return strategies.svi(self.strategy, self.backend, **settings)
        return backends.load(self.backend).inference.SVI(self.strategy, **settings)

    @property
    def _n_features_out(self) -> int:
        return self.recipe_.latent_dim

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
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
        state.setdefault("standardise", False)  # an estimator of an earlier version
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


@dataclass(kw_only=True, eq=False, repr=False)
class SemiSupervisedVAE(ClassifierMixin, VAE):
    """Classifier of rows of which few have a label, by a VAE whose label is a latent, the model M2.

    y ~ p(y), uniform;  z ~ p(z);  x | y, z ~ p(x | y, z);  with q(y | x) and q(z | x, y). ``fit(X, y)`` takes labels of
    any kind, and -1 where one is not known. A known label trains p(x | y, z), q(z | x, y), and q(y | x) by
    ``label_weight`` log q(y | x); an unknown one is summed over, or what ``strategy`` says. ``predict_proba`` gives
    q(y | x), ``score`` the accuracy; ``score_samples`` log p(x), the label summed out.

    The settings are those of ``VAE`` and:

    Args:
        strategy: of labels that are not known: ``enumeration``, or another that serves discrete latents, such as
            ``rloo-4``, or an objective of the backend.
        label_weight: of log q(y | x) of each known label, in data.
        auxiliary_dim: of the auxiliary variable of Maaloe et al., 2016, which makes q(y, z | x) a mixture; 0 for none.

    Attributes:
        classes_: the labels, (C,).

    Raises:
        ValueError: fewer than two classes among the known labels, and what ``VAE`` raises.

    Semi-supervised Learning with Deep Generative Models, Kingma, Rezende, Mohamed and Welling, 2014.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 2)) + 4 * (np.arange(60)[:, None] % 2)
    >>> y = np.where(np.arange(60) < 10, np.arange(60) % 2, -1)
    >>> vae = SemiSupervisedVAE(latent_dim=1, hidden=(8,), epochs=60, learning_rate=0.03, random_state=0).fit(x, y)
    >>> vae.predict_proba(x).shape, bool(vae.score(x, np.arange(60) % 2) > 0.9)
    ((60, 2), True)
    """

    strategy: Any = "enumeration"
    label_weight: float = 10.0
    auxiliary_dim: int = 0

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train on rows X (N, P) with labels y (N,), -1 where they are not known."""
        rows, y = validate_data(self, check_unmasked(X), y, **_TAKEN)
        known = _known(y)
        check_classification_targets(y[known] if known.any() else y)
        self.classes_, numbers = np.unique(y[known], return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"SemiSupervisedVAE: 'y' should have labels of more than one class; got {self.classes_.tolist()} and "
                f"{np.sum(~known)} times -1, which stands for an unknown label: give other names to classes, such as "
                "y.astype(str)."
            )
        given = np.full((len(y), 1), -1, np.float32)
        given[known, 0] = numbers
        return self._train(as_array(rows), given)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Return q(y | x) of each class, (N, C), for rows X (N, P); of an auxiliary variable by ten draws."""
        rows = self._rows(X)
        draws = 10 if self.auxiliary_dim else 1
        return class_probabilities(self.fit_, rows, draws, seed=self.seed_, mask=_find_mask(rows))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the likeliest class of each row of X (N, P), (N,)."""
        numbers = self.predict_proba(X).argmax(1)  # refuses what is not fitted, which has no classes
        return self.classes_[numbers]

    def score(self, X: ArrayLike, y: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy on the rows of X (N, P) whose label y is not -1."""
        known, weight = _known(np.asarray(y)), None if sample_weight is None else np.asarray(sample_weight)
        weight = weight if weight is None else weight[known]
        return float(accuracy_score(np.asarray(y)[known], self.predict(X)[known], sample_weight=weight))

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Return the means of q(z | x, y), (N, D), for rows X (N, P) and their likeliest label y."""
        rows, labels = self._rows(X), self.predict_proba(X).argmax(1)
        return self.fit_.encode(rows, given=labels[:, None], mask=_find_mask(rows))[:, -self.recipe_.latent_dim :]

    def inverse_transform(self, X: ArrayLike, y: Any = None) -> np.ndarray:
        """Return E[x | z, y], (N, P), for codes X (N, D) and labels y (N,); E[x | z] without, the mean over labels."""
        check_is_fitted(self)
        z = check_array(X, dtype=np.float32)
        if y is None:
            return np.mean([self.inverse_transform(z, np.full(len(z), label)) for label in self.classes_], 0)
        parts = {"a": np.zeros((len(z), self.recipe_.auxiliary_dim)), "y": self._numbers(y)[:, None], "z": z}
        return self.fit_.decode(np.concatenate([parts[site.name] for site in self.fit_.sites.latent], 1))

    def sample(self, n_samples: int = 1, random_state: Any = None, *, mean: bool = False, y: Any = None) -> np.ndarray:
        """Draw new rows as ``VAE.sample`` does, of labels y (n_samples,), or of one for all; by default of any."""
        check_is_fitted(self)
        seed = _seed(self.random_state if random_state is None else random_state)
        given = None if y is None else self._numbers(np.broadcast_to(y, n_samples))[:, None]
        return self.fit_.generate(n_samples, seed=seed, mean=mean, given=given)

    def _numbers(self, y: Any) -> np.ndarray:
        """Return the positions of labels in ``classes_``."""
        y = np.asarray(y)
        found = np.clip(np.searchsorted(self.classes_, y), 0, len(self.classes_) - 1)
        if (self.classes_[found] != y).any():
            wrong = y[self.classes_[found] != y].tolist()[0]
            raise ValueError(f"'y' should have labels of {self.classes_.tolist()}; got {wrong!r}.")
        return found

    def _own_settings(self) -> dict[str, Any]:
        own = {"program": "semi-supervised", "guide": "semi-supervised", "given_dim": len(self.classes_)}
        return {**own, "auxiliary_dim": self.auxiliary_dim}

    def _svi(self, training: dict[str, Any], num_rows: int) -> BaseSVI:
        made = super()._svi(training, num_rows)
        return dataclasses.replace(made, loss=Labelled(made.loss, weight=self.label_weight))


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceVAE(VAE):
    """VAE of sequences, a deep Markov model: latents that move from step to step, and forecasts.

    z_1 ~ N(0, I);  z_t ~ p(z_t | z_{t-1});  x_t ~ p(x_t | z_t). Rows are flat, T steps of ``width`` numbers side by
    side, NaN where there is none: a row ends after its last number, and a gap before it is latent. ``data.pad`` makes
    rows and their mask of other forms, ``np.where(padded.mask, padded.x, np.nan)`` of these what ``fit`` takes.
    ``transform`` gives the mean path, (N, T D). A scaler should have one scale for each of the ``width`` numbers, the
    same at all steps.

    The settings are those of ``VAE`` and:

    Args:
        width: P, numbers of a step; T follows from the rows.
        posterior: ``smoothing``, which knows all that follows a step, or ``filtering``, which knows what came before.
        transition: ``gated``, ``mlp``, or ``linear`` with constant scales.
        transition_hidden: units of the hidden layers of a transition.
        recurrent_units: state of the net that reads the steps.

    Raises:
        ValueError: rows that are no whole number of steps, and what ``VAE`` raises.

    Structured Inference Networks for Nonlinear State Space Models, Krishnan, Shalit and Sontag, 2017.

    >>> x = np.random.default_rng(0).normal(size=(20, 6)).cumsum(1)
    >>> vae = SequenceVAE(latent_dim=2, hidden=(8,), recurrent_units=8, epochs=2, random_state=0).fit(x)
    >>> vae.transform(x).shape, vae.forecast(x, 3).mean.shape
    ((20, 12), (20, 3))
    """

    width: int = 1
    prior: str = "markov"
    posterior: str = "smoothing"
    transition: str = "gated"
    transition_hidden: tuple[int, ...] = (32,)
    recurrent_units: int = 32

    def forecast(self, X: ArrayLike, steps: int) -> Forecast:
        """Draw the ``steps`` that follow each row of X (N, T P), ``num_particles`` times: see ``Fit.forecast``."""
        rows = self._rows(X)
        return self.fit_.forecast(rows, steps, num_draws=self.num_particles, seed=self.seed_, mask=_find_mask(rows))

    def _own_settings(self) -> dict[str, Any]:
        if self.width < 1 or self.n_features_in_ % self.width:
            raise ValueError(
                f"SequenceVAE: rows should have whole steps of width={self.width} numbers; got {self.n_features_in_} "
                "columns: set width to the numbers of a step."
            )
        names = ("posterior", "transition", "transition_hidden", "recurrent_units")
        shape = (self.n_features_in_ // self.width, self.width)
        return {**{name: getattr(self, name) for name in names}, "net": "recurrent", "image_shape": shape}

    @property
    def _n_features_out(self) -> int:
        return self.recipe_.latent_dim * (self.n_features_in_ // self.width)


_NAMES = {f.name for f in dataclasses.fields(VAE)} - {"settings"}
_SVI = tuple(f.name for f in dataclasses.fields(BaseSVI) if f.name in _NAMES)
_RECIPE = tuple(n for n in (*SLOTS, *COMMON, *component_settings(own=True)) if n in _NAMES)


def _find_mask(rows: np.ndarray) -> np.ndarray | None:
    """Return the mask (N, P) of the values that are not NaN; None if no value is."""
    seen = ~np.isnan(rows)
    return None if seen.all() else seen


def _known(y: np.ndarray) -> np.ndarray:
    """Return where a label is not the number -1, (N,); texts are labels, whatever they say."""
    return y != -1 if y.dtype.kind in "iuf" else np.array([not isinstance(v, Integral) or v != -1 for v in y], bool)


def _seed(random_state: Any) -> int:
    """Return an integer as the seed itself; a generator or None draws one."""
    generator = check_random_state(random_state)
    return int(random_state) if isinstance(random_state, Integral) else int(generator.randint(2**31 - 1))

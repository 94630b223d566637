"""Fit, what an inference returns. Inside it tensors, outside NumPy, xarray and ArviZ."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np

from ..kinds import check_counts
from ..mcmc.samplers import HMC, LearnedHMC
from ..pairs.chunks import concatenate, in_chunks, sample_in_chunks
from ..pairs.densities import check_prior, check_weights
from ..pairs.inputs import CheckedData, Input, X, as_batch, check_data, check_scale, digest, rows_of
from ..pairs.pair import Pair
from ..pairs.side_inputs import NOTHING, Arrays, Side, apply_mask, check_given, check_names, given_of
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from ..pairs.trials import try_rows
from ..runtime.shown import Shown, curve
from .arviz import to_inference_data
from .draws import Draws, draws
from .files import read_fit, write_fit
from .forecasts import Forecast, forecast
from .imputation import check_ends, fill_hidden
from .priors import mark_prior, of_the_pair
from .refinement import fit_locally
from .summaries import summary

DRAWN = "draws, fit.generate(mean=False)"
"""The way to data of a model whose E[x | z] is not known."""


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Shown):
    """A trained pair with the record of its training. Arrays in, arrays out.

    ``history`` holds one number per epoch under ``epoch``, ``loss`` (the objective, nats per datum), ``valid_elbo`` (of
    a guide that is a point log p(x, z), ``valid_log_joint``) and its part ``valid_log_lik`` (nats per datum), of codes
    ``codes_used`` and ``perplexity``, of ``HMCELBO`` ``acceptance``, of products in bfloat16 ``rounding`` (what they
    add to the loss), and ``seconds``. ``settings`` is every setting, JSON-able.
    """

    pair: Pair = field(repr=False)
    history: Mapping[str, np.ndarray] = field(repr=False)
    settings: Mapping[str, Any]
    critic: Callable[..., np.ndarray] | None = field(default=None, repr=False)
    """of an adversarial training: codes (..., D), after x where it sees both -> the log-ratio, (...); not saved.

    Of ``ACN`` log p(z | c) of draws z (K, B, D) and codes c (B, D), which is saved.
    """

    def __post_init__(self) -> None:
        mark_prior(self.pair, self.settings)

    @classmethod
    def untrained(cls, pair: Pair, x: np.ndarray, *, seed: int = 0, **side: Unpack[Side]) -> Fit:
        """Make a fit of a pair as it is, to evaluate a guess or an exact answer.

        Args:
            pair: ``inference.Pair(model, guide)`` of either backend.
            x: data (N, P); of a per-datapoint guide those that its rows are for.
            seed: of the run that finds the sites.
            side: side inputs of x.

        >>> from ppl_vae import inference, recipes
        >>> pair = inference.Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
        >>> Fit.untrained(pair, np.eye(6)).encode(np.eye(6)).shape
        (6, 2)
        """
        check_names(side)
        x, arrays = apply_mask(x, side.get("mask"))
        x = as_batch(x)
        arrays |= check_given(side.get("given"), len(x))
        pair.prepare(x, seed, arrays)
        try_rows(pair, x, seed, arrays)
        beside = {"side": digest(*arrays.values())} if arrays else {}
        return cls(pair, {}, {"data": {"train": digest(x), **beside}})

    then: ClassVar[str] = "fit.check(x) judges it; fit.encode(x), fit.generate(16) and fit.save(path) use it."

    def shown(self) -> dict[str, Any]:
        """Return what a short text and a notebook say of it."""
        return summary(self.pair, self.settings, self.history)

    def figure(self) -> str:
        """Draw the training, in a notebook."""
        name = "valid_elbo" if len(self.history.get("valid_elbo", ())) else "loss"
        return curve(self.history.get(name, ()), f"{name} by epoch")

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
    def sites(self) -> Sites:
        """The pair's sites, latent and observed."""
        assert self.pair.sites is not None
        return self.pair.sites

    @property
    def num_parameters(self) -> int:
        """The number of trained numbers; a shared encoder counts once."""
        return self.pair.num_parameters

    @property
    def generalises(self) -> bool:
        """Whether the guide serves any data; false for a per-datapoint guide, whose parameters are its data's own."""
        return self.pair.num_rows is None

    def is_trained_on(self, x: Input, arrays: Arrays = NOTHING) -> bool:
        """Whether these are the data of the training, with the same mask and side information."""
        record = self.settings.get("data", {})
        if not isinstance(x, CheckedData):
            x = CheckedData(x, {name: array for name, array in arrays.items() if name != "index"}, self.pair)
        return x.digest == record.get("train") and x.side_digest == record.get("side")

    def positions(self, x: Input, index: Any = None, arrays: Arrays = NOTHING) -> np.ndarray | None:
        """Find the positions of the rows of x among the data of a per-datapoint guide; None for other guides.

        Raises:
            ValueError: positions that do not fit, or none for data that are not those of the training.
        """
        rows = self.pair.num_rows
        return None if rows is None else rows_of(rows, len(x), index, lambda: self.is_trained_on(x, arrays))

    def with_prior(self, prior: Any) -> Fit:
        """The same pair with another prior, as the prior is: to evaluate, to draw from, and to train, the pair frozen.

        ``SVI(inference.PriorELBO()).fit(whole.model, whole.guide, data)`` trains it then on the draws of q(z | x), by
        E log p(z), and leaves all else of the pair as it is.

        Args:
            prior: a module of the backend's own kind whose call returns p(z), which is copied; for latents that are
                codes of a codebook a prior over the numbers of D codes, integers (D,) from 0 to K - 1.

        Raises:
            ValueError: a model without the attribute ``prior``, a prior over other values, or one that does not run.
        """
        pair, example = self.pair.with_prior(prior), {"x": np.zeros((1, self.pair.dim)), **self.pair.example}
        x, side = example.pop("x"), example
        pair.prepare(np.repeat(x, 2, 0), 0, {name: np.repeat(rows, 2, 0) for name, rows in side.items()})
        return Fit(pair, {}, of_the_pair(self.settings))

    def refine(
        self,
        x: Input,
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
        rows = self.checked(x, located=False, **side)
        options = {"steps": steps, "learning_rate": learning_rate, "tolerance": tolerance, "loss": loss}
        fit = fit_locally(self.pair, rows.x, rows.arrays, **options, seed=seed, progress=progress)
        data = dict(self.settings.get("data", {}))
        data |= {"trained_on": data.get("trained_on", data.get("train")), "train": rows.digest}
        data["side"] = fit.settings["data"].get("side")
        return Fit(fit.pair, fit.history, {**self.settings, "data": data, "refined_by": fit.settings["svi"]})

    @property
    def seconds(self) -> float:
        """The seconds that the training took."""
        return float(np.sum(self.history.get("seconds", 0.0)))

    def terms(
        self,
        x: Input,
        num_particles: int = 1,
        *,
        seed: int = 0,
        analytic_kl: bool = False,
        **side: Unpack[Side],
    ) -> Terms:
        """log p(x | z), log p(z) and log q(z | x) for ``num_particles`` draws, (K, B) each, in nats.

        With ``analytic_kl`` the KL of a site with a closed form stands in ``log_prior``, negative, and 0 in
        ``log_guide``; that is NaN of a point, and where it is not known. Like all that encodes it takes side inputs
        (``pairs.side_inputs.Side``): ``index``, rows of a per-datapoint guide's training; ``given``; and ``mask``.
        """
        check_prior(self.sites, "terms")
        data = self.checked(x, **side)
        return sample_in_chunks(self.pair, data.x, num_particles, seed, analytic_kl, data.arrays)[1]

    def checked(
        self, x: X | CheckedData[X], *, located: bool = True, likely: bool = True, **side: Unpack[Side]
    ) -> CheckedData[X]:
        """Check data (N, P) and their side inputs, as every method does that takes them.

        What is returned may be passed to methods and to functions of ``evaluation`` in the place of x, without side
        inputs: every value is read once then, and not by each of them.

        Args:
            x: data (N, P), or checked data; those that another fit's checks passed are read again only where this one
                asks for more.
            located: whether to say where the data of a per-datapoint guide are.
            likely: whether the likelihood must be able to have these values; an encoder may be asked about any.
            side: side inputs of x; of checked data ``index`` alone.

        Raises:
            TypeError: a keyword that is no side input.
            ValueError: another shape, NaN or infinite values where a pixel was seen, values that the likelihood cannot
                have, or side information, positions or a mask that do not fit.
        """
        check_names(side)
        if self.pair.sites is not None and self.pair.sites.implicit:
            self.pair.sites.check_data()
        check_scale(x, self.settings.get("data", {}).get("scale"))
        data = check_data(self.pair, x, likely, side.get("given"), side.get("mask"))
        index = side.get("index")
        if index is None and data.pair is self.pair:
            index = data.index
        index = self.positions(data, index, data.side) if located else index
        return dataclasses.replace(data, pair=self.pair, index=index, located=located)

    def posterior(self, x: Input, *, seed: int = 0, **side: Unpack[Side]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean (of categories the mode) and standard deviation of q(z | x) for each latent site, (B, D) each.

        Raises:
            UnsuitableObjective: a site without a mean, such as one of a flow.
        """
        self.sites.check_codes()
        data = self.checked(x, likely=False, **side)
        options: dict[str, Any] = {"seed": seed, "purpose": "chunk", "doing": f"on {len(data)} data points"}
        with in_chunks(self.pair, data.x, data.arrays, **options) as chunks:
            return concatenate(chunk.keep(self.pair.posterior(chunk.x, chunk.seed, chunk.side)) for chunk in chunks)

    def encode(self, x: Input, **side: Unpack[Side]) -> np.ndarray:
        """The mean of q(z | x), of categories the mode, (B, D); several latent sites stand side by side, in order."""
        means = [mean for mean, _ in self.posterior(x, **side).values()]
        if not means:
            return np.empty((len(x), 0))
        return np.concatenate([mean.reshape(len(mean), -1) for mean in means], -1)

    def draws(
        self,
        x: Input,
        num_draws: int = 100,
        *,
        method: str | HMC | LearnedHMC = "guide",
        num_particles: int | None = None,
        seed: int = 0,
        **side: Unpack[Side],
    ) -> Draws:
        """Draws for each latent site, (K, B, D): from the guide, or better ones that start from it.

        Args:
            x: data (B, P).
            num_draws: K.
            method: ``guide``, from q(z | x). ``importance``, of ten times as many K by their importance weights.
                ``sir``, sampling-importance-resampling: each of ten draws of its own. ``refined``, from the best q(z)
                of the family for each datum, by ``refine``. ``hmc``, ``HMC(...)`` or ``LearnedHMC(...)``: from chains
                that start at draws of the guide. ``smc``, of paths: K by the ancestors of the last particles of a
                filter with ten times as many, which few of its first steps may have left; ``backward``, K of the same
                by backward simulation, each step by p(z_t | z_{t+1}) among the particles; ``filter``, z_t of each step
                by itself, given the data up to it.
            num_particles: of ``sir``, ``importance`` and filters, the draws for each, in the place of ten.
            seed: of the draws.
            side: ``given``, ``mask``, ``index``.

        Returns:
            A dictionary by site, whose ``diagnostics()`` says what the guide's draws are worth and what these are.

        Raises:
            ValueError: fewer than one draw, an unknown method, or data that do not fit.
            UnsuitableObjective: a discrete site under HMC.
        """
        return draws(self, x, num_draws, method, num_particles=num_particles, seed=seed, **side)

    def reconstruct(self, x: Input, *, seed: int = 0, mean: bool = True, **side: Unpack[Side]) -> np.ndarray:
        """E[x | z] for one draw z ~ q(z | x), (B, P); the means of several observed sites stand side by side.

        Without ``mean`` a draw from p(x | z).

        Raises:
            ValueError: what the sites observe is not x, so that nobody knows which column a mean belongs to.
        """
        if not self.sites.latent:
            raise ValueError("There are no latents, and so no codes of x: use new draws, fit.generate(mean=False).")
        if not mean:
            values = self.draws(x, 1, seed=seed, **side)
            rows = [values[site.name][0].reshape(len(values[site.name][0]), -1) for site in self.sites.latent]
            return self.decode(np.concatenate(rows, 1), given=side.get("given"), mean=False, seed=seed)
        self.sites.check_data_means("draws, fit.reconstruct(x, mean=False)")
        data = self.checked(x, likely=False, **side)
        options: dict[str, Any] = {"seed": seed, "purpose": "chunk", "doing": f"on {len(data)} data points"}
        with in_chunks(self.pair, data.x, data.arrays, **options) as chunks:
            predict = self.pair.predict
            return concatenate(chunk.keep(predict(chunk.x, 1, chunk.seed, chunk.side)[0][0]) for chunk in chunks)

    def decode(self, z: np.ndarray, *, given: np.ndarray | None = None, mean: bool = True, seed: int = 0) -> np.ndarray:
        """E[x | z] for codes z (B, D), (B, P); several latent sites stand side by side, as ``encode`` returns them.

        Without ``mean`` a draw from p(x | z). A conditional pair needs ``given``, (B, G).

        Raises:
            ValueError: codes of another shape, NaN or infinite values, or a model that does not take ``size``.
        """
        sites = self.sites
        if mean:
            sites.check_data_means("draws, fit.decode(z, mean=False)")
        z = as_batch(z, "z", sites.width, maskable=False)
        arrays = given_of(self.pair, given, len(z))
        options: dict[str, Any] = {"seed": seed, "purpose": "generate", "doing": f"on {len(z)} codes"}
        with in_chunks(self.pair, z, arrays, **options) as chunks:
            decode, which = self.pair.decode, 0 if mean else 1
            return concatenate(
                chunk.keep(decode(sites.split(chunk.x), chunk.seed, chunk.side)[which]) for chunk in chunks
            )

    def impute(
        self,
        x: np.ndarray | CheckedData[np.ndarray],
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
        self.sites.check_latent("impute")
        self.sites.check_reach("impute", "draws of z by chains, fit.draws(x, method='hmc')")
        self.sites.check_covered("impute", "the reconstruction of what is seen, fit.reconstruct(x, mask=mask)")
        check_weights(self.sites, "impute", "impute of evaluation.normal_proposal(fit, x, mask=mask)")
        if side.get("mask") is None and not isinstance(x, CheckedData):
            side["mask"] = ~np.isnan(np.asarray(x, float))
        data = self.checked(x, **side)
        check_ends(self.sites, data.arrays.get("mask"))
        if num_draws is None:
            self.sites.check_data_means("draws of the hidden pixels, num_draws=10")
        options: dict[str, Any] = {"num_particles": num_particles, "num_draws": num_draws, "seed": seed}
        values = fill_hidden(self.pair, data.x, data.arrays, **options)
        return values[0] if num_draws is None else values

    def forecast(
        self,
        x: np.ndarray | CheckedData[np.ndarray],
        steps: int,
        *,
        num_draws: int = 100,
        method: str | HMC | LearnedHMC = "sir",
        num_particles: int | None = None,
        seed: int = 0,
        **side: Unpack[Side],
    ) -> Forecast:
        """Draws of the ``steps`` that follow each sequence x (N, T P), from the last step that is seen of it.

        z_T ~ p(z_T | x) by ``draws``, then step by step z_t ~ p(z_t | z_{t-1}) and x_t ~ p(x_t | z_t). The model is one
        of ``priors.Markov``, its likelihood the same at each step; or ``priors.HiddenMarkov``.

        Args:
            x: data (N, T P).
            steps: H.
            num_draws: K.
            method: of the draws of z_T, as of ``draws``: ``sir`` corrects the guide by weights, ``guide`` does not. A
                model without latents, ``priors.HiddenMarkov``, needs none: its forecast is exact.
            num_particles: of ``sir`` and ``importance``.
            seed: of the draws.
            side: ``mask``, after whose last number a sequence goes on; ``given``; ``index``.

        Returns:
            ``Forecast``: its draws (K, N, H P), ``mean`` (N, H P), and ``interval(0.9)``, two of them.
        """
        options: dict[str, Any] = {"num_particles": num_particles, "seed": seed}
        return forecast(self, x, steps, num_draws, method, **options, **side)

    def generate(
        self, size: int | None = None, *, seed: int = 0, mean: bool = True, given: np.ndarray | None = None
    ) -> np.ndarray:
        """New images, (size, P): z ~ p(z), for VampPrior a component first, then E[x | z], or x ~ p(x | z).

        Args:
            size: how many, 1 by default.
            seed: of the draws.
            mean: E[x | z] instead of a draw.
            given: of a conditional pair, (size, G): z ~ p(z | c) and x | z, c; labels that are left out are drawn.
        """
        size = size if size is not None else 1 if given is None else len(given)
        check_counts("generate", size=size)
        check_prior(self.sites, "generate")
        if mean:
            self.sites.check_data_means(DRAWN)
        arrays, which = given_of(self.pair, given, size), 0 if mean else 1
        options: dict[str, Any] = {"doing": "while generating", "settings": {"size": size}}
        with in_chunks(self.pair, np.empty((size, 0)), arrays, seed=seed, purpose="generate", **options) as chunks:
            generate = self.pair.generate
            return concatenate(chunk.keep(generate(len(chunk), chunk.seed, chunk.side)[which]) for chunk in chunks)

    @property
    def shown_to_critic(self) -> str | None:
        """``mean`` or ``draws`` of x, which a critic saw in the likelihood's place; None where that was trained."""
        return dict[str, str | None](self.settings.get("svi", {})).get("shown_to_critic")

    def check(self, x: Input, num_particles: int = 500, *, seed: int = 0, **side: Unpack[Side]) -> Any:
        """Verdicts on this fit by data x (N, P) that it was not trained on, ``evaluation.check``.

        Whether it converged, which latents are in use, whether it is ahead of a model of each column by itself, k-hat,
        the gap of the ELBO and the guide's calibration: each with its number, a sentence, and what to do.
        """
        evaluation = importlib.import_module(f"{__package__.rpartition('.')[0]}.evaluation")  # is built on fits
        return evaluation.check(self, x, num_particles, seed=seed, **side)

    def save(self, path: str | Path, *, recipe: Any = None) -> Path:
        """Write weights, history and settings to one file; with the recipe, ``Fit.load`` needs nothing else.

        The file also holds the ELBO of zeros, and of bits, by which a loaded pair is told from another; where the
        likelihood has no zeros, that of one datum, which is then in the file.

        Args:
            path: the file, ``.safetensors`` by custom; written atomically.
            recipe: the recipe that made the pair.
        """
        record = {"settings": self.settings, "history": self.history}
        return write_fit(Path(path), self.pair, record, recipe, self.critic)

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
        return cls(*read_fit(Path(path), pair, device))

    def to_arviz(
        self, x: np.ndarray | CheckedData[np.ndarray], num_draws: int = 100, *, seed: int = 0, **side: Unpack[Side]
    ) -> Any:
        """Draws from the guide as ``arviz.InferenceData``, or as xarray's ``DataTree`` since ArviZ 1.

        Groups: posterior; log_likelihood; sample_stats with log_prior and log_guide of each draw; observed_data. One
        chain of ``num_draws`` independent draws; dims (chain, draw, datum, <site>_dim), of a path (chain, draw, datum,
        step, <site>_dim), and then of x (datum, step, pixel).
        """
        check_prior(self.sites, "to_arviz")
        data = self.checked(x, **side)
        drawn = sample_in_chunks(self.pair, data.x, num_draws, seed, side=data.arrays)
        return to_inference_data(*drawn, data.x, data.side.get("mask"), self.sites, self.settings)

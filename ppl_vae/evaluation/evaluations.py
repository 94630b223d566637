"""Evaluation of one fit: its row in a table of comparisons."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Unpack

import numpy as np

from ..arrays.pixel_levels import bits_per_dim
from ..arrays.plain import as_python
from ..arrays.quantisation import usage
from ..errors import DoubtfulLikelihood, UnsuitableObjective
from ..pairs.chunks import sample_in_chunks
from ..pairs.densities import check_prior, density_unknown
from ..pairs.inputs import CheckedData, Input, digest
from ..pairs.side_inputs import Side
from ..results.fit import Fit
from ..runtime.shown import Shown
from ..seeds import derive, generator
from .certificates import TOLERANCE, Certificate, check_whole
from .certificates import certify as certificate_of
from .discrete_twins import discrete_twin, has_discrete_twin
from .likelihood.annealed_importance_sampling import (
    MAX_CONFIGURATIONS,
    Annealing,
    ais,
    codes_coincide,
    exact_log_likelihood,
)
from .likelihood.importance_sampling import ELBO, LogLikelihood, elbo, log_likelihood
from .posterior.diagnostics import FEWEST
from .posterior.inference_gaps import Gaps, Method, is_own
from .posterior.inference_gaps import gaps as decompose
from .posterior.latents import Level, active_units, levels

MOST_LEVELS = 5000
"""The largest number of levels of noise, of all draws of a datum together, that log p(x) is estimated from."""
FEW, SHORT = 8, Annealing(num_temperatures=50, num_chains=4, num_steps=5)
"""Data, and the annealing, that log p(x) by normals fitted to draws is held against."""
TRAIN_IMAGES = 1000
"""The largest number of training images that ``train_elbo`` is the mean over."""


def _none() -> np.ndarray:
    return np.empty(0)


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Shown):
    """Results of a fit on test data: the numbers of its row in a table, and those of each image behind them."""

    then: ClassVar[str] = "evaluation.compare({name: fit, ...}, test) sets fits side by side; fit.check(x) judges one."

    log_p: LogLikelihood
    elbo: ELBO
    objective: float
    """The objective of the training, nats per training datum in its last epoch: its own, and not always a bound."""
    active_units: int | None
    """None for a single data point"""
    seconds: float
    """of training"""
    parameters: int
    train_elbo: float = math.nan
    """The plain ELBO of training images; NaN where none were given."""
    seconds_per_step: float = math.nan
    """The median epoch's, so that compiling does not count; the validation after each epoch does."""
    peak_memory: float = math.nan
    """MiB, of the epoch that needed most; ``ppl_vae.runtime.memory.PeakMemory`` says what it is and is not."""
    valid_elbo: np.ndarray = field(default_factory=_none)
    """(E,) after each epoch, or (0,)"""
    elapsed: np.ndarray = field(default_factory=_none)
    """(E,) seconds of training until the end of each epoch"""
    data: str | None = None
    """The fingerprint of the data of the training, where it is known."""
    likelihood: str | None = None
    """The distributions of the observed sites, or the levels that they are over, where they are known."""
    test: str | None = None
    """The digest of the test data, where it is known."""
    pixels: float | None = None
    """The mean number of seen levels of a datum, where the likelihood is over levels: for bits per level."""
    codes_used: int | None = None
    """The number of different codes that test images have, where latents are codes of a codebook."""
    perplexity: float | None = None
    """exp of the entropy of these codes: K where all of K are used alike"""
    levels: Mapping[str, Level] = field(default_factory=dict)
    """The KL and the active units of each latent site, in the guide's order, where there are several."""
    gaps: Gaps | None = None
    """log p(x) - ELBO in two parts, where it was asked for."""
    train_gaps: Gaps | None = None
    """The same of training images, where they were given too."""
    discrete_elbo: float | None = None
    """The ELBO of the discrete pair with the same weights, of relaxed categories: ``elbo`` is one of another model."""
    discrete_log_p: float | None = None
    """log p(x) of that pair, with as many draws"""
    certificate: Certificate | None = None
    """log p(x) of some of the test data by several ways and a verdict, where it was asked for."""
    certified: np.ndarray = field(default_factory=_none)
    """(n,) which of the test data those are, or (0,)"""
    likelihood_trained: bool = True
    """False where a critic stood in the likelihood's place: log p(x) and the ELBO are of one that nothing trained."""

    @property
    def best_valid_elbo(self) -> float:
        """The highest validation ELBO after any epoch, nats per datum; NaN without one."""
        return float(self.valid_elbo.max()) if len(self.valid_elbo) else math.nan

    def seconds_to(self, target: float) -> float:
        """Seconds of training until the validation ELBO was first at least ``target``; NaN where it never was."""
        reached = np.flatnonzero(self.valid_elbo >= target)
        return float(self.elapsed[reached[0]]) if len(reached) else math.nan

    def row(self, target: float | None = None) -> dict[str, float | None]:
        """The columns of ``compare``, in nats per datum where they are likelihoods; the time to a target with one."""
        return {
            "elbo": self.elbo.mean,
            "reconstruction": float(self.elbo.reconstruction.mean()),
            "kl": float(self.elbo.kl.mean()),
            "train_elbo": self.train_elbo,
            "objective": self.objective,
            "log_p": self.log_p.mean,
            "test_error": self.log_p.test_error,
            "mc_error": self.log_p.mean_mc_error,
            **({} if self.likelihood_trained else {"likelihood_trained": 0.0}),
            **({} if self.pixels is None else {"bits_per_dim": bits_per_dim(self.log_p.mean, self.pixels)}),
            **({} if self.discrete_elbo is None else self._discrete_row()),
            **({} if self.certificate is None else self.certificate.row()),
            **(self._corrected_row() if self.certificate is not None and len(self.certified) else {}),
            **({} if self.gaps is None else self.gaps.row()),
            **({} if self.train_gaps is None else self.train_gaps.row("train_")),
            "active_units": self.active_units,
            **{f"kl_{name}": level.kl for name, level in self.levels.items()},
            **{f"active_units_{name}": level.active_units for name, level in self.levels.items()},
            **({} if self.codes_used is None else {"codes_used": self.codes_used, "perplexity": self.perplexity}),
            "seconds": self.seconds,
            "seconds_per_step": self.seconds_per_step,
            **({} if target is None else {"seconds_to_target": self.seconds_to(target)}),
            "peak_memory": self.peak_memory,
            "parameters": self.parameters,
        }

    def _discrete_row(self) -> dict[str, float | None]:
        """The columns that say that the others are of relaxed categories."""
        return {"discrete_elbo": self.discrete_elbo, "discrete_log_p": self.discrete_log_p}

    def _corrected_row(self) -> dict[str, float | None]:
        """The columns of log p(x) of all test data, by what the certificate of some of them says."""
        assert self.certificate is not None
        corrected, error = self.certificate.carried_to(self.log_p, self.certified.astype(int))
        return {"corrected_log_p": corrected, "corrected_error": error}

    def to_dict(self) -> dict[str, Any]:
        """Every number, those of each image too, JSON-able: lists for arrays and None for NaN.

        Of an array what is infinite, as k-hat can be, is "inf" or "-inf".
        """
        return plain(asdict(self))

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> Evaluation:
        """The evaluation that ``to_dict`` described."""
        numbers = {
            **numbers,
            "log_p": LogLikelihood(**_arrays(numbers["log_p"])),
            "elbo": ELBO(**_arrays(numbers["elbo"])),
            **{n: Gaps(**_arrays(numbers[n])) if numbers.get(n) else None for n in ("gaps", "train_gaps")},
            "certificate": Certificate.from_dict(numbers["certificate"]) if numbers.get("certificate") else None,
            "levels": {name: Level(**level) for name, level in numbers.get("levels", {}).items()},
        }
        unknown = ("objective", "train_elbo", "seconds_per_step", "peak_memory")
        return cls(**{**_arrays(numbers), **{n: math.nan for n in unknown if numbers[n] is None}})


def plain(value: Any) -> Any:
    """JSON-able: lists for arrays, None for NaN; infinite is None too, but in arrays "inf" or "-inf".

    >>> plain({"k_hat": np.array([0.5, np.inf, np.nan]), "rank": math.inf})
    {'k_hat': [0.5, 'inf', None], 'rank': None}
    """
    value = as_python(value)
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, np.ndarray):
        return [str(v) if isinstance(v, float) and math.isinf(v) else plain(v) for v in _rows(value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(array: np.ndarray) -> list[Any]:
    """Rows of an array, numbers of a vector."""
    return array.tolist() if array.ndim == 1 else list(array)


def _arrays(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as arrays, None in them as NaN."""
    return {name: np.array(v, float) if isinstance(v, list) else v for name, v in numbers.items()}


def evaluate(
    fit: Fit,
    test: Input,
    num_particles: int = 500,
    *,
    train: Input | None = None,
    refined: Fit | None = None,
    elbo_particles: int = 10,
    gaps: bool | Method = False,
    certify: int = 0,
    annealing: Annealing | None = None,
    seed: int = 0,
    progress: bool | None = False,
    train_side: Side | None = None,
    **side: Unpack[Side],
) -> Evaluation:
    """log p(x) by importance sampling, the plain sampled ELBO and the active units on ``test`` (N, P).

    Of codes of a codebook log p(x) is the exact sum where they have at most 4,096 joint values, and else NaN: there the
    ELBO is what is known, as it is for a chain of noise of T levels where T ``num_particles`` is more than 5,000. A
    guide that has parameters for its training images only is fitted to the test images first, with the model as it is
    (``fit.refine``). Of a guide whose density is known nowhere log p(x) is by normals fitted to its
    draws, held against a short annealing of a few data; ``errors.DoubtfulLikelihood`` warns where that is above it.

    Args:
        fit: what an inference returned.
        test: data (N, P).
        num_particles: draws per datum for log p(x).
        train: the training images (N, P), for ``train_elbo``: the ELBO of 1,000 of them, or of all if they are fewer.
            Where the training drew binary images from intensities, they are drawn once.
        refined: ``fit.refine(test)``, where it is at hand.
        elbo_particles: draws per datum for the ELBO.
        gaps: whether to split log p(x) - ELBO in two parts, which needs ``fit.refine(test)``: of the test images,
            and of as many of ``train``. ``"ais"`` or ``Annealing(...)`` estimates log p(x) by annealing too.
        certify: number of test data, drawn by ``seed``, whose log p(x) gets a certificate (``evaluation.certify``); as
            many are simulated. ``corrected_log_p`` of the row is that of all of them, by what these say.
        annealing: settings of the annealed runs of the certificate.
        seed: of the draws, and of which training images are taken.
        progress: a progress bar; None shows it on a terminal only.
        train_side: side inputs of ``train``.
        side: side inputs of ``test``: ``given``, ``mask``.

    Raises:
        ValueError: data that are not (N, P), or no particle.
    """
    data = fit.checked(test, located=False, **side)
    check_prior(fit.sites, "evaluate")
    if certify:
        check_whole(data.side.get("mask"))
    own = is_own(fit, data)
    if refined is None and not own and (gaps or not fit.generalises):
        refined = fit.refine(data)
    on_test = fit if fit.generalises or own else refined
    assert on_test is not None
    each = levels(on_test, data, elbo_particles, seed=seed) if len(on_test.sites.latent) > 1 else {}
    history, options = fit.history, dict[str, Any](seed=seed, method="importance" if gaps is True else gaps)
    some = None if train is None else _training(fit, train, seed, train_side or {})
    return Evaluation(
        log_p=_log_p(on_test, data, num_particles, seed=seed, progress=progress),
        elbo=_elbo(on_test, data, elbo_particles, seed=seed),
        objective=-float(history["loss"][-1]) if len(history.get("loss", ())) else math.nan,
        active_units=_active_units(on_test, data, each),
        seconds=fit.seconds,
        parameters=fit.num_parameters,
        train_elbo=math.nan if some is None else _elbo(fit, some, elbo_particles, seed=seed).mean,
        seconds_per_step=_seconds_per_step(fit),
        peak_memory=float(np.max(history["memory"])) if len(history.get("memory", ())) else math.nan,
        valid_elbo=np.array(history.get("valid_elbo", ()), float),
        elapsed=np.cumsum(history.get("seconds", ()), dtype=float),
        data=fingerprint(fit),
        likelihood=likelihood(fit),
        test=digest(data.x, *data.side.values()) if data.side else data.digest,
        pixels=_pixels(fit, data.side.get("mask")),
        **_usage(on_test, data),
        levels=each,
        gaps=decompose(fit, data, num_particles, refined=refined, **options) if gaps else None,
        train_gaps=_train_gaps(fit, some, len(data), num_particles, options) if gaps and some else None,
        **_discrete(on_test, data, num_particles, elbo_particles, seed=seed),
        **_certificate(on_test, data, certify, num_particles, annealing, seed, progress),
        likelihood_trained=fit.shown_to_critic is None,
    )


def _certificate(
    fit: Fit,
    data: CheckedData[np.ndarray],
    count: int,
    num_particles: int,
    annealing: Annealing | None,
    seed: int,
    progress: bool | None,
) -> dict[str, Any]:
    """The certificate of ``count`` of the data, where that is not 0, and which they are; the same for every fit."""
    if not count:
        return {}
    if isinstance(count, bool) or not 0 < count <= len(data):
        raise ValueError(f"'certify' should be a number of the {len(data)} test data, or 0 for none; got {count!r}.")
    index = np.sort(generator(seed, "certify").permutation(len(data))[:count])
    some = data.take(index)
    some = some if fit.generalises else fit.checked(some, located=False, index=index)
    particles = max(num_particles, FEWEST)
    found = certificate_of(fit, some, particles, annealing, size=count, seed=seed, progress=progress)
    return {"certificate": found, "certified": index}


def _log_p(fit: Fit, data: CheckedData[np.ndarray], num_particles: int, **options: Any) -> LogLikelihood:
    """log p(x); of codes the exact sum where it is short, and else NaN: importance sampling would see one of them.

    By the normal fitted to its draws where the guide's density is known nowhere.
    NaN too of a chain of noise where its draws would need more than ``MOST_LEVELS`` calls of the net for each datum.
    """
    known = not any(site.codes for site in fit.sites.latent)
    if known and fit.sites.chain * num_particles <= MOST_LEVELS:
        if not density_unknown(fit.sites):
            return log_likelihood(fit, data, num_particles, **options)
        found = log_likelihood(fit, data, num_particles, proposal="normal", **options)
        _warn_if_annealing_is_above(fit, data, found, options["seed"])
        return found
    zero = np.zeros(len(data))
    if not known and fit.sites.num_configurations <= MAX_CONFIGURATIONS and not codes_coincide(fit):
        return LogLikelihood(exact_log_likelihood(fit, data), zero, zero + 1, num_particles)
    return LogLikelihood(zero + np.nan, zero + np.nan, zero + np.nan, num_particles)


def _warn_if_annealing_is_above(fit: Fit, data: CheckedData[np.ndarray], found: LogLikelihood, seed: int) -> None:
    """Hold log p(x) by fitted normals against a short annealing of a few data: both are low, so the larger is nearer.

    Effective draws do not tell: normals that lie beside the posterior have weights that are all alike.
    """
    some = np.sort(generator(seed, "annealed").permutation(len(data))[:FEW])
    try:
        annealed = ais(fit, data.take(some), SHORT, seed=seed)
    except UnsuitableObjective:  # latents that chains do not move
        return
    above = float((annealed.values - found.values[some]).mean())
    error = np.hypot(annealed.mc_error, found.mc_error[some])
    if above > max(TOLERANCE, 3 * float(np.linalg.norm(error)) / len(some)):
        warnings.warn(
            "The density of the guide is known nowhere, so that log p(x) is by importance sampling from normals fitted "
            f"to its draws. On {len(some)} of the data a short annealing, a lower bound too, is {above:.1f} nats above "
            "it: the draws miss the posterior, and log p(x) is too low. Take evaluation.ais(fit, x).",
            DoubtfulLikelihood,
            stacklevel=4,
        )


def _elbo(fit: Fit, data: CheckedData[np.ndarray], num_particles: int, *, seed: int) -> ELBO:
    """The ELBO; of a guide whose density is known nowhere its reconstruction, with a KL of NaN."""
    if not density_unknown(fit.sites):
        return elbo(fit, data, num_particles, seed=seed)
    _, terms = sample_in_chunks(fit.pair, data.x, num_particles, derive(seed, "elbo"), side=data.arrays)
    return ELBO(terms.log_lik.astype(np.float64).mean(0), np.full(len(data), np.nan))


def _active_units(fit: Fit, data: CheckedData[np.ndarray], each: Mapping[str, Level]) -> int | None:
    """The active units of all sites; None for a single data point."""
    if len(data) < 2:
        return None
    return sum(level.active_units or 0 for level in each.values()) if each else active_units(fit, data)


def _discrete(
    fit: Fit, data: CheckedData[np.ndarray], num_particles: int, elbo_particles: int, *, seed: int
) -> dict[str, Any]:
    """The numbers of the discrete pair behind relaxed categories; nothing of other pairs."""
    if not (fit.generalises and has_discrete_twin(fit)):
        return {}
    twin = discrete_twin(fit)
    log_p = log_likelihood(twin, data, num_particles, seed=seed).mean
    return {"discrete_elbo": elbo(twin, data, elbo_particles, seed=seed).mean, "discrete_log_p": log_p}


def _usage(fit: Fit, data: CheckedData[np.ndarray]) -> dict[str, Any]:
    """The codes in use and their perplexity, where the latents are codes."""
    sites = fit.sites.latent
    if len(sites) != 1 or not sites[0].codes:
        return {}
    used, perplexity = usage(fit.encode(data), len(sites[0].codes))
    return {"codes_used": used, "perplexity": perplexity}


def fingerprint(fit: Fit) -> str | None:
    """The fingerprint of the training data, images and how they are drawn, where the fit's settings say it."""
    data = fit.settings.get("data", {})
    images = data.get("trained_on", data.get("train"))
    if images is None:
        return data.get("fingerprint")
    return images + (", drawn afresh" if data.get("binarisation") == "dynamic" else "") + (data.get("side") or "")


def likelihood(fit: Fit) -> str | None:
    """The distributions of the observed sites: their levels, where they give each a probability, else their names."""
    sites = fit.pair.sites.observed if fit.pair.sites is not None else None
    names = [site.distribution if site.levels is None else f"{site.levels} levels" for site in sites or ()]
    return None if sites is None else ", ".join(names)


def _pixels(fit: Fit, mask: np.ndarray | None) -> float | None:
    """The mean number of seen levels of a datum; None where its density is over other values."""
    sites = fit.pair.sites.observed if fit.pair.sites is not None else ()
    if not sites or any(site.levels is None for site in sites):
        return None
    return sum(math.prod(site.event_shape) for site in sites) if mask is None else float(mask.sum(1).mean())


def _training(fit: Fit, train: Input, seed: int, side: Side) -> CheckedData[np.ndarray] | None:
    """At most 1,000 training images, with their positions where the guide has parameters of their own for them.

    None if these are not its images.
    """
    data = fit.checked(train, located=False, **side)
    if not fit.generalises and not is_own(fit, data):
        return None
    rng = generator(seed, "train_elbo")
    index = np.sort(rng.permutation(len(data))[:TRAIN_IMAGES])
    some = data.take(index)
    if fit.settings.get("data", {}).get("binarisation") == "dynamic":
        x = (rng.random(some.x.shape) < some.x).astype(some.x.dtype)
        some = fit.checked(x, located=False, given=some.side.get("given"), mask=some.side.get("mask"))
    return some if fit.generalises else fit.checked(some, located=False, index=index)


def _train_gaps(
    fit: Fit, training: CheckedData[np.ndarray], count: int, num_particles: int, options: Mapping[str, Any]
) -> Gaps:
    """The gaps of ``count`` of these training images, evenly spaced."""
    index = np.unique(np.linspace(0, len(training) - 1, min(count, len(training))).astype(int))
    return decompose(fit, training.take(index), num_particles, **options)


def _seconds_per_step(fit: Fit) -> float:
    seconds, images = fit.history.get("seconds", ()), fit.settings.get("data", {}).get("sizes", {}).get("train")
    batch_size = fit.settings.get("svi", {}).get("batch_size")
    if not len(seconds) or not images or not batch_size:
        return math.nan
    return float(np.median(seconds)) / math.ceil(images / batch_size)

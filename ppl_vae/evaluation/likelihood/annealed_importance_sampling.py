"""log p(x) by annealed importance sampling, and between two bounds by bidirectional Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Unpack

import numpy as np

from ...arrays.codebooks import codes_of
from ...errors import UnsuitableObjective
from ...kinds import check_counts
from ...mcmc.annealing import ADAPTIVE, Annealed, AnnealingSteps, adapted, annealing_steps, ladder
from ...mcmc.kernels import first_step
from ...mcmc.layout import Layout
from ...mcmc.samplers import STARTS, check_probability, check_start, kernel_of
from ...pairs.chunks import Chunk, chunk_size, concatenate, in_chunks, windows
from ...pairs.codebooks import codebook_of
from ...pairs.densities import check_prior, check_weights
from ...pairs.inputs import Input
from ...pairs.side_inputs import Arrays, Side, given_of, placeholder, take_rows
from ...pairs.trained import checked_for_chains
from ...pairs.trials import DRAWS, ROWS, require_draws
from ...results.fit import Fit
from ...runtime.shown import Shown
from ...seeds import derive
from ..simulation import simulate
from .importance_sampling import LogLikelihood, Moments

COMPONENTS = "components"
"""The start from the components of a prior that is a mixture, by their responsibilities."""
GAIN = 0.3
"""The change of the log step size for an acceptance that misses its target by 1, in the preliminary runs."""
MAX_CONFIGURATIONS = 4096
"""Joint values of discrete latents that are summed over, at most."""
PRELIMINARY = 100
"""Transitions of the preliminary runs together, at least; and at least two runs."""
FEWEST_ADAPTING = 3
"""Preliminary runs of an adaptive ladder, at least: it is moved after each of them but the last."""


@dataclass(frozen=True, eq=False, repr=False)
class AIS(LogLikelihood):
    """Estimates of log p(x) for each data point, in nats, by ``num_particles`` annealed chains each.

    Lower bounds in expectation, or upper ones if ``upper``: then ``values`` is -log mean 1/w over the reverse chain.
    """

    log_weights: np.ndarray = field(repr=False)
    """log w of each chain, (K, N); of the reverse chain too, whose 1/w has the mean 1 / p(x)"""
    accept_prob: np.ndarray = field(repr=False)
    """mean acceptance of each datum's moves, (N,); 0 where every latent is discrete"""
    divergences: np.ndarray = field(repr=False)
    """number of trajectories of each datum that diverged, (N,): they are rejected, and the bound still holds"""
    upper: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Bidirectional(Shown):
    """log p(x) of simulated data between a lower and an upper bound in expectation."""

    lower: AIS
    upper: AIS
    x: np.ndarray = field(repr=False)
    """the simulated data, (N, P)"""

    @property
    def gap(self) -> float:
        """The mean of upper - lower, nats per datum: how far off either can be, on average."""
        return self.upper.mean - self.lower.mean

    @property
    def gap_error(self) -> float:
        """The standard error of the gap, from its spread over the data: NaN for one."""
        gaps = self.upper.values - self.lower.values
        return float(gaps.std(ddof=1) / math.sqrt(len(gaps))) if len(gaps) > 1 else math.nan


@dataclass(frozen=True, eq=False)
class Annealing:
    """Settings of annealed runs, from f_0 = p(z) or q(z | x) to f_T = p(x, z) along f_0^(1 - beta) f_T^beta.

    Under a mixture prior sum_c pi_c p_c(z), such as a VampPrior, chains from p(z) have to find the right component.
    ``components`` starts them there, f_0 = sum_c r_c(x) p_c(z): of r_c four fifths are the responsibilities p(c | z),
    on average over the guide's draws of z, and one fifth is pi_c, so that what the guide misses can be found.

    Args:
        num_temperatures: of the ladder, T + 1.
        num_chains: K, for each datum.
        num_steps: leapfrog steps of the one transition at each temperature, at most.
        schedule: ``sigmoid``, ``linear``, or the betas, rising from 0 to 1; or ``adaptive``, each datum's own ladder,
            whose increments all keep the same share of effective chains (``mcmc.annealing.adapted``): found in the
            preliminary runs, from two chains or more.
        start: f_0, ``prior``, ``guide`` or ``components``.
        target_accept_prob: the acceptance that step sizes aim at.

    Raises:
        ValueError: settings out of range; a ladder of fewer than two temperatures; an adaptive one of a single chain.
    """

    num_temperatures: int = 500
    num_chains: int = 16
    num_steps: int = 10
    schedule: str | Sequence[float] | np.ndarray = "sigmoid"
    start: str = "prior"
    target_accept_prob: float = 0.8

    def __post_init__(self) -> None:
        check_counts("AIS", num_chains=self.num_chains, num_steps=self.num_steps)
        check_probability("AIS", self.target_accept_prob)
        check_start("AIS", self.start, (*STARTS, COMPONENTS))
        ladder(self.schedule, self.num_temperatures)
        if self.adaptive and self.num_chains < 2:
            raise ValueError(
                "AIS: an adaptive ladder is found from the spread of chains, and there is one: use 'num_chains' of at "
                "least 2, or schedule='sigmoid'."
            )

    @property
    def adaptive(self) -> bool:
        """Whether each datum has a ladder of its own."""
        return isinstance(self.schedule, str) and self.schedule == ADAPTIVE

    @property
    def betas(self) -> np.ndarray:
        """The inverse temperatures, from 0 to 1; of an adaptive ladder those that it starts with."""
        return ladder(self.schedule, self.num_temperatures)


def ais(
    fit: Fit,
    x: Input,
    settings: Annealing | None = None,
    *,
    max_configurations: int = MAX_CONFIGURATIONS,
    seed: int = 0,
    progress: bool | None = False,
    **side: Unpack[Side],
) -> AIS:
    r"""log p(x) ~ log (1/K) sum_k w_k by annealed importance sampling, for each row of x (N, P).

    log w = sum_t (beta_t - beta_{t-1}) [log f_T(z_{t-1}) - log f_0(z_{t-1})], where z_0 ~ f_0 and z_t is moved by a
    kernel that leaves f_{beta_t} invariant: HMC on continuous sites, up and down sweeps of Gibbs sampling on discrete
    ones. E[w] = p(x), so that the estimate is a lower bound in expectation. The step size of each datum at each
    temperature is found beforehand, in runs on other noise, and then fixed: adaptation within the run would void this.
    Where the latents are discrete and have few joint values the sum over these is returned instead, exactly.

    Annealed Importance Sampling, Neal, 2001; On the Quantitative Analysis of Decoder-Based Generative Models, Wu,
    Burda, Salakhutdinov and Grosse, 2017.

    Args:
        fit: what an inference returned.
        x: data (N, P).
        settings: of the annealed runs.
        max_configurations: sum over the joint values of discrete latents where there are at most this many.
        seed: of starts and moves.
        progress: a progress bar; None shows it on a terminal only.
        side: ``given``, then it is log p(x | c); ``mask``, then it is of the pixels that were seen; ``index`` for a
            per-datapoint guide, where that is the start.

    Raises:
        UnsuitableObjective: a discrete site without a finite list of values, or no latent site.
        ValueError: data or settings that do not fit.
        OutOfMemory: the message says what to lower.
    """
    settings = _check(fit, "ais", settings)
    data = checked_for_chains(fit, x, located=settings.start != "prior", **side)
    if 0 < _configurations(fit) <= max_configurations:
        return _exactly(exact_log_likelihood(fit, data, max_configurations=max_configurations))
    annealer, doing = _Annealer(fit, settings), f"in AIS of {len(data)} data points"
    options = {"seed": seed, "purpose": "ais", "bar": "AIS", "progress": progress, **annealer.options}
    with in_chunks(fit.pair, data.x, data.arrays, doing=doing, **options) as chunks:
        runs = concatenate((chunk.keep(annealer.forward(chunk), axis=-1) for chunk in chunks), axis=-1)
    return _estimate(runs, upper=False)


def bdmc(
    fit: Fit,
    size: int = 100,
    settings: Annealing | None = None,
    *,
    given: np.ndarray | None = None,
    seed: int = 0,
    progress: bool | None = False,
) -> Bidirectional:
    """Bidirectional Monte Carlo: log p(x) of data that the model simulates, from below and from above.

    z ~ p(z), x ~ p(x | z) gives an exact draw z from p(z | x). The chain that starts there and runs the ladder
    backwards, by the same kernels in the opposite order, has E[1/w] = 1 / p(x): an upper bound in expectation, beside
    the lower one of the forward chains. Their gap bounds the error of both, and says how far to trust AIS on real data.
    Sandwiching the Marginal Likelihood using Bidirectional Monte Carlo, Grosse, Ghahramani and Adams, 2015; Wu et al.,
    2017. All K reverse chains of a datum start from its one exact draw, which ``upper.mc_error`` takes as given.

    Args:
        fit: what an inference returned; its model should take ``size``.
        size: number of data to simulate.
        settings: of the annealed runs.
        given: of a conditional pair, the side information (size, G).
        seed: of the data, of starts and moves.
        progress: a progress bar; None shows it on a terminal only.

    Raises:
        ValueError: no positive size, a model that does not generate, or a start that asks a per-datapoint guide, which
            has no answer for simulated data.
        UnsuitableObjective: as for ``ais``.
    """
    check_counts("bdmc", size=size)
    settings, arrays = _check(fit, "bdmc", settings), given_of(fit.pair, given, size)
    if settings.start != "prior" and not fit.generalises:
        raise ValueError(
            "bdmc: a guide with parameters for its own data has no answer for simulated data: use "
            "Annealing(..., start='prior')."
        )
    annealer = _Annealer(fit, settings)
    z, x = simulate(fit, size, derive(seed, "simulate"), arrays)
    require_draws(fit.pair, x[:ROWS], DRAWS, 0, take_rows(arrays, slice(ROWS)))
    doing, parts = f"in BDMC of {size} data points", []
    options = {"seed": seed, "purpose": "bdmc", "bar": "BDMC", "progress": progress, **annealer.options}
    with in_chunks(fit.pair, x, arrays, doing=doing, **options) as chunks:
        for chunk in chunks:
            steps = annealer.steps(chunk)
            runs = annealer.forward(chunk, steps), annealer.backward(chunk, chunk.rows_of(z), steps)
            parts.append(chunk.keep(runs, axis=-1))
    below, above = concatenate(parts, axis=-1)
    return Bidirectional(_estimate(below, upper=False), _estimate(above, upper=True), x)


def _check(fit: Fit, what: str, settings: Annealing | None) -> Annealing:
    """Check the settings, or take the usual ones, for a model that has latents."""
    if settings is not None and not isinstance(settings, Annealing):
        raise ValueError(f"{what}: 'settings' should be evaluation.Annealing(...); got {settings!r}.")
    assert fit.pair.sites is not None
    fit.pair.sites.check_chains(what)
    check_prior(fit.pair.sites, what)
    settings = settings or Annealing()
    if settings.start == "guide":
        check_weights(fit.pair.sites, f"{what} from the guide", "Annealing(start='prior')")
        fit.pair.sites.check_reach(f"{what} from the guide", "Annealing(start='prior')")
        fit.pair.sites.check_density_anywhere(f"{what} from the guide", "Annealing(start='prior')")
    if settings.start == COMPONENTS and not has_components(fit):
        raise UnsuitableObjective(
            f"{what} from components asks for a prior that is a mixture of diagonal normals, and no latent site has "
            "one: use Annealing(start='prior') or Annealing(start='guide')."
        )
    return settings


def has_components(fit: Fit) -> bool:
    """Whether the prior of a latent site is a mixture, from whose components chains can start."""
    return any(site.is_mixture for site in _layout(fit, kernel_of(fit.pair)).sites)


Runs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Log-weights (K, B), and of each datum the mean acceptance (B,) and the number of divergences (B,)."""


class _Annealer:
    """Annealed runs of a fit, of as many chains and data as are in memory at a time."""

    def __init__(self, fit: Fit, settings: Annealing) -> None:
        self.pair, self.settings = fit.pair, settings
        self.kernel = kernel_of(fit.pair)
        self.layout = _layout(fit, self.kernel)
        self.layout.check_finite("AIS")
        widest = max([1, *self.layout.num_values])
        self.windows = windows(settings.num_chains, max(1, chunk_size(fit.pair) // widest))
        self.chains = self.windows[0].size
        self.options: dict[str, Any] = {
            "rows_each": self.chains * widest,
            "settings": {"num_chains": settings.num_chains},
        }

    def _run(self, chunk: Chunk, start: Arrays, steps: AnnealingSteps, *, gain: float, seed: int) -> Annealed:
        settings = self.settings
        options = {"initial": settings.start, "num_steps": settings.num_steps, "target": settings.target_accept_prob}
        seeds = {"seed": seed, "guide_seed": chunk.seed}
        return self.kernel.anneal(self.pair, chunk.x, start, chunk.side, steps, gain=gain, **options, **seeds)

    def _starts(self, chunk: Chunk, seed: int) -> Arrays:
        seeds = {"seed": derive(seed, "start"), "guide_seed": chunk.seed}
        return self.kernel.starts(self.pair, chunk.x, self.chains, self.settings.start, chunk.side, **seeds)

    def steps(self, chunk: Chunk) -> AnnealingSteps:
        """Step sizes for each temperature and datum, and adaptive ladders, from runs on noise of their own.

        The last of these runs has the ladders that are returned.
        """
        betas, width, adaptive = self.settings.betas, self.layout.width, self.settings.adaptive
        betas = np.repeat(betas[:, None], len(chunk), 1) if adaptive else betas
        log_step = np.full((len(betas) - 1, len(chunk)), math.log(first_step(width)))
        count = max(2, -(-PRELIMINARY // len(log_step))) if width else 0
        count = max(count, FEWEST_ADAPTING) if adaptive else count
        for number in range(count):
            seed = derive(chunk.seed, "preliminary", number)
            run = self._run(chunk, self._starts(chunk, seed), annealing_steps(betas, log_step), gain=GAIN, seed=seed)
            log_step = run.log_step
            if adaptive and number < count - 1:
                betas, log_step = adapted(betas, run)
        return annealing_steps(betas, log_step)

    def forward(self, chunk: Chunk, steps: AnnealingSteps | None = None) -> Runs:
        """Run chains from f_0 up the ladder, with step sizes that are fixed."""
        steps = self.steps(chunk) if steps is None else steps
        runs = []
        for number in range(len(self.windows)):
            seed = derive(chunk.seed, "forward", number)
            runs.append(self._run(chunk, self._starts(chunk, seed), steps, gain=0.0, seed=seed))
        return self._merge(runs)

    def backward(self, chunk: Chunk, z: Arrays, steps: AnnealingSteps) -> Runs:
        """Run chains from an exact draw z of the posterior down the ladder."""
        steps = steps.reversed()
        start = {name: np.repeat(value[None], self.chains, 0) for name, value in z.items()}
        seeds = [derive(chunk.seed, "backward", number) for number in range(len(self.windows))]
        return self._merge([self._run(chunk, start, steps, gain=0.0, seed=seed) for seed in seeds])

    def _merge(self, runs: Sequence[Annealed]) -> Runs:
        """Merge the runs of all windows of chains."""
        log_w = concatenate(w.keep(run.log_weights) for w, run in zip(self.windows, runs, strict=True))
        return log_w, np.mean([run.accept_prob for run in runs], 0), np.sum([run.divergences for run in runs], 0)


def _layout(fit: Fit, kernel: ModuleType) -> Layout:
    side = {**placeholder(1, fit.pair.num_rows, fit.pair.given_dim), **fit.pair.example}
    return kernel.layout(fit.pair, side.pop("x"), side)


def _estimate(runs: Runs, *, upper: bool) -> AIS:
    """The estimate that runs of all chains on all data make."""
    sign, (log_w, accept_prob, divergences) = -1.0 if upper else 1.0, runs
    log_w = log_w.astype(np.float64)
    moments = Moments(log_w.shape[1])
    moments.add(sign * log_w)
    estimate = sign * moments.log_mean, moments.relative_error, moments.ess, moments.count
    return AIS(*estimate, log_w, accept_prob, divergences.astype(int), upper)


def _configurations(fit: Fit) -> int:
    """The number of joint values of the latents; 0 where they are not finitely many."""
    assert fit.pair.sites is not None
    return fit.pair.sites.num_configurations


def codes_coincide(fit: Fit) -> bool:
    """Whether a vector is that of several codes, so that p(z) of a prior that is not uniform is that of one of them."""
    if (
        not any(site.codes for site in fit.sites.latent)
        or getattr(getattr(fit.model, "prior", None), "inner", 0) is None
    ):
        return False
    codes = codes_of(codebook_of(fit.pair))
    index = np.repeat(np.arange(codes.size)[:, None], codes.num_stages, 1)
    return bool((codes.nearest(codes.look_up(index)) != index).any())


def _configurations_of(fit: Fit) -> dict[str, np.ndarray]:
    """Every joint value of the latents, codes as vectors."""
    every = fit.sites.configurations()
    for site in fit.sites.latent:
        if site.codes:
            index = every[site.name]
            every[site.name] = codes_of(codebook_of(fit.pair)).look_up(index).reshape(len(index), -1)
    return every


def _exactly(values: np.ndarray) -> AIS:
    zero = np.zeros(len(values))
    return AIS(values, zero, zero + 1, 1, values[None], zero, zero.astype(int))


def exact_log_likelihood(
    fit: Fit, x: Input, *, max_configurations: int = MAX_CONFIGURATIONS, **side: Unpack[Side]
) -> np.ndarray:
    """log p(x) = log sum_z p(x, z) over every joint value of discrete latents, for each row of x (N, P): (N,).

    Codes of a codebook are discrete: there are K^D of them.

    Raises:
        ValueError: a latent site without finitely many values, or more joint values than ``max_configurations``.
        UnsuitableObjective: no latent site.
    """
    fit.sites.check_summed("exact_log_likelihood")
    data = checked_for_chains(fit, x, located=False, **side)
    count = _configurations(fit)
    if not 0 < count <= max_configurations:
        kind = f"have {count} joint values" if count else "do not have finitely many joint values"
        names = ", ".join(repr(site.name) for site in fit.sites.latent)
        if any(site.codes for site in fit.sites.latent):
            raise ValueError(
                f"The codes of {names} {kind}, and the sum goes over at most {max_configurations}: take the bound, "
                "elbo(fit, x), or a larger 'max_configurations'."
            )
        raise ValueError(
            f"The latent sites {names} {kind}, and the sum goes over at most {max_configurations}: use ais(fit, x)."
        )
    if codes_coincide(fit):
        raise ValueError(
            "Two codes of the codebook are the same vector, and the learned prior says of a vector what it says of the "
            "first of them: the sum over codes counts that twice. Take the bound, elbo(fit, x), or train from other "
            "codes, codebook_start='normal'."
        )
    every, kernel = _configurations_of(fit), kernel_of(fit.pair)
    doing, columns = f"in the sum over {count} values for {len(data)} data points", []
    with in_chunks(fit.pair, data.x, data.arrays, doing=doing, rows_each=count) as chunks:
        for chunk in chunks:
            parts = []
            for some in windows(count, chunk_size(fit.pair)):
                values = {n: np.repeat(v[some.rows][:, None], len(chunk), 1) for n, v in every.items()}
                parts.append(some.keep(kernel.log_joint(fit.pair, chunk.x, values, chunk.side)))
            log_joint = np.concatenate(parts).astype(np.float64)
            columns.append(chunk.keep(np.logaddexp.reduce(log_joint, 0)))
    return concatenate(columns)

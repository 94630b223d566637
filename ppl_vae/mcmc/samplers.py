"""Samplers of Markov chains on a trained model, their settings and results; one code for both backends.

Every datum has chains of its own, with a step size of its own: p(z | x_1, ..., x_N) is a product, and one joint chain
over all data would have to move in steps that suit the worst of them.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np

from .. import backends
from ..errors import Divergence
from ..kinds import check_counts
from ..pairs.chunks import concatenate, in_chunks
from ..pairs.densities import check_prior
from ..pairs.inputs import Input
from ..pairs.pair import Pair
from ..pairs.side_inputs import Arrays, Side
from ..pairs.trained import Trained, checked_for_chains
from ..runtime import arviz
from ..runtime.versions import __version__
from ..seeds import derive, generator
from . import learned
from .kernels import Sampled

if TYPE_CHECKING:
    import pandas as pd

STARTS = ("guide", "prior")


FEWEST = 4
"""Draws of a chain, two in each half, that ArviZ's R-hat and ESS need."""


def check_probability(what: str, target_accept_prob: float) -> None:
    """Refuse an acceptance that cannot be aimed at.

    Raises:
        ValueError: not strictly between 0 and 1.
    """
    if not 0 < target_accept_prob < 1:
        raise ValueError(f"{what}: 'target_accept_prob' should be between 0 and 1; got {target_accept_prob!r}.")


def check_start(what: str, start: str, among: Sequence[str] = STARTS) -> None:
    """Refuse a start that is none of these: the guide or the prior.

    Raises:
        ValueError: an unknown start.
    """
    if start not in among:
        raise ValueError(f"{what}: 'start' should be one of {', '.join(map(repr, among))}; got {start!r}.")


def kernel_of(pair: Pair, name: str = "hmc") -> Any:
    """The backend's module of that name: ``hmc``, with the annealed runs, or ``nuts``."""
    return importlib.import_module(f"{backends.load(pair.backend).inference.__name__}.mcmc.{name}")


@dataclass(frozen=True, eq=False)
class Chains:
    """Draws from p(z | x) for each of N data points by C chains each, with their diagnostics."""

    draws: Mapping[str, np.ndarray] = field(repr=False)
    """(C, S, N, ...) by site"""
    accept_prob: np.ndarray = field(repr=False)
    """(C, S, N)"""
    diverging: np.ndarray = field(repr=False)
    """(C, S, N)"""
    step_size: np.ndarray = field(repr=False)
    """of each datum, (N,), or of each of its chains, (C, N)"""
    settings: Mapping[str, Any]
    lengths: Mapping[str, int] = field(default_factory=dict)
    """T of each site that is a path of steps side by side, 0 of others, by name"""

    @property
    def divergences(self) -> np.ndarray:
        """The number of trajectories of each datum that diverged, (N,)."""
        return self.diverging.sum((0, 1))

    def to_arviz(self) -> Any:
        """The draws as ``arviz.InferenceData``, or ``DataTree`` since ArviZ 1, dims (chain, draw, datum, <site>_dim).

        Groups: posterior; sample_stats with acceptance_rate and diverging, (chain, draw, datum). A path has the dims
        (chain, draw, datum, step, <site>_dim).
        """
        found = {name: arviz.of_data(name, a, f"{name}_dim", 2, self.lengths) for name, a in self.draws.items()}
        draws, dims = {name: a for name, (a, _) in found.items()}, {name: names for name, (_, names) in found.items()}
        stats = {"acceptance_rate": self.accept_prob, "diverging": self.diverging}
        attrs = {"library": "ppl_vae", "library_version": __version__, **self.settings}
        groups = {"posterior": draws, "sample_stats": stats}
        return arviz.inference_data(groups, {**dims, **{name: ["datum"] for name in stats}}, attrs)

    def r_hat(self) -> np.ndarray:
        """The largest rank-normalised split R-hat of a datum's latents, (N,): near 1 where its chains agree.

        NaN for one chain, or fewer than four draws of each. Rank-Normalization, Folding, and Localization: An Improved
        R-hat, Vehtari et al., 2021.
        """
        return self._worst_of("rhat", "max", chains=2)

    def ess(self) -> np.ndarray:
        """The smallest bulk effective sample size of a datum's latents, (N,): NaN for fewer than four draws."""
        return self._worst_of("ess", "min", chains=1)

    def _worst_of(self, diagnostic: str, worst: str, *, chains: int) -> np.ndarray:
        """The worst of ArviZ's diagnostic over the latents of each datum, (N,); NaN where it has too few draws."""
        if self.diverging.shape[0] < chains or self.diverging.shape[1] < FEWEST:
            return np.full(self.diverging.shape[2], np.nan)
        return _worst(getattr(arviz.imported(), diagnostic)(self.to_arviz()), worst)

    def summary(self) -> pd.DataFrame:
        """A row for each datum: R-hat, ESS, mean acceptance, divergences and step size."""
        import pandas as pd

        columns = {
            "r_hat": self.r_hat(),
            "ess": self.ess(),
            "accept_prob": self.accept_prob.mean((0, 1)),
            "divergences": self.divergences,
            "step_size": np.atleast_2d(self.step_size).mean(0),
        }
        return pd.DataFrame(columns).rename_axis("datum")


def _worst(per_latent: Any, how: str) -> np.ndarray:
    """The worst of a diagnostic over the latents of each datum, (N,)."""
    sites = [getattr(np, how)(v.values.reshape(len(v), -1), 1) for v in per_latent.data_vars.values()]
    return getattr(np, how)(np.stack(sites), 0)


@dataclass(frozen=True)
class _Sampler:
    """Settings that samplers share, and the loop over data."""

    limit: ClassVar[Mapping[str, int]] = {}
    """Backend -> how many data points at most."""

    num_samples: int = 500
    num_warmup: int = 500
    num_chains: int = 4
    target_accept_prob: float = 0.8
    start: str = "guide"

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_counts(name, num_samples=self.num_samples, num_warmup=self.num_warmup, num_chains=self.num_chains)
        check_probability(name, self.target_accept_prob)
        check_start(name, self.start)

    def _sample(self, pair: Pair, x: np.ndarray, start: Arrays, side: Arrays, seed: int) -> Sampled:
        raise NotImplementedError("Use HMC or NUTS of ppl_vae.inference or ppl_vae.numpyro.inference.")

    def run(
        self, fit: Trained, x: Input, *, seed: int = 0, progress: bool | None = False, **side: Unpack[Side]
    ) -> Chains:
        """Draws from p(z | x) for each row of x (N, P), chains of every datum side by side, in bounded chunks.

        Args:
            fit: what an inference returned.
            x: data (N, P).
            seed: of starts, momenta and acceptance.
            progress: a progress bar; None shows it on a terminal only.
            side: ``given``, then it is p(z | x, c); ``mask``, then it is p(z | what was seen); ``index`` for a
                per-datapoint guide, where that is the start.

        Raises:
            UnsuitableObjective: a discrete site, which the message names, or no latent site.
            ValueError: data that do not fit, or too many.

        Warns:
            Divergence: trajectories that diverged after warm-up, counted, with the data named.
        """
        name, settings = type(self).__name__, vars(self)
        assert fit.pair.sites is not None
        fit.pair.sites.check_chains(name)
        check_prior(fit.pair.sites, name)
        data = checked_for_chains(fit, x, located=self.start == "guide", **side)
        limit = self.limit.get(fit.backend)
        if limit is not None and len(data) > limit:
            raise ValueError(
                f"{name} runs one datum at a time on {fit.backend}, and takes at most {limit} of them; got {len(data)}"
                ": choose fewer, use HMC, which moves all data together, or a NumPyro fit."
            )
        kernel, first = kernel_of(fit.pair), data.take(slice(1))
        kernel.layout(fit.pair, first.x, first.arrays).check_continuous(name)
        doing, parts = f"in {name} for {len(data)} data points", []
        options: dict[str, Any] = {"rows_each": self.num_chains, "settings": {"num_chains": self.num_chains}}
        options |= {"seed": seed, "purpose": name, "bar": name, "progress": progress}
        with in_chunks(fit.pair, data.x, data.arrays, doing=doing, **options) as chunks:
            for chunk in chunks:
                seeds = {"seed": derive(chunk.seed, "start"), "guide_seed": chunk.seed}
                start = kernel.starts(fit.pair, chunk.x, self.num_chains, self.start, chunk.side, **seeds)
                found = self._sample(fit.pair, chunk.x, start, chunk.side, chunk.seed)
                of_data = found.accept_prob, found.diverging, found.step_size
                parts.append((chunk.keep(dict(found.draws), axis=2), chunk.keep(of_data, axis=-1)))
        draws = concatenate((draws for draws, _ in parts), axis=2)
        accept_prob, diverging, step_size = concatenate((of_data for _, of_data in parts), axis=-1)
        told, lengths = {"sampler": name, "seed": seed, **settings}, {s.name: s.steps for s in fit.pair.sites.latent}
        chains = Chains(draws, accept_prob, diverging, step_size, told, lengths)
        _warn(name, chains)
        return chains


def _warn(name: str, chains: Chains) -> None:
    bad = np.flatnonzero(chains.divergences)
    if len(bad):
        count = f"{chains.divergences.sum()} of {chains.diverging.size} trajectories diverged"
        listed = ", ".join(map(str, bad[:10])) + (", ..." if len(bad) > 10 else "")
        warnings.warn(
            f"{name}: {count}, of the data {listed}: their draws may miss a part of the posterior. Raise "
            "target_accept_prob or num_warmup, or look at the model's scales.",
            Divergence,
            stacklevel=3,
        )


@dataclass(frozen=True)
class HMC(_Sampler):
    """Hamiltonian Monte Carlo for every datum at once, each with its own step size.

    Chains move under H(u, r) = -log p(x, z(u)) |dz / du| + |r|^2 / 2 by leapfrog steps and a Metropolis test. How many
    steps is drawn from 1, ..., ``num_steps`` for each trajectory, so that none is periodic. The step size of a datum
    comes from its own acceptance by dual averaging in the warm-up, and is then fixed.
    MCMC Using Hamiltonian Dynamics, Neal, 2011; The No-U-Turn Sampler, Hoffman and Gelman, 2014.

    Args:
        num_samples: S, draws of each chain.
        num_warmup: transitions before them.
        num_chains: C, of each datum.
        target_accept_prob: the acceptance that step sizes aim at.
        start: ``guide``, from draws of q(z | x), or ``prior``.
        num_steps: leapfrog steps of a trajectory, at most.

    Raises:
        ValueError: settings that are no positive integers, or an acceptance that is no probability.

    >>> import numpy as np
    >>> from ppl_vae import data, inference, recipes, seeds
    >>> digits = data.load("digits").subset(100, 10, 10)
    >>> pair = recipes.vae(digits, latent_dim=2, hidden=(8,))(seeds.generator(0, "weights"))
    >>> fit = inference.SVI(epochs=1).fit(*pair, digits)
    >>> hmc = HMC(num_samples=5, num_warmup=10, num_chains=2)
    >>> hmc.run(fit, digits.test[:3]).draws["z"].shape
    (2, 5, 3, 2)
    """

    num_steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts("HMC", num_steps=self.num_steps)

    def _sample(self, pair: Pair, x: np.ndarray, start: Arrays, side: Arrays, seed: int) -> Sampled:
        counts = {"num_warmup": self.num_warmup, "num_samples": self.num_samples, "num_steps": self.num_steps}
        return kernel_of(pair).sample(pair, x, start, side, **counts, target=self.target_accept_prob, seed=seed)


@dataclass(frozen=True)
class NUTS(_Sampler):
    """The libraries' No-U-Turn Sampler for each datum by itself, with step size and mass matrix of its own.

    On NumPyro ``numpyro.infer.hmc`` over all chains of all data together (vmap); on Pyro ``pyro.infer.NUTS`` for one
    after the other, and at most ``limit["pyro"]`` data. The No-U-Turn Sampler, Hoffman and Gelman, 2014.

    Args:
        num_samples: S, draws of each chain.
        num_warmup: transitions before them.
        num_chains: C, of each datum.
        target_accept_prob: the acceptance that step sizes aim at.
        start: ``guide``, from draws of q(z | x), or ``prior``.
        max_tree_depth: a trajectory has at most 2 to this power steps.

    Raises:
        ValueError: settings that are no positive integers, or an acceptance that is no probability.
    """

    limit: ClassVar[Mapping[str, int]] = {"pyro": 20}

    max_tree_depth: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts("NUTS", max_tree_depth=self.max_tree_depth)

    def _sample(self, pair: Pair, x: np.ndarray, start: Arrays, side: Arrays, seed: int) -> Sampled:
        counts = {"num_warmup": self.num_warmup, "num_samples": self.num_samples, "depth": self.max_tree_depth}
        nuts = kernel_of(pair, "nuts")
        return nuts.sample(pair, x, start, side, **counts, target=self.target_accept_prob, seed=seed)


@dataclass(frozen=True)
class LearnedHMC(_Sampler):
    """Hamiltonian Monte Carlo whose leapfrog steps two nets rescale and translate, trained to jump far.

    Chains warm up as those of ``HMC``, which finds a step size, a place and a scale for each datum. Then the nets,
    which all data of a chunk share, descend the mean of c / J - J / c while the chains go on, where J is the expected
    squared distance of a transition, and c that of the warm-up; with ``burn_in`` also, times it, that of transitions
    from where chains start, so that they come from there fast. Then they are fixed, and draws begin. Whatever nets
    say, a transition leaves p(z | x) as it is: steps have a reverse, and the factor by which they stretch volumes.
    Generalizing Hamiltonian Monte Carlo with Neural Networks, Levy, Hoffman and Sohl-Dickstein, 2018.

    Args:
        num_samples: S, draws of each chain.
        num_warmup: transitions of ``HMC`` before the training.
        num_chains: C, of each datum.
        target_accept_prob: the acceptance that step sizes aim at, in the warm-up.
        start: ``guide``, from draws of q(z | x), or ``prior``.
        num_steps: steps of every trajectory; a net knows which one it is at.
        num_training: gradient steps of the nets, each a transition of all chains.
        hidden: units of each of a net's two hidden layers.
        learning_rate: of Adam.
        burn_in: weight of the second term; 0 leaves it out.

    Raises:
        ValueError: settings that are no positive numbers, a negative weight, or an acceptance that is no probability.
    """

    num_steps: int = 10
    num_training: int = 500
    hidden: int = 16
    learning_rate: float = 3e-3
    burn_in: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts("LearnedHMC", num_steps=self.num_steps, num_training=self.num_training, hidden=self.hidden)
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"LearnedHMC: 'learning_rate' should be above 0; got {self.learning_rate!r}.")
        if not 0 <= self.burn_in < math.inf:
            raise ValueError(f"LearnedHMC: 'burn_in' should be a number of at least 0; got {self.burn_in!r}.")

    def _sample(self, pair: Pair, x: np.ndarray, start: Arrays, side: Arrays, seed: int) -> Sampled:
        width, rng = kernel_of(pair).layout(pair, x, side).width, generator(seed, "nets")
        nets: dict[str, Any] = {"weights": learned.start_weights(width, self.hidden, rng)}
        nets |= {"masks": learned.masks(width, self.num_steps, rng)}
        counts = {"num_warmup": self.num_warmup, "num_training": self.num_training, "num_samples": self.num_samples}
        options: dict[str, Any] = {"learning_rate": self.learning_rate, "target": self.target_accept_prob, "seed": seed}
        options |= {"burn_in": self.burn_in, "begins": self._begins(pair, x, side, seed) if self.burn_in else None}
        return kernel_of(pair, "learned").sample(pair, x, start, side, **nets, **counts, **options)

    def _begins(self, pair: Pair, x: np.ndarray, side: Arrays, seed: int) -> Arrays:
        """Draw further starts for the steps of the training, which take ``learned.BEGINS`` sets of them in turn."""
        seeds = {"seed": derive(seed, "begins"), "guide_seed": derive(seed, "guide begins")}
        return kernel_of(pair).starts(pair, x, learned.BEGINS * self.num_chains, self.start, side, **seeds)

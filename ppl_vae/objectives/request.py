"""Requests: the quantities that an objective needs of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..mcmc.filtering import SCHEMES
from .gradients import Gradient, Pathwise

PATHWISE = Pathwise()


@dataclass(frozen=True)
class LatentsRequest:
    """Further quantities of the single latent site that an objective needs: fields of ``pairs.terms.Latents``.

    Args:
        moments: mean and standard deviation of a diagonal normal guide.
        prior: draws from the prior, the same number as from the guide.
        directions: number of random unit vectors in the latents' space.
        reconstruction: the data, and their mean given the draws.
        quantised: the encoder's vectors before they are quantised, and the codes that are nearest to them.
        codebook: with these, every code.
        groups: number of columns of the keyword ``given``, from the first, that say of which group a datum is.
        noise: standard normal draws, as many as from the guide.
        dreams: 'draws' of x, or its 'mean', given the draws from the prior, with a gradient to the model.
        stopped: the mean of x given the guide's draws, with a gradient to the model alone.
    """

    moments: bool = False
    prior: bool = False
    directions: int = 0
    reconstruction: bool = False
    quantised: bool = False
    codebook: bool = False
    groups: int = 0
    noise: bool = False
    dreams: Literal["", "draws", "mean"] = ""
    stopped: bool = False


@dataclass(frozen=True)
class LevelsRequest:
    """Estimates of the ELBO of a chain of levels of noise from one level each, in the place of log-densities.

    Args:
        number: T, of the chain; None for continuous time.
    """

    number: int | None = None


@dataclass(frozen=True)
class ChainRequest:
    """Chains of Hamiltonian Monte Carlo from the guide's draws, which leave p(z | x) invariant.

    Args:
        transitions: of each chain; with 0 the draws stay where they are.
        leapfrog: leapfrog steps of each.
        step_size: of each leapfrog step, but for a jitter, on latents without constraints.
    """

    transitions: int = 1
    leapfrog: int = 5
    step_size: float = 0.1


@dataclass(frozen=True)
class FilterRequest:
    """A particle filter in the place of independent draws, of latents that are a path.

    Args:
        ess: the share of K that the effective number of particles falls below before they are resampled; 0 for never.
        resampling: ``systematic``, ``stratified`` or ``multinomial``.
        scored: no draw carries a gradient; ``Terms.log_score`` is then log q(z_t | z_{t-1}, x_1:t) summed over steps,
            each with the normalised weight that the particle has after it.
        lookahead: resample by the weights times those that the next step has at the mean of its proposal, a guess of
            what its data will say of each particle; the estimate of p(x) stays unbiased.
        twist: resample by the weights times the guide's own twist, which has learned what all later data say.
        paths: keep the particles, ancestors and weights of every step, not the last log-weights alone.

    Raises:
        ValueError: a share outside [0, 1], an unknown scheme, or both looks ahead.
    """

    ess: float = 0.5
    resampling: str = "systematic"
    scored: bool = False
    lookahead: bool = False
    twist: bool = False
    paths: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.ess <= 1 or self.resampling not in SCHEMES:
            raise ValueError(
                f"A particle filter needs 'ess' between 0 and 1 and 'resampling' of {', '.join(map(repr, SCHEMES))}; "
                f"got {self.ess!r} and {self.resampling!r}: use 0.5 and 'systematic'."
            )

        if self.lookahead and self.twist:
            raise ValueError(
                "'lookahead' and 'twist' both say what later data will say of a particle: set one of them to False."
            )

    def noise(self, num_particles: int) -> int:
        """The number of uniform numbers of each datum and step."""
        return 1 if self.resampling == "systematic" else num_particles


@dataclass(frozen=True)
class TermsRequest:
    """The request of an objective to a pair: draws, an estimator of the gradient, and log-densities.

    Args:
        num_particles: K, draws per datum.
        gradient: the estimator of the gradient, a value of ``objectives.gradients``.
        analytic_kl: where KL(q || p) of a site has a closed form, put ``log_prior = -KL`` and ``log_guide = 0``: their
            difference keeps its expectation and loses its noise. Right for guides that sample in the model's order.
        sleep: draw (z, x) from the model, one for each datum; ``Terms.log_sleep`` is log q(z | x) of these draws.
        latents: the contents of ``Terms.latents``, for a pair with a single latent site; not with ``chunk``.
        labels: a site of categories; ``Terms.log_label`` is log q(y | x) of its labels that are known, the keyword
            ``given`` (B, 1) of the programs, and 0 of the others.
        levels: of a pair whose latent site is a chain of levels of noise, one level at random for each draw:
            ``log_lik + log_prior`` is then an unbiased estimate of the ELBO, no log-weight, and ``log_guide`` is 0.
        chain: move the draws; ``Terms.gain`` is what log p(x, z) gains by that, with a gradient to the model alone.
        filter: move the draws from step to step, and resample them; ``log_weights`` are those of the last step, whose
            mean estimates p(x), and stand in ``log_lik`` alone.
        input_noise: standard deviation of normal noise on x where the guide reads it, one noise for all K draws.
        generated: of an implicit model its draws, ``Latents.generated``, beside the data; the densities are 0.
        chunk: number of draws to hold in memory at a time. The others' activations are computed again when the gradient
            needs them, and the encoder runs once for each chunk. None holds all of them.

    Raises:
        ValueError: a chunk together with an enumeration, with slopes, with latents, with levels, with a
            filter or with chains.

    >>> TermsRequest(5).gradient
    Pathwise()
    """

    num_particles: int = 1
    gradient: Gradient = PATHWISE
    analytic_kl: bool = False
    sleep: bool = False
    labels: str = ""
    latents: LatentsRequest | None = None
    levels: LevelsRequest | None = None
    chain: ChainRequest | None = None
    filter: FilterRequest | None = None
    input_noise: float = 0.0
    generated: bool = False
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.chunk is not None and self.gradient.enumerates:
            raise ValueError(
                "'chunk' is for draws; every configuration of the latents is taken at once: leave it at None."
            )
        if self.chunk is not None and self.gradient.slopes:
            raise ValueError(
                f"'chunk': {type(self.gradient).__name__} takes derivatives of each draw along the way, which must be "
                "held: leave it at None, and take fewer draws."
            )
        if self.chunk is not None and self.latents is not None:
            raise ValueError(
                "'chunk' takes draws apart, and 'latents' asks for all of them: leave one of them at None."
            )
        if self.chunk is not None and self.levels is not None:
            raise ValueError("'chunk' takes draws apart, and 'levels' are spread over all of them: leave it at None.")
        if self.chunk is not None and self.filter is not None:
            raise ValueError("'chunk' takes draws apart, and 'filter' weighs them together: leave it at None.")
        if self.chunk is not None and self.chain is not None:
            raise ValueError("'chunk' takes draws apart, and 'chain' moves all of them: leave one of them at None.")

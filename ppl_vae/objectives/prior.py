"""Priors that learn after the pair, the ELBO as a function of the prior, and beside it, given another datum's code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np

from .. import bounds, init
from ..arrays import ops
from ..arrays.ops import Array
from ..arrays.plain import keep_python
from ..errors import UnsuitableObjective
from ..kinds import check
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from ..players import Player, Sizes, State, Values, View
from .base import Objective
from .checks import check_codes
from .gradients import Gradient, GuideSite, Rule
from .options import from_python
from .request import LatentsRequest, TermsRequest


@dataclass(frozen=True)
class AsDrawn(Gradient):
    """No gradient reaches the guide: its draws are data."""

    def check(self, name: str, sites: Sites) -> None:
        """Refuse a Delta, which has no density; codes of a codebook have a probability, 1."""
        for site in sites.latent:
            if not (site.has_density or site.codes):
                raise UnsuitableObjective(
                    f"{name}: the guide's site {site.name!r} is a Delta, which has no density, so that there is no "
                    "bound to raise. Give the guide a distribution with spread."
                )

    def rules(self) -> Sequence[Rule | None]:
        """A detached draw."""
        return (_detached,)

    def scores(self, reparameterised: bool) -> bool:
        """False."""
        return False


def _detached(site: GuideSite) -> Array:
    return ops.stop_gradient(site.sample())


@dataclass(frozen=True)
class PriorELBO(Objective):
    """The ELBO as a function of the prior alone: E log p(z), z ~ q(z | x), is raised and all else stays to the bit.

    It trains the parameters of ``model.prior`` that nothing else has a part in: a codebook or an encoder that a prior
    shares stays as it is. Any latents, those of a codebook included. ``fit.with_prior(prior)`` puts a prior into a pair
    that is trained. Neural Discrete Representation Learning, van den Oord, Vinyals and Kavukcuoglu, 2017; Diagnosing
    and Enhancing VAE Models, Dai and Wipf, 2019.

    >>> PriorELBO().is_bound
    True
    """

    prior_alone: ClassVar[bool] = True

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, gradient=AsDrawn())

    def bound(self, terms: Terms) -> Array:
        """Terms (K, B) -> (B,)."""
        return bounds.prior_alone(terms)


FAR = 1e12
"""The squared distance of a code that is not to be a neighbour."""
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class GivenNeighbour:
    """p(z | c), a diagonal normal whose mean and log-scales a net reads off another datum's code c.

    Args:
        weights: ``weight_0``, ``bias_0`` and so on, of a net with tanh between its layers.
    """

    weights: Values

    def moments(self, codes: Array) -> tuple[Array, Array]:
        """Mean and log-scales given codes (..., D), (..., D) each."""
        h, last = codes, len(self.weights) // 2 - 1
        for layer in range(last):
            h = ops.tanh(ops.affine(h, self.weights[f"weight_{layer}"], self.weights[f"bias_{layer}"]))
        h = ops.affine(h, self.weights[f"weight_{last}"], self.weights[f"bias_{last}"])
        dim = codes.shape[-1]
        return h[..., :dim], h[..., dim:]

    def __call__(self, z: Array, codes: Array) -> Array:
        """log p(z | c), (K, B), of draws (K, B, D) given codes (B, D)."""
        loc, log_scale = self.moments(codes)
        return (-0.5 * ((z - loc) / ops.exp(log_scale)) ** 2 - log_scale - 0.5 * LOG_2PI).sum(-1)


@dataclass(frozen=True)
class Neighbours(Player):
    """A prior of a datum's code given the code of another datum near it, and the table of codes that it reads.

    The table has the mean of q(z | x) of each datum, as it was when the datum was last in a batch. p(z | c) is a
    diagonal normal by a net of c, which is one of the ``count`` nearest codes to that of x, drawn anew in each step; x
    itself is none of them. The net descends -log p(z | c) at draws z of the guide.

    Args:
        count: K, of the neighbours to choose from.
        hidden: units of the net's hidden layers.
        learning_rate: of its Adam.

    Raises:
        ValueError: settings that are no positive numbers.
    """

    name: ClassVar[str] = "neighbours"
    sees: ClassVar[Literal["codes"]] = "codes"

    count: int = 5
    hidden: tuple[int, ...] = (100,)
    learning_rate: float = field(default=1e-3, kw_only=True)

    def __post_init__(self) -> None:
        keep_python(self, "hidden")
        check(self, {"count": "count", "hidden": "count", "learning_rate": "positive"})

    @property
    def noisy(self) -> bool:
        """True, for the choice among neighbours."""
        return True

    def check(self, num_data: int, batch_size: int) -> None:
        """Refuse more neighbours than there are other data.

        Raises:
            ValueError: says how many fit.
        """
        if self.count >= num_data:
            raise ValueError(
                f"Each of {num_data} data has {num_data - 1} others, and 'neighbours' asks for {self.count} of them: "
                f"take at most {num_data - 1}."
            )

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return an empty table, and the net's first weights."""
        net: Values = {}
        for layer, (inp, out) in enumerate(pairwise((sizes.codes, *self.hidden, 2 * sizes.codes))):
            net[f"weight_{layer}"] = init.xavier_uniform(rng, out, inp)
            net[f"bias_{layer}"] = np.zeros(out)
        return State({"codes": np.zeros((sizes.rows, sizes.codes)), "known": np.zeros(sizes.rows)}, net)

    def _given(self, tracked: Values, view: View) -> Array:
        """Choose a neighbour's code for each datum, (B, D)."""
        assert view.latents is not None and view.noise is not None
        loc, codes, known = ops.stop_gradient(view.latents.loc), tracked["codes"], tracked["known"]
        distance = (codes**2).sum(-1) - 2 * loc @ codes.T + FAR * (1 - known)
        taken = ops.one_hot(view.rows, codes.shape[0], codes)
        rank, given = (view.noise.uniform * self.count) // 1, 0 * loc
        for number in range(self.count):
            distance = distance + FAR * taken
            nearest = distance.argmin(-1)
            taken = ops.one_hot(nearest, codes.shape[0], codes)
            given = ops.where(rank == number, codes[nearest], given)
        return given

    def output(self, state: State, view: View) -> Array:
        """Return log p(z | c), (K, B)."""
        assert view.latents is not None
        return GivenNeighbour(state.learned)(view.latents.z, self._given(state.tracked, view))

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return the mean of -log p(z | c)."""
        return -self.output(state, view).mean(), ()

    def track(self, tracked: Values, view: View) -> Values:
        """Put the codes of a batch into the table."""
        assert view.latents is not None
        codes = tracked["codes"]
        places = ops.one_hot(view.rows, codes.shape[0], codes)
        there = places.sum(0)
        known = there + (1 - there) * tracked["known"]
        return {"codes": places.T @ view.latents.loc + (1 - there)[:, None] * codes, "known": known}

    def alone(self, learned: Values) -> GivenNeighbour:
        """Return the prior without the table, from its weights as NumPy's arrays: what a fit keeps of it."""
        return GivenNeighbour(learned)


PYTHON = "its number, evaluation.code_lengths, is of a datum given another, which no command prints: ACN is for Python"


@dataclass(frozen=True)
class ACN(Objective):
    """E[log p(x | z) + log p(z | c) - log q(z | x)], where c is the code of a training datum near x: Neighbours.

    An associative compression network: minus its value is the nats that x takes where the receiver has c, in an order
    of the data in which it comes before x. It is no log p(x), and no bound of it: who names c pays log N more
    (``evaluation.code_lengths``). The pair's own prior takes no part. Needs a diagonal normal guide. Associative
    Compression Networks for Representation Learning, Graves, Menick and van den Oord, 2018.

    Args:
        neighbours: K, of the nearest codes one is drawn in each step.
        hidden: units of the hidden layers of the net of p(z | c).
        learning_rate: of that net.

    Raises:
        ValueError: settings that are no positive numbers, or a chunk.

    >>> ACN(neighbours=5).is_bound
    False
    """

    unused: ClassVar[tuple[str, ...]] = ("chunk",)
    prior_apart: ClassVar[bool] = True
    neighbours: int = from_python(5, PYTHON, kind="count")
    hidden: tuple[int, ...] = from_python((100,), PYTHON)
    learning_rate: float = from_python(1e-3, PYTHON, kind="positive")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk is not None:
            raise ValueError(f"ACN reads the codes of all of its draws: leave 'chunk' at None; got {self.chunk}.")
        Neighbours(self.neighbours, self.hidden, learning_rate=self.learning_rate)  # refuses what is none

    @property
    def is_bound(self) -> bool:
        """False: its prior knows another datum."""
        return False

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, latents=LatentsRequest(moments=True))

    @property
    def players(self) -> tuple[Player, ...]:
        """The prior, with its table."""
        return (Neighbours(self.neighbours, self.hidden, learning_rate=self.learning_rate),)

    def check(self, sites: Sites) -> None:
        """Refuse a pair whose guide is not one diagonal normal."""
        check_codes("ACN", sites, normal=True, density=True)

    def bound(self, terms: Terms, log_prior: Array | None = None) -> Array:
        """Terms (K, B), log p(z | c) (K, B) -> (B,)."""
        if log_prior is None:
            raise ValueError(
                "ACN reads a table of codes that follows the training, and this call does not know it: train with "
                "ppl_vae's SVI."
            )
        return (terms.log_lik + log_prior - terms.log_guide).mean(0)

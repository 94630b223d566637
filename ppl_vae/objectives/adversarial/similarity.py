"""A variational auto-encoder whose likelihood is what a discriminator has learned to look at."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from ... import games
from ...arrays import ops
from ...arrays.ops import Array
from ...discriminators import Discriminator, Similarity, SimilarityDiscriminator
from ...errors import UnsuitableObjective
from ...games import Game, NonSaturating
from ...pairs.sites import Sites
from ...pairs.terms import Terms
from ...players import Player
from ..base import Objective
from ..checks import check_codes, check_decoded
from ..options import option
from ..request import LatentsRequest, TermsRequest
from .codes import needed
from .implicit import GAME, critic_for


@dataclass(frozen=True)
class VAEGAN(Objective):
    """-E_q |f(x) - f(E[x | z])|^2 / 2 - KL(q(z | x) || p(z)), f a hidden layer of a discriminator.

    It is the ELBO of f(x) under N(f(E[x | z]), I), less the constant of that normal, and the guide ascends it. The
    decoder ascends ``strength`` times the first term, less the generator's loss in a ``game`` with the discriminator,
    at E[x | z] of the guide's and of the prior's draws, half the weight each. The discriminator, a ``Discriminator`` of
    x, plays that game alone. A learned prior ascends -KL. Neither the likelihood of the pair nor its scale is read, and
    the value is no bound of log p(x). Autoencoding beyond Pixels using a Learned Similarity Metric, Larsen, Soenderby,
    Larochelle and Winther, 2016, whose game is the saturating one.

    Args:
        strength: the weight of the similarity beside the game, for the decoder; their gamma.
        layer: the number of the hidden layer f, from 1; None for the last.
        game: both players' losses, an object of ``games`` or its name in ``games.NAMED``.

    Raises:
        ValueError: several draws, chunks, a game that is none.

    >>> VAEGAN().is_bound
    False
    """

    unused: ClassVar[tuple[str, ...]] = ("num_particles", "chunk")
    per_datum: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = True
    trains_likelihood: ClassVar[bool] = False
    shows_draws: ClassVar[bool] = True
    tells_gradient: ClassVar[bool] = True
    judges: ClassVar[Literal["data", "codes", "both"]] = "data"
    default_critic: ClassVar[type[Discriminator]] = Discriminator
    strength: float = option(1.0, "weight of the similarity beside the game", kind="non-negative", metavar="WEIGHT")
    layer: int | None = option(None, "hidden layer that measures similarity, from 1", kind="count", metavar="LAYER")
    game: Game | str = option(NonSaturating(), **GAME)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_particles != 1 or self.chunk is not None:
            raise ValueError(
                f"{type(self).__name__} takes one draw of the guide for each datum of a batch: leave 'num_particles' "
                "at 1 and 'chunk' at None."
            )

    def make_critic(self) -> Discriminator:
        """Return the critic of a training that names none; its slope is held where the game needs that."""
        return critic_for(self.game)

    @property
    def is_bound(self) -> bool:
        """False: the likelihood is one of what the discriminator looks at."""
        return False

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair: E[x | z] of the guide's draws, twice, and of the prior's."""
        latents = LatentsRequest(prior=True, reconstruction=True, dreams="mean", stopped=True)
        return replace(super().request, latents=latents, analytic_kl=True)

    def player(self, critic: Discriminator) -> Player:
        """The discriminator with the layer that measures similarity.

        Raises:
            UnsuitableObjective: it has no such layer.
        """
        layer = self.layer or len(critic.hidden)
        if not 0 < layer <= len(critic.hidden):
            raise UnsuitableObjective(
                f"{type(self).__name__} measures similarity by hidden layer {layer} of the discriminator, which has "
                f"{len(critic.hidden)}: give it hidden=(128, 128), or lower 'layer'."
            )
        own = {f.name: getattr(critic, f.name) for f in dataclasses.fields(critic)}
        return SimilarityDiscriminator(**own, layer=layer)

    def check(self, sites: Sites) -> None:
        """Refuse a pair without a vector of codes, or without one mean of x."""
        check_codes(type(self).__name__, sites, normal=False)
        check_decoded(type(self).__name__, sites, mean=True)

    def check_given(self, given: np.ndarray | None) -> None:
        """Refuse side information, which the discriminator does not see."""
        if given is not None:
            raise UnsuitableObjective(
                f"{type(self).__name__}: the discriminator sees x, and not what the pair is given beside it, so that "
                "what it makes of 'given' would be held against nothing: use TraceELBO."
            )

    def bound(self, terms: Terms, seen: Similarity | None = None) -> Array:
        """Terms (1, B) and what the discriminator sees -> (B,); the decoder's own terms have the value 0."""
        seen = needed(self, seen)
        alike, decoder = (self._alike(seen.real, units, terms) for units in (seen.by_code, seen.by_decoder))
        game = games.find(self.game)
        fooled = [-game.generator(*logits) for logits in (seen.reconstructed, seen.generated)]
        of_decoder = self.strength * decoder + (fooled[0] + fooled[1]) / 2
        return (terms.log_prior - terms.log_guide).mean(0) + alike + of_decoder - ops.stop_gradient(of_decoder)

    @staticmethod
    def _alike(real: Array, units: Array, terms: Terms) -> Array:
        """-|f(x) - f(E[x | z])|^2 / 2, the mean over data."""
        return -((real - units) ** 2).sum() / 2 / terms.log_prior.shape[-1]

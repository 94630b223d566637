"""Objectives of implicit models, which hold draws of x against data, with a critic of data or without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ... import games
from ...arrays.ops import Array
from ...discriminators import Discriminator
from ...divergences import two_sample
from ...errors import UnsuitableObjective
from ...games import Game, NonSaturating
from ...pairs.terms import Terms
from ..base import Objective
from ..options import from_python, option
from ..request import TermsRequest
from .codes import needed

PLAYERS = ("critic", "generator")
"""Methods of a game."""


GAME: dict[str, Any] = {"about": "both players' losses", "kind": tuple(games.NAMED), "methods": PLAYERS}
"""The option of a game, by name or as an object."""


def critic_for(game: Game | str) -> Discriminator:
    """Make the critic of a training that names none; its slope is held where the game needs that."""
    if getattr(games.find(game), "needs_lipschitz", False):
        return Discriminator(penalty="gradient", strength=1.0, steps=5)
    return Discriminator()


@dataclass(frozen=True)
class ImplicitObjective(Objective):
    """An objective of draws of the model beside data, for a model that has no density; no bound of log p(x)."""

    per_datum: ClassVar[bool] = False
    implicit: ClassVar[bool] = True
    unused: ClassVar[tuple[str, ...]] = ("num_particles", "chunk")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_particles != 1 or self.chunk is not None:
            raise ValueError(
                f"{type(self).__name__} draws one x for each datum of a batch: leave 'num_particles' at 1 and 'chunk' "
                "at None, and set batch_size."
            )

    @property
    def is_bound(self) -> bool:
        """False: there is no log p(x) of an implicit model that it could bound."""
        return False

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair: data that the model draws."""
        return TermsRequest(generated=True)

    def check_given(self, given: np.ndarray | None) -> None:
        """Refuse side information, beside which no draw is held against a datum."""
        if given is not None:
            raise UnsuitableObjective(
                f"{type(self).__name__} holds x against draws of x, whatever 'given' is, so that draws need not follow "
                "it: leave it out, and let x have its columns, np.concatenate([x, given], 1), which the generator then "
                "draws together."
            )


@dataclass(frozen=True)
class GAN(ImplicitObjective):
    """Minus the generator's loss in a ``game`` with a critic of data: a generative adversarial net.

    The model is ``models.Implicit``, the guide ``guides.Empty()``, the training ``inference.Adversarial``, whose
    critic is a ``discriminators.Discriminator``. The value is no bound, and falls and rises as the critic learns.
    Generative Adversarial Nets, Goodfellow et al., 2014.

    Args:
        game: both players' losses, an object of ``games`` or its name in ``games.NAMED``.

    >>> GAN(game="hinge").game, GAN().game
    ('hinge', NonSaturating())
    """

    needs_critic: ClassVar[bool] = True
    tells_gradient: ClassVar[bool] = True
    judges: ClassVar[Literal["data", "codes", "both"]] = "data"
    default_critic: ClassVar[type[Discriminator]] = Discriminator
    game: Game | str = option(NonSaturating(), **GAME)

    def make_critic(self) -> Discriminator:
        """Return the critic of a training that names none; its slope is held where the game needs that."""
        return critic_for(self.game)

    def bound(self, terms: Terms, logits: Array | None = None) -> Array:
        """Terms, and the critic's logits at data and at draws, (2, M) -> (B,), the same number for each datum."""
        real, fake = needed(self, logits)
        return 0 * terms.log_lik[0] - games.find(self.game).generator(real, fake)


@dataclass(frozen=True)
class GMMN(ImplicitObjective):
    """Minus the squared maximum mean discrepancy of draws and data: a generative moment matching network.

    No critic; the kernel is ``divergences.mmd``'s, an unbiased estimate from a batch, of any sign. Generative Moment
    Matching Networks, Li, Swersky and Zemel, 2015; Training Generative Neural Networks via Maximum Mean Discrepancy
    Optimization, Dziugaite, Roy and Ghahramani, 2015.

    Args:
        kernel: 'imq', or 'rbf'.
        bandwidth: h; by default 2 P.

    >>> GMMN().kernel
    'imq'
    """

    kernel: two_sample.Kernel = from_python("imq", "the command line has no name for this objective")
    bandwidth: float | None = from_python(None, "the command line has no name for this objective", kind="positive")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel not in two_sample.KERNELS:
            raise ValueError(f"GMMN: 'kernel' should be one of {', '.join(two_sample.KERNELS)}; got {self.kernel!r}.")

    def check_batches(self, num_data: int, batch_size: int) -> None:
        """Refuse batches of one row, of which nothing can be estimated.

        Raises:
            ValueError: says which batch size fits.
        """
        if num_data < 2:
            raise ValueError("GMMN compares data with each other, and there is a single row: pass two or more.")
        rest = num_data % batch_size
        if batch_size == 1 or rest == 1:
            better = next(b for b in range(max(2, batch_size), num_data + 2) if b > num_data or num_data % b != 1)
            raise ValueError(
                f"GMMN compares the rows of a batch with each other, and one batch has a single row: {num_data} data "
                f"in batches of {batch_size}: set batch_size={min(better, num_data)}."
            )

    def bound(self, terms: Terms) -> Array:
        """Terms with data and draws -> (B,), the same number for each datum."""
        assert terms.latents is not None
        drawn = terms.latents.generated[0]
        return 0 * terms.log_lik[0] - two_sample.mmd(
            drawn, terms.latents.x, kernel=self.kernel, bandwidth=self.bandwidth
        )

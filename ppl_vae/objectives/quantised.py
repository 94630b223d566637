"""The ELBO of codes that are the nearest of a codebook, and the averages that may move the codes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from .. import bounds
from ..arrays import quantisation
from ..arrays.ops import Array
from ..errors import UnsuitableObjective
from ..pairs.sites import Site, Sites
from ..pairs.terms import Terms
from ..players import Player, Sizes, State, Values, View
from .base import Objective
from .options import option
from .request import LatentsRequest, TermsRequest

MOST_CHOICES = 2**14
"""The largest number of codes whose soft choice is computed."""


@dataclass(frozen=True)
class AveragedCodes(Player):
    """The codes as decaying averages of the vectors that are nearest to them, moved after each step of the pair.

    Its state are the decaying counts of each code's vectors, 1 before the first batch; a code times its count is the
    decaying sum. A code without vectors stays where it is.

    Args:
        decay: in (0, 1).
    """

    name: ClassVar[str] = "averages"
    moves_codes: ClassVar[bool] = True

    decay: float = 0.99

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        """Return the state before the first batch."""
        return State({"counts": np.ones(sizes.codebook[:2]), "codebook": np.zeros(sizes.codebook)}, {})

    def output(self, state: State, view: View) -> Array:
        """Return zeros: the bound needs nothing of it."""
        return 0 * view.signal

    def loss(self, state: State, view: View) -> tuple[Array, tuple[Array, ...]]:
        """Return zero: there is no weight to learn."""
        return 0 * view.signal.mean(), ()

    def track(self, tracked: Values, view: View) -> Values:
        """Average the vectors of a batch into the codes that the pair has."""
        assert view.latents is not None
        present, encoded = view.latents.codebook, view.latents.encoded
        codebook, counts = quantisation.averaged(present, tracked["counts"], encoded, self.decay)
        return {"counts": counts, "codebook": codebook}

    def codebook(self, state: State) -> Array:
        """Return the codes (L, K, E) that take the place of the pair's."""
        return state.tracked["codebook"]


@dataclass(frozen=True)
class VQELBO(Objective):
    """log p(x | z) - D log K at the nearest codes z: the exact ELBO, as q(z | x) is one value; straight through.

    The gradient has two further terms, of value 0: ``codebook`` |sg(e) - c|^2, which moves the codes c to the encoder's
    vectors e, and ``commitment`` |e - sg(c)|^2, which keeps the vectors near. With ``decay`` the codes have no
    gradient, and each becomes the decaying average of its vectors after every step. With ``restart_codes`` codes that
    no vector of a thousand training images is nearest to start again at such vectors, between epochs. With ``entropy``
    a third term, of value 0, lets each vector choose one code and all of them different ones
    (``quantisation.entropy_penalty``).
    Refuses latents that are no codes of a codebook. Neural Discrete Representation Learning, van den Oord, Vinyals and
    Kavukcuoglu, 2017.

    >>> VQELBO(commitment=0.5).is_bound
    True
    """

    unused: ClassVar[tuple[str, ...]] = ("num_particles", "chunk")
    commitment: float = option(
        0.25, "weight of the distance that the encoder is to keep from its codes", kind="non-negative", metavar="WEIGHT"
    )
    codebook: float = option(
        1.0,
        "weight of the distance that the codes are to keep from the encoder",
        name="codebook_weight",
        kind="non-negative",
        metavar="WEIGHT",
    )
    restart_codes: bool = option(
        False, "put codes that no training image has after an epoch at encodings of some", kind="switch"
    )
    decay: float | None = option(
        None,
        "move the codes to averages that decay by it at each step, in place of a gradient",
        name="codebook_decay",
        kind="between",
        metavar="DECAY",
    )
    entropy: float = option(
        0.0,
        "weight of the entropy penalty, by which each vector is near one code and all codes are in use",
        name="code_entropy",
        kind="non-negative",
        metavar="WEIGHT",
    )
    entropy_temperature: float = option(
        1.0,
        "temperature of the soft choice of a code in the entropy penalty, a squared distance",
        kind="positive",
        metavar="T",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_particles != 1 or self.chunk is not None:
            raise ValueError(
                "VQELBO draws nothing, as q(z | x) is one value: leave num_particles at 1 and chunk at None."
            )

    @property
    def per_datum(self) -> bool:  # type: ignore[override]
        """Whether it is a sum over data: the entropy of a batch's mean choice is none."""
        return self.entropy == 0

    @property
    def players(self) -> tuple[Player, ...]:
        """The averages, where they move the codes."""
        return () if self.decay is None else (AveragedCodes(self.decay),)

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        every = self.decay is not None or self.entropy > 0
        return replace(super().request, latents=LatentsRequest(quantised=True, codebook=every))

    def check(self, sites: Sites) -> None:
        """Refuse a pair whose latents are not one site of codes."""
        sites.check_plain("VQELBO", "a guide without that mask")
        if len(sites.latent) != 1 or not sites.latent[0].codes:
            told = ", ".join(f"{site.name!r} ({site.distribution})" for site in sites.latent)
            raise UnsuitableObjective(
                f"VQELBO is for one latent site of the nearest codes of a codebook (conditionals.Nearest); the pair "
                f"has {told or 'none'}: use TraceELBO, or for discrete latents TraceGraphELBO."
            )

        self._check_codes(sites.latent[0])

    def _check_codes(self, site: Site) -> None:
        """Refuse settings that the site's codes have no use for."""
        moves = {"decay": self.decay is not None, "restart_codes": self.restart_codes}
        for name, given in moves.items():
            if given and not site.codebook:
                raise UnsuitableObjective(
                    f"VQELBO: {name!r} moves codes, and those of the site {site.name!r} are a fixed grid: leave decay "
                    "at None and restart_codes at False."
                )
        if self.entropy and max(site.codes) > MOST_CHOICES:
            raise UnsuitableObjective(
                f"VQELBO: the entropy penalty lists every code of a slot, at most {MOST_CHOICES}, and the site "
                f"{site.name!r} has {max(site.codes)}: take fewer codes, or entropy=0."
            )

    def bound(self, terms: Terms, *_: Array) -> Array:
        """Terms (1, B) -> (B,)."""
        weight = self.codebook if self.decay is None else 0.0
        choice = {"entropy": self.entropy, "temperature": self.entropy_temperature}
        return bounds.vq(terms, codebook=weight, commitment=self.commitment, **choice)

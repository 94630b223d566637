"""The ELBO of codes that are the nearest of a codebook."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from .. import bounds
from ..arrays.ops import Array
from ..errors import UnsuitableObjective
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from .base import Objective
from .options import option
from .request import LatentsRequest, TermsRequest


@dataclass(frozen=True)
class VQELBO(Objective):
    """log p(x | z) - D log K at the nearest codes z: the exact ELBO, as q(z | x) is one value; straight through.

    The gradient has two further terms, of value 0: ``codebook`` |sg(e) - c|^2, which moves the codes c to the encoder's
    vectors e, and ``commitment`` |e - sg(c)|^2, which keeps the vectors near. With ``restart_codes`` codes that no
    vector of a thousand training images is nearest to start again at such vectors, between epochs. Refuses latents that
    are no codes of a codebook. Neural Discrete Representation Learning, van den Oord, Vinyals and Kavukcuoglu, 2017.

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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_particles != 1 or self.chunk is not None:
            raise ValueError(
                "VQELBO draws nothing, as q(z | x) is one value: leave num_particles at 1 and chunk at None."
            )

    @property
    def request(self) -> TermsRequest:
        """The objective's request to a pair."""
        return replace(super().request, latents=LatentsRequest(quantised=True))

    def check(self, sites: Sites) -> None:
        """Refuse a pair whose latents are not one site of codes."""
        sites.check_plain("VQELBO", "a guide without that mask")
        if len(sites.latent) != 1 or not sites.latent[0].codes:
            told = ", ".join(f"{site.name!r} ({site.distribution})" for site in sites.latent)
            raise UnsuitableObjective(
                f"VQELBO is for one latent site of the nearest codes of a codebook (conditionals.Nearest); the pair "
                f"has {told or 'none'}: use TraceELBO, or for discrete latents TraceGraphELBO."
            )

    def bound(self, terms: Terms) -> Array:
        """Terms (1, B) -> (B,)."""
        return bounds.vq(terms, codebook=self.codebook, commitment=self.commitment)

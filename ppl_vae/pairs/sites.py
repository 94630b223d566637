"""The sample sites of a pair, as objectives and evaluation see them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import OutOfMemory, UnsuitableObjective
from ..runtime.out_of_memory import ran_out
from .keywords import KEYWORDS


@dataclass(frozen=True)
class Site:
    """A sample site: its shape, and what its distribution can do."""

    name: str
    distribution: str
    """The name of its distribution, for error texts alone: what it can do is said below."""
    event_shape: tuple[int, ...]
    reparameterised: bool
    binary: bool
    num_values: int | None = None
    """The number of values that each entry can take, where they are finitely many."""
    levels: int | None = None
    """L, where the distribution is over the levels 0, 1/(L - 1), ..., 1 of a pixel."""
    has_density: bool = True
    """Whether it is spread out: a Delta, or what is made from one, is not."""
    has_mean: bool = True
    """Whether it has a mean that is known."""
    is_categorical: bool = False
    """Whether its values are names, the integers from 0 to num_values - 1: they have a mode, and no mean."""
    is_normal: bool = False
    """Whether its entries are independent normals, with means ``loc`` and standard deviations ``scale``."""
    has_normal_marginals: bool = False
    """Whether each entry by itself is normal: true of independent and of multivariate normals."""
    probabilities_per_entry: int = 1
    """The number of probabilities that describe an entry, where each of its values has one of its own."""

    @property
    def num_configurations(self) -> int:
        """The number of values that the site as a whole can take."""
        return (self.num_values or 0) ** math.prod(self.event_shape)

    def configurations(self) -> np.ndarray:
        """Every value of the site, (configurations, *event_shape)."""
        entries = math.prod(self.event_shape)
        grid = np.indices((self.num_values or 0,) * entries).reshape(entries, -1).T
        return grid.reshape(-1, *self.event_shape)


@dataclass(frozen=True)
class Sites:
    """The sites of a pair: latent ones in the guide's order, and observed ones."""

    latent: tuple[Site, ...]
    observed: tuple[Site, ...]
    model_order: tuple[str, ...]
    """The latent sites' names in the model's order."""
    scaled: bool = False
    """Whether a subsampled plate or a handler scales the densities."""

    def check_latent(self, what: str) -> None:
        """Refuse a model without latents.

        Raises:
            UnsuitableObjective: names what was to be done.
        """
        if not self.latent:
            raise UnsuitableObjective(
                f"{what} is made for latents, and the model has none: evaluation.log_likelihood(fit, x, 1) is its log "
                "p(x), exact."
            )

    @property
    def code_dim(self) -> int:
        """D of the single vector of latents; 0 where there are several sites, or it is no vector."""
        vector = len(self.latent) == 1 and len(self.latent[0].event_shape) == 1
        return self.latent[0].event_shape[0] if vector else 0

    @property
    def width(self) -> int:
        """D, the number of entries of all latent sites together."""
        return sum(math.prod(site.event_shape) for site in self.latent)

    def split(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """Codes (B, D), the latent sites side by side, as values of each site, (B, *event_shape)."""
        ends = np.cumsum([math.prod(site.event_shape) for site in self.latent])
        codes = {}
        for site, (first, end) in zip(self.latent, itertools.pairwise([0, *ends]), strict=True):
            values = z[:, first:end].reshape(len(z), *site.event_shape)
            codes[site.name] = values.astype(np.int64) if site.is_categorical else values
        return codes

    @property
    def num_configurations(self) -> int:
        """The number of joint values of the latent sites."""
        return math.prod(site.num_configurations for site in self.latent)

    def configurations(self) -> dict[str, np.ndarray]:
        """Every joint value of the latent sites, (configurations, *event_shape) each."""
        sizes = [site.num_configurations for site in self.latent]
        which = np.indices(sizes).reshape(len(sizes), -1)
        return {site.name: site.configurations()[i] for site, i in zip(self.latent, which, strict=True)}


def does_not_run(args: tuple[Any, ...], error: Exception) -> ValueError | OutOfMemory:
    """The error for a pair that fails on its first batch, in words that help."""
    shape = tuple(getattr(args[0], "shape", ())) if args else ()
    if ran_out(error):
        return OutOfMemory(f"on a batch of shape {shape}", {"the rows of the batch": len(args[0])})
    reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
    if isinstance(error, TypeError) and any(f"unexpected keyword argument {name!r}" in str(error) for name in KEYWORDS):
        return ValueError(
            f"The model and the guide do not run on a batch of shape {shape}: {reason}. A program that hands its "
            "keywords on to another calls it as tolerant(program)(...), of ppl_vae.pairs.keywords, which drops those "
            "that it has no use for."
        )
    return ValueError(
        f"The model and the guide do not run on a batch of shape {shape}: {reason}. Do the nets take "
        f"{shape[-1:]} numbers and return what their distributions need, and does every vector-valued site end in "
        ".to_event(1)?"
    )


def check_batch_shape(name: str, shape: tuple[int, ...], plates: dict[int, tuple[str, int]]) -> None:
    """Compare a site's batch shape with its plates, given as dim -> (name, size).

    Raises:
        ValueError: a dimension that no plate explains.
    """
    sizes = {dim: size for dim, (_, size) in plates.items()}
    if plates and any(size not in (1, sizes.get(i - len(shape))) for i, size in enumerate(shape)):
        names = [plate for plate, _ in plates.values()]
        raise ValueError(
            f"Site {name!r} has batch shape {shape}, which its plates {names} do not explain: is .to_event(1) missing?"
        )


def match(
    guide: dict[str, Site],
    latent: dict[str, Site],
    observed: dict[str, Site],
    *,
    scaled: bool = False,
    empty: bool = False,
) -> Sites:
    """The pair's sites, after checking that the guide and the model speak of the same latent ones.

    A pair has none only where the guide says so: ``empty``.

    Raises:
        ValueError: no latent site, no observed site, or a latent site that only one of the two has.
    """
    if not latent and not empty:
        raise ValueError(
            "The model has no latent site: there is nothing to infer. To train it by its likelihood, guides.Empty()."
        )
    if not observed:
        raise ValueError("The model has no observed site: pass the data on, as in pyro.sample('x', ..., obs=x).")
    if set(guide) != set(latent):
        raise ValueError(
            f"The guide should sample exactly the model's latent sites {sorted(latent)}; it samples {sorted(guide)}."
        )
    for name, site in guide.items():
        if site.event_shape != latent[name].event_shape:
            raise ValueError(
                f"Site {name!r} has event shape {latent[name].event_shape} in the model and {site.event_shape} in the "
                "guide: a net's output size, or a missing .to_event(1)?"
            )
    return Sites(tuple(guide.values()), tuple(observed.values()), tuple(latent), scaled)

"""The sample sites of a pair, as objectives and evaluation see them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import UnsuitableObjective

ANYWHERE, AT_OWN_DRAWS, NOWHERE = "anywhere", "at its own draws", "nowhere"
"""Values at which a distribution knows its log-density; a flow without an inverse knows it at its own draws."""
MOST_CODES = 10**6
"""The largest number of joint values of codes whose sum is proposed."""


@dataclass(frozen=True)
class Site:
    """A sample site: its shape, and what its distribution can do."""

    name: str
    distribution: str
    """The name of its distribution, for error texts alone: what it can do is said below."""
    event_shape: tuple[int, ...]
    """The shape of a datum's value: the sizes of the plates inside the data's, then the distribution's event shape."""
    reparameterised: bool
    binary: bool
    whole: bool = False
    """Whether it observes x itself, is binary and checks its values, so that grey levels have no density."""
    validates: bool = False
    """Whether it gives no density to values that it cannot have, be it 0 or an error."""
    num_values: int | None = None
    """The number of values that each entry can take, where they are finitely many."""
    levels: int | None = None
    """L, where the distribution is over the levels 0, 1/(L - 1), ..., 1 of a pixel."""
    read_values: int | None = None
    """C, where the distribution reads its own entries one after the other, which must be whole: 0, 1, ..., C - 1."""
    columns: tuple[Any, ...] = ()
    """The kinds of its columns, where they are those of a table; one that stands for all, of counts."""
    codes: tuple[int, ...] = ()
    """The number of codes of each slot, where a value is codes of a codebook, side by side."""
    codebook: tuple[int, ...] = ()
    """The shape (L, K, E) of the guide's codes, where they are learned."""
    chain: int = 0
    """T, where a value is the levels 0, ..., T of noise, side by side."""
    steps: int = 0
    """T, where a value is a path of steps side by side, which a mask may end."""
    schedule: Any = field(default=None, compare=False, repr=False)
    """What says how much noise these have; the same object in a model and a guide that share it."""
    has_density: bool = True
    """Whether it is spread out: a Delta, or what is made from one, is not."""
    density: str = ANYWHERE
    """The values at which its log-density is known: ANYWHERE, AT_OWN_DRAWS or NOWHERE."""
    has_mean: bool = True
    """Whether it has a mean that is known."""
    is_categorical: bool = False
    """Whether its values are names, the integers from 0 to num_values - 1: they have a mode, and no mean."""
    has_logits: bool = False
    """Whether its entries are independent bits or categories, whose parameter ``logits`` says all of them."""
    is_normal: bool = False
    """Whether its entries are independent normals, with means ``loc`` and standard deviations ``scale``."""
    has_normal_marginals: bool = False
    """Whether each entry by itself is normal: true of independent and of multivariate normals."""
    probabilities_per_entry: int = 1
    """The number of probabilities that describe an entry, where each of its values has one of its own."""
    plates: int = 0
    """The number of plates inside the data's that it stands in."""
    masked: bool = False
    """Whether a mask may hide densities of it."""
    label: bool = False
    """Whether it observes a label, the last column of ``given``, and no part of x."""
    components: int = 0
    """A, where its distribution is a mixture whose components can be drawn one by one."""
    support: str = ""
    """What its entries may be: "discrete" values, any "real" number, or "bounded" ones; empty where it is not known."""

    @property
    def values(self) -> np.ndarray | None:
        """The values that each entry can take, in order, (L,); None where they are not finitely many."""
        if self.levels is not None:
            return np.arange(self.levels) / (self.levels - 1)
        return None if self.num_values is None else np.arange(self.num_values)

    @property
    def num_configurations(self) -> int:
        """The number of values that the site as a whole can take; 0 where they are not finitely many."""
        return math.prod(self.codes) if self.codes else (self.num_values or 0) ** math.prod(self.event_shape)

    def configurations(self) -> np.ndarray:
        """Every value of the site, (configurations, *event_shape); of codes their numbers, (configurations, D)."""
        sizes = self.codes or (self.num_values or 0,) * math.prod(self.event_shape)
        shape = (len(self.codes),) if self.codes else self.event_shape
        return np.indices(sizes).reshape(len(sizes), -1).T.reshape(-1, *shape)


@dataclass(frozen=True)
class Sites:
    """The sites of a pair: latent ones in the guide's order, and observed ones."""

    latent: tuple[Site, ...]
    observed: tuple[Site, ...]
    model_order: tuple[str, ...]
    """The latent sites' names in the model's order."""
    scaled: bool = False
    """Whether densities have scales, of a handler or a plate, beyond the one number of all that a pair leaves out."""
    subsampled: str = ""
    """The name of a plate that says that there are more data than it holds; on NumPyro alone, where a loss reads it."""
    nesting: int = 1
    """The number of plates that the programs nest."""
    misplaced: str = ""
    """Why a site's densities do not belong to data: a sentence, or nothing where the data's plate is at dim -1."""
    besides: tuple[str, ...] = ()
    """The guide's observed sites and factors."""
    unplated: tuple[str, ...] = ()
    """The sites that stand in no plate."""
    of_all: tuple[str, ...] = ()
    """The latent sites that belong to no datum, but to all: they do not grow with a batch."""
    masked: tuple[str, ...] = ()
    """The latent sites of which a mask may hide densities in one of the programs."""
    sampled_kl: tuple[str, ...] = ()
    """The latent sites whose KL(q || p) has no closed form."""
    implicit: str = ""
    """The site that an implicit model draws x at, which has no density."""
    narrower: str = ""
    """Why draws of the guide leave out a part of p(z): a clause, or nothing where their bounds are the model's."""
    precision: float = 0.0
    """The distance from 1 to the next number that programs compute with."""
    prior_apart: str = ""
    """The objective that trained another prior than the model's own p(z), so that no number of p(z) is of that fit."""

    def check_data(self) -> None:
        """Refuse programs whose densities do not belong to single data.

        Raises:
            ValueError: names the site.
        """
        if self.misplaced:
            raise ValueError(self.misplaced)

    def check_terms(self, what: str) -> None:
        """Refuse programs whose densities are no log p(x, z) and log q(z | x) of each datum.

        Raises:
            ValueError: a site that is not in the plate of the data.
            UnsuitableObjective: a term of the guide that is no part of log q.
        """
        self.check_data()
        if self.besides:
            raise UnsuitableObjective(
                f"{what}: the guide's site {self.besides[0]!r} is observed, or a factor, which is no part of log "
                "q(z | x): put it into the model, a factor with the other sign, or train with a stock objective, "
                "such as Trace_ELBO, which adds it to the loss."
            )

    def check_density_anywhere(self, what: str, instead: str) -> None:
        """Refuse a guide whose log-density is not known at values that it did not draw.

        Raises:
            UnsuitableObjective: names the site, and what to use.
        """
        for site in self.latent:
            if site.density != ANYWHERE:
                raise UnsuitableObjective(
                    f"{what} asks for log q at values that are not the guide's own draws, and that of the site "
                    f"{site.name!r} ({site.distribution}) is known {site.density} alone: use {instead}, or a guide "
                    "whose transform has an inverse."
                )

    def check_reach(self, what: str, instead: str = "evaluation.ais(fit, x), which starts from p(z)") -> None:
        """Refuse a guide whose draws leave out a part of p(z), for what weighs them by p(x, z) / q(z | x).

        Raises:
            UnsuitableObjective: names the site, and what to use.
        """
        if self.narrower:
            raise UnsuitableObjective(
                f"{what} weighs draws of the guide by p(x, z) / q(z | x), and {self.narrower}: the mean of the weights "
                "is then below p(x), by as much as lies there. Give the guide a distribution with the model's bounds, "
                f"or use {instead}."
            )

    def check_chains(self, what: str) -> None:
        """Refuse a model without latents that chains could follow.

        Raises:
            UnsuitableObjective: names what was to be done.
        """
        self.check_summed(what)
        self.check_covered(what)

    def check_summed(self, what: str) -> None:
        """Refuse a model without latents that densities of data could be summed or integrated over.

        Raises:
            UnsuitableObjective: names what was to be done.
        """
        self.check_data()
        self.check_latent(what)
        self.check_plain(what, "evaluation.log_likelihood(fit, x)")
        self.check_unscaled(what)
        for site in self.observed:
            if site.plates:
                raise UnsuitableObjective(
                    f"{what} lays its draws of z along dim -2, where the site {site.name!r} has a plate inside the "
                    "data's: observe its entries as one site, of batch shape (N, M) with .to_event(1), or use "
                    "evaluation.log_likelihood(fit, x)."
                )

    def check_unscaled(self, what: str) -> None:
        """Refuse programs of which a scale multiplies some densities and not others.

        Raises:
            UnsuitableObjective: names what was to be done.
        """
        if self.scaled:
            raise UnsuitableObjective(
                f"{what} is about log p(x, z), and a scale of these programs multiplies some densities and not others, "
                "so that there is none: leave the scale out, and give the weight of a term to the objective of a "
                "training, as TraceELBO(beta=0.5) takes it."
            )

    def check_covered(self, what: str, instead: str = "the bound, evaluation.elbo(fit, x)") -> None:
        """Refuse codes of a codebook, of which q(z | x) has one alone, for what needs all that p(z | x) has."""
        count = self.num_configurations
        exact = f"evaluation.exact_log_likelihood(fit, x, max_configurations={count})"
        more = f"; log p(x) is the sum over all {count} codes, {exact}" if count <= MOST_CODES else ""
        for site in self.latent:
            if site.codes:
                raise UnsuitableObjective(
                    f"{what} needs draws of all that p(z | x) has, and q of the site {site.name!r} is the nearest code "
                    f"of a codebook, with probability 1: use {instead}{more}."
                )

    def check_plain(self, what: str, instead: str) -> None:
        """Refuse latents in plates inside the data's, or of which a mask hides densities.

        Raises:
            UnsuitableObjective: names the site.
        """
        for site in self.latent:
            if site.plates:
                raise UnsuitableObjective(
                    f"{what} takes a site as one value for each datum, and {site.name!r} stands in a plate inside the "
                    "data's: draw its M entries as one site, of batch shape (N, M) with .to_event(1), or "
                    f"use {instead}."
                )
        self.check_unmasked(what, instead)

    def check_unmasked(self, what: str, instead: str) -> None:
        """Refuse latents of which a mask hides densities.

        Raises:
            UnsuitableObjective: names the site.
        """
        if self.masked:
            raise UnsuitableObjective(
                f"{what} needs every density of the site {self.masked[0]!r}, and a mask may hide some: use {instead}."
            )

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

    def check_codes(self) -> None:
        """Refuse a guide's site without a mean or a mode, which would be its code.

        Raises:
            UnsuitableObjective: names the site, and what to average.
        """
        for site in self.latent:
            if not (site.has_mean or site.is_categorical):
                raise UnsuitableObjective(
                    f"The guide's site {site.name!r} is {site.distribution}, of which no mean is known: average draws, "
                    f"fit.draws(x, 100)[{site.name!r}].mean(0)."
                )

    @property
    def has_data_means(self) -> bool:
        """Whether E[x | z] is known."""
        return all(site.has_mean or site.label for site in self.observed)

    def check_data_means(self, instead: str) -> None:
        """Refuse a model whose E[x | z] is not known.

        Raises:
            UnsuitableObjective: names the observed site, and what to use.
        """
        for site in self.observed:
            if not (site.has_mean or site.label):
                raise UnsuitableObjective(
                    f"E[x | z] is not known: the site {site.name!r} is {site.distribution}, of which no mean is known. "
                    f"Use {instead}."
                )

    @property
    def code_dim(self) -> int:
        """D of the single vector of latents; 0 where there are several sites, or it is no vector."""
        vector = len(self.latent) == 1 and len(self.latent[0].event_shape) == 1
        return self.latent[0].event_shape[0] if vector else 0

    @property
    def num_logits(self) -> int:
        """The number of logits of all latents that are bits, one each, or categories, C each."""
        return sum((1 if s.binary else s.num_values or 0) * math.prod(s.event_shape) for s in self.latent)

    @property
    def codebook(self) -> tuple[int, ...]:
        """The shape (L, K, E) of the guide's codes, where they are learned; else ()."""
        return next((site.codebook for site in self.latent if site.codebook), ())

    @property
    def chain(self) -> int:
        """T of the chain of levels of noise that the single latent site is; else 0."""
        return self.latent[0].chain if len(self.latent) == 1 else 0

    @property
    def width(self) -> int:
        """D, the number of entries of all latent sites together."""
        return sum(math.prod(site.event_shape) for site in self.latent)

    def split(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """Codes (B, D), the latent sites side by side, as values of each site, (B, *event_shape).

        Raises:
            ValueError: categories that are none.
        """
        ends = np.cumsum([math.prod(site.event_shape) for site in self.latent])
        codes = {}
        for site, (first, end) in zip(self.latent, itertools.pairwise([0, *ends]), strict=True):
            values = z[:, first:end].reshape(len(z), *site.event_shape)
            count = site.num_values or 0
            wrong = values[~np.isin(values, np.arange(count))] if site.is_categorical else values[:0]
            if wrong.size:
                raise ValueError(
                    f"The site {site.name!r} is one of categories, the integers from 0 to {count - 1}, and 'z' holds "
                    f"{wrong.flat[0]:g} for it: pass codes as fit.encode(x) returns them, or np.rint(z)."
                )
            codes[site.name] = values.astype(np.int64) if site.is_categorical else values
        return codes

    def in_plates(self, z: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield values of the latent sites, (B, ...) each, in the order of their plates, (plates, B, ...)."""
        plates = {site.name: site.plates for site in self.latent}
        yield from ((name, np.moveaxis(values, 0, plates.get(name, 0))) for name, values in z.items())

    @property
    def num_configurations(self) -> int:
        """The number of joint values of the latent sites; 0 where they are not finitely many."""
        return math.prod(site.num_configurations for site in self.latent)

    def configurations(self, of: Callable[[Site], bool] = lambda site: True) -> dict[str, np.ndarray]:
        """Every joint value of the latent sites, or some ``of`` them, (configurations, *event_shape) each."""
        each = np.indices(tuple(self.sizes(of).values())).reshape(len(self.sizes(of)), -1)
        return {site.name: site.configurations()[i] for site, i in zip(filter(of, self.latent), each, strict=True)}

    def sizes(self, of: Callable[[Site], bool]) -> dict[str, int]:
        """The number of values of the latent sites, or some ``of`` them, by name."""
        return {site.name: site.num_configurations for site in self.latent if of(site)}


Plates = Mapping[str, Mapping[int, tuple[str, int]]]
"""Site -> dim -> (name, size) of its plates."""
NO_PLATES: Plates = {}
Bounds = tuple[np.ndarray, np.ndarray] | None
"""The least and the largest number of each entry; None where they are not known."""
NO_BOUNDS: Mapping[str, tuple[Bounds, Bounds]] = {}


def value_of_data(site: Site, values: np.ndarray, draws: int = 1) -> np.ndarray:
    """Bring draws of a site, (K, plates, B, ...) or of one particle (plates, B, ...), into the order (K, B, ...).

    >>> bits = Site("z", "Bernoulli", (2,), False, True, plates=1)
    >>> value_of_data(bits, np.zeros((2, 5))).shape
    (1, 5, 2)
    """
    values = values[None] if draws == 1 else values
    batch = values.ndim - (len(site.event_shape) - site.plates) - 1
    return np.moveaxis(values, batch, 1).reshape(draws, values.shape[batch], *site.event_shape)


def check_support(guide: Site, model: Site) -> None:
    """Refuse a guide whose draws are not values of the model's site: no log p(z) - log q(z) is a log-ratio then.

    Raises:
        ValueError: masses against densities, other numbers of values, or draws beyond the model's bounds.
    """
    of_guide, of_model = f"{guide.distribution} in the guide", f"{model.distribution} in the model"
    kinds = {guide.support, model.support}
    if "discrete" in kinds and len(kinds - {""}) > 1:
        raise ValueError(
            f"Site {guide.name!r} is {of_guide} and {of_model}: the one has a density and the other probabilities, of "
            "which no bound can be made. Give both a relaxed distribution; or both a discrete one, and train it by "
            "TraceGraphELBO, VIMCO or WakeWake."
        )
    if guide.codes != model.codes:
        raise ValueError(
            f"Site {guide.name!r} is {of_guide} and {of_model}: codes of a codebook have probabilities, and only other "
            "codes have them too. Give the guide conditionals.Nearest(net, codebook) and the model priors.CodePrior of "
            "the same codebook and number of codes."
        )
    if guide.num_values != model.num_values is not None and kinds == {"discrete"}:
        values = [str(site.num_values or "countless") for site in (guide, model)]
        raise ValueError(
            f"Site {guide.name!r} is {of_guide}, with {values[0]} values, and {of_model}, with {values[1]}: let the "
            f"guide draw from a {model.distribution} of the same values."
        )
    if (guide.support, model.support) == ("real", "bounded"):
        raise ValueError(
            f"Site {guide.name!r} is {of_guide}, which may be any number, and {of_model}, which may not: give the "
            "guide a distribution with the model's bounds, such as LogNormal above 0, or Beta between 0 and 1."
        )


def match(
    guide: dict[str, Site],
    latent: dict[str, Site],
    observed: dict[str, Site],
    *,
    scaled: bool = False,
    subsampled: str = "",
    empty: bool = False,
    besides: tuple[str, ...] = (),
    misplaced: str = "",
    of_all: tuple[str, ...] = (),
    plates: Plates = NO_PLATES,
    sampled_kl: tuple[str, ...] = (),
    bounds: Mapping[str, tuple[Bounds, Bounds]] = NO_BOUNDS,
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
            f"The guide should sample exactly the model's latent sites {sorted(latent)}; it samples {sorted(guide)}. "
            "Let it draw each of them, or sum a discrete one out in the model, as dist.MixtureSameFamily does."
        )
    for name, site in guide.items():
        if site.event_shape != latent[name].event_shape:
            raise ValueError(
                f"Site {name!r} has event shape {latent[name].event_shape} in the model and {site.event_shape} in the "
                "guide: a net's output size, or a missing .to_event(1)?"
            )
        check_support(site, latent[name])
        if latent[name].density != ANYWHERE:
            raise ValueError(
                f"Site {name!r} is {latent[name].distribution} in the model, whose log-density is not known at the "
                "guide's draws: give the model a distribution whose transform has an inverse."
            )
    narrow = next((n for n, (of_guide, of_model) in bounds.items() if _leaves_out(of_guide, of_model)), None)
    shared = {n for n, site in guide.items() if site.chain == latent[n].chain and site.schedule is latent[n].schedule}
    steps = {name: site.steps or latent[name].steps for name, site in guide.items()}
    return Sites(
        tuple(replace(s, chain=s.chain * (n in shared), schedule=None, steps=steps[n]) for n, s in guide.items()),
        tuple(observed.values()),
        tuple(latent),
        scaled=scaled,
        subsampled=subsampled,
        nesting=max([1, *(-dim for frames in plates.values() for dim in frames)]),
        misplaced=misplaced,
        of_all=of_all,
        besides=besides,
        unplated=tuple(name for name, frames in plates.items() if not frames),
        masked=tuple(name for name in guide if guide[name].masked or latent[name].masked),
        sampled_kl=sampled_kl,
        narrower=""
        if narrow is None
        else f"the site {narrow!r} is {guide[narrow].distribution} in the guide, whose "
        f"values are not all that those of {latent[narrow].distribution} in the model may be",
    )


def _leaves_out(inner: Bounds, outer: Bounds) -> bool:
    """Whether some numbers within the outer bounds are beyond the inner ones."""
    return inner is not None and outer is not None and bool((inner[0] > outer[0]).any() or (inner[1] < outer[1]).any())

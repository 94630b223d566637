"""Checks: they refuse pairs that an objective, ours or a stock one, is wrong for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..errors import SampledKL, UnsuitableObjective
from ..pairs.side_inputs import no_groups
from ..pairs.sites import NOWHERE, Site, Sites


def check_dream(args: tuple[Any, ...], observed: tuple[str, ...]) -> None:
    """Refuse programs whose data a model cannot draw: more arguments than x, or several observed sites.

    Raises:
        UnsuitableObjective: says which.
    """
    if len(args) > 1 or len(observed) > 1:
        raise UnsuitableObjective(
            f"WakeSleep dreams x alone; the programs take {len(args)} arguments and observe {', '.join(observed)}: use "
            "WakeWake, and pass side information as given=."
        )


def known_labels(kwargs: Mapping[str, Any]) -> Any:
    """The labels (B, 1) that programs are called with, the keyword ``given``.

    Raises:
        ValueError: there are none.
    """
    if kwargs.get("given") is None:
        raise ValueError("Labelled learns from labels: pass them, given= of shape (N, 1), and -1 for unknown ones.")
    return kwargs["given"]


def given_groups(kwargs: Mapping[str, Any], columns: int) -> Any:
    """The first columns of the keyword ``given`` that programs are called with, (B, columns), the groups of data.

    Raises:
        ValueError: there are none.
    """
    given = kwargs.get("given")
    if not columns:
        return None
    if given is None or given.shape[1] < columns:
        raise no_groups(given, columns)
    return given[:, :columns]


def observed_labels(sites: Sites) -> dict[str, int]:
    """Name -> number of values of the labels that a model observes beside x, one category for each datum."""
    return {site.name: site.num_values or 0 for site in sites.observed if site.label and site.event_shape == (1,)}


def check_density(name: str, sites: Sites, *, known: bool = True) -> None:
    """Refuse a pair whose guide has a site without a density, or with ``known`` one whose density is known nowhere.

    Raises:
        UnsuitableObjective: names the site.
    """
    for site in sites.latent:
        if not site.has_density:
            raise UnsuitableObjective(
                f"{name}: the guide's site {site.name!r} is a Delta, which has no density: this would be a MAP "
                "estimate under the name of a bound. Give the guide a distribution with spread."
            )
        if known and site.density == NOWHERE:
            raise UnsuitableObjective(
                f"{name}: the guide's site {site.name!r} is {site.distribution}, whose log_prob is known nowhere: "
                "give the guide a distribution with a density, or learn the ratio of the densities from draws: "
                "inference.Adversarial(AVB()), for one vector."
            )
        if site.codes:
            raise UnsuitableObjective(
                f"{name}: the guide's site {site.name!r} is the nearest code of a codebook, one value without a score, "
                "of which several draws are the same; and no other objective moves the codes: use VQELBO."
            )


def check_pathwise(name: str, sites: Sites, *, density: bool = True) -> None:
    """Refuse a pair whose guide has a site without a reparameterised sample, or with ``density`` without that.

    Raises:
        UnsuitableObjective: names the site and what fits.
    """
    check_density(name, sites, known=density)
    for site in sites.latent:
        if not site.reparameterised:
            exact = " or, exactly, TraceEnumELBO" if site.num_values else ""
            raise UnsuitableObjective(
                f"{name} has no pathwise gradient for the site {site.name!r} ({site.distribution}): use "
                f"TraceGraphELBO, VIMCO or WakeWake{exact}."
            )


def check_scores(name: str, sites: Sites, scored: Callable[[Site], bool]) -> None:
    """Refuse a pair whose guide has a site that is scored, or whose score is left out, under a mask.

    A mask takes the score of draws that it does not take.

    Raises:
        UnsuitableObjective: names the site and what fits.
    """
    for site in sites.latent:
        if site.masked and scored(site):
            fits = "TraceELBO or IWAE" if site.reparameterised else "a guide without that mask"
            raise UnsuitableObjective(
                f"{name} needs the whole log q of the site {site.name!r} for its gradient, and a mask in the guide may "
                f"hide some: use {fits}."
            )


def check_enumerable(name: str, sites: Sites) -> None:
    """Refuse a pair without a site of finitely many values, or with one that neither has them nor follows a path.

    Raises:
        UnsuitableObjective: names the site and what fits.
    """
    check_density(name, sites)
    sites.check_plain(name, "TraceGraphELBO, VIMCO or WakeWake")
    finite = any(site.num_values for site in sites.latent)
    for site in sites.latent:
        if site.num_values is None and not (finite and site.reparameterised):
            pathwise = "TraceELBO, " if site.reparameterised else ""
            raise UnsuitableObjective(
                f"{name} cannot enumerate the site {site.name!r} ({site.distribution}): use {pathwise}TraceGraphELBO, "
                "VIMCO or WakeWake."
            )


def check_relaxable(name: str, sites: Sites, *, single: bool = False, bits: bool = False, mixed: bool = False) -> None:
    """Refuse a pair with a latent site that is not made of bits or categories, or with ``single`` several sites.

    With ``mixed`` others that are reparameterised may stand beside those.

    Raises:
        UnsuitableObjective: names the site and what fits.
    """
    check_density(name, sites)
    sites.check_plain(name, "TraceGraphELBO")
    for site in sites.latent:
        if site.reparameterised:
            if mixed and any(other.has_logits for other in sites.latent):
                continue
            raise UnsuitableObjective(
                f"{name} is for discrete latents, and the draws of {site.name!r} ({site.distribution}) carry a "
                "gradient: use TraceELBO, or TraceGraphELBO for latents of both kinds."
            )
        if not site.has_logits:
            raise UnsuitableObjective(
                f"{name} is for Bernoulli and categorical latents; the site {site.name!r} is {site.distribution}: use "
                "TraceGraphELBO, VIMCO or WakeWake."
            )
        if bits and not site.binary and not (single and len(sites.latent) > 1):
            raise UnsuitableObjective(
                f"{name} is for Bernoulli latents; the site {site.name!r} is {site.distribution}: use REBAR, "
                "GumbelSoftmax or TraceGraphELBO."
            )
    if single and len(sites.latent) > 1:
        raise UnsuitableObjective(
            f"{name} is for one layer of latents; the pair has the sites "
            f"{', '.join(repr(site.name) for site in sites.latent)}: use TraceGraphELBO, VIMCO or WakeWake."
        )


def no_closed_kl(site: str, guide: str, prior: str) -> UnsuitableObjective:
    """Make the error for a relaxed site whose KL is not known in closed form."""
    return UnsuitableObjective(
        f"A relaxed draw has no probability, so that KL(q || p) of the site {site!r} has to be known in closed form, "
        f"and that from {guide} to {prior} is not: use DisARM, TraceGraphELBO, VIMCO or WakeWake."
    )


def check_codes(name: str, sites: Sites, *, normal: bool, density: bool = True) -> None:
    """Refuse a pair that has no single vector of reparameterised latents, or with ``normal`` no diagonal normal one.

    Without ``density`` the log-density of the guide may be known nowhere.

    Raises:
        UnsuitableObjective: names the sites.
    """
    check_pathwise(name, sites, density=density)
    sites.check_plain(name, "TraceELBO")
    if len(sites.latent) != 1 or len(sites.latent[0].event_shape) != 1:
        shapes = ", ".join(f"{site.name!r} {site.event_shape}" for site in sites.latent)
        raise UnsuitableObjective(
            f"{name} regularises the codes of one latent site, a vector; the pair has {shapes}: use TraceELBO."
        )
    site = sites.latent[0]
    if normal and not site.is_normal:
        raise not_normal(name, site.name, site.distribution)


def no_target(layer: str) -> UnsuitableObjective:
    """Make the error for a net of the model whose outputs are not the same, for a datum, at each call."""
    return UnsuitableObjective(
        f"HMCELBO moves draws along log p(x, z), and a net of the model has a {layer}, by which that changes from call "
        "to call or with the other data: use LayerNorm in its place, or TraceELBO."
    )


def not_normal(name: str, site: str, distribution: str) -> UnsuitableObjective:
    """Make the error for a guide that has no means and standard deviations to read."""
    return UnsuitableObjective(
        f"{name} reads the means and standard deviations of a diagonal normal guide; the site {site!r} is "
        f"{distribution}: use conditionals.DiagNormal, or InfoVAE or WAE, which need draws alone."
    )


def no_parameter(site: str, distribution: str, parameter: str) -> UnsuitableObjective:
    """Make the error for a gradient estimator that reads a parameter which the guide's distribution does not have."""
    return UnsuitableObjective(
        f"This gradient reads the parameter {parameter!r} of the guide's site {site!r}, and a {distribution} has none: "
        "use another objective, or a guide with such a distribution."
    )


def check_mean(name: str, sites: Sites) -> None:
    """Refuse a pair of several observed sites, or of one without a mean, for a cost between data and their mean.

    Raises:
        UnsuitableObjective: names the sites.
    """
    if len(sites.observed) > 1 or not sites.observed[0].has_mean:
        told = ", ".join(f"{site.name!r} ({site.distribution})" for site in sites.observed)
        raise UnsuitableObjective(
            f"{name}: this 'cost' is one of data and their mean given z, for one observed site that has a mean; the "
            f"model observes {told}: use cost='likelihood'."
        )


def check_decoded(name: str, sites: Sites, *, mean: bool) -> None:
    """Refuse a pair whose decoder a critic of x cannot train: draws of x without a gradient, or with ``mean`` no mean.

    Raises:
        UnsuitableObjective: names the sites and what fits.
    """
    told = ", ".join(f"{site.name!r} ({site.distribution})" for site in sites.observed)
    if len(sites.observed) > 1:
        raise UnsuitableObjective(
            f"{name} shows its critic x as one site draws it, and the model observes {told}: use TraceELBO."
        )
    if mean and not sites.observed[0].has_mean:
        raise UnsuitableObjective(
            f"{name} shows its critic E[x | z], which nobody knows of {told}: use conditionals.Bernoulli or Normal."
        )
    if not mean and not sites.observed[0].reparameterised:
        raise UnsuitableObjective(
            f"{name} trains the decoder by its draws of x, and those of {told} carry no gradient: set mean=True, which "
            "shows the critic E[x | z] in their place, or use conditionals.Normal."
        )


REFUSED_STOCK = {
    "pyro": {
        "ReweightedWakeSleep": "weighs whole batches, not data, and has two losses. Use ppl_vae's WakeWake.",
        "TraceTailAdaptive_ELBO": "ranks whole batches, not data, and its loss is infinite. Use ppl_vae's IWAE or "
        "TraceELBO.",
        "Trace_MMD": "takes the codes of a batch for one long vector, whose kernel is near 0. Use ppl_vae's "
        "InfoVAE(alpha=1.0) or WAE.",
        "JitTrace_ELBO": "compiles anew at each batch and keeps them all. Use ppl_vae's TraceELBO, with "
        "SVI(compile='trace').",
        "JitTraceMeanField_ELBO": "compiles anew at each batch and keeps them all. Use ppl_vae's TraceMeanFieldELBO, "
        "with SVI(compile='trace').",
        "JitTraceGraph_ELBO": "compiles anew at each batch and keeps them all. Use ppl_vae's TraceGraphELBO, with "
        "SVI(compile='trace').",
        "JitTraceEnum_ELBO": "compiles anew at each batch and keeps them all. Use ppl_vae's TraceEnumELBO, with "
        "SVI(compile='trace').",
    },
    "numpyro": {
        "TraceEnum_ELBO": "enumerates by the package funsor, with which no training is checked. Use ppl_vae's "
        "TraceEnumELBO.",
    },
}
"""Stock objectives that do not suit a training in mini-batches on any pair, and why."""


PATHWISE_STOCK = {
    "pyro": {"RenyiELBO", "TraceMeanField_ELBO", "TraceTMC_ELBO"},
    "numpyro": {"Trace_ELBO", "TraceMeanField_ELBO", "RenyiELBO"},
}
"""Stock objectives that are wrong where a draw is not reparameterised: an error of their own, or in silence a guide
gradient of zero, of the wrong sign, or of noise without a mean."""


MEAN_FIELD_STOCK = {"pyro": {"TraceMeanField_ELBO"}, "numpyro": {"TraceMeanField_ELBO"}}
"""Stock objectives that take a KL for each site, which is wrong where the guide samples in another order."""


SCALED_STOCK = {
    "pyro": {
        **dict.fromkeys(("RenyiELBO", "TraceTMC_ELBO"), "the scale tempers the weights"),
        "TraceMeanField_ELBO": "its KL has one scale for guide and model",
    },
    "numpyro": {
        "RenyiELBO": "the scale tempers the weights",
        "TraceGraph_ELBO": "it scales the score twice",
        "TraceMeanField_ELBO": "its KL has one scale for guide and model",
    },
}
"""Stock objectives that are silently wrong under a scale that is not one number for all sites, and why."""


def stock_class(objective: Any, backend: str, names: Collection[str]) -> type | None:
    """Find the class of the backend's library, among those of these names, that an objective is an instance of.

    >>> stock_class(object(), "pyro", {"RenyiELBO"})
    """
    theirs = (cls for cls in type(objective).__mro__ if cls.__module__.partition(".")[0] == backend)
    return next((cls for cls in theirs if cls.__name__ in names), None)


def check_stock(objective: Any, sites: Sites, backend: str, batch: int = 1, data: int = 1) -> None:
    """Refuse a pair that a stock objective, or a user's subclass of one, is known to be wrong for.

    Raises:
        UnsuitableObjective: names the site and what fits.
    """
    own = type(objective)

    def told(stock: type) -> str:
        return f"{backend}'s {stock.__name__}" if own is stock else f"{own.__name__} ({backend}'s {stock.__name__})"

    if stock := stock_class(objective, backend, REFUSED_STOCK[backend]):
        raise UnsuitableObjective(f"{told(stock)} {REFUSED_STOCK[backend][stock.__name__]}")
    check_density(own.__name__, sites)
    if stock := stock_class(objective, backend, PATHWISE_STOCK[backend]):
        check_pathwise(told(stock), sites)
    if stock := stock_class(objective, backend, MEAN_FIELD_STOCK[backend]):
        check_mean_field(told(stock), sites)
        if backend == "pyro" and (sites.masked or sites.besides):
            raise UnsuitableObjective(
                f"{told(stock)} knows no mask over a latent site, and no observed site of a guide, as "
                f"{(*sites.masked, *sites.besides)[0]!r}: use Trace_ELBO."
            )
    if sites.of_all and batch < data:
        raise UnsuitableObjective(
            f"{own.__name__} counts {sites.of_all[0]!r}, which belongs to all {data} data, once in each batch of "
            f"{batch}: {data / batch:.3g} times as much as it weighs in their ELBO. Train on all data in each step, "
            f"batch_size={data}, or draw the site for each datum, in the plate of the data."
        )
    if sites.subsampled and (stock := stock_class(objective, backend, {"RenyiELBO"})):
        raise UnsuitableObjective(
            f"{told(stock)} divides the weights by the scale of the plate {sites.subsampled!r}, which counts more data "
            "than it holds; a training takes that scale out before: use ppl_vae's RenyiELBO, or give the plate the "
            "batch's size, len(x)."
        )
    if backend == "numpyro" and sites.besides and (stock := stock_class(objective, backend, {"TraceGraph_ELBO"})):
        raise UnsuitableObjective(
            f"{told(stock)} leaves out the gradient of what a guide observes, or of its factors, as "
            f"{sites.besides[0]!r}: use Trace_ELBO, or put it into the model, a factor with the other sign."
        )
    if sites.unplated and (stock := stock_class(objective, backend, {"RenyiELBO"})):
        raise UnsuitableObjective(
            f"{told(stock)} takes the logarithm of the weights of a whole batch where a site is in no plate, as "
            f"{sites.unplated[0]!r}: use Trace_ELBO."
        )
    if sites.scaled and (stock := stock_class(objective, backend, SCALED_STOCK[backend])):
        raise UnsuitableObjective(
            f"{told(stock)} is wrong where densities have scales of their own, as around the site "
            f"{sites.latent[0].name!r}: {SCALED_STOCK[backend][stock.__name__]}. Scale both programs by one number, "
            "which changes no step."
        )


def check_mean_field(name: str, sites: Sites) -> None:
    """Refuse a pair whose guide samples in another order than its model: the KL per site is then not the KL.

    Raises:
        UnsuitableObjective: names the order and what fits.
    """
    order = tuple(site.name for site in sites.latent)
    if order != sites.model_order:
        raise UnsuitableObjective(
            f"{name} needs the guide to sample in the model's order {sites.model_order}; it samples {order}, and a KL "
            "in closed form per site would be wrong: use TraceELBO, or TraceGraphELBO for latents that are discrete."
        )


def check_closed(name: str, sites: Sites, *, required: bool) -> None:
    """Refuse sites whose KL has no closed form, where it is ``required``; else warn of them.

    Raises:
        UnsuitableObjective: names the sites and what fits.
    """
    if not sites.sampled_kl:
        return
    told = f"{name}: KL(q || p) of {', '.join(map(repr, sites.sampled_kl))} has no closed form"
    if required:
        raise UnsuitableObjective(f"{told}: set closed=False to sample it, or use TraceELBO.")
    warnings.warn(f"{told}, and is sampled, as by TraceELBO.", SampledKL, stacklevel=2)


def without_state(name: str, baseline: object) -> ValueError:
    """Make the error of an objective whose baseline has a state, where only a training knows it."""
    return ValueError(
        f"{name}: {baseline} follows the training, and this call does not know its state: train with ppl_vae's SVI, or "
        "use baselines.LeaveOneOut()."
    )

"""The components that come with this package: the entries of the tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..backends import Backend
from ..data.streams import Stream
from .components import Guide, Latents, Posterior, Prior, Program, Setting, Values, register
from .likelihoods import LIKELIHOODS, seen, standardised, units
from .nets import NETS, build_perceptron

STARTS = ("random", "mean", "means")
"""Names of where learned pseudo-inputs start."""
UNITS = Setting(
    "prior_hidden", (100,), "units of the hidden layers of the prior 'autoregressive'", least=1, metavar="UNITS"
)
COMPONENTS = Setting(
    "num_pseudo_inputs",
    500,
    "components of the priors 'mixture', 'vampprior' and 'vampprior-data'",
    least=1,
    metavar="C",
)


# Priors


def build_standard_prior(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any) -> Any:
    """Build the prior that is standard for the latents."""
    latents = recipe.component("latents")
    if latents.shared_prior is not None:
        return latents.shared_prior(b, recipe, rng, posterior)
    return latents.prior(b, recipe)


def build_factorised(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any) -> Any:
    """Build independent learned probabilities of each latent's values."""
    latents = recipe.component("latents")
    prior = b.priors.FactorisedCategorical(latents.num_slots(recipe), latents.num_values(recipe))
    return over_numbers(b, recipe, rng, posterior, prior)


def build_autoregressive(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any) -> Any:
    """Build probabilities of each latent's values given those before it, by a masked perceptron (MADE)."""
    latents = recipe.component("latents")
    values = latents.num_values(recipe)
    net = b.nets.MADE(latents.num_slots(recipe), recipe.prior_hidden, rng, num_categories=values)
    return over_numbers(b, recipe, rng, posterior, b.priors.Autoregressive(net))


def over_numbers(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any, prior: Any) -> Any:
    """Make a prior over integers (D,) that of the latents: of categories itself, of codes by their numbers."""
    latents = recipe.component("latents")
    return prior if latents.shared_prior is None else latents.shared_prior(b, recipe, rng, posterior).with_inner(prior)


def build_mixture(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any) -> Any:
    """Build a mixture of Gaussians."""
    return b.priors.MixtureOfGaussians(recipe.num_pseudo_inputs, recipe.latent_dim, rng)


def build_vampprior(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any) -> Any:
    """Build a VampPrior with learned pseudo-inputs."""
    inputs: Any
    if recipe.pseudo_inputs_start == "means":
        inputs = b.priors.Means(recipe.num_pseudo_inputs, recipe.dim, rng)
    else:
        start = init.mean_images if recipe.pseudo_inputs_start == "mean" else init.random_images
        inputs = start(rng, standardised(recipe, find_images(recipe)), recipe.num_pseudo_inputs)
    inputs = b.nets.InUnits(inputs, *units(recipe)) if recipe.standardise else inputs
    return b.priors.VampPrior(posterior, inputs, learned=True)


def build_vampprior_of_data(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any) -> Any:
    """Build a VampPrior whose pseudo-inputs are training images, and stay so."""
    images = init.random_images(rng, find_images(recipe), recipe.num_pseudo_inputs)
    return b.priors.VampPrior(posterior, images, learned=False)


def build_aggregate_posterior(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any) -> Any:
    """Build the mixture of the encoder's posteriors at all training images."""
    images = find_images(recipe)
    if isinstance(images, Stream):
        raise ValueError(
            "The prior 'aggregate' holds all training images in memory, and these are read from a file: use "
            "prior='vampprior-data', which holds 'num_pseudo_inputs' of them."
        )
    return b.priors.AggregatePosterior(posterior, images)


def build_conditional_prior(b: Backend, recipe: Values, rng: np.random.Generator) -> Any:
    """Build p(z | c) = N(loc(c), diag scale(c)^2), a perceptron of its own."""
    sizes = (recipe.given_dim, *recipe.hidden, 2 * recipe.latent_dim)
    return b.conditionals.DiagNormal(build_perceptron(b, recipe, rng, sizes))


def find_images(recipe: Values) -> Any:
    """The training images that a prior starts at.

    Raises:
        ValueError: the recipe has none.
    """
    if recipe.images is None:
        raise ValueError(
            f"The prior {recipe.prior!r} starts at training images: make the recipe from the data, "
            "recipes.vae(data, ...), not only from its settings."
        )
    return seen(recipe)


def refuse_vampprior(recipe: Values) -> str | None:
    """A VampPrior is made of the encoder's posteriors, each of one image alone."""
    if not recipe.component("guide").has_encoder:
        return (
            f"The prior {recipe.prior!r} is a mixture of the encoder's posteriors, and a {recipe.guide} guide has no "
            "encoder: use prior='standard' or 'mixture', or another guide."
        )
    return refuse_given(recipe)


def refuse_given(recipe: Values) -> str | None:
    """Refuse side information."""
    if not recipe.given_dim:
        return None
    return (
        "With side information ('given_dim') the prior is 'standard', 'mixture' or conditional, and the latents are "
        f"'gaussian' or 'bernoulli'; got prior {recipe.prior!r} and {recipe.latents!r} latents."
    )


NUMBERED = ("categorical", "vq", "residual-vq", "fsq", "lfq")
"""Latents whose values are numbered, over which a prior can be learned."""

PRIORS = (
    Prior(
        "standard",
        "N(0, I), or uniform for discrete latents",
        build=build_standard_prior,
        latents=None,
        images_needed=lambda recipe: recipe.component("latents").images_needed(recipe),
    ),
    Prior("mixture", "a mixture of Gaussians", settings=(COMPONENTS,), build=build_mixture),
    Prior(
        "vampprior",
        "a mixture of the encoder's posteriors at learned pseudo-inputs",
        settings=(
            COMPONENTS,
            Setting(
                "pseudo_inputs_start",
                "random",
                "where those of 'vampprior' start: training images, their mean plus noise, or the report's net of "
                "means",
                choices=STARTS,
            ),
        ),
        refuse=refuse_vampprior,
        build=build_vampprior,
        images_needed=lambda recipe: 0 if recipe.pseudo_inputs_start == "means" else recipe.num_pseudo_inputs,
        of_posteriors=True,
    ),
    Prior(
        "vampprior-data",
        "the same at training images, fixed",
        settings=(COMPONENTS,),
        refuse=refuse_vampprior,
        build=build_vampprior_of_data,
        images_needed=lambda recipe: recipe.num_pseudo_inputs,
        of_posteriors=True,
    ),
    Prior(
        "aggregate",
        "the same at all training images, which over-fits",
        refuse=refuse_vampprior,
        build=build_aggregate_posterior,
        images_needed=lambda recipe: recipe.num_images or 1,
        every_image=True,
        of_posteriors=True,
    ),
    Prior(
        "factorised",
        "learned, independent probabilities of categories, or of a codebook's codes",
        latents=NUMBERED,
        build=build_factorised,
        images_needed=lambda recipe: recipe.component("latents").images_needed(recipe),
    ),
    Prior(
        "autoregressive",
        "the same, each given those before it, by a masked perceptron; of real numbers: 'flow', prior_flow 'maf'",
        settings=(UNITS,),
        latents=NUMBERED,
        build=build_autoregressive,
        images_needed=lambda recipe: recipe.component("latents").images_needed(recipe),
    ),
)


# Latents and posteriors


def build_gaussian(b: Backend, recipe: Values, net: Any) -> Any:
    """Build a Gaussian posterior, diagonal or with full covariance."""
    if recipe.full_covariance:
        return b.conditionals.FullNormal(net, recipe.latent_dim)
    return b.conditionals.DiagNormal(net)


def count_gaussian(recipe: Values) -> int:
    """Numbers that describe a Gaussian posterior."""
    d = recipe.latent_dim
    return d + d * (d + 1) // 2 if recipe.full_covariance else 2 * d


def start_gaussian(recipe: Values) -> np.ndarray:
    """Rows that are N(0, I)."""
    assert recipe.num_images is not None
    return init.standard_rows(recipe.num_images, recipe.latent_dim, full_covariance=recipe.full_covariance)


def refuse_gaussian(recipe: Values) -> str | None:
    """A full covariance is one of the standard posterior."""
    if recipe.full_covariance and recipe.posterior != "standard":
        return (
            "full_covariance=True is for the standard posterior of gaussian latents; got posterior "
            f"{recipe.posterior!r}: leave one of them out."
        )
    return None


def refuse_discrete(recipe: Values) -> str | None:
    """Discrete latents have no covariance, and a Gaussian prior is none of theirs."""
    kinds = recipe.component("prior").latents
    if (kinds is None or recipe.latents in kinds) and not recipe.full_covariance:
        return None
    return (
        f"The {recipe.latents} latents have a prior of their own: leave prior='standard' and full_covariance=False, "
        "or use latents='gaussian'; of categories and codes 'factorised' and 'autoregressive' are learned."
    )


FULL = Setting("full_covariance", False, "a Gaussian guide with full covariance instead of a diagonal one")

CATEGORIES = Setting("num_categories", 10, "categories of each categorical latent", least=1, metavar="C")

TEMPERATURES = (
    Setting("posterior_temperature", 2 / 3, "softness of 'concrete' latents in the guide", above=0),
    Setting("prior_temperature", 0.5, "softness of 'concrete' latents in the prior", above=0),
)

CONCENTRATION = Setting(
    "concentration", 5.0, "of 'stick-breaking' latents: the larger, the more pieces share the stick", above=0
)

LATENTS = (
    Latents(
        "gaussian",
        "real numbers",
        settings=(
            Setting("full_covariance", False, "a Gaussian guide with full covariance instead of a diagonal one"),
        ),
        refuse=refuse_gaussian,
        prior=lambda b, recipe: b.priors.StandardNormal(recipe.latent_dim),
        posterior=build_gaussian,
        outputs=count_gaussian,
        start=start_gaussian,
        pathwise=True,
    ),
    Latents(
        "bernoulli",
        "0 or 1, with a uniform prior",
        refuse=refuse_discrete,
        prior=lambda b, recipe: b.priors.FactorisedBernoulli(recipe.latent_dim),
        posterior=lambda b, recipe, net: b.conditionals.Bernoulli(net),
        outputs=lambda recipe: recipe.latent_dim,
        side_by_side=True,
    ),
    Latents(
        "categorical",
        "one of so many categories, with a uniform prior",
        settings=(CATEGORIES,),
        refuse=lambda recipe: refuse_discrete(recipe) or refuse_given(recipe),
        prior=lambda b, recipe: b.priors.UniformCategorical(recipe.latent_dim, recipe.num_categories),
        posterior=lambda b, recipe, net: b.conditionals.Categorical(net, recipe.num_categories),
        outputs=lambda recipe: recipe.latent_dim * recipe.num_categories,
        width=lambda recipe: recipe.latent_dim * recipe.num_categories,
        decode=lambda b, recipe, net: b.nets.OneHot(net, recipe.num_categories),
        side_by_side=True,
        num_values=lambda recipe: recipe.num_categories,
    ),
    Latents(
        "concrete",
        "relaxed categories, each a point of a simplex: another model than that of 'categorical'",
        settings=(CATEGORIES, *TEMPERATURES),
        refuse=lambda recipe: refuse_discrete(recipe) or refuse_given(recipe),
        prior=lambda b, recipe: b.priors.UniformConcrete(
            recipe.latent_dim, recipe.num_categories, temperature=recipe.prior_temperature
        ),
        posterior=lambda b, recipe, net: b.conditionals.Concrete(
            net, recipe.num_categories, temperature=recipe.posterior_temperature
        ),
        outputs=lambda recipe: recipe.latent_dim * recipe.num_categories,
        width=lambda recipe: recipe.latent_dim * recipe.num_categories,
        decode=lambda b, recipe, net: b.nets.Simplex(net, recipe.num_categories),
        pathwise=True,
    ),
    Latents(
        "stick-breaking",
        "shares of what is left of a stick, whose pieces the decoder reads",
        settings=(CONCENTRATION,),
        refuse=lambda recipe: refuse_discrete(recipe) or refuse_given(recipe),
        prior=lambda b, recipe: b.priors.StickBreaking(recipe.latent_dim, recipe.concentration),
        posterior=lambda b, recipe, net: b.conditionals.StickBreaking(net),
        outputs=lambda recipe: 2 * recipe.latent_dim,
        width=lambda recipe: recipe.latent_dim + 1,
        decode=lambda b, recipe, net: b.nets.Sticks(net),
        pathwise=True,
    ),
)


POSTERIORS = (
    Posterior(
        "standard",
        "that of the latents, Gaussian, Bernoulli or categorical",
        build=lambda b, recipe, rng, net: recipe.component("latents").posterior(b, recipe, net),
        outputs=lambda recipe: recipe.component("latents").outputs(recipe),
        latents=None,
        start=lambda recipe: recipe.component("latents").start(recipe),
    ),
)


# Programs and guides


def build_vae(b: Backend, recipe: Values, rng: np.random.Generator, prior: Any, likelihood: Any) -> Any:
    """Build z ~ p(z), x | z ~ p(x | z), all given c where there is some."""
    return b.models.ConditionalVAE(prior, likelihood) if recipe.given_dim else b.models.VAE(prior, likelihood)


PROGRAMS = (Program("vae", "z ~ p(z), x | z ~ p(x | z)", build=build_vae),)


def refuse_semi_amortised(recipe: Values) -> str | None:
    """Refinement follows the gradient through the draws."""
    if recipe.component("latents").pathwise:
        return None
    return (
        f"A semi-amortised guide differentiates the bound by its draws, which {recipe.latents} latents do not "
        "allow: use latents='gaussian', or another guide."
    )


def refuse_per_datapoint(recipe: Values) -> str | None:
    """A table has a row for each training image."""
    if recipe.num_images is None:
        return "A per-datapoint guide is made for training images: pass them, or 'num_images'."
    return None


HAMILTONIAN = (
    Setting("hamiltonian_steps", 5, "leapfrog steps of the guide 'hamiltonian'", least=1, metavar="K"),
    Setting("hamiltonian_step_size", 0.05, "where their learned sizes start", above=0, metavar="SIZE"),
    Setting(
        "hamiltonian_beta",
        1.0,
        "where the learned inverse temperature of their first momentum starts, below 1; 1 for no tempering",
        above=0,
    ),
)


def refuse_hamiltonian(recipe: Values) -> str | None:
    """Steps go through real numbers, from a normal distribution."""
    if recipe.hamiltonian_beta > 1:
        return f"'hamiltonian_beta' should be at most 1, for no tempering; got {recipe.hamiltonian_beta}."
    if recipe.latents == "gaussian" and recipe.posterior == "standard":
        return None
    return (
        "A hamiltonian guide moves real latents from a normal distribution: leave latents='gaussian' and "
        f"posterior='standard', or use another guide; got {recipe.latents!r} latents, posterior {recipe.posterior!r}."
    )


GUIDES = (
    Guide("amortised", "a net", build=lambda b, recipe, rng, posterior, model: b.guides.Amortised(posterior)),
    Guide(
        "semi-amortised",
        "a net whose answer is refined",
        settings=(
            Setting("refinement_steps", 5, "steps of refinement by a semi-amortised guide", least=0, metavar="N"),
        ),
        refuse=refuse_semi_amortised,
        build=lambda b, recipe, rng, posterior, model: b.guides.SemiAmortised(
            posterior, model, num_steps=recipe.refinement_steps
        ),
    ),
    Guide(
        "hamiltonian",
        "a net whose draws leapfrog steps carry on along the gradient of log p(x, z)",
        settings=HAMILTONIAN,
        refuse=refuse_hamiltonian,
        build=lambda b, recipe, rng, posterior, model: b.guides.Hamiltonian(
            posterior,
            model,
            recipe.latent_dim,
            num_steps=recipe.hamiltonian_steps,
            step_size=recipe.hamiltonian_step_size,
            beta=recipe.hamiltonian_beta,
        ),
    ),
    Guide(
        "per-datapoint",
        "parameters for each training image, and no net",
        refuse=refuse_per_datapoint,
        build=lambda b, recipe, rng, posterior, model: b.guides.PerDatapoint(posterior),
        has_encoder=False,
    ),
)

for entry in (*PRIORS, *LIKELIHOODS, *LATENTS, *POSTERIORS, *NETS, *PROGRAMS, *GUIDES):
    register(entry)

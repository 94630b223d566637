"""Components as a user registers them, from outside the package: one of each kind, each on both backends."""

from __future__ import annotations

from typing import Any

from ppl_vae.recipes.components import Likelihood, Net, Posterior, Prior, Program, Setting, register


def modules(b: Any) -> Any:
    """The modules of the backend."""
    if b.name == "pyro":
        import my_pyro as ours
    else:
        import my_numpyro as ours  # type: ignore[no-redef]
    return ours


def refuse_laplace(recipe: Any) -> str | None:
    if recipe.full_covariance:
        return "The prior 'laplace' has independent latents: leave full_covariance=False."
    return None


def skip_net(b: Any, rng: Any, inputs: int, units: int, outputs: int) -> Any:
    return modules(b).Skip(b.nets.MLP((inputs, units, outputs), rng), b.nets.MLP((inputs, outputs), rng))


ENTRIES = (
    Prior(
        "laplace",
        "independent Laplace latents",
        settings=(Setting("laplace_scale", 1.0, "their scale", above=0),),
        refuse=refuse_laplace,
        build=lambda b, recipe, rng, posterior: modules(b).Laplace(recipe.latent_dim, recipe.laplace_scale),
    ),
    Likelihood(
        "fixed",
        "Gaussian with a scale that is given",
        settings=(Setting("noise", 0.5, "the scale", above=0),),
        build=lambda b, recipe, rng, net: b.conditionals.Normal(net, scale=recipe.noise),
    ),
    Posterior(
        "tied",
        "Gaussian with one scale for all latents of an image",
        build=lambda b, recipe, rng, net: modules(b).Tied(net),
        outputs=lambda recipe: recipe.latent_dim + 1,
    ),
    Net(
        "skip",
        "one hidden layer, and a linear map around it",
        settings=(Setting("skip_units", 8, "its units", least=1),),
        encoder=lambda b, recipe, rng, outputs: skip_net(
            b, rng, recipe.dim + recipe.given_dim, recipe.skip_units, outputs
        ),
        decoder=lambda b, recipe, rng, inputs, outputs: skip_net(
            b, rng, inputs, recipe.skip_units, recipe.dim * outputs
        ),
    ),
    Program(
        "twofold",
        "a VAE that notes 2 z, too",
        refuse=lambda recipe: "The program 'twofold' takes no 'given_dim'." if recipe.given_dim else None,
        build=lambda b, recipe, rng, prior, likelihood: modules(b).Twofold(prior, likelihood),
    ),
)

for entry in ENTRIES:
    register(entry)

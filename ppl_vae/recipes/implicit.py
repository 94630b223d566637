"""Parts without a density: posteriors that read noise beside the encoder's numbers, and a program of draws alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Backend
from .components import SLOTS, Posterior, Program, Setting, Values, register

NOISE = Setting(
    "implicit_noise", 16, "numbers of noise that an implicit or semi-implicit posterior takes", least=1, metavar="R"
)
HIDDEN = Setting("implicit_hidden", (128,), "units of the layers that read the noise", least=1, metavar="UNITS")
CONTEXT = Setting("implicit_context", 64, "numbers of the encoder that they read beside it", least=1, metavar="H")
EXTRA = Setting(
    "implicit_extra", 10, "further noise by which 'semi-implicit' estimates its density", least=0, metavar="M"
)
SETTINGS = (NOISE, HIDDEN, CONTEXT, EXTRA)


def build_head(b: Backend, recipe: Values, rng: np.random.Generator, outputs: int) -> Any:
    """Build the net of h(x) and noise."""
    return b.nets.MLP((recipe.implicit_context + recipe.implicit_noise, *recipe.implicit_hidden, outputs), rng)


def build(b: Backend, recipe: Values, rng: np.random.Generator, net: Any) -> Any:
    """Build z = g(h(x), eps)."""
    return b.conditionals.Implicit(net, build_head(b, recipe, rng, recipe.latent_dim), recipe.implicit_noise)


def build_semi_implicit(b: Backend, recipe: Values, rng: np.random.Generator, net: Any) -> Any:
    """Build z ~ N(loc(h(x), eps), diag scale(h(x), eps)^2)."""
    head = b.conditionals.DiagNormal(build_head(b, recipe, rng, 2 * recipe.latent_dim))
    extra = recipe.implicit_extra
    return b.conditionals.SemiImplicit(net, head, recipe.latent_dim, recipe.implicit_noise, num_extra=extra)


def refuse(recipe: Values) -> str | None:
    """A VampPrior is a mixture of the guide's densities, at draws of the others."""
    if recipe.component("prior").of_posteriors:
        return (
            f"The prior {recipe.prior!r} is made of the guide's densities, and an implicit posterior has none, a "
            "semi-implicit one none but at its own draws: use prior='standard' or 'mixture', or posterior='standard'."
        )
    return None


def refuse_refined(recipe: Values) -> str | None:
    """Refinement climbs a bound, which has log q."""
    if recipe.guide == "semi-amortised":
        return (
            "A semi-amortised guide climbs the ELBO, of which an implicit posterior has no log q(z | x): use "
            "guide='amortised', or posterior='semi-implicit', which estimates it."
        )
    return refuse(recipe)


POSTERIORS = (
    Posterior(
        "implicit",
        "draws of a net that takes noise, without a density",
        settings=(NOISE, HIDDEN, CONTEXT),
        refuse=refuse_refined,
        build=build,
        outputs=lambda recipe: recipe.implicit_context,
    ),
    Posterior(
        "semi-implicit",
        "a normal whose net takes noise, with a density that is estimated",
        settings=SETTINGS,
        refuse=refuse,
        build=build_semi_implicit,
        outputs=lambda recipe: recipe.implicit_context,
    ),
)

for entry in POSTERIORS:
    register(entry)


def refuse_program(recipe: Values) -> str | None:
    """Draws alone need noise and a net, and nothing that has a density of x, or infers."""
    plain = {slot: SLOTS[slot].default for slot in ("prior", "likelihood", "latents", "posterior")}
    plain["guide"] = "empty"
    if recipe.given_dim or any(getattr(recipe, slot) != value for slot, value in plain.items()):
        needed = ", ".join(f"{slot}={value!r}" for slot, value in plain.items())
        return (
            "program='implicit' draws x = g(z) of standard normal noise, and has no density of x: set given_dim=0, "
            f"{needed}, or program='vae'."
        )
    return None


def build_program(b: Backend, recipe: Values, rng: np.random.Generator, prior: Any, likelihood: Any) -> Any:
    """Build z ~ N(0, I), x = g(z)."""
    generator = recipe.component("net").decoder(b, recipe, rng, recipe.latent_dim, 1)
    return b.models.Implicit(b.priors.StandardNormal(recipe.latent_dim), generator)


register(
    Program(
        "implicit",
        "draws of a net that takes noise, without a density: a GAN",
        refuse=refuse_program,
        build=build_program,
        own_parts=True,
    )
)

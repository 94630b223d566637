"""The components that are normalising flows: posteriors and a prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import init
from ..arrays.flows import Affine, Spline
from ..backends import Backend
from .components import Posterior, Prior, Setting, Values, register

STEPS = Setting("flow_steps", 4, "steps of a flow", least=1, metavar="K")
HIDDEN = Setting("flow_hidden", (128,), "units of the hidden layers of a step's net", least=1, metavar="UNITS")
CONTEXT = Setting("flow_context", 32, "numbers of the encoder that every step of a flow reads", least=1, metavar="H")
BINS = Setting("spline_bins", 8, "bins of a spline", least=2, metavar="BINS")
BOUND = Setting("spline_bound", 5.0, "beyond which a spline is the identity", above=0, metavar="BOUND")
REFLECTIONS = Setting(
    "flow_reflections", 4, "Householder reflections that turn the directions of a Sylvester step", least=1, metavar="K"
)
SPLINE = (BINS, BOUND)
PRIOR_STEP = Setting(
    "prior_flow",
    "coupling",
    "steps of the prior 'flow': affine or spline couplings, or a masked autoregressive flow, which draws slowly",
    choices=("coupling", "spline", "maf"),
)
SETTINGS = (STEPS, HIDDEN, CONTEXT, *SPLINE, REFLECTIONS, PRIOR_STEP)

Steps = Callable[[Backend, Values, np.random.Generator, int], Sequence[Any]]
"""(backend's modules, recipe, rng, H) -> the steps."""


def couplings(b: Backend, recipe: Values, rng: np.random.Generator, context: int, *, spline: bool) -> list[Any]:
    """Coupling steps, in which the halves take turns."""
    scalar = Spline(recipe.spline_bins, recipe.spline_bound) if spline else Affine()
    return [
        b.nets.Coupling(
            recipe.latent_dim, recipe.flow_hidden, rng, context=context, scalar=scalar, swapped=bool(number % 2)
        )
        for number in range(recipe.flow_steps)
    ]


def autoregressive(b: Backend, recipe: Values, rng: np.random.Generator, context: int) -> list[Any]:
    """Autoregressive steps, whose order is turned round from step to step."""
    orders = [range(recipe.latent_dim), range(recipe.latent_dim)[::-1]]
    return [
        b.nets.Autoregressive(
            recipe.latent_dim, recipe.flow_hidden, rng, context=context, order=tuple(orders[number % 2])
        )
        for number in range(recipe.flow_steps)
    ]


def posterior(name: str, about: str, steps: Steps, settings: Sequence[Setting], refuse: Any) -> Posterior:
    """The component of a diagonal normal that goes through steps, with a context from the encoder."""

    def build(b: Backend, recipe: Values, rng: np.random.Generator, net: Any) -> Any:
        base = b.conditionals.DiagNormal(net)
        return b.conditionals.Flow(base, recipe.flow_context, steps(b, recipe, rng, recipe.flow_context))

    def start(recipe: Values) -> np.ndarray:
        assert recipe.num_images is not None
        rows = init.standard_rows(recipe.num_images, recipe.latent_dim)
        return np.concatenate([rows, np.zeros((len(rows), recipe.flow_context))], -1)

    return Posterior(
        name,
        about,
        settings=(STEPS, CONTEXT, *settings),
        refuse=refuse,
        build=build,
        outputs=lambda recipe: 2 * recipe.latent_dim + recipe.flow_context,
        start=start,
    )


def refuse_vampprior(recipe: Values) -> str | None:
    """A VampPrior needs the density of each component at each draw."""
    if recipe.component("prior").of_posteriors:
        return (
            f"The prior {recipe.prior!r} would invert a flow posterior once for each pseudo-input and draw: use "
            "prior='flow', 'mixture' or 'standard', or posterior='standard'."
        )
    return None


def refuse_one_entry(recipe: Values) -> str | None:
    """Some steps move entries by others."""
    if recipe.latent_dim < 2:
        return (
            f"Steps in which entries of z move others need latent_dim of at least 2; got {recipe.latent_dim}: raise it,"
            " or use posterior='planar', 'radial' or 'sylvester', and prior='standard' or 'mixture'."
        )
    return None


def refuse_narrow(recipe: Values) -> str | None:
    """An autoregressive net narrower than z hides entries from others."""
    if recipe.flow_hidden and min(recipe.flow_hidden) < recipe.latent_dim:
        return (
            f"An autoregressive step needs flow_hidden of at least latent_dim = {recipe.latent_dim} units in each "
            f"layer; got {recipe.flow_hidden}."
        )
    return None


def refused(*checks: Callable[[Values], str | None]) -> Callable[[Values], str | None]:
    """The first refusal of several checks."""
    return lambda recipe: next((said for check in checks if (said := check(recipe)) is not None), None)


POSTERIORS = (
    posterior(
        "iaf",
        "a normal through inverse autoregressive steps",
        autoregressive,
        (HIDDEN,),
        refused(refuse_vampprior, refuse_one_entry, refuse_narrow),
    ),
    posterior(
        "planar",
        "a normal through planar steps",
        lambda b, recipe, rng, h: [b.nets.Planar(recipe.latent_dim, h, rng) for _ in range(recipe.flow_steps)],
        (),
        refuse_vampprior,
    ),
    posterior(
        "radial",
        "a normal through radial steps",
        lambda b, recipe, rng, h: [b.nets.Radial(recipe.latent_dim, h, rng) for _ in range(recipe.flow_steps)],
        (),
        refuse_vampprior,
    ),
    posterior(
        "sylvester",
        "a normal through Sylvester steps, planar ones along all directions at once",
        lambda b, recipe, rng, h: [
            b.nets.Sylvester(recipe.latent_dim, h, rng, reflections=recipe.flow_reflections)
            for _ in range(recipe.flow_steps)
        ],
        (REFLECTIONS,),
        refuse_vampprior,
    ),
    posterior(
        "coupling",
        "a normal through affine coupling steps",
        lambda b, recipe, rng, h: couplings(b, recipe, rng, h, spline=False),
        (HIDDEN,),
        refused(refuse_vampprior, refuse_one_entry),
    ),
    posterior(
        "spline",
        "a normal through coupling steps of splines",
        lambda b, recipe, rng, h: couplings(b, recipe, rng, h, spline=True),
        (HIDDEN, *SPLINE),
        refused(refuse_vampprior, refuse_one_entry),
    ),
)


def build_flow(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any) -> Any:
    """Build N(0, I) through steps whose inverses are cheap."""
    if recipe.prior_flow == "maf":
        steps = [b.nets.Inverse(step) for step in autoregressive(b, recipe, rng, 0)]
    else:
        steps = couplings(b, recipe, rng, 0, spline=recipe.prior_flow == "spline")
    return b.priors.FlowPrior(recipe.latent_dim, steps)


def refuse_prior(recipe: Values) -> str | None:
    """Entries are moved by others, by nets that are wide enough."""
    return refuse_one_entry(recipe) or (refuse_narrow(recipe) if recipe.prior_flow == "maf" else None)


PRIOR = Prior(
    "flow",
    "N(0, I) through steps of a flow",
    settings=(PRIOR_STEP, STEPS, HIDDEN, *SPLINE),
    refuse=refuse_prior,
    build=build_flow,
)

for entry in (*POSTERIORS, PRIOR):
    register(entry)

"""The components of sequences, whose latents move from step to step or are summed out, and of images in steps."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..arrays.windows import SIGHT, Filters
from ..backends import Backend
from .components import SLOTS, Guide, Net, Posterior, Prior, Program, Setting, Values, register
from .likelihoods import symbols
from .nets import ACTIVATION, HIDDEN, INITIAL, build_perceptron

TRANSITION = Setting(
    "transition",
    "gated",
    "of the prior 'markov': gated between a linear and a nonlinear map, an mlp, or linear with constant scales",
    choices=("gated", "mlp", "linear"),
)
TRANSITION_UNITS = Setting(
    "transition_hidden", (200,), "units of the hidden layers of a transition", least=1, metavar="UNITS"
)
UNITS = Setting("recurrent_units", 200, "state of the net that reads the steps one after the other", least=1)
DRAW_STEPS = Setting(
    "draw_steps", 8, "in which the net 'draw' draws an image; they share the latents", least=1, metavar="T"
)
DRAW_UNITS = Setting("draw_units", 256, "state of the encoder and of the decoder of 'draw'", least=1)
DRAW_WINDOW = Setting(
    "draw_window", 0, "filters each way by which 'draw' reads and writes; 0 for whole images", least=0
)
STATES = Setting("hidden_states", 16, "values of the state of a hidden Markov model", least=2, metavar="C")
TWIST = Setting("twist", False, "a net that tells particle filters what later data say of a state")
SETTINGS = (TRANSITION, TRANSITION_UNITS, UNITS, TWIST, STATES, DRAW_STEPS, DRAW_UNITS, DRAW_WINDOW)
DIRECTIONS = {"smoothing": True, "filtering": False}
"""Posterior -> whether its net reads x backwards."""
PARTS = "prior='markov', posterior='smoothing' or 'filtering' and net='recurrent'"


def refuse(recipe: Values) -> str | None:
    """The parts of a sequence go together, over data (T, P)."""
    parts = (recipe.prior == "markov", recipe.posterior in DIRECTIONS, recipe.net == "recurrent")
    if not all(parts):
        return (
            f"The parts of sequences go together, {PARTS}; got prior={recipe.prior!r}, posterior={recipe.posterior!r} "
            f"and net={recipe.net!r}: set all three, as recipes.deep_markov does, or none."
        )
    if len(recipe.shape) != 2:
        return (
            "A sequence has T steps of P numbers: pass the data as (N, T, P), or say image_shape=(T, P) of flat rows; "
            f"got the shape {recipe.shape} of one sequence."
        )
    if recipe.given_dim or not recipe.component("guide").has_encoder or recipe.program != "vae":
        return (
            "A sequence has the program 'vae' without side information and a guide with an encoder; got "
            f"program={recipe.program!r}, given_dim={recipe.given_dim} and guide={recipe.guide!r}: leave these out."
        )
    return None


def build_transition(b: Backend, recipe: Values, rng: np.random.Generator) -> Any:
    """Build p(z_t | z_{t-1})."""
    dim = recipe.latent_dim
    if recipe.transition == "gated":
        return b.conditionals.DiagNormal(b.nets.GatedTransition(dim, recipe.transition_hidden, rng))
    if recipe.transition == "linear":
        return b.conditionals.Normal(b.nets.MLP((dim, dim), rng), learned=True)
    return b.conditionals.DiagNormal(b.nets.MLP((dim, *recipe.transition_hidden, 2 * dim), rng))


def build_prior(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any) -> Any:
    """Build z_1 ~ N(0, I), z_t ~ p(z_t | z_{t-1})."""
    initial = b.priors.StandardNormal(recipe.latent_dim)
    return b.priors.Markov(initial, build_transition(b, recipe, rng), recipe.shape[0])


def build_posterior(name: str, b: Backend, recipe: Values, rng: np.random.Generator, net: Any) -> Any:
    """Build q(z_t | z_{t-1}, h_t) over the states h of a recurrent net."""
    combiner = b.conditionals.DiagNormal(b.nets.Combiner(recipe.latent_dim, recipe.recurrent_units, rng))
    make = b.conditionals.Smoothing if DIRECTIONS[name] else b.conditionals.Filtering
    twist = b.nets.Twist(read(recipe), recipe.latent_dim, recipe.recurrent_units, rng) if recipe.twist else None
    return make(net, combiner, recipe.latent_dim, recipe.shape[0], levels=symbols(recipe), twist=twist)


def read(recipe: Values) -> int:
    """The numbers that a net reads of a step's data."""
    return int(recipe.shape[1]) * (symbols(recipe) or 1)


def build_encoder(b: Backend, recipe: Values, rng: np.random.Generator, outputs: int) -> Any:
    """Build the recurrent net over the steps."""
    return b.nets.GRU(read(recipe), outputs, rng, backward=DIRECTIONS[recipe.posterior])


def build_decoder(b: Backend, recipe: Values, rng: np.random.Generator, inputs: int, outputs: int) -> Any:
    """Build a perceptron from z_t to ``outputs`` numbers for each number of x_t."""
    net = build_perceptron(b, recipe, rng, (inputs, *reversed(recipe.hidden), recipe.shape[1] * outputs))
    parts = 1 if recipe.component("likelihood").side_by_side else outputs
    return b.nets.PerStep(net, recipe.shape[0], parts=parts)


PRIOR = Prior(
    "markov",
    "of sequences: z_1 is N(0, I), and each step given the one before",
    settings=(TRANSITION, TRANSITION_UNITS),
    refuse=refuse,
    build=build_prior,
)
NET = Net(
    "recurrent",
    "of sequences (N, T, P): a gated recurrent unit over the steps, and a perceptron at each",
    settings=(HIDDEN, Setting("gated", False, "gated hidden layers instead of --activation"), ACTIVATION, INITIAL),
    refuse=refuse,
    encoder=build_encoder,
    decoder=build_decoder,
    of_steps=True,
)
POSTERIORS = tuple(
    Posterior(
        name,
        f"of sequences: each step given the one before and all data {reads}",
        settings=(UNITS, TWIST),
        refuse=refuse,
        build=partial(build_posterior, name),
        outputs=lambda recipe: recipe.recurrent_units,
    )
    for name, reads in (("smoothing", "from it on"), ("filtering", "up to it"))
)


COUNTS = tuple(f"{zeros}{name}" for name in ("poisson", "negative-binomial") for zeros in ("", "zero-inflated-"))
EMISSIONS = ("bernoulli", "normal", "normal-diagonal", "categorical", *COUNTS)
"""Likelihoods whose numbers are independent at each step."""


def refuse_whole(name: str, guide: str, recipe: Values) -> str | None:
    """A program that makes all its parts itself, of sequences, takes perceptrons and a likelihood of each step."""
    plain = {slot: SLOTS[slot].default for slot in ("prior", "latents", "posterior", "net")} | {"guide": guide}
    if recipe.given_dim or any(getattr(recipe, slot) != value for slot, value in plain.items()):
        needed = ", ".join(f"{slot}={value!r}" for slot, value in plain.items())
        return f"program={name!r} has parts of its own, and no side information: set given_dim=0, {needed}."
    if recipe.likelihood not in EMISSIONS:
        return (
            f"program={name!r} is of numbers that are independent at each step: use likelihood="
            f"{' or '.join(map(repr, EMISSIONS))}; got {recipe.likelihood!r}."
        )
    if len(recipe.shape) != 2:
        return (
            f"program={name!r} is of sequences, T steps of P numbers: give data (N, T, P), or flat rows with "
            f"image_shape=(T, P); got {recipe.shape}."
        )
    return None


def build_emission(b: Backend, recipe: Values, rng: np.random.Generator, sizes: tuple[int, ...]) -> Any:
    """Build p(x_t | what a perceptron of these sizes reads)."""
    likelihood = recipe.component("likelihood")
    net = build_perceptron(b, recipe, rng, (*sizes, recipe.shape[1] * likelihood.outputs(recipe)))
    return likelihood.build(b, recipe, rng, net)


def build_hidden_markov(b: Backend, recipe: Values, rng: np.random.Generator, prior: Any, likelihood: Any) -> Any:
    """Build p(x) with states that are summed out, each with numbers of its own for x_t."""
    emission = build_emission(b, recipe, rng, (recipe.hidden_states,))
    return b.models.FullyVisible(b.priors.HiddenMarkov(recipe.hidden_states, emission, recipe.shape[0], rng))


def build_recurrent(b: Backend, recipe: Values, rng: np.random.Generator, prior: Any, likelihood: Any) -> Any:
    """Build a variational recurrent net."""
    dim, units, length = recipe.latent_dim, recipe.recurrent_units, recipe.shape[0]
    transition = build_perceptron(b, recipe, rng, (units, *recipe.hidden, 2 * dim))
    emission = build_emission(b, recipe, rng, (dim + units, *reversed(recipe.hidden)))
    cell, levels = b.nets.GRU(read(recipe) + dim, units, rng), symbols(recipe)
    return b.models.Recurrent(cell, b.conditionals.DiagNormal(transition), emission, dim, length, levels=levels)


def build_recurrent_guide(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any, model: Any) -> Any:
    """Build q(z_t | x_t, h_t) over the states of the model."""
    sizes = (read(recipe) + recipe.recurrent_units, *recipe.hidden, 2 * recipe.latent_dim)
    conditional = b.conditionals.DiagNormal(build_perceptron(b, recipe, rng, sizes))
    return b.guides.Amortised(b.conditionals.RecurrentFiltering(model, conditional))


HIDDEN_MARKOV = Program(
    "hidden-markov",
    "of sequences: states that are summed out, without latents",
    settings=(STATES,),
    refuse=partial(refuse_whole, "hidden-markov", "empty"),
    build=build_hidden_markov,
    own_parts=True,
    of_steps=True,
)
RECURRENT = Program(
    "recurrent",
    "of sequences: each step given all before, by a recurrent net (VRNN)",
    settings=(UNITS,),
    refuse=partial(refuse_whole, "recurrent", "recurrent"),
    build=build_recurrent,
    guides=("recurrent",),
    own_parts=True,
    of_steps=True,
)
RECURRENT_GUIDE = Guide(
    "recurrent",
    "that of the program 'recurrent', which reads its states",
    build=build_recurrent_guide,
    programs=("recurrent",),
)


def refuse_draw(recipe: Values) -> str | None:
    """A net that draws in steps goes with the guide that looks on, over real latents that the steps share."""
    if recipe.net != "draw" or recipe.guide != "draw":
        return (
            f"The net and the guide 'draw' go together; got net={recipe.net!r} and guide={recipe.guide!r}: set both "
            "or neither."
        )
    plain = {"likelihood": "bernoulli", "latents": "gaussian", "posterior": "standard", "program": "vae"}
    if (
        recipe.component("prior").of_posteriors
        or recipe.full_covariance
        or recipe.given_dim
        or any(getattr(recipe, slot) != name for slot, name in plain.items())
    ):
        return (
            "The net 'draw' has its own posterior, of pixels in [0, 1] without side information: leave given_dim=0, "
            f"full_covariance=False and {', '.join(f'{slot}={name!r}' for slot, name in plain.items())}, and use a "
            "prior without an encoder, as prior='standard' or 'flow'."
        )
    if recipe.draw_window and (len(recipe.shape) != 2 or recipe.draw_window < 2):
        return (
            f"The net 'draw' looks at images (H, W) through 2 filters each way or more; got shape {recipe.shape} and "
            f"draw_window={recipe.draw_window}: leave draw_window=0 for whole images, or set it to 2 or more and say "
            "image_shape=(H, W)."
        )
    if recipe.latent_dim % recipe.draw_steps:
        return (
            f"The net 'draw' has as many latents at each of its {recipe.draw_steps} steps: set latent_dim="
            f"{recipe.draw_steps * max(1, recipe.latent_dim // recipe.draw_steps)}, or another multiple of draw_steps; "
            f"got {recipe.latent_dim}."
        )
    return None


def build_reader(b: Backend, recipe: Values, rng: np.random.Generator, outputs: int) -> Any:
    """Build the recurrent net that reads x, what is left of it to draw, and the state of the canvas."""
    seen = recipe.draw_window**2 or recipe.dim
    return b.nets.GRU(2 * seen + recipe.draw_units, recipe.draw_units, rng)


def build_canvas(b: Backend, recipe: Values, rng: np.random.Generator, inputs: int, outputs: int) -> Any:
    """Build the recurrent net that draws."""
    filters = Filters(recipe.shape, recipe.draw_window) if recipe.draw_window else None
    dim = inputs // recipe.draw_steps
    return b.nets.Canvas(dim, recipe.draw_units, recipe.dim, recipe.draw_steps, rng, filters=filters)


def build_onlooker(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any, model: Any) -> Any:
    """Build the guide that shares the model's canvas."""
    head = b.nets.MLP((recipe.draw_units, 2 * recipe.latent_dim // recipe.draw_steps), rng)
    look = b.nets.MLP((recipe.draw_units, SIGHT), rng) if recipe.draw_window else None
    canvas = model.likelihood.net
    return b.guides.Amortised(b.conditionals.Drawing(posterior.net, b.conditionals.DiagNormal(head), canvas, look))


DRAW_NET = Net(
    "draw",
    "recurrent nets that draw an image in steps (DRAW)",
    settings=(DRAW_STEPS, DRAW_UNITS, DRAW_WINDOW),
    refuse=refuse_draw,
    encoder=build_reader,
    decoder=build_canvas,
)
DRAW_GUIDE = Guide("draw", "the one that looks on as the net 'draw' does", refuse=refuse_draw, build=build_onlooker)

for entry in (PRIOR, NET, *POSTERIORS, HIDDEN_MARKOV, RECURRENT, RECURRENT_GUIDE, DRAW_NET, DRAW_GUIDE):
    register(entry)

"""Pairs for data of which few have a label."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backends
from ..backends import Backend
from .components import Guide, Program, Setting, Values, register
from .likelihoods import build_encoder
from .nets import build_perceptron

AUXILIARY = Setting(
    "auxiliary_dim", 0, "of the auxiliary variable of 'semi-supervised', 0 for none", least=0, metavar="A"
)


def semi_supervised(
    num_pixels: int,
    num_classes: int,
    rng: np.random.Generator,
    *,
    latent_dim: int = 10,
    hidden: Sequence[int] = (100,),
    auxiliary_dim: int = 0,
    backend: str = "pyro",
) -> tuple[Any, Any]:
    """Make the pair of a semi-supervised VAE of binary data, the model M2: (model, guide).

    p(y) is uniform, p(z) standard normal, pixels Bernoulli; all nets are perceptrons. With ``auxiliary_dim`` it is the
    auxiliary deep generative model. Train it by ``objectives.Labelled(objective, weight=)`` with ``given=`` labels (N,
    1), -1 where they are not known; ``fit.encode(x, given=-np.ones((len(x), 1)))[:, 0]`` is the class.

    Args:
        num_pixels: P.
        num_classes: C.
        rng: the generator of the initial weights.
        latent_dim: D, the dimension of z.
        hidden: units of the hidden layers of each net.
        auxiliary_dim: A, the dimension of the auxiliary variable; 0 for none.
        backend: "pyro" or "numpyro".

    Raises:
        ValueError: fewer than two classes.

    >>> model, guide = semi_supervised(64, 10, np.random.default_rng(0))
    >>> model(size=3).shape
    torch.Size([3, 64])
    """
    if num_classes < 2:
        raise ValueError(f"'num_classes' should be at least 2; got {num_classes}.")
    b = backends.load(backend)
    given, models, guides = b.conditionals, b.models, b.guides

    def net(inp: int, out: int) -> Any:
        return b.nets.MLP((inp, *hidden, out), rng)

    def normal(inp: int, dim: int) -> Any:
        return given.DiagNormal(net(inp, 2 * dim))

    labels, prior = models.UniformCategorical(1, num_classes), models.StandardNormal(latent_dim)
    likelihood = given.Bernoulli(net(latent_dim + num_classes, num_pixels))
    seen = num_pixels + auxiliary_dim
    of_model, of_guide = None, None
    if auxiliary_dim:
        of_model = normal(latent_dim + num_classes + num_pixels, auxiliary_dim)
        of_guide = normal(num_pixels, auxiliary_dim)
    classifier = given.Categorical(net(seen, num_classes), num_classes)
    posterior = normal(seen + num_classes, latent_dim)
    return (
        models.SemiSupervisedVAE(labels, prior, likelihood, of_model),
        guides.SemiSupervised(classifier, posterior, of_guide),
    )


def refuse_program(recipe: Values) -> str | None:
    """Labels stand beside real numbers z and x, and the guide knows them."""
    if recipe.guide != "semi-supervised":
        return (
            f"The program 'semi-supervised' has a latent label, which the guide {recipe.guide!r} does not draw: use "
            "guide='semi-supervised'."
        )
    if recipe.given_dim < 2:
        return (
            "The program 'semi-supervised' needs the number of labels, at least 2: set given_dim, on the command line "
            f"by --labels; got given_dim={recipe.given_dim}."
        )
    if recipe.latents != "gaussian" or recipe.conditional_prior:
        return (
            "The program 'semi-supervised' has z ~ p(z) of real numbers beside the label: use latents='gaussian' and "
            f"conditional_prior=False; got {recipe.latents!r} and {recipe.conditional_prior}."
        )
    if recipe.auxiliary_dim and recipe.net != "mlp":
        return (
            "The auxiliary variable stands before x in the encoders, which are perceptrons then: use net='mlp', or "
            f"auxiliary_dim=0; got {recipe.net!r}."
        )
    return None


def refuse_guide(recipe: Values) -> str | None:
    """The guide draws the label of one program."""
    if recipe.program == "semi-supervised":
        return None
    return (
        "The guide 'semi-supervised' draws a label, and the program "
        f"{recipe.program!r} has none: use program='semi-supervised', or guide='amortised'."
    )


def build_model(b: Backend, recipe: Values, rng: np.random.Generator, prior: Any, likelihood: Any) -> Any:
    """Build y ~ p(y), uniform, z ~ p(z), x | y, z, and with an auxiliary variable a ~ p(a | x, y, z)."""
    labels = b.priors.UniformCategorical(1, recipe.given_dim)
    if not recipe.auxiliary_dim:
        return b.models.SemiSupervisedVAE(labels, prior, likelihood)
    seen = recipe.latent_dim + recipe.given_dim + recipe.dim
    return b.models.SemiSupervisedVAE(labels, prior, likelihood, _build_auxiliary(b, recipe, rng, seen))


def build_guide(b: Backend, recipe: Values, rng: np.random.Generator, posterior: Any, model: Any) -> Any:
    """Build y ~ q(y | x), z ~ q(z | x, y); with an auxiliary variable a ~ q(a | x) before them, which they see."""
    auxiliary = None
    if recipe.auxiliary_dim:
        auxiliary = _build_auxiliary(b, recipe, rng, recipe.dim)
        family = recipe.component("posterior")
        net = _build_encoder(b, recipe, rng, recipe.auxiliary_dim + recipe.given_dim, family.outputs(recipe))
        posterior = family.build(b, recipe, rng, net)
    net = _build_encoder(b, recipe, rng, recipe.auxiliary_dim, recipe.given_dim)
    return b.guides.SemiSupervised(b.conditionals.Categorical(net, recipe.given_dim), posterior, auxiliary)


def _build_encoder(b: Backend, recipe: Any, rng: np.random.Generator, beside: int, outputs: int) -> Any:
    """Build a net of the recipe's kind from x and ``beside`` numbers."""
    plain = dataclasses.replace(recipe, program="vae", guide="amortised", given_dim=beside)
    return build_encoder(b, plain, rng, outputs)


def _build_auxiliary(b: Backend, recipe: Values, rng: np.random.Generator, seen: int) -> Any:
    """Build a diagonal normal auxiliary variable given so many numbers."""
    sizes = (seen, *recipe.hidden, 2 * recipe.auxiliary_dim)
    return b.conditionals.DiagNormal(build_perceptron(b, recipe, rng, sizes))


register(
    Program(
        "semi-supervised",
        "y ~ p(y), z ~ p(z), x | y, z, the label y known of some data",
        settings=(AUXILIARY,),
        refuse=refuse_program,
        build=build_model,
        prior_given=False,
    )
)
register(Guide("semi-supervised", "nets for the label and for z given it", refuse=refuse_guide, build=build_guide))

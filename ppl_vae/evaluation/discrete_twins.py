"""The discrete pair behind a pair of relaxed categories: the same nets, other latents."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..errors import UnsuitableObjective
from ..results.fit import Fit


def discrete_twin(fit: Fit) -> Fit:
    """Return the fit of the discrete pair with the same weights, whose categories are the largest entries of draws.

    A Concrete pair bounds log p(x) of a model with relaxed categories. This is the other model, with p(z) and q(z | x)
    over categories: ``conditionals.Categorical`` in the place of ``Concrete``, ``nets.OneHot`` in that of ``Simplex``,
    ``UniformCategorical`` in that of ``UniformConcrete``. A part of one's own says its twin in a method ``discrete``.

    Raises:
        UnsuitableObjective: a pair without such a part.

    >>> import numpy as np
    >>> from ppl_vae import inference, recipes
    >>> recipe = recipes.vae(np.eye(6), latents="concrete", latent_dim=2, num_categories=3, hidden=(4,))
    >>> fit = Fit.untrained(inference.Pair(*recipe(np.random.default_rng(0))), np.eye(6))
    >>> discrete_twin(fit).pair.sites.latent[0].distribution
    'Categorical'
    """
    own: Any = fit.pair
    programs = copy.deepcopy(own.programs)
    if not sum(_replaced(program) for program in programs):
        raise UnsuitableObjective(
            "No part of the pair has a discrete twin (a method 'discrete'): use a pair of conditionals.Concrete, "
            "priors.UniformConcrete and nets.Simplex, as recipes.vae(latents='concrete') makes it."
        )
    side, pair = dict(own.example), type(own)(*programs, own.device_name)
    pair.prepare(side.pop("x"), 0, side)
    return replace(fit, pair=pair)


def has_discrete_twin(fit: Fit) -> bool:
    """Whether a part of the pair has a discrete twin."""
    pair: Any = fit.pair
    return any(_has_twin(program) for program in pair.programs)


def _has_twin(module: Any) -> bool:
    return any(hasattr(part, "discrete") or _has_twin(part) for _, part in _parts(module))


def _replaced(module: Any) -> int:
    """Put twins in the place of a module's parts, and return how many there were."""
    count = 0
    for name, part in _parts(module):
        twin = getattr(part, "discrete", None)
        if twin is not None:
            part = twin()
            setattr(module, name, part)
            count += 1
        count += _replaced(part)
    return count


def _parts(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield the modules that are attributes of a module, of torch or of flax; a function has none."""
    if hasattr(module, "named_children"):
        yield from list(module.named_children())
    elif hasattr(module, "perturb"):  # every module of flax.nnx
        yield from [(name, part) for name, part in vars(module).items() if hasattr(part, "perturb")]

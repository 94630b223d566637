"""Bernoulli and categorical conditionals in NumPyro."""

from __future__ import annotations

from typing import Any, ClassVar

import numpyro.distributions as dist
from flax import nnx
from jax import Array

from ...arrays.discrete import check_relaxed
from .. import distributions
from ..nets.layers import written_net


class Bernoulli(nnx.Module):
    """h -> independent Bernoulli pixels; ``net`` maps (..., H) to logits (..., P). Event shape (P,).

    Grey levels x in [0, 1] count as expected values, ``x log p + (1 - x) log(1 - p)``; the checks of data refuse values
    outside.

    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from ppl_vae.numpyro import nets
    >>> Bernoulli(nets.MLP((2, 6), np.random.default_rng(0)))(jnp.zeros((3, 2))).event_shape
    (6,)
    """

    any_width: ClassVar[bool] = True
    """Whether the event is as wide as the net says, and so can be that of one step."""

    def __init__(self, net: nnx.Module) -> None:
        self.net = net

    def __call__(self, h: Array) -> dist.Distribution:
        """Map h (..., H) to a distribution over (P,)."""
        return dist.Independent(distributions.BernoulliLogits(self.net(h), validate_args=False), 1, validate_args=False)

    def as_steps(self) -> list[dict[str, Any]]:
        """E[x | h] written down, for ``explorer``."""
        return [*written_net(self.net), {"op": "activation", "name": "sigmoid"}]


class Categorical(nnx.Module):
    """h -> D independent categorical variables with values 0..C-1. Event shape (D,).

    ``net`` maps (..., H) to logits (..., D C).

    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from ppl_vae.numpyro import nets
    >>> Categorical(nets.MLP((5, 3 * 4), np.random.default_rng(0)), 4)(jnp.zeros((2, 5))).event_shape
    (3,)
    """

    def __init__(self, net: nnx.Module, num_categories: int) -> None:
        self.net = net
        self.num_categories = num_categories

    def __call__(self, h: Array) -> dist.Distribution:
        """Map h (..., H) to a distribution over (D,)."""
        logits = self.net(h)
        return dist.Categorical(logits=logits.reshape(*logits.shape[:-1], -1, self.num_categories)).to_event(1)


class Concrete(nnx.Module):
    """h -> D independent relaxed categories, as log-ratios of a point of the simplex. Event shape (D (C - 1),).

    ``net`` maps (..., H) to logits (..., D C), as that of ``Categorical``, whose draws are the largest entries of
    these. With ``priors.UniformConcrete`` and ``nets.Simplex`` every objective for reparameterised latents is right, of
    a model of its own: ``evaluation.discrete_twin`` is the discrete one. The Concrete Distribution, Maddison et al.,
    2017.

    Raises:
        ValueError: a temperature that is not above 0, or one category.

    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from ppl_vae.numpyro import nets
    >>> Concrete(nets.MLP((5, 3 * 4), np.random.default_rng(0)), 4, temperature=0.5)(jnp.zeros((2, 5))).event_shape
    (9,)
    """

    def __init__(self, net: nnx.Module, num_categories: int, *, temperature: float) -> None:
        check_relaxed("Concrete", num_categories, temperature)
        self.net = net
        self.num_categories = num_categories
        self.temperature = temperature

    def __call__(self, h: Array) -> dist.Distribution:
        """Map h (..., H) to a distribution over (D (C - 1),)."""
        logits = self.net(h)
        rows = logits.reshape(*logits.shape[:-1], -1, self.num_categories)
        return distributions.Concrete(rows, self.temperature)

    def discrete(self) -> Categorical:
        """Return the discrete conditional with the same net."""
        return Categorical(self.net, self.num_categories)

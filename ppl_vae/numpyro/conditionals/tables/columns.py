"""Likelihood of tables whose columns have distributions of several kinds, in NumPyro."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from flax import nnx
from jax import Array
from jax.nn import log_sigmoid, sigmoid, softplus

from ....data.columns import FLOOR, START
from ....data.tables.kinds import MOST_CONCENTRATION, Group, Units, groups_of
from ....data.tables.kinds import Column as Kind
from ... import distributions
from ...nets.layers import Constant


class Columns(nnx.Module):
    """h -> independent columns, each with the distribution of its kind. Event shape (P,).

    With m and s the centre and the scale of a column, and a the net's output for it: a real one is N(m + s a, (s t)^2);
    of a positive one the logarithm is; a count is negative binomial with mean exp(m + s a); a boolean has the logit
    logit(m) + a, the names of a categorical one have logits log shares + a, and a grade k of an ordinal one has
    P(x <= k) = sigmoid(c_k - a). The scales t, the concentrations of counts and the cuts c are learned.

    Args:
        net: maps (..., H) to the outputs of the groups of columns of one kind, side by side (``groups_of``).
        columns: the kinds of the P columns.
        units: of the columns of the training data.

    >>> from ppl_vae.numpyro import nets
    >>> from ppl_vae.data.tables.kinds import columns_of, units_of
    >>> columns = columns_of(["real", "categorical:3"], 2)
    >>> net = nets.MLP((2, 4), np.random.default_rng(0))
    >>> Columns(net, columns, units_of(columns, None))(jnp.zeros((1, 2))).entries(jnp.array([[0.0, 1.0]])).shape
    (1, 2)
    """

    def __init__(self, net: nnx.Module, columns: Sequence[Kind], units: Units) -> None:
        self.net = net
        self.columns = tuple(columns)
        groups = groups_of(columns)
        self.sizes = tuple(group.outputs for group in groups)
        self.parts = nnx.List([PARTS[group.column.kind](group, units.of(group)) for group in groups])

    def __call__(self, h: Array) -> distributions.Columns:
        """Map h (..., H) to a distribution over (P,)."""
        outputs = jnp.split(self.net(h), np.cumsum(self.sizes)[:-1], -1)
        return distributions.Columns([part(out) for part, out in zip(self.parts, outputs, strict=True)], self.columns)


class Real(nnx.Module):
    """Numbers: N(m + s a, (s t)^2)."""

    def __init__(self, group: Group, units: Units) -> None:
        self.centre, self.scale = constant(units.centre), constant(units.scale)
        self.raw = nnx.Param(jnp.full(len(group.places), float(np.log(np.expm1(START - FLOOR)))))

    def __call__(self, out: Array) -> dist.Distribution:
        """Map outputs (..., n) to n distributions."""
        return dist.Normal(
            self.centre[...] + self.scale[...] * out, self.scale[...] * (softplus(self.raw[...]) + FLOOR)
        )


class Positive(Real):
    """Numbers above 0: log x ~ N(m + s a, (s t)^2)."""

    def __call__(self, out: Array) -> dist.Distribution:
        """Map outputs (..., n) to n distributions."""
        return dist.LogNormal(
            self.centre[...] + self.scale[...] * out, self.scale[...] * (softplus(self.raw[...]) + FLOOR)
        )


class Count(nnx.Module):
    """Counts: negative binomial of mean exp(m + s a), with a learned concentration."""

    def __init__(self, group: Group, units: Units) -> None:
        self.centre, self.scale = constant(units.centre), constant(units.scale)
        self.raw = nnx.Param(tensor(np.log(units.concentration / (MOST_CONCENTRATION - units.concentration))))

    def __call__(self, out: Array) -> dist.Distribution:
        """Map outputs (..., n) to n distributions."""
        concentration = MOST_CONCENTRATION * sigmoid(self.raw[...])
        logits = self.centre[...] + self.scale[...] * out - jnp.log(concentration)
        return distributions.NegativeBinomial(concentration, logits)


class Boolean(nnx.Module):
    """0 or 1, of logit logit(m) + a."""

    def __init__(self, group: Group, units: Units) -> None:
        shares = units.centre.clip(0.001, 0.999)
        self.centre = constant(np.log(shares / (1 - shares)))

    def __call__(self, out: Array) -> dist.Distribution:
        """Map outputs (..., n) to n distributions."""
        return dist.BernoulliLogits(self.centre[...] + out)


class Categorical(nnx.Module):
    """Names, of logits log shares + a."""

    def __init__(self, group: Group, units: Units) -> None:
        self.centre = constant(np.log(np.stack(units.shares)))

    def __call__(self, out: Array) -> dist.Distribution:
        """Map outputs (..., n C), those of a column side by side, to n distributions."""
        return dist.CategoricalLogits(self.centre[...] + out.reshape(*out.shape[:-1], *self.centre[...].shape))


class Ordinal(nnx.Module):
    """Grades in order: P(x <= k) = sigmoid(c_k - a), with learned cuts c, which start at the shares of the grades.

    Regression Models for Ordinal Data, McCullagh, 1980.
    """

    def __init__(self, group: Group, units: Units) -> None:
        below = np.cumsum(np.stack(units.shares), 1)[:, :-1]
        cuts = np.log(below / (1 - below))
        self.first = nnx.Param(tensor(cuts[:, :1]))
        self.raw = nnx.Param(tensor(np.log(np.expm1(np.diff(cuts, axis=1)))))

    def __call__(self, out: Array) -> dist.Distribution:
        """Map outputs (..., n) to n distributions."""
        first, gaps = self.first[...], softplus(self.raw[...])
        cuts = jnp.concatenate([first, first + gaps.cumsum(-1)], -1) - out[..., None]
        between = log_sigmoid(cuts[..., 1:]) + log_sigmoid(-cuts[..., :-1]) + jnp.log(-jnp.expm1(-gaps))
        ends = log_sigmoid(cuts[..., :1]), log_sigmoid(-cuts[..., -1:])
        return dist.CategoricalLogits(jnp.concatenate([ends[0], between, ends[1]], -1))


PARTS: dict[str, Callable[[Group, Units], nnx.Module]] = {
    "real": Real,
    "positive": Positive,
    "count": Count,
    "boolean": Boolean,
    "categorical": Categorical,
    "ordinal": Ordinal,
}
"""Kind of columns -> their part of the likelihood."""


def tensor(array: np.ndarray) -> Array:
    """Make an array of the default type."""
    return jnp.array(array, dtype=float)


def constant(array: np.ndarray) -> Constant:
    """Make numbers that are saved with the module, and not trained."""
    return Constant(tensor(array))

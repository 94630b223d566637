"""Distributions of one entry after the other: draws from a net, and the distribution over categories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array, lax
from jax.nn import log_softmax
from numpyro.distributions import constraints

from ppl_vae.arrays.net_outputs import check_logits, check_order

Shape = tuple[int, ...]


class Whole:
    """A net without steps of its own: it computes the logits of all entries for each one."""

    def __init__(self, net: Callable[[Array], Array]) -> None:
        self.net = net

    def start(self, x: Array) -> Any:
        """Return the state before the first entry, here nothing."""

    def step(self, state: Any, x: Array, place: Array) -> tuple[Array, Any]:
        """Return the logits of an entry, given those before it in x (..., D), and the next state."""
        return lax.dynamic_index_in_dim(self.net(x), place, x.ndim - 1, keepdims=False), state


def ancestral(
    key: Array,
    net: Any,
    x: Array,
    order: Sequence[int],
    draw: Callable[[Array, Array], Array],
    known: np.ndarray | None = None,
) -> Array:
    """Draw the entries of x (..., D) one after the other in an order; ``known`` ones stay as they are.

    A net that has ``start`` and ``step`` computes each entry alone and keeps what it needs of those before.

    Args:
        key: the key of the draws.
        net: maps (..., D) to logits (..., D) or (..., D, C).
        x: the values of known entries; the others are not read.
        order: the entries from the first to the last.
        draw: maps a key and logits of an entry to its values (...).
        known: mask (D,), by default false.
    """
    steps = net if hasattr(net, "step") else Whole(net)
    fixed = np.zeros(len(order), bool) if known is None else known
    places = np.array([place for place in order if steps is net or not fixed[place]], int)

    def one(carry: tuple[Array, Any], inputs: tuple[Array, Array, Array]) -> tuple[tuple[Array, Any], None]:
        (x, state), (place, is_fixed, key) = carry, inputs
        logits, state = steps.step(state, x, place)
        drawn = draw(key, logits).astype(x.dtype)
        return (x.at[..., place].set(jnp.where(is_fixed, x[..., place], drawn)), state), None

    inputs = jnp.asarray(places), jnp.asarray(fixed[places]), jax.random.split(key, len(places))
    (x, _), _ = lax.scan(one, (x, steps.start(x)), inputs)
    return lax.stop_gradient(x)


class AutoregressiveCategorical(dist.Distribution):
    """p(x) = prod_i Categorical(x_i; softmax(l_i(x_<i))), the entries in a given order. Event shape (D,), 0..C-1.

    A density runs the net once. A draw runs it once for each entry, or, if the net has steps of its own, in steps whose
    cost does not grow with D.

    Args:
        net: maps (..., D) to logits l (..., D, C); l_i depends on the entries before i in the order alone.
        order: the entries from the first to the last.
        num_categories: C.
        batch_shape: the batch shape.

    Raises:
        ValueError: a net of another order; when called, logits of another shape.

    >>> p = AutoregressiveCategorical(lambda x: jnp.zeros((*x.shape, 4)), (0, 1, 2), 4)
    >>> jnp.exp(p.log_prob(jnp.array([[3, 0, 1], [4, 0, 1]]))).round(4).tolist()
    [0.015599999576807022, 0.0]
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_mean: ClassVar[bool] = False
    pytree_data_fields = ("net",)
    pytree_aux_fields = ("order", "num_values")

    def __init__(
        self, net: Callable[[Array], Array], order: Sequence[int], num_categories: int, batch_shape: Shape = ()
    ) -> None:
        self.net, self.order, self.num_values = net, tuple(order), num_categories
        check_order(net, self.order)
        super().__init__(tuple(batch_shape), (len(self.order),), validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        """Integers 0..C-1."""
        return constraints.independent(constraints.integer_interval(0, self.num_values - 1), 1)

    @property
    def read_values(self) -> int:
        """C: the net reads the entries, which must be whole."""
        return self.num_values

    def expand(self, batch_shape: Shape) -> AutoregressiveCategorical:
        """Return the same distribution with another batch shape."""
        return AutoregressiveCategorical(self.net, self.order, self.num_values, batch_shape)

    def log_prob(self, value: Array) -> Array:
        """Return log p in nats, -inf for what is no category: values (..., D) give (...)."""
        logits = self.net(value)
        check_logits(type(self).__name__, logits.shape, (len(self.order), self.num_values))
        index = value.astype(int).clip(0, self.num_values - 1)
        chosen = jnp.take_along_axis(log_softmax(logits, -1), index[..., None], -1)[..., 0]
        density = jnp.where(index == value, chosen, -jnp.inf).sum(-1)
        return jnp.broadcast_to(density, lax.broadcast_shapes(density.shape, self.batch_shape))

    def sample(self, key: Array, sample_shape: Shape = ()) -> Array:
        """Draw one entry after the other: ``sample_shape + batch_shape + (D,)``."""
        start = jnp.zeros(self.shape(tuple(sample_shape)), int)
        return ancestral(key, self.net, start, self.order, jax.random.categorical)


class AutoregressiveLevels(AutoregressiveCategorical):
    """The same over the levels 0, 1/(L-1), ..., 1 of pixels; the net reads and returns categories 0..L-1.

    >>> p = AutoregressiveLevels(lambda x: jnp.zeros((*x.shape, 5)), (0, 1), 5)
    >>> round(float(jnp.exp(p.log_prob(jnp.array([0.25, 1.0])))), 4)
    0.04
    """

    support = constraints.independent(constraints.unit_interval, 1)
    read_values = None  # type: ignore[assignment]  # the levels are checked as such

    @property
    def levels(self) -> int:
        """L."""
        return self.num_values

    def expand(self, batch_shape: Shape) -> AutoregressiveLevels:
        """Return the same distribution with another batch shape."""
        return AutoregressiveLevels(self.net, self.order, self.num_values, batch_shape)

    def log_prob(self, value: Array) -> Array:
        """Return log p in nats: levels (..., P) give (...)."""
        return super().log_prob(jnp.round(value * (self.levels - 1)))

    def sample(self, key: Array, sample_shape: Shape = ()) -> Array:
        """Draw one level after the other: ``sample_shape + batch_shape + (P,)``."""
        return super().sample(key, sample_shape) / (self.levels - 1)

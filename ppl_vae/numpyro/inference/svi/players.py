"""Players in training, in NumPyro: their states, and those of their optimisers, as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from ....critics import Critic
from ....pairs.terms import Latents, Terms
from ....players import Loss, Noise, Player, Sizes, State, Values, View
from ..pair import Pair, Tree
from ..traces import run_guide, sites_of


class RunningPlayer(NamedTuple):
    """A player's state in a training, and that of its optimiser."""

    known: State
    optim: Any


@lru_cache
def _adam(learning_rate: float, betas: tuple[float, float]) -> optax.GradientTransformation:
    return optax.adam(learning_rate, *betas)


def init(player: Player, sizes: Sizes, rng: np.random.Generator) -> RunningPlayer:
    """The state before the first batch."""
    known = jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(float)), player.init(sizes, rng))
    return RunningPlayer(known, _adam(player.learning_rate, tuple(player.betas)).init(known.learned))


def advance(player: Player, state: RunningPlayer, view: View) -> tuple[RunningPlayer, tuple[Array, ...]]:
    """Take a step on a detached batch; return the state, and the loss with the other metrics."""
    optim = state.optim

    def descend(loss: Loss, values: Values) -> tuple[Values, tuple[Array, ...]]:
        nonlocal optim
        (value, others), grads = jax.value_and_grad(loss, has_aux=True)(values)
        updates, optim = _adam(player.learning_rate, tuple(player.betas)).update(grads, optim)
        return jax.tree.map(jnp.add, values, updates), (value, *others)

    known, metrics = player.step(state.known, view, descend)
    return RunningPlayer(known, optim), metrics


def path_of(pair: Pair, variable: Any) -> tuple[Any, ...]:
    """Find the path of a variable of the guide among the parameters of the pair's modules.

    What the model shares with the guide has one path, through either.
    """
    modules: Any = [program for program in (pair.model, pair.guide) if isinstance(program, nnx.Module)]

    def there(path: tuple[Any, ...]) -> Any:
        return reduce(lambda node, key: node[key] if isinstance(key, int) else getattr(node, key), path, modules)

    return next(path for path, _ in nnx.to_flat_state(pair.params["modules"]) if there(path) is variable)


def with_codes(trained: Tree, path: tuple[Any, ...], codes: Array) -> Tree:
    """Replace the codes at a path of the modules' parameters."""
    flat = dict(nnx.to_flat_state(trained["modules"]))
    flat[path] = flat[path].replace(codes.reshape(flat[path][...].shape))
    return {**trained, "modules": nnx.from_flat_state(flat)}


def saved(state: RunningPlayer) -> Any:
    """Return the state under a checkpoint's names; the weights of a player that tracks nothing have no prefix."""
    return state if state.known.tracked else {"learned": state.known.learned, "optim": state.optim}


def restored(tree: Any) -> RunningPlayer:
    """Restore the state from what ``saved`` returned."""
    return tree if isinstance(tree, RunningPlayer) else RunningPlayer(State({}, tree["learned"]), tree["optim"])


def view_of(x: Array, terms: Terms, rows: Array | None = None, noise_key: Array | None = None) -> View:
    """Make the view of a batch for ``output``: a gradient flows through the latents."""
    noise = None
    if noise_key is not None:
        keys = jax.random.split(noise_key)
        noise = Noise(jax.random.normal(keys[0], (2, *x.shape)), jax.random.uniform(keys[1], (len(x), 1)))
    log_w = jax.lax.stop_gradient(terms.log_weights)
    return View(x, log_w.mean(0), terms.latents, noise=noise, rows=rows, log_weights=log_w)


def permuted_codes(
    guide: Any, x: Array, side: dict[str, Array], num_particles: int, key: Array, max_plate_nesting: int = 1
) -> Array:
    """Draw codes of x, and shuffle each dimension over the batch independently, (K, B, D): draws from prod_d q(z_d)."""
    draw_key, order_key = jax.random.split(key)
    q = run_guide(guide, (x,), side, num_particles, max_plate_nesting, draw_key)
    z = next(iter(sites_of(q, observed=False).values()))["value"].reshape(num_particles, len(x), -1)
    order = jax.random.uniform(order_key, z.shape).argsort(1)
    return jax.lax.stop_gradient(jnp.take_along_axis(z, order, 1))


@partial(jax.jit, static_argnums=0)
def _scan(critic: Critic, state: RunningPlayer, samples: Any, batches: Any) -> tuple[RunningPlayer, Array]:
    def step(state: RunningPlayer, rows: tuple[Array, Array]) -> tuple[RunningPlayer, Array]:
        codes, others = (a[row] for a, row in zip(samples, rows, strict=True))
        state, metrics = advance(critic, state, View(codes, codes, Latents(codes), others))
        return state, jnp.stack(metrics)

    return jax.lax.scan(step, state, batches)


def train_on_samples(
    critic: Critic, samples: Sequence[np.ndarray], batches: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Train a critic to distinguish two samples, (N, D) each; step s takes the rows ``batches[i][s]`` (B,) of sample i.

    Returns:
        The critic's logits as a function of arrays, and its loss and accuracy at each step, (S, 2).
    """
    arrays = tuple(jnp.asarray(a, jnp.result_type(float)) for a in samples)
    state = init(critic, Sizes(0, arrays[0].shape[1]), rng)
    state, history = _scan(critic, state, arrays, tuple(map(jnp.asarray, batches)))
    net, dtype = state.known.learned, arrays[0].dtype
    return lambda z: np.asarray(critic.logits(net, jnp.asarray(z, dtype))), np.asarray(history)

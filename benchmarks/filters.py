"""Gradients of particle filters on a linear Gaussian state space, where all is known.

    python benchmarks/filters.py bias     # FIVO's pathwise gradient beside the slope of its value; two minutes
    python benchmarks/filters.py learn    # filters that FIVO and NASMC learn, beside the exact one; two minutes
    python benchmarks/filters.py models   # models that objectives learn with their filters, by exact log p(x); a minute
    python benchmarks/filters.py twist    # what a look at later data is worth, at one step or all; two minutes

z_1 ~ N(0, 1), z_t ~ N(0.8 z_{t-1}, 1), x_t ~ N(z_t, 0.5^2), eight steps. The guide is linear: z_t is normal with mean
``keep`` z_{t-1} + ``gain`` x_t and a deviation; p(z_t | z_{t-1}, x_t) is one of these. The slope is by differences of
the mean value of many filters at two parameters with the same random numbers, at two distances, extrapolated to none.
The twists are ``nets.Twist``, of which only the twist is trained, and log p(x_{t+1:T} | z_t) itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rows import mean_and_deviation

from ppl_vae.evaluation.likelihood.kalman import StateSpace, solve
from ppl_vae.numpyro import conditionals, guides, inference, models, nets, priors

LENGTH, TURN, SPREAD = 8, 0.8, 0.5
GAIN = 1 / (1 + SPREAD**2)
EXACT = {"keep": (1 - GAIN) * TURN, "gain": GAIN, "deviation": SPREAD * GAIN**0.5}
"""The guide p(z_t | z_{t-1}, x_t)."""
FILTER = {"keep": 0.0, "gain": 0.5, "deviation": 0.0}
"""Where a guide starts to learn; what is positive by its logarithm."""
POSITIVE = ("deviation", "spread")
PARAMETERS = ("keep", "gain", "deviation", "turn", "spread")
Values = dict[str, Any]


class ExactTwist:
    """log p(x_{t+1:T} | z_t) but for what has no z_t in it, of the state space with that ``spread``."""

    def __init__(self, spread: float) -> None:
        self.spread = spread

    def ahead(self, x: jax.Array) -> jax.Array:
        """Slope and curvature, (..., T, 1) -> (..., T, 2), from the last step back."""
        slope, curvature, found = 0 * x[..., 0, :], jnp.zeros_like(x[..., 0, :]), []
        for t in range(LENGTH - 1, -1, -1):
            found.append(jnp.concatenate([slope, curvature], -1))
            slope, curvature = slope + x[..., t, :] / self.spread**2, curvature + 1 / self.spread**2
            slope, curvature = TURN * slope / (1 + curvature), TURN**2 * curvature / (1 + curvature)
        return jnp.stack(found[::-1], -2)

    def __call__(self, z: jax.Array, ahead: jax.Array) -> jax.Array:
        """Return log r, (...)."""
        return z[..., 0] * ahead[..., 0] - 0.5 * z[..., 0] ** 2 * ahead[..., 1]


def loss_of(objective: Any, twist: Any = None) -> Callable[[Values, jax.Array, jax.Array], jax.Array]:
    """Return the mean of an objective's value over data, as a function of the parameters, data (N, T) and a key."""
    values = values_of(objective, twist)
    return lambda at, x, key: values(at, x, key).mean()


def values_of(objective: Any, twist: Any = None) -> Callable[[Values, jax.Array, jax.Array], jax.Array]:
    """Return an objective's value of each of N data, as ``loss_of`` does their mean.

    The parameters of a ``twist`` that is a net stand under its name, as ``weights_of`` gives them.
    """
    rng = np.random.default_rng(0)
    moved = conditionals.Normal(nets.MLP((1, 1), rng), learned=True)
    prior = priors.Markov(priors.StandardNormal(1), moved, LENGTH)
    likelihood = conditionals.Normal(nets.PerStep(nets.MLP((1, 1), rng), LENGTH), learned=True)
    conditional = conditionals.Normal(nets.MLP((2, 1), rng), learned=True)
    posterior = conditionals.Filtering(lambda x: x, conditional, 1, LENGTH, twist=twist)
    pair = inference.Pair(models.VAE(prior, likelihood), guides.Amortised(posterior))
    pair.prepare(np.zeros((2, LENGTH), np.float32), 0)

    def value(at: Values, x: jax.Array, key: jax.Array) -> jax.Array:
        wanted = {
            "likelihood/net": [jnp.ones(())],
            "likelihood/raw": _raw(at["spread"], likelihood.floor),
            "transition/net": [jnp.asarray(at["turn"])],
            "transition/raw": _raw(1.0, moved.floor),
            "conditional/net": [jnp.asarray(at["keep"]), jnp.asarray(at["gain"])],
            "conditional/raw": _raw(at["deviation"], moved.floor),
        }

        def put(path: Any, a: jax.Array) -> jax.Array:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            if "/twist/" in name:
                return at["twist"][name.split("/twist/")[1]]
            numbers = next((v for part, v in wanted.items() if part in name), 0.0) if "bias" not in name else 0.0
            return jnp.asarray(jnp.stack(numbers) if isinstance(numbers, list) else numbers).astype(a.dtype) + 0 * a

        params = jax.tree_util.tree_map_with_path(put, pair.params)
        model, guide = pair.structure.programs(params, pair.constants)
        return objective.bound(objective.log_terms(model, guide, x, key=key))

    return value


def _raw(scale: Any, floor: float) -> jax.Array:
    """The number behind a learned scale."""
    return jnp.log(jnp.expm1(scale - floor))


def sequences(count: int, seed: int, spread: float = SPREAD) -> np.ndarray:
    """Draw data (N, T) from the model."""
    rng, z, x = np.random.default_rng(seed), np.zeros(count), []
    for t in range(LENGTH):
        z = (TURN * z if t else 0.0) + rng.normal(size=count)
        x.append(z + spread * rng.normal(size=count))
    return np.stack(x, 1).astype(np.float32)


def bias(arguments: argparse.Namespace) -> None:
    """Print the mean pathwise gradient, the slope of the mean value, and what is between them."""
    print("| K | ess | parameter | pathwise | slope | bias |\n| --- | --- | --- | --- | --- | --- |")
    start = {**EXACT, "turn": TURN, "spread": SPREAD}
    start |= {"keep": 0.5 * EXACT["keep"], "deviation": 1.5 * EXACT["deviation"]}  # near to the exact one, and not it
    x = np.repeat(sequences(1, 1), arguments.filters, 0)
    for draws, ess in ((4, 0.0), (4, 0.5), (4, 1.0), (16, 1.0)):
        value = loss_of(inference.FIVO(draws, ess=ess))
        slope, at = jax.jit(jax.grad(value)), jax.jit(value)
        keys = jax.random.split(jax.random.key(0), arguments.batches)
        path = [slope(start, x, key) for key in keys]
        for name in PARAMETERS:
            apart = []
            for key in keys:
                ends = [
                    [at({**start, name: start[name] * (1 + sign * h)}, x, key) for sign in (1, -1)]
                    for h in (arguments.step, 2 * arguments.step)
                ]
                one, two = (
                    (float(up) - float(down)) / (2 * n * arguments.step * start[name])
                    for n, (up, down) in enumerate(ends, 1)
                )
                apart.append((4 * one - two) / 3)
            along, total = np.array([float(p[name]) for p in path]), np.array(apart)
            off = along - total
            error = off.std(ddof=1) / len(off) ** 0.5
            numbers = f"{along.mean():.3f} | {total.mean():.3f} | {off.mean():.3f} ± {error:.3f}"
            print(f"| {draws} | {ess:g} | {name} | {numbers} |", flush=True)


def twist(arguments: argparse.Namespace) -> None:
    """Print the mean of log p(x) as filters estimate it, and the deviation of what it misses, by looks ahead."""
    print("| sd of x_t | guide | K | no twist | a step ahead | learned | exact | log p(x) |" + "\n|" + 8 * " --- |")
    for spread in (SPREAD, 4 * SPREAD):
        model, gain = {"turn": TURN, "spread": spread}, 1 / (1 + spread**2)
        x = sequences(arguments.filters, 3, spread)
        exact = solve(state_space(TURN, spread), x[..., None].astype(float), np.ones((*x.shape, 1), bool)).log_p
        filtering = {"keep": (1 - gain) * TURN, "gain": gain, "deviation": spread * gain**0.5}
        net = nets.Twist(1, 1, 16, np.random.default_rng(0))
        weights = taught(net, {**model, **filtering}, arguments)
        ways: tuple[tuple[Any, Any], ...] = (
            (inference.FIVO, None),
            (partial(inference.FIVO, lookahead=True), None),
            (partial(inference.FIVO, twist=True), net),
            (partial(inference.FIVO, twist=True), ExactTwist(spread)),
        )
        for name, guide in {"filter": filtering, "prior": {"keep": TURN, "gain": 0.0, "deviation": 1.0}}.items():
            for draws in (4, 16):
                cells = []
                for objective, own in ways:
                    value = values_of(objective(draws, ess=1.0), own)
                    each = jax.jit(value)({**model, **guide, "twist": weights}, x, jax.random.key(0))
                    cells.append(f"{each.mean():.3f} ({(each - exact).std():.2f})")
                print(
                    "|", " | ".join([f"{spread:g}", name, str(draws), *cells, f"{exact.mean():.3f}"]), "|", flush=True
                )


def weights_of(net: Any) -> dict[str, jax.Array]:
    """The weights of a net by their names."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(net, nnx.Param))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): a for path, a in leaves}


def taught(net: Any, at: Values, arguments: argparse.Namespace) -> dict[str, jax.Array]:
    """Teach a twist by Adam with a falling rate, the pair as it is."""
    value, adam = (
        loss_of(inference.FIVO(2, twist=True), net),
        optax.adam(optax.linear_schedule(0.02, 0.0, arguments.updates)),
    )
    x = jnp.zeros((100, LENGTH))  # the twist learns from the model's own draws

    def step(state: Any, key: jax.Array) -> Any:
        weights, moments = state
        slope = jax.grad(lambda w: -value({**at, "twist": w}, x, key))(weights)
        moved, moments = adam.update(slope, moments)
        return (optax.apply_updates(weights, moved), moments), None

    start, keys = weights_of(net), jax.random.split(jax.random.key(0), arguments.updates)
    (found, _), _ = jax.jit(lambda: jax.lax.scan(step, (start, adam.init(start)), keys))()
    return found


def state_space(turn: float, spread: float) -> StateSpace:
    """The model with that transition and that deviation of x_t."""
    one, each = np.ones(1), np.ones((LENGTH, 1))
    return StateSpace(0 * one, one, turn * np.eye(1), 0 * one, one, each[..., None], 0 * each, spread**2 * each)


def learn(arguments: argparse.Namespace) -> None:
    """Train guides from afar by Adam, the model as it is, and print them beside the exact filter."""
    print("| objective | keep | gain | deviation | value, nats |\n| --- | --- | --- | --- | --- |")
    model = {"turn": TURN, "spread": SPREAD}
    test = sequences(20_000, 2)
    judge = jax.jit(loss_of(inference.FIVO(arguments.particles, ess=1.0)))
    told = {"exact": [EXACT]}
    for name in ("FIVO", "NASMC"):
        value = loss_of(getattr(inference, name)(arguments.particles, ess=1.0))
        told[name] = _trained(lambda guide, x, key, value=value: value({**model, **guide}, x, key), FILTER, arguments)
    for name, found in told.items():
        values = [float(judge({**model, **guide}, test, jax.random.key(9))) for guide in found]
        cells = [[guide[part] for guide in found] for part in EXACT] + [values]
        print("|", " | ".join([name, *(mean_and_deviation(values, 3) for values in cells)]), "|", flush=True)


def learned_models(arguments: argparse.Namespace) -> None:
    """Train models and their filters together, and print each model beside the truth, with its exact log p(x)."""
    print("| objective | turn | spread | log p(x), nats |\n| --- | --- | --- | --- |")
    test, draws = sequences(20_000, 2), arguments.particles
    x, seen = test[..., None].astype(float), np.ones((*test.shape, 1), bool)
    objectives = {
        "ELBO": inference.TraceELBO(),
        f"IWAE, K = {draws}": inference.IWAE(draws),
        f"FIVO, K = {draws}, ess = 0.5": inference.FIVO(draws),
        f"FIVO, K = {draws}, ess = 1": inference.FIVO(draws, ess=1.0),
        f"NASMC, K = {draws}, ess = 0.5": inference.NASMC(draws),
    }
    told = {"truth": [{"turn": TURN, "spread": SPREAD}]}
    for name, objective in objectives.items():
        told[name] = _trained(loss_of(objective), {**FILTER, "turn": 0.4, "spread": 0.0}, arguments)
    for name, found in told.items():
        exact = [state_space(one["turn"], one["spread"]) for one in found]
        values = [solve(space, x, seen).log_p.mean() for space in exact]
        cells = [[one[part] for one in found] for part in ("turn", "spread")] + [values]
        print("|", " | ".join([name, *(mean_and_deviation(values, 3) for values in cells)]), "|", flush=True)


def _trained(value: Any, start: dict[str, float], arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Climb by Adam with a falling rate; of each seed the mean of the last quarter of the steps."""
    count = arguments.updates

    def made(at: Values) -> Values:
        return {name: jnp.exp(a) if name in POSITIVE else a for name, a in at.items()}

    slope = jax.grad(lambda at, x, key: value(made(at), x, key))

    def step(state: Any, inputs: Any) -> Any:
        (at, first, second), (x, key, t) = state, inputs
        grad = slope(at, x, key)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grad)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, grad)
        rate = 0.01 * jnp.minimum(1.0, 2 * (1 - t / count))
        size = rate * (1 - 0.999 ** (t + 1)) ** 0.5 / (1 - 0.9 ** (t + 1))
        at = jax.tree.map(lambda p, m, v: p + size * m / (v**0.5 + 1e-8), at, first, second)
        return (at, first, second), made(at)

    @jax.jit
    def climbed(data: jax.Array, keys: jax.Array) -> Any:
        at = {name: jnp.asarray(a) for name, a in start.items()}
        zero = jax.tree.map(jnp.zeros_like, at)
        return jax.lax.scan(step, (at, zero, zero), (data, keys, jnp.arange(count)))[1]

    found = []
    for seed in range(arguments.seeds):
        data = jnp.asarray(sequences(count * 20, seed).reshape(-1, 20, LENGTH))
        path = climbed(data, jax.random.split(jax.random.key(seed), count))
        found.append({name: float(np.asarray(a)[-count // 4 :].mean()) for name, a in path.items()})
    return found


def main() -> None:
    """Print the table of one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("bias", "learn", "models", "twist"))
    parser.add_argument("--filters", type=int, default=20_000, help="of a batch")
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--step", type=float, default=0.06, help="of the differences, in shares of a parameter")
    parser.add_argument("--particles", type=int, default=4)
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    {"bias": bias, "learn": learn, "models": learned_models, "twist": twist}[arguments.part](arguments)


if __name__ == "__main__":
    main()

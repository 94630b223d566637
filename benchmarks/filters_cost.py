"""A step of FIVO beside the same step written by hand, on NumPyro and JAX, and on Pyro and PyTorch.

    python benchmarks/filters_cost.py            # two minutes
    python benchmarks/filters_cost.py --scaling  # NumPyro's step by the number of steps, particles and sequences

A deep Markov model with a perceptron as its transition, filtered by a gated recurrent unit: 16 latents, 64 units, 88
numbers a step, batch 20, resampling below half of the particles, Adam. Milliseconds are of the processor, of a whole
step of training: those of a training of several epochs less those of a training of one. So they hold where others work,
too, and leave out the seconds that a training compiles or records in, which stand beside. The contenders take turns;
the least of the turns counts.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from ppl_vae import backends, objectives, recipes

DIM, UNITS, WIDTH, FLOOR, RATE = 16, 64, 88, 1e-3, 1e-3
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
SIZES = ((25, 4, 20), (50, 4, 20), (100, 4, 20), (25, 16, 20), (25, 64, 20), (25, 4, 80), (25, 4, 320))
"""T, K and B of ``--scaling``, which prints the slopes of log milliseconds over the logarithm of each, too."""
STEPS = 5
"""Of an epoch."""
LAYERS = {
    "of_x": (WIDTH, 3 * UNITS),
    "of_h": (UNITS, 3 * UNITS),
    "inner": (DIM, UNITS),
    "outer": (UNITS, 2 * DIM),
    "transition": (DIM, UNITS),
    "moved": (UNITS, 2 * DIM),
    "decoder": (DIM, UNITS),
    "emission": (UNITS, WIDTH),
}


def data(sequences: int, length: int) -> np.ndarray:
    """Random bits (N, T, P)."""
    return (np.random.default_rng(0).random((sequences, length, WIDTH)) < 0.1).astype(np.float32)


def by_package(name: str, x: np.ndarray, particles: int, batch: int, compile: Any = False) -> Callable[[int], Any]:
    """Return a function that trains for a number of epochs, and returns the seconds that went into compiling."""
    settings = {"latent_dim": DIM, "recurrent_units": UNITS, "transition_hidden": (UNITS,), "hidden": (UNITS,)}
    recipe = recipes.deep_markov(x, posterior="filtering", transition="mlp", backend=name, **settings)
    pair, svi = recipe(np.random.default_rng(0)), backends.load(name).inference.SVI
    options = {"compile": compile} if compile else {}

    def run(epochs: int) -> Any:
        trained = svi(objectives.FIVO(particles), epochs=epochs, batch_size=batch, **options)
        return sum(trained.fit(*pair, x.reshape(len(x), -1), progress=False).history["compilation"])

    return run


def cost(run: Callable[[int], Any], epochs: int, steps: int) -> float:
    """Milliseconds of the processor for a step, of a function that has compiled."""
    took = []
    for number in (1, 1 + epochs):
        began = time.process_time()
        run(number)
        took.append(time.process_time() - began)
    return 1000 * (took[1] - took[0]) / (epochs * steps)


def jax_step(particles: int) -> Callable[..., Any]:
    """Return -FIVO / B of weights, data (B, T, P) and a key, by hand."""

    def dense(w: Any, name: str, a: jax.Array) -> jax.Array:
        return a @ w[name][0] + w[name][1]

    def normal(z: jax.Array, out: jax.Array) -> tuple[jax.Array, jax.Array]:
        loc, raw = jnp.split(out, 2, -1)
        scale = jax.nn.softplus(raw) + FLOOR
        return loc, scale

    def density(z: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
        return (-0.5 * ((z - loc) / scale) ** 2 - jnp.log(scale) - HALF_LOG_TWO_PI).sum(-1)

    def loss(w: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        batch, length, _ = x.shape
        x = jnp.moveaxis(x, 1, 0)

        def cell(h: jax.Array, gates: jax.Array) -> Any:
            r, u, n = jnp.split(gates, 3, -1)
            hr, hu, hn = jnp.split(dense(w, "of_h", h), 3, -1)
            u = jax.nn.sigmoid(u + hu)
            h = (1 - u) * jnp.tanh(n + jax.nn.sigmoid(r + hr) * hn) + u * h
            return h, h

        _, hs = jax.lax.scan(cell, jnp.zeros((batch, UNITS)), dense(w, "of_x", x))

        def step(state: Any, given: Any) -> Any:
            (z, log_w), (x, h, first, uniform, noise) = state, given
            weights = jax.nn.softmax(jax.lax.stop_gradient(log_w), 0)
            due = (1 / (weights**2).sum(0) < 0.5 * particles) & ~first
            total = weights.cumsum(0)
            places = (jnp.arange(particles)[:, None] + uniform) / particles
            chosen = ((total / total[-1:])[None, :-1] <= places[:, None]).sum(1)
            chosen = jnp.where(due, chosen, jnp.arange(particles)[:, None])
            log_w = jnp.where(due, jax.nn.logsumexp(log_w, 0) - math.log(particles), log_w)
            z = jnp.take_along_axis(z, chosen[..., None], 0)
            q = normal(z, dense(w, "outer", 0.5 * (jnp.tanh(dense(w, "inner", z)) + h)))
            moved = q[0] + q[1] * noise
            p = normal(z, dense(w, "moved", jax.nn.relu(dense(w, "transition", z))))
            p = jnp.where(first, 0.0, p[0]), jnp.where(first, 1.0, p[1])
            logits = dense(w, "emission", jax.nn.relu(dense(w, "decoder", moved)))
            log_x = (x * logits - jax.nn.softplus(logits)).sum(-1)
            return (moved, log_w + log_x + density(moved, *p) - density(moved, *q)), None

        one, other = jax.random.split(key)
        uniform = jax.random.uniform(one, (length, 1, batch))
        noise = jax.random.normal(other, (length, particles, batch, DIM))
        start = jnp.broadcast_to(w["start"], (particles, batch, DIM)), jnp.zeros((particles, batch))
        (_, log_w), _ = jax.lax.scan(step, start, (x, hs, jnp.arange(length) == 0, uniform, noise))
        return -(jax.nn.logsumexp(log_w, 0) - math.log(particles)).mean()

    return loss


def by_jax(x: np.ndarray, particles: int, batch: int) -> Callable[[int], Any]:
    """Return a function that trains by one compiled loop an epoch."""
    rng, slope = np.random.default_rng(0), jax.grad(jax_step(particles))
    weights: Any = {"start": jnp.zeros(DIM)}
    for name, sizes in LAYERS.items():
        weights[name] = jnp.asarray(rng.normal(size=sizes) / sizes[0] ** 0.5, jnp.float32), jnp.zeros(sizes[1])
    zero = jax.tree.map(jnp.zeros_like, weights)

    def one(state: Any, given: Any) -> Any:
        (w, m, v, t), (x, key) = state, given
        grad = slope(w, x, key)
        m = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m, grad)
        v = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g**2, v, grad)
        size = RATE * jnp.sqrt(1 - 0.999 ** (t + 1)) / (1 - 0.9 ** (t + 1))
        return (jax.tree.map(lambda a, m, v: a - size * m / (jnp.sqrt(v) + 1e-8), w, m, v), m, v, t + 1), None

    def epoch(state: Any, x: jax.Array, key: jax.Array) -> Any:
        order, *_ = jax.random.split(key, 2)
        shuffled = x[jax.random.permutation(order, len(x))].reshape(-1, batch, *x.shape[1:])
        return jax.lax.scan(one, state, (shuffled, jax.random.split(key, len(shuffled))))[0]

    compiled, rows = jax.jit(epoch, donate_argnums=0), jnp.asarray(x)

    def run(epochs: int) -> None:
        state = jax.tree.map(jnp.array, (weights, zero, zero, jnp.array(0.0)))
        for number in range(epochs):
            state = jax.block_until_ready(compiled(state, rows, jax.random.key(number)))

    return run


def by_torch(x: np.ndarray, particles: int, batch: int) -> Callable[[int], Any]:
    """Return a function that trains eagerly."""
    layers = nn.ModuleDict({name: nn.Linear(*sizes) for name, sizes in LAYERS.items()})
    start, rows, own = nn.Parameter(torch.zeros(DIM)), torch.as_tensor(x), torch.arange(particles)[:, None]

    def normal(out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loc, raw = out.chunk(2, -1)
        return loc, nn.functional.softplus(raw) + FLOOR

    def density(z: torch.Tensor, loc: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return (-0.5 * ((z - loc) / scale) ** 2 - scale.log() - HALF_LOG_TWO_PI).sum(-1)

    def loss(x: torch.Tensor) -> torch.Tensor:
        gates, h = layers["of_x"](x), x.new_zeros(len(x), UNITS)
        z, log_w = start.expand(particles, len(x), DIM), x.new_zeros(particles, len(x))
        for t in range(x.shape[1]):
            r, u, n = gates[:, t].chunk(3, -1)
            hr, hu, hn = layers["of_h"](h).chunk(3, -1)
            u = torch.sigmoid(u + hu)
            h = (1 - u) * torch.tanh(n + torch.sigmoid(r + hr) * hn) + u * h
            if t:
                weights = log_w.detach().softmax(0)
                due = 1 / (weights**2).sum(0) < 0.5 * particles
                total = weights.cumsum(0)
                places = (own + torch.rand(1, len(x))) / particles
                chosen = ((total / total[-1:])[None, :-1] <= places[:, None]).sum(1)
                chosen = torch.where(due, chosen, own)
                log_w = torch.where(due, log_w.logsumexp(0) - math.log(particles), log_w)
                z = z.gather(0, chosen[..., None].expand(z.shape))
            q = normal(layers["outer"](0.5 * (torch.tanh(layers["inner"](z)) + h)))
            moved = q[0] + q[1] * torch.randn_like(q[0])
            p = (torch.zeros(()), torch.ones(())) if t == 0 else normal(layers["moved"](layers["transition"](z).relu()))
            logits = layers["emission"](layers["decoder"](moved).relu())
            log_x = (x[:, t] * logits - nn.functional.softplus(logits)).sum(-1)
            log_w, z = log_w + log_x + density(moved, *p) - density(moved, *q), moved
        return -(log_w.logsumexp(0) - math.log(particles)).mean()

    optimiser = torch.optim.Adam([*layers.parameters(), start], lr=RATE, fused=True)

    def run(epochs: int) -> None:
        for _ in range(epochs):
            for part in torch.randperm(len(rows)).split(batch):
                optimiser.zero_grad()
                loss(rows[part]).backward()
                optimiser.step()

    return run


def main() -> None:
    """Print the milliseconds of a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=25, metavar="T")
    parser.add_argument("--particles", type=int, default=4, metavar="K")
    parser.add_argument("--batch", type=int, default=20, metavar="B")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--scaling", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(1)
    if a.scaling:
        took: list[float] = []
        print("| T | K | B | ms a step |\n| --- | --- | --- | --- |")
        for length, particles, batch in SIZES:
            run = by_package("numpyro", data(STEPS * batch, length), particles, batch)
            run(2)
            took.append(min(cost(run, a.epochs, STEPS) for _ in range(a.turns)))
            print(f"| {length} | {particles} | {batch} | {took[-1]:.2f} |", flush=True)
        for axis, name in enumerate("TKB"):
            of_axis = [(size[axis], ms) for size, ms in zip(SIZES, took, strict=True) if size[axis] != SIZES[0][axis]]
            x, y = np.log([(SIZES[0][axis], took[0]), *of_axis]).T
            print(f"{name}: slope {np.polyfit(x, y, 1)[0]:.2f}")
        return
    x = data(STEPS * a.batch, a.steps)
    contenders = {
        "JAX, by hand": by_jax(x, a.particles, a.batch),
        "NumPyro": by_package("numpyro", x, a.particles, a.batch),
        "PyTorch, by hand": by_torch(x, a.particles, a.batch),
        "Pyro": by_package("pyro", x, a.particles, a.batch),
        "Pyro, recorded": by_package("pyro", x, a.particles, a.batch, "trace"),
    }
    best = dict.fromkeys(contenders, math.inf)
    compiling = {name: run(2) for name, run in contenders.items()}
    for _ in range(a.turns):
        for name, run in contenders.items():
            best[name] = min(best[name], cost(run, a.epochs, STEPS))
    print("| step | ms | of that by hand | seconds of compiling |\n| --- | --- | --- | --- |")
    for name in contenders:
        hand = best["JAX, by hand" if name in ("JAX, by hand", "NumPyro") else "PyTorch, by hand"]
        once = "" if compiling[name] is None else f"{compiling[name]:.1f}"
        print(f"| {name} | {best[name]:.2f} | {best[name] / hand:.2f} | {once} |")


if __name__ == "__main__":
    main()

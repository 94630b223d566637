"""A step of a GAN in this package beside the same by hand, in plain PyTorch and plain JAX, in one run.

    python benchmarks/gan_cost.py --out gan_cost.json         # a minute and a half on one core

The data are the ring of 8 normals, the nets 64-64 units, 8 latents, batches of 128; the game is the non-saturating one.
A step is one of the critic, on rows and draws of its own, and one of the generator, each with Adam. What is compared
takes turns in one process, in random order; a ratio is the median over rounds of the ratio within a round, of the
clock's time, and of CPU time, which is the steadier on a shared machine. PyTorch's steps run in Python, JAX's in one
compiled scan.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gan
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from cost import Block, rows, timed
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu, softplus

from ppl_vae import backends, init, seeds
from ppl_vae.discriminators import Discriminator
from ppl_vae.runtime.versions import versions
from ppl_vae.training import TrainingData

LATENTS, HIDDEN, BATCH, RATE, SLOPE = 8, (64, 64), 128, 1e-3, 0.2
BESIDE = {"Pyro": "PyTorch by hand", "Pyro, trace": "PyTorch by hand", "NumPyro": "JAX by hand"}
Layers = list[tuple[Any, Any]]


def weights(sizes: Sequence[int], purpose: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first weights of a perceptron."""
    rng = seeds.generator(0, purpose)
    return [(init.xavier_uniform(rng, out, inp), np.zeros(out)) for inp, out in itertools.pairwise(sizes)]


GENERATOR, CRITIC = (LATENTS, *HIDDEN, 2), (2, *HIDDEN, 1)


def ours(backend: str, x: np.ndarray, **settings: Any) -> Block:
    """An epoch of ``inference.Adversarial``."""
    b = backends.load(backend)
    model = b.models.Implicit(b.models.StandardNormal(LATENTS), b.nets.MLP(GENERATOR, seeds.generator(0, "weights")))
    critic = Discriminator(HIDDEN, learning_rate=RATE, slope=SLOPE)
    shared = {"critic": critic, "batch_size": BATCH, "learning_rate": RATE}
    svi = b.inference.Adversarial(b.inference.GAN(), **shared, **settings)
    run = svi.start(model, b.guides.Empty(), TrainingData(x, None, False), seed=0, device=None)
    numbers = itertools.count()

    def block() -> int:
        epoch = next(numbers)
        return len(run.epoch(epoch, seeds.generator(0, "order", epoch).permutation(len(x))))

    return block


def torch_by_hand(x: np.ndarray) -> Block:
    """Two optimisers in a loop."""
    data = torch.tensor(x)

    def net(sizes: Sequence[int], purpose: str) -> nn.ParameterList:
        arrays = itertools.chain(*weights(sizes, purpose))
        return nn.ParameterList([nn.Parameter(torch.tensor(a, dtype=torch.float32)) for a in arrays])

    def run(parameters: nn.ParameterList, h: Tensor, hidden: Any) -> Tensor:
        for layer in range(0, len(parameters) - 2, 2):
            h = hidden(nn.functional.linear(h, parameters[layer], parameters[layer + 1]))
        return nn.functional.linear(h, parameters[-2], parameters[-1])

    def judge(h: Tensor) -> Tensor:
        return run(critic, h, lambda a: leaky_relu(a, SLOPE))[:, 0]

    generator, critic = net(GENERATOR, "weights"), net(CRITIC, "critic")
    own = torch.optim.Adam(generator.parameters(), lr=RATE, fused=True)
    other = torch.optim.Adam(critic.parameters(), lr=RATE, betas=(0.5, 0.999), fused=True)

    def block() -> int:
        order = torch.randperm(len(data)).split(BATCH)
        for batch in order:
            real = data[torch.randint(len(data), (len(batch),))]
            with torch.no_grad():
                fake = run(generator, torch.randn(len(batch), LATENTS), relu)
            other.zero_grad()
            c = judge(torch.cat([real, fake])).reshape(2, -1)
            (softplus(-c[0]).mean() + softplus(c[1]).mean()).backward()
            other.step()
            own.zero_grad()
            softplus(-judge(run(generator, torch.randn(len(batch), LATENTS), relu))).mean().backward()
            own.step()
        return len(order)

    return block


def jax_by_hand(x: np.ndarray) -> Block:
    """The same steps in one compiled scan."""
    data, steps = jnp.asarray(x), -(-len(x) // BATCH)

    def run(layers: Layers, h: jax.Array, hidden: Any) -> jax.Array:
        *first, last = layers
        for weight, bias in first:
            h = hidden(h @ weight.T + bias)
        return h @ last[0].T + last[1]

    def judge(layers: Layers, h: jax.Array) -> jax.Array:
        return run(layers, h, lambda a: jax.nn.leaky_relu(a, SLOPE))[:, 0]

    def draw(layers: Layers, key: jax.Array) -> jax.Array:
        return run(layers, jax.random.normal(key, (BATCH, LATENTS)), jax.nn.relu)

    own, other = optax.adam(RATE), optax.adam(RATE, b1=0.5)

    def critic_loss(critic: Layers, real: jax.Array, fake: jax.Array) -> jax.Array:
        c = judge(critic, jnp.concatenate([real, fake])).reshape(2, -1)
        return jax.nn.softplus(-c[0]).mean() + jax.nn.softplus(c[1]).mean()

    def generator_loss(generator: Layers, critic: Layers, key: jax.Array) -> jax.Array:
        return jax.nn.softplus(-judge(critic, draw(generator, key))).mean()

    def one(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        generator, critic, state, other_state = carry
        keys = jax.random.split(key, 3)
        real = data[jax.random.randint(keys[0], (BATCH,), 0, len(data))]
        slopes = jax.grad(critic_loss)(critic, real, draw(generator, keys[1]))
        updates, other_state = other.update(slopes, other_state)
        critic = optax.apply_updates(critic, updates)
        value, slopes = jax.value_and_grad(generator_loss)(generator, critic, keys[2])
        updates, state = own.update(slopes, state)
        return (optax.apply_updates(generator, updates), critic, state, other_state), value

    scan = jax.jit(lambda carry, key: jax.lax.scan(one, carry, jax.random.split(key, steps)))
    generator, critic = (
        jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), weights(sizes, purpose))
        for sizes, purpose in ((GENERATOR, "weights"), (CRITIC, "critic"))
    )
    carry, numbers = (generator, critic, own.init(generator), other.init(critic)), itertools.count()

    def block() -> int:
        nonlocal carry
        carry, values = scan(carry, jax.random.key(next(numbers)))
        jax.block_until_ready((carry, values))
        return steps

    return block


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100, help="of a block on PyTorch; JAX takes twenty times as many")
    parser.add_argument("--out", type=Path, default=Path("gan_cost.json"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    small, large = (gan.draw("ring", count * a.steps * BATCH, 0) for count in (1, 20))
    found = []
    pyro = {"Pyro": ours("pyro", small), "Pyro, trace": ours("pyro", small, compile="trace")}
    for backend, blocks in (
        ("pyro", {**pyro, "PyTorch by hand": torch_by_hand(small)}),
        ("numpyro", {"NumPyro": ours("numpyro", large), "JAX by hand": jax_by_hand(large)}),
    ):
        beside = {name: other for name, other in BESIDE.items() if name in blocks}
        found += rows("GAN", backend, timed(blocks, a.rounds), beside)
    print("| | ms a step | by hand, ms | ratio | of CPU time |\n| --- | --- | --- | --- | --- |")
    for row in found:
        numbers = (f"{row[name]:.2f}" for name in ("ms", "beside_ms", "ratio", "cpu_ratio"))
        print(f"| {row['what']} |", " | ".join(numbers), "|")
    a.out.write_text(json.dumps({"rows": found, "libraries": versions()}, indent=1) + "\n")


if __name__ == "__main__":
    main()

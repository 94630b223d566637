"""A gradient step of each objective that looks at the aggregate posterior, beside that of the plain VAE.

    python benchmarks/objectives.py               # some minutes on two cores
    python benchmarks/objectives.py --quick       # smaller blocks and fewer rounds
    python benchmarks/objectives.py --threads 1   # on a machine that is shared

Sections:

- memory: the peak of the total correlation and its gradient, over the size of an array of all its densities;
- steps: every objective on the same pair: convolutions on 64 x 64 pixels, 10 latents, batch 64, and a 784-300-300-40
  perceptron, batch 100; on Pyro step by step, on Pyro recorded (``compile="trace"``), and on NumPyro. FactorVAE has the
  critic of Kim and Mnih, six layers of 1000, and one of four layers of 256;
- replicas: a step of several seeds as one program of NumPyro, beside as many steps of one seed: one after the other in
  the program, and vmapped.

What is compared takes turns in one process, in blocks of some steps in random order; a ratio is the median over rounds
of the ratio within a round, of the clock's time and of the CPU time of all threads, which is the steadier on a shared
machine. Written to ``--out`` as JSON and as a table in Markdown.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import step_page
import torch
from cost import RATE, Block, Row, malloc, peak, random_images, ratios
from step import aimed, confine, measured

from ppl_vae import backends, recipes, seeds
from ppl_vae.critics import Critic
from ppl_vae.divergences import aggregate_posterior
from ppl_vae.pairs import terms
from ppl_vae.runtime import storage, versions
from ppl_vae.training import TrainingData

VAE = "VAE"
PROGRAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "Pyro": ("pyro", {}),
    "Pyro, trace": ("pyro", {"compile": "trace"}),
    "NumPyro": ("numpyro", {}),
}
"""A name -> the backend, and settings of its training."""
OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    VAE: ("TraceMeanFieldELBO", {}),
    "beta-TCVAE, stratified": ("BetaTCVAE", {}),
    "beta-TCVAE, weighted": ("BetaTCVAE", {"estimator": "weighted"}),
    "DIP-VAE I": ("DIPVAE", {"kind": "i"}),
    "DIP-VAE II": ("DIPVAE", {"kind": "ii"}),
    "InfoVAE, MMD": ("InfoVAE", {}),
    "WAE, MMD": ("WAE", {}),
    "WAE, sliced": ("WAE", {"divergence": "sliced-wasserstein"}),
    "FactorVAE": ("FactorVAE", {}),
    "FactorVAE, small critic": ("FactorVAE", {}),
    "AAE, small critic": ("AAE", {}),
}
"""A name -> the class, and its settings."""
NETS = ("convolutions", "perceptron")
SMALL = "small critic"
REPLICATED = (VAE, "beta-TCVAE, stratified", "FactorVAE, small critic")
"""Those whose seeds are trained together."""
AIMS = {
    "beta-TCVAE, stratified": 1.10,
    "beta-TCVAE, weighted": 1.10,
    "DIP-VAE I": 1.05,
    "DIP-VAE II": 1.05,
    "FactorVAE": 1.60,
}
"""Of the pair of convolutions."""


@dataclass(frozen=True)
class Net:
    """A pair, and how many data are in a batch."""

    name: str
    image_shape: tuple[int, ...]
    batch: int
    settings: dict[str, Any]

    def images(self, count: int) -> np.ndarray:
        """Random binary ones, (count, P)."""
        return random_images(count, int(np.prod(self.image_shape)))

    def recipe(self, backend: str) -> recipes.Recipe:
        """What makes the pair."""
        make = recipes.conv_vae if self.settings.get("net") == "conv" else recipes.vae
        return make(self.image_shape, backend=backend, **self.settings)


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    nets: tuple[Net, ...] = (
        Net("conv, 64 x 64", (64, 64), 64, {"net": "conv"}),
        Net("784-300-300-40", (784,), 100, {"latent_dim": 40, "hidden": (300, 300)}),
    )
    critics: tuple[Critic, Critic] = (Critic(), Critic(hidden=(256,) * 4))
    steps: tuple[int, ...] = (6, 30)
    """in a block, of each net"""
    rounds: int = 9
    replicas: int = 4
    correlation: tuple[int, int, int] = (16, 256, 20)
    """draws, data and latents whose total correlation is taken"""

    def blocks(self) -> Iterator[tuple[Net, int]]:
        """Each net, and its steps in a block."""
        return zip(self.nets, self.steps, strict=True)


FULL = Scale()
QUICK = Scale(steps=(3, 10), rounds=5)
SMOKE = Scale(
    (
        Net("conv, 8 x 8", (8, 8), 4, {"net": "conv", "latent_dim": 2, "channels": (2, 2), "hidden": (4,)}),
        Net("perceptron", (12,), 4, {"latent_dim": 3, "hidden": (8,)}),
    ),
    (Critic((8,)), Critic((4,))),
    (2, 2),
    2,
    2,
    (2, 8, 3),
)


def training(scale: Scale, backend: str, name: str, batch: int, **settings: Any) -> Any:
    """The inference object of an objective."""
    inference = backends.load(backend).inference
    kind, options = OBJECTIVES[name]
    loss = getattr(inference, kind)(**options)
    shared = {"batch_size": batch, "learning_rate": RATE, **settings}
    if not hasattr(loss, "against"):
        return inference.SVI(loss, **shared)
    return inference.Adversarial(loss, critic=scale.critics[SMALL in name], **shared)


def started(scale: Scale, net: Net, backend: str, name: str, images: np.ndarray, seed: int = 0, **settings: Any) -> Any:
    """A training before its first step."""
    pair = net.recipe(backend)(seeds.generator(seed, "weights"))
    own = training(scale, backend, name, net.batch, **settings)
    return own.start(*pair, TrainingData(images, None, False), seed=seed, device="cpu")


def block_of(run: Any, size: int) -> Block:
    """An epoch after the other over so many images."""
    numbers = itertools.count()

    def block() -> int:
        epoch = next(numbers)
        return len(run.epoch(epoch, seeds.generator(0, "order", epoch).permutation(size)))

    return block


def step_rows(scale: Scale, programs: list[str], names: list[str]) -> Iterator[Row]:
    """A step of every objective beside the VAE's, of the same pair and program."""
    for (net, count), program in itertools.product(scale.blocks(), programs):
        backend, settings = PROGRAMS[program]
        images, blocks = net.images(count * net.batch), {}
        for name in names:
            if settings and hasattr(getattr(backends.load(backend).inference, OBJECTIVES[name][0]), "against"):
                continue  # a step with a critic is not recorded
            blocks[name] = block_of(started(scale, net, backend, name, images, **settings), len(images))
        found, seconds = measured("steps", blocks, scale.rounds)
        for name, row in found.items():
            row |= {"task": f"{net.name}, {program}", **ratios(seconds[name], seconds[VAE])}
            if name in AIMS and "net" in net.settings:
                aimed(row, AIMS[name], VAE, seconds[name], seconds[VAE])
            yield row
        gc.collect()


def replica_rows(scale: Scale, programs: list[str], names: list[str]) -> Iterator[Row]:
    """A step of each of several seeds in one program, beside a step of one."""
    for net, count in scale.blocks() if "NumPyro" in programs else ():
        images = net.images(count * net.batch)
        for name in [name for name in names if name in REPLICATED]:
            alone = f"{name}: one seed"
            blocks = {alone: block_of(started(scale, net, "numpyro", name, images), len(images))}
            own = training(scale, "numpyro", name, net.batch)
            for vmapped, label in ((False, "in turn"), (True, "vmapped")):
                runs = [started(scale, net, "numpyro", name, images, seed=seed) for seed in range(scale.replicas)]
                together = own.replicas(runs)
                together.vmapped = vmapped
                blocks[f"{name}: {scale.replicas} seeds, {label}"] = together_block(together, len(images))
            found, seconds = measured("replicas", blocks, scale.rounds)
            for what, row in found.items():
                row |= {"task": f"{net.name}, a seed's step", "what": what, **ratios(seconds[what], seconds[alone])}
                yield row


def together_block(together: Any, size: int) -> Block:
    """An epoch of all replicas; the steps of all of them are counted."""
    numbers, count = itertools.count(), len(together.runs)

    def block() -> int:
        epoch = next(numbers)
        orders = [seeds.generator(seed, "order", epoch).permutation(size) for seed in range(count)]
        return sum(map(len, together.epoch([epoch] * count, orders, [True] * count)))

    return block


def correlations(scale: Scale, backend: str) -> Block:
    """The total correlation of made-up codes, and its gradient."""
    draws, batch, latents = scale.correlation
    rng = seeds.generator(0, "codes")
    arrays = rng.standard_normal((draws, batch, latents)), *(rng.random((2, batch, latents)) + 0.5)

    def correlation(z: Any, loc: Any, scale: Any) -> Any:
        told = terms.Latents(z, loc, scale)
        return aggregate_posterior.total_correlation(told, num_data=10 * batch).mean()

    if backend == "pyro":
        tensors = [torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in arrays]

        def block() -> int:
            torch.autograd.grad(correlation(*tensors), tensors)
            return 1
    else:
        own = [jnp.asarray(a, jnp.float32) for a in arrays]
        gradient = jax.jit(jax.value_and_grad(correlation, argnums=(0, 1, 2)))

        def block() -> int:
            jax.block_until_ready(gradient(*own))
            return 1

    return block


def memory_rows(scale: Scale, programs: list[str], _: list[str]) -> Iterator[Row]:
    """The peak of the total correlation and its gradient, beside one array of every density in it."""
    draws, batch, latents = scale.correlation
    whole = 4 * draws * batch * batch * latents / 2**20
    for backend in dict.fromkeys(PROGRAMS[program][0] for program in programs):
        mib = peak(correlations(scale, backend))
        task = f"K = {draws}, B = {batch}, D = {latents}"
        yield {
            "section": "memory",
            "task": f"total correlation, {task}",
            "what": {"pyro": "torch", "numpyro": "JAX"}[backend],
            "mib": [whole, mib],
            "ratio": mib / whole,
        }


SECTIONS: dict[str, Callable[[Scale, list[str], list[str]], Iterator[Row]]] = {
    "memory": memory_rows,
    "steps": step_rows,
    "replicas": replica_rows,
}
"""Memory first: what malloc has kept once, it fills again where it likes."""


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES), metavar="NAME")
    parser.add_argument("--threads", type=int, default=2, help="cores for PyTorch and for JAX (default 2)")
    parser.add_argument("--quick", action="store_true", help="smaller blocks and fewer rounds")
    parser.add_argument("--smoke", action="store_true", help="tiny nets: seconds, and numbers that mean nothing")
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"))
    return parser.parse_args()


def main() -> None:
    """Measure, print, write the rows and the table."""
    args = arguments()
    warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version once a day
    load, began = os.getloadavg()[0], time.perf_counter()
    threads = confine(args.threads)
    scale = SMOKE if args.smoke else QUICK if args.quick else FULL
    chosen = [NETS.index(net) for net in dict.fromkeys(args.nets)]
    steps = tuple(scale.steps[i] for i in chosen)
    scale = replace(scale, nets=tuple(scale.nets[i] for i in chosen), steps=steps)
    names = list(dict.fromkeys([VAE, *args.objectives]))
    record: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {threads} used, load {load:.1f} at the start",
        "versions": versions.versions(),
        "rows": [],
    }
    for section in [section for section in SECTIONS if section in args.sections]:
        print(f"\n{section}", flush=True)
        malloc(keeps=section != "memory")
        for row in SECTIONS[section](scale, args.programs, names):
            record["rows"].append(row)
            print(step_page.line(row), flush=True)
    record["seconds"] = time.perf_counter() - began
    storage.write_atomically(args.out / "objectives.json", json.dumps(record, indent=2).encode())
    storage.write_atomically(args.out / "objectives.md", step_page.table(record["rows"]).encode())
    print(f"\n{record['machine']}; {record['seconds']:.0f} s; written to {args.out}")


if __name__ == "__main__":
    main()

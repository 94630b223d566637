"""What the package costs beside programs written by hand, in seconds and in memory, on this machine.

    python benchmarks/cost.py            # some minutes on two cores
    python benchmarks/cost.py --quick    # smaller batches and fewer rounds

Four questions, on both backends, with random binary images of 784 pixels:

- objectives: a gradient step of IWAE and DReG with 50 draws on a 784-300-300-40 VAE, beside the same bound by hand;
- baselines: a step of REINFORCE with each baseline, beside the step without one;
- per datapoint: a step with variational parameters for each of 60,000 images, beside an amortised step, and with 6,000;
- memory: how it grows with the number of draws, and how ``chunk`` bounds it.

What is compared takes turns in one process, in random order; a ratio is the median over rounds of the ratio within a
round. CPU time, of all threads, stands beside the clock's: on a shared machine it is the steadier. Written to ``--out``
as JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hand_written
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import nnx

from ppl_vae import backends, baselines, recipes, seeds
from ppl_vae.runtime import memory, storage, versions
from ppl_vae.training import TrainingData

SECTIONS = ("objectives", "baselines", "per-datapoint", "memory")
RATE = 1e-3
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""of mallopt(3)"""

Block = Callable[[], int]
"""Runs some steps, waits until they are done, says how many they were."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    pixels: int = 784
    hidden: tuple[int, ...] = (300, 300)
    latents: int = 40
    batch: int = 100
    draws: int = 50
    memory_draws: tuple[int, ...] = (10, 50, 200)
    chunk: int = 10
    images: tuple[int, ...] = (60_000, 6_000)
    steps: int = 600
    """in a block of the cheapest kind, those of an epoch of static MNIST; of dearer kinds a fraction of it"""
    rounds: int = 9
    device: str = "cpu"
    """where the programs run; those of plain JAX are on its default device"""

    def recipe(self, images: np.ndarray | tuple[int, ...], **settings: Any) -> recipes.Recipe:
        """A VAE of this size."""
        return recipes.vae(images, latent_dim=self.latents, hidden=self.hidden, **settings)


FULL = Scale()
QUICK = Scale(batch=20, steps=200, rounds=5)
SMOKE = Scale(12, (8,), 3, 10, 4, (2, 4, 8), 2, (80, 40), 4, 2)


def malloc(*, keeps: bool) -> None:
    """Whether the C library keeps what is freed, or gives it back to the system at once; glibc's only.

    Times are taken while it keeps: by default it does either by chance, and new pages can cost a fifth of a step. Peaks
    are taken while it gives back, so that they are what was needed and not what was kept.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 2**25 if keeps else 2**16)
        library.mallopt(M_TRIM_THRESHOLD, 2**30 if keeps else 2**16)


def random_images(count: int, pixels: int) -> np.ndarray:
    """Binary images (count, pixels), a fifth of the pixels on."""
    return (seeds.generator(0, "images").random((count, pixels)) < 0.2).astype(np.float32)


def timed(blocks: Mapping[str, Block], rounds: int) -> dict[str, np.ndarray]:
    """Seconds and CPU seconds per step of each block, (rounds, 2); a first round, which compiles, is not counted."""
    *_, found = timed_rounds(blocks, rounds)
    return found


def timed_rounds(blocks: Mapping[str, Block], rounds: int) -> Iterator[dict[str, np.ndarray]]:
    """After each round the seconds and CPU seconds per step of each block so far, (rounds, 2)."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in blocks}
    rng = seeds.generator(0, "rounds")
    for number in range(rounds + 1):
        for name in rng.permutation(list(blocks)):
            clock, cpu = time.perf_counter(), time.process_time()
            steps = blocks[name]()
            took = ((time.perf_counter() - clock) / steps, (time.process_time() - cpu) / steps)
            found[name] += [took] if number else []
        if number:
            yield {name: np.array(values) for name, values in found.items()}


def rows(section: str, backend: str, seconds: Mapping[str, np.ndarray], beside: Mapping[str, str]) -> list[Row]:
    """A row for each of ``beside``: name -> the name that it is compared with."""
    return [
        {
            "section": section,
            "backend": backend,
            "what": name,
            "ms": 1e3 * float(np.median(seconds[name][:, 0])),
            "beside": other,
            "beside_ms": 1e3 * float(np.median(seconds[other][:, 0])),
            **ratios(seconds[name], seconds[other]),
        }
        for name, other in beside.items()
    ]


def ratios(seconds: np.ndarray, beside: np.ndarray) -> Row:
    """The medians over rounds of the ratios within a round, of the clock's time and of CPU time."""
    ratio, cpu_ratio = np.median(seconds / beside, 0)
    return {"ratio": float(ratio), "cpu_ratio": float(cpu_ratio)}


def wait_for(device: torch.device) -> None:
    """Wait until a GPU of torch has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def torch_block(
    loss: Callable[[], torch.Tensor], parameters: Sequence[torch.nn.Parameter], count: int, *, fused: bool = True
) -> Block:
    """So many steps of value, gradient and Adam, as SVI takes them; or with Adam as it is by default."""
    import pyro

    optim = torch.optim.Adam(parameters, lr=RATE, **({"fused": True} if fused else {}))

    def block() -> int:
        with pyro.validation_enabled(False):  # as in SVI after its first step
            for _ in range(count):
                optim.zero_grad()
                loss().backward()
                optim.step()
        wait_for(parameters[0].device)
        return count

    return block


def jax_block(value_and_grad: Callable[[Any, jax.Array], tuple[jax.Array, Any]], params: Any, count: int) -> Block:
    """So many steps of value, gradient and Adam in one compiled scan, as SVI takes them."""
    optim = optax.adam(RATE)

    def one(carry: tuple[Any, Any], key: jax.Array) -> tuple[tuple[Any, Any], jax.Array]:
        value, grads = value_and_grad(carry[0], key)
        updates, state = optim.update(grads, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), state), value

    scan = jax.jit(lambda carry, keys: jax.lax.scan(one, carry, keys))
    carry, seed = (params, optim.init(params)), itertools.count()

    def block() -> int:
        nonlocal carry
        carry, values = scan(carry, jax.random.split(jax.random.key(next(seed)), count))
        jax.block_until_ready((carry, values))
        return count

    return block


def pyro_blocks(scale: Scale, objective: Any, by_hand: Any, count: int) -> tuple[Block, Block]:
    """(ours, by hand) on nets of their own with the same initial weights."""
    x = torch.from_numpy(random_images(scale.batch, scale.pixels))
    (model, guide), (other, encoder) = (scale.recipe((scale.pixels,))(seeds.generator(0, "weights")) for _ in "ab")
    nets = encoder.posterior.net, other.likelihood.net

    def ours() -> torch.Tensor:
        return objective.differentiable_loss(model, guide, x) / len(x)

    def theirs() -> torch.Tensor:
        return by_hand(*nets, x, torch.randn(objective.num_draws, len(x), scale.latents))

    parameters = [*model.parameters(), *guide.parameters()], [p for net in nets for p in net.parameters()]
    return torch_block(ours, parameters[0], count), torch_block(theirs, parameters[1], count)


def numpyro_blocks(scale: Scale, objective: Any, by_hand: Any, count: int) -> tuple[Block, Block]:
    """(ours, by hand) on the same initial weights."""
    x = jnp.asarray(random_images(scale.batch, scale.pixels))
    model, guide = scale.recipe((scale.pixels,), backend="numpyro")(seeds.generator(0, "weights"))
    graph, weights, rest = nnx.split(nnx.List([model, guide]), nnx.Param, ...)  # type: ignore[misc]

    def ours(weights: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        def loss(weights: Any) -> jax.Array:
            return objective.loss(key, {}, *nnx.merge(graph, weights, rest), x) / len(x)

        return jax.value_and_grad(loss)(weights)

    def theirs(params: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        return by_hand(params, x, jax.random.normal(key, (objective.num_draws, len(x), scale.latents)))

    nets = guide.posterior.net, model.likelihood.net
    params = tuple([(layer.weight[...], layer.bias[...]) for layer in net.layers] for net in nets)
    return jax_block(ours, weights, count), jax_block(theirs, params, count)


def objective_blocks(
    scale: Scale, backend: str, name: str, draws: int, count: int, **options: Any
) -> tuple[Block, Block]:
    """(ours, by hand) of the objective of that name, so many steps each."""
    objective = getattr(backends.load(backend).inference, name)(draws, **options)
    library, both = ("torch", pyro_blocks) if backend == "pyro" else ("jax", numpyro_blocks)
    return both(scale, objective, getattr(hand_written, f"{library}_{name.lower()}"), count)


def epochs(scale: Scale, loss: Any, recipe: recipes.Recipe, images: np.ndarray, count: int, **settings: Any) -> Block:
    """A block of SVI: passes over the images, so many steps in all; ``settings`` of SVI."""
    inference = backends.load(recipe.backend).inference
    pair = recipe(seeds.generator(0, "weights"))
    training = inference.SVI(loss, batch_size=scale.batch, learning_rate=RATE, **settings)
    run = training.start(*pair, TrainingData(images, None, False), seed=0, device=scale.device)
    passes = max(1, count * scale.batch // len(images))
    numbers = itertools.count()

    def block() -> int:
        done = 0
        for _ in range(passes):
            epoch = next(numbers)
            order = seeds.generator(0, "order", epoch).permutation(len(images))[: count * scale.batch]
            done += len(run.epoch(epoch, order))
        return done

    return block


def objectives(scale: Scale, backend: str) -> Iterator[Row]:
    """IWAE and DReG beside the same bounds by hand: the objective alone, within SVI, and in chunks."""
    count = max(scale.steps // 60, 2)
    images = random_images(count * scale.batch, scale.pixels)
    for name in ("IWAE", "DReG"):
        ours, by_hand = objective_blocks(scale, backend, name, scale.draws, count)
        label = f"{name} {scale.draws}"
        loss = getattr(backends.load(backend).inference, name)(scale.draws)
        blocks = {
            label: ours,
            f"{label} in SVI": epochs(scale, loss, scale.recipe(images, backend=backend), images, count),
            f"{label}, chunk={scale.chunk}": objective_blocks(
                scale, backend, name, scale.draws, count, chunk=scale.chunk
            )[0],
            f"{label} by hand": by_hand,
        }
        beside = dict.fromkeys(list(blocks)[:-1], f"{label} by hand")
        yield from rows("objectives", backend, timed(blocks, scale.rounds), beside)


def peak(block: Block, repeats: int = 3) -> float:
    """MiB above what is held between blocks; the block before them compiles."""
    block()
    found = []
    for _ in range(repeats):
        gc.collect()
        highest = memory.PeakMemory()
        block()
        found.append(highest.read())
    return float(np.median(found))


def memories(scale: Scale, backend: str) -> Iterator[Row]:
    """Peak memory of a step of IWAE and DReG with ever more draws, ours and by hand, and ours in chunks."""
    malloc(keeps=False)
    settings: list[tuple[int, int | None]] = [(draws, None) for draws in scale.memory_draws]
    for name in ("IWAE", "DReG"):
        for draws, chunk in [*settings, (scale.memory_draws[-1], scale.chunk)]:
            mib, hand_mib = map(peak, objective_blocks(scale, backend, name, draws, 2, chunk=chunk))
            yield {
                "section": "memory",
                "backend": backend,
                "what": f"{name} {draws}" + (f", chunk={chunk}" if chunk else ""),
                "mib": mib,
                "beside": f"{name} {draws} by hand",
                "beside_mib": hand_mib,
                "ratio": mib / max(hand_mib, 1e-9),
            }


def of_baselines(scale: Scale, backend: str) -> Iterator[Row]:
    """REINFORCE with each baseline beside REINFORCE without one, within SVI."""
    inference = backends.load(backend).inference
    count = max(scale.steps // 4, 2)
    images = random_images(count * scale.batch, scale.pixels)
    recipe = scale.recipe(images, latents="bernoulli", backend=backend)
    kinds = {"none": None, "leave-one-out": baselines.LeaveOneOut(), "running average": baselines.RunningAverage()}
    kinds["neural"] = baselines.Neural()
    blocks = {
        name: epochs(scale, inference.TraceGraphELBO(4, baseline=baseline), recipe, images, count)
        for name, baseline in kinds.items()
    }
    seconds = timed(blocks, scale.rounds)
    yield from rows("baselines", backend, seconds, dict.fromkeys(list(kinds)[1:], "none"))


def per_datapoint(scale: Scale, backend: str) -> Iterator[Row]:
    """A step that moves a batch's own variational parameters and the model, beside an amortised one, for each N."""
    inference = backends.load(backend).inference
    blocks: dict[str, Block] = {}
    for count in scale.images:
        images = random_images(count, scale.pixels)
        for guide in ("per-datapoint", "amortised"):
            recipe = scale.recipe(images, guide=guide, backend=backend)
            blocks[f"{guide}, N={count:,}"] = epochs(scale, inference.TraceELBO(), recipe, images, scale.steps)
    names = list(blocks)
    seconds = timed(blocks, scale.rounds)
    yield from rows("per-datapoint", backend, seconds, {names[0]: names[1], names[2]: names[3]})
    yield from rows("per-datapoint", backend, seconds, {names[0]: names[2], names[1]: names[3]})


MEASUREMENTS = dict(zip(SECTIONS, (objectives, of_baselines, per_datapoint, memories), strict=True))


def line(row: Row) -> str:
    """A row as text."""
    unit, name = ("MiB", "mib") if "mib" in row else ("ms", "ms")
    measured = [f"{row[f'{prefix}{name}']:9.2f} {unit:3}" for prefix in ("", "beside_")]
    cpu = f"  (CPU {row['cpu_ratio']:.2f})" if "cpu_ratio" in row else ""
    return f"{row['what']:>28} {measured[0]}   {row['beside']:>26} {measured[1]}   {row['ratio']:5.2f}{cpu}"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--backends", nargs="+", choices=backends.NAMES, default=backends.NAMES)
    parser.add_argument("--quick", action="store_true", help="batches of 20, fewer steps and rounds")
    parser.add_argument("--smoke", action="store_true", help="tiny nets: seconds, and numbers that mean nothing")
    parser.add_argument("--out", type=Path, default=Path("runs/cost"))
    return parser.parse_args()


def main() -> None:
    """Measure, print and write the rows."""
    args = arguments()
    warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version once a day
    torch.set_num_threads(1)
    malloc(keeps=True)
    scale = SMOKE if args.smoke else QUICK if args.quick else FULL
    record: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the start",
        "versions": versions.versions(),
        "scale": vars(scale),
        "rows": [],
    }
    for section, backend in itertools.product([s for s in SECTIONS if s in args.sections], args.backends):
        print(f"\n{section}, {backend}, batch {scale.batch}", flush=True)
        for row in MEASUREMENTS[section](scale, backend):
            record["rows"].append(row)
            print(line(row), flush=True)
        gc.collect()
    path = args.out / "cost.json"
    storage.write_atomically(path, json.dumps(record, indent=2).encode())
    print(f"\n{record['machine']}; written to {path}")


if __name__ == "__main__":
    main()

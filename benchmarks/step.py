"""A gradient step of a VAE in this package beside hand-written programs, stock Pyro and NumPyro, and pythae.

    python benchmarks/step.py              # some ten minutes on two cores
    python benchmarks/step.py --quick      # smaller blocks and fewer rounds: within five minutes
    python benchmarks/step.py --threads 1  # on a machine that is shared

The net is 784-300-300-40, the batch 100, the data random binary images, everything in single precision. Sections:

- steps: the ELBO under N(0, I) and under VampPriors of 500, 1000 and 1500 pseudo-inputs, and IWAE with 50 draws;
- epoch: a whole epoch of ``fit`` beside the same objective in a bare loop of value, gradient and Adam;
- likelihood: log p(x) with 5,000 importance samples beside the same by hand;
- memory: the peak of a step under each VampPrior.

What is compared takes turns in one process, in blocks of some steps in random order; a ratio is the median over rounds
of the ratio within a round, of the clock's time, and of the CPU time of all threads, which is the steadier on a shared
machine. The base of a task is hand-written eager PyTorch with fused Adam. In the same turns stand the matrix products
of the step and nothing else, by the same library; ``share`` is their time over the step's: the share of the machine's
rate that a step reaches. ``first`` is what the first block took beyond a later one: compilation and warming up. Written
to ``--out`` as JSON, a table in Markdown, and a figure.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import logging
import os
import platform
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import contenders
import hand_written
import jax
import jax.numpy as jnp
import numpy as np
import step_page
import torch
from contenders import BASE, BASE_JAX, CONTENDERS, ROUNDED, Task
from cost import Block, Row, Scale, malloc, peak, random_images, ratios, timed, wait_for

from ppl_vae import backends, evaluation, seeds
from ppl_vae.pairs import chunks
from ppl_vae.runtime import storage, versions

PRODUCTS = {"torch": "matrix products, PyTorch", "jax": "matrix products, JAX"}
AIMS = {"Pyro, eager": (BASE, 1.25), "Pyro, trace": (BASE, 1.10), "Pyro, inductor": (BASE, 1.05)}
AIMS["NumPyro"] = (BASE_JAX, 1.05)
VAMPPRIOR_AIM, EPOCH_AIM, LIKELIHOOD_AIM, GROWTH_AIM = 1.10, 1.10, 1.10, 2.6


@dataclass(frozen=True)
class StepScale(Scale):
    """How large everything is."""

    pseudo_inputs: tuple[int, ...] = (500, 1000, 1500)
    samples: int = 5000
    likelihood_images: int = 4
    epoch_images: int = 60_000
    compiled: bool = True
    """whether inductor compiles every task, or the first one only"""

    @property
    def groups(self) -> list[list[Task]]:
        """Tasks that take turns with each other."""
        return [[Task()], [Task(pseudo_inputs=count) for count in self.pseudo_inputs], [Task(self.draws)]]

    def count(self, task: Task) -> int:
        """Steps in a block."""
        return max(2, self.steps // (150 if task.draws > 1 else 30 if task.pseudo_inputs else 10))


FULL = StepScale()
QUICK = StepScale(
    steps=300, rounds=4, pseudo_inputs=(500, 1500), likelihood_images=2, epoch_images=6_000, compiled=False
)
SMOKE = StepScale(
    12, (8,), 3, 10, 4, steps=20, rounds=2, pseudo_inputs=(4, 8), samples=20, likelihood_images=2, epoch_images=40
)


class Dense(NamedTuple):
    """A matrix product (rows, inp) @ (inp, out) of the forward pass, and those of its gradients."""

    rows: int
    inp: int
    out: int
    input_gradient: bool = True

    @property
    def flops(self) -> int:
        """Two for each multiplication: forward, the weights' gradient, and the input's."""
        return 2 * self.rows * self.inp * self.out * (3 if self.input_gradient else 2)

    def operands(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """The input, the weights, the output's gradient."""
        shapes = (self.rows, self.inp), (self.out, self.inp), (self.rows, self.out)
        return tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)

    def products(self, x: Any, w: Any, dy: Any) -> list[Any]:
        """All of them."""
        return [x @ w.T, dy.T @ x, *([dy @ w] if self.input_gradient else [])]


def layers(scale: Scale, task: Task) -> list[Dense]:
    """Every matrix product of a step: both nets, the encoder of the pseudo-inputs, and the mixture's density."""
    encoder = list(itertools.pairwise((scale.pixels, *scale.hidden, 2 * scale.latents)))
    decoder = list(itertools.pairwise((scale.latents, *reversed(scale.hidden), scale.pixels)))
    found = [Dense(scale.batch, *sizes, number > 0) for number, sizes in enumerate(encoder)]
    found += [Dense(task.draws * scale.batch, *sizes) for sizes in decoder]
    if task.pseudo_inputs:
        found += [Dense(task.pseudo_inputs, *sizes) for sizes in encoder]
        found += [Dense(scale.batch, 2 * scale.latents, task.pseudo_inputs)]
    return found


def products(scale: Scale, task: Task, library: str, count: int) -> Block:
    """The matrix products of so many steps."""
    dense, rng = layers(scale, task), seeds.generator(0, "operands")
    arrays = [layer.operands(rng) for layer in dense]
    if library == "torch":
        tensors = [[torch.from_numpy(a).to(scale.device) for a in some] for some in arrays]

        def once() -> Any:
            return [layer.products(*some) for layer, some in zip(dense, tensors, strict=True)]
    else:
        operands = jax.tree.map(jnp.asarray, arrays)
        compiled = jax.jit(lambda operands: [d.products(*some) for d, some in zip(dense, operands, strict=True)])

        def once() -> Any:
            return jax.block_until_ready(compiled(operands))

    def block() -> int:
        for _ in range(count):
            once()
        wait_for(torch.device(scale.device))
        return count

    return block


def library(name: str) -> str:
    """What a contender computes with."""
    return "jax" if name in contenders.OF_JAX or name == PRODUCTS["jax"] else "torch"


def first_seconds(blocks: Mapping[str, Block]) -> dict[str, float]:
    """Seconds of each one's first block."""
    found = {}
    for name, block in blocks.items():
        clock = time.perf_counter()
        block()
        found[name] = time.perf_counter() - clock
    return found


def measured(section: str, blocks: Mapping[str, Block], rounds: int) -> tuple[dict[str, Row], dict[str, np.ndarray]]:
    """A row for each block, name -> row, and the seconds that it comes from."""
    first = first_seconds(blocks)
    counts = {name: block() for name, block in blocks.items()}
    seconds = timed(blocks, rounds)
    found = {}
    for name, values in seconds.items():
        ms, cpu_ms = 1e3 * np.median(values, 0)
        extra = max(0.0, first[name] - 1e-3 * ms * counts[name])
        found[name] = {"section": section, "what": name, "ms": float(ms), "cpu_ms": float(cpu_ms), "first": extra}
    return found, seconds


def aimed(row: Row, aim: float, beside: str, seconds: np.ndarray, other: np.ndarray) -> None:
    """Write beside a row what it aims at."""
    row["aim"] = {"at_most": aim, "beside": beside, **ratios(seconds, other)}


def step_rows(scale: StepScale, names: list[str]) -> Iterator[Row]:
    """Steps of each task by each contender."""
    for number, tasks in enumerate(scale.groups):
        blocks: dict[str, Block] = {}
        if number and not scale.compiled:
            names = [name for name in names if name != "Pyro, inductor"]
        libraries = list(dict.fromkeys(library(name) for name in names))
        for task in tasks:
            count = scale.count(task)
            blocks |= {f"{task.name}: {name}": (CONTENDERS | ROUNDED)[name](scale, task, count) for name in names}
            blocks |= {f"{task.name}: {PRODUCTS[lib]}": products(scale, task, lib, count) for lib in libraries}
        found, seconds = measured("steps", blocks, scale.rounds)
        for task, name in itertools.product(tasks, [*names, *(PRODUCTS[lib] for lib in libraries)]):
            key, gflop = f"{task.name}: {name}", 1e-9 * sum(layer.flops for layer in layers(scale, task))
            row, took = found[key], seconds[key]
            rate = seconds[f"{task.name}: {PRODUCTS[library(name)]}"]
            row |= {"what": name, "task": task.name, "gflop": gflop, "gflops": 1e3 * gflop / row["ms"]}
            row |= ratios(took, seconds[f"{task.name}: {BASE}"])
            row["share"] = float(np.median(rate[:, 0] / took[:, 0]))
            if name in AIMS:
                beside, aim = AIMS[name]
                aim = VAMPPRIOR_AIM if task.pseudo_inputs else aim
                aimed(row, aim, beside, took, seconds[f"{task.name}: {beside}"])
            yield row
        yield from growth(tasks, names, seconds)
        gc.collect()


def growth(tasks: list[Task], names: list[str], seconds: Mapping[str, np.ndarray]) -> Iterator[Row]:
    """The time of a step with the most pseudo-inputs, over that with the fewest."""
    fewest, most = tasks[0].name, tasks[-1].name
    for name in names if fewest != most else []:
        row: Row = {"section": "growth", "task": f"{most} / {fewest}, time", "what": name}
        row |= ratios(seconds[f"{most}: {name}"], seconds[f"{fewest}: {name}"])
        if name in AIMS:
            aimed(row, GROWTH_AIM, fewest, seconds[f"{most}: {name}"], seconds[f"{fewest}: {name}"])
        yield row


class WholeEpochs:
    """An epoch of ``fit`` for each call: the training runs in a thread of its own and waits in its callback."""

    def __init__(self, fit: Callable[..., Any], steps: int) -> None:
        self.steps, self.error = steps, None
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, args=(fit,), daemon=True).start()

    def _run(self, fit: Callable[..., Any]) -> None:
        self.go.acquire()
        try:
            fit(callback=self._callback)
        except BaseException as error:
            self.error = error
            self.done.release()

    def _callback(self, *_: Any) -> None:
        self.done.release()
        self.go.acquire()

    def __call__(self) -> int:
        """Let it go on until its next callback."""
        self.go.release()
        self.done.acquire()
        if self.error is not None:
            raise self.error
        return self.steps


def epoch_rows(scale: StepScale, names: list[str]) -> Iterator[Row]:
    """A whole epoch of fit beside the bare steps of the same objective."""
    images, task = random_images(scale.epoch_images, scale.pixels), Task()
    count, blocks, beside = len(images) // scale.batch, {}, {}
    for name in [name for name in names if name in AIMS]:
        backend, mode = ("numpyro", {}) if name == "NumPyro" else ("pyro", {"compile": name.split(", ")[1]})
        mode = {} if mode.get("compile") == "eager" else mode
        bare = f"bare steps, {'NumPyro' if backend == 'numpyro' else 'Pyro'}"
        pair = task.recipe(scale, images, backend)(seeds.generator(0, "weights"))
        svi = backends.load(backend).inference.SVI(
            task.objective(backend), batch_size=scale.batch, epochs=scale.rounds + 4, **mode
        )

        def fit(svi: Any = svi, pair: Any = pair, **options: Any) -> Any:
            return svi.fit(*pair, images, progress=False, **options)

        blocks[name] = WholeEpochs(fit, count)
        blocks[bare] = (contenders.bare_numpyro if backend == "numpyro" else contenders.bare_pyro)(scale, task, count)
        beside[name] = bare
    found, seconds = measured("epoch", blocks, scale.rounds)
    for name, row in found.items():
        other = beside.get(name, name)
        row |= {"task": f"epoch of {count} steps", **ratios(seconds[name], seconds[other])}
        if name in beside:
            aimed(row, EPOCH_AIM, other, seconds[name], seconds[other])
        yield row


def likelihood_blocks(scale: StepScale, backend: str) -> dict[str, Block]:
    """log p(x) of some images: the package's, and by hand in as large chunks."""
    images = random_images(scale.batch, scale.pixels)
    some, latents = images[: scale.likelihood_images], scale.latents
    sizes = [window.size for window in chunks.windows(scale.samples, chunks.chunk_size())]
    task, name = Task(), {"pyro": "Pyro", "numpyro": "NumPyro"}[backend]
    inference = backends.load(backend).inference
    pair = task.recipe(scale, images, backend)(seeds.generator(0, "weights"))
    fit = inference.SVI(epochs=1, batch_size=scale.batch).fit(*pair, images, progress=False)
    numbers = itertools.count()

    def ours() -> int:
        evaluation.log_likelihood(fit, some, scale.samples, seed=next(numbers))
        return len(some)

    if backend == "pyro":
        encoder, decoder, _ = contenders.torch_nets(scale, task, images)

        @torch.no_grad()
        def log_weights(x: np.ndarray, size: int) -> np.ndarray:
            noise = torch.randn(size, 1, latents)
            return hand_written.torch_log_weights(encoder, decoder, torch.from_numpy(x), noise).numpy()
    else:
        params = contenders.jax_params(scale, task, images)

        @jax.jit
        def drawn(params: Any, key: jax.Array, x: jax.Array, noise: jax.Array) -> jax.Array:
            return hand_written.jax_log_weights(params, x, jax.random.normal(key, noise.shape))

        def log_weights(x: np.ndarray, size: int) -> np.ndarray:
            return np.asarray(drawn(params, jax.random.key(next(numbers)), x, np.empty((size, 1, latents), np.float32)))

    def by_hand() -> int:
        for i in range(len(some)):
            parts = [log_weights(some[i : i + 1], size) for size in sizes]
            np.logaddexp.reduce(np.concatenate(parts).astype(np.float64), 0)
        return len(some)

    return {name: ours, BASE if backend == "pyro" else BASE_JAX: by_hand}


def likelihood_rows(scale: StepScale, names: list[str]) -> Iterator[Row]:
    """log p(x) of an image, ours beside by hand."""
    blocks: dict[str, Block] = {}
    if any(name.startswith("Pyro") for name in names):
        blocks |= likelihood_blocks(scale, "pyro")
    if "NumPyro" in names:
        blocks |= likelihood_blocks(scale, "numpyro")
    found, seconds = measured("likelihood", blocks, scale.rounds)
    for name, row in found.items():
        beside = {"Pyro": BASE, "NumPyro": BASE_JAX}.get(name, name)
        row |= {"task": f"log p(x), {scale.samples} samples", **ratios(seconds[name], seconds[beside])}
        if name != beside:
            aimed(row, LIKELIHOOD_AIM, beside, seconds[name], seconds[beside])
        yield row


def memory_rows(scale: StepScale, names: list[str]) -> Iterator[Row]:
    """The peak memory of a step with the most pseudo-inputs, over that with the fewest."""
    malloc(keeps=False)
    fewest, *_, most = scale.groups[1]
    for name in [name for name in names if name in (*AIMS, BASE, BASE_JAX) and name != "Pyro, inductor"]:
        mib = [peak(CONTENDERS[name](scale, task, 2)) for task in (fewest, most)]
        ratio = mib[1] / max(mib[0], 1e-9)
        row: Row = {"section": "memory", "task": f"{most.name} / {fewest.name}, memory", "what": name}
        row |= {"mib": mib, "ratio": ratio}
        if name in AIMS:
            row["aim"] = {"at_most": GROWTH_AIM, "beside": fewest.name, "ratio": ratio}
        yield row
    malloc(keeps=True)


SECTIONS: dict[str, Callable[[StepScale, list[str]], Iterator[Row]]] = {
    "steps": step_rows,
    "epoch": epoch_rows,
    "likelihood": likelihood_rows,
    "memory": memory_rows,
}


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS | ROUNDED, default=list(CONTENDERS))
    parser.add_argument("--threads", type=int, default=2, help="cores for PyTorch and for JAX (default 2)")
    parser.add_argument("--quick", action="store_true", help="smaller blocks, fewer rounds and images")
    parser.add_argument("--smoke", action="store_true", help="tiny nets: seconds, and numbers that mean nothing")
    parser.add_argument("--out", type=Path, default=Path("runs/step"))
    return parser.parse_args()


def confine(threads: int) -> int:
    """Keep the process, JAX's threads too, on so many cores, where the system can; returns how many these are."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:threads]
        os.sched_setaffinity(0, cores)
        threads = len(cores)
    torch.set_num_threads(threads)
    return threads


def main() -> None:
    """Measure, print, write the rows, the table and the figures."""
    args = arguments()
    warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version once a day
    logging.disable(logging.INFO)  # pythae tells of every trainer, Pyro of plates that it guesses
    load, began = os.getloadavg()[0], time.perf_counter()
    threads = confine(args.threads)
    malloc(keeps=True)
    scale = SMOKE if args.smoke else QUICK if args.quick else FULL
    bases = [BASE, BASE_JAX] if "NumPyro" in args.contenders else [BASE]
    names = list(dict.fromkeys([*bases, *args.contenders]))
    for name in [name for name in names if not contenders.installed(name)]:
        names.remove(name)
        print(f"{name} is left out: it is not installed (pip install {name}).", flush=True)
    record: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {threads} used, load {load:.1f} at the start",
        "versions": versions.versions(),
        "scale": vars(scale),
        "rows": [],
    }
    for section in [section for section in SECTIONS if section in args.sections]:
        print(f"\n{section}", flush=True)
        for row in SECTIONS[section](scale, names):
            record["rows"].append(row)
            print(step_page.line(row), flush=True)
        gc.collect()
    record["seconds"], record["cpu_seconds"] = time.perf_counter() - began, time.process_time()
    storage.write_atomically(args.out / "step.json", json.dumps(record, indent=2).encode())
    for path in step_page.write(record, args.out):
        print(path)
    print(
        f"\n{record['machine']}; {record['seconds']:.0f} s ({record['cpu_seconds']:.0f} of CPU); written to {args.out}"
    )


if __name__ == "__main__":
    main()

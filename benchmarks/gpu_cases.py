"""The cases of ``gpu.py``: a pair, an objective or a program more is a line of a table.

Nothing that may be missing is imported at the top: what is not there is left out by name.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gpu_tables import COMPONENTS, LARGE, LARGE_PAIRS, LATER, OBJECTIVE_OF, OTHERS, PROGRAMS, REHEARSED, SAMPLERS, TASKS
from pairs import EXACT, PAIRS, SMALL, toy

from ppl_vae import backends, recipes, seeds, strategies
from ppl_vae.pairs.side_inputs import NOTHING
from ppl_vae.results import Fit
from ppl_vae.runtime import versions

Row = dict[str, Any]
Case = tuple[str, Callable[[], Any]]

NEEDS = {"pyro": ("torch", "pyro"), "numpyro": ("jax", "numpyro", "flax", "optax")}
"""Backend -> the modules without which it takes no part."""

EPS = float(np.finfo(np.float32).eps)
TOLERANCES = {
    "densities": 2**7 * EPS,
    "gradient": 2**10 * EPS,
    "losses": 2**10 * EPS,
    "weights": 2**13 * EPS,
    "compiled": 2**13 * EPS,
    "rounded": 2**-8,
}
"""How far apart the two devices may be, relative to the norm of what the CPU gives, in single precision.

Sums of up to n = 784 products in another order differ by some sqrt(n) roundings each, layer after layer: 2^7 of them
for densities; gradients take three times as many products and subtract them from each other, and a loss after a step
has the weights' error. Adam divides an entry's gradient by its own size, so that a rounding error where the gradient is
all but zero becomes a whole step of it: the weights are held to 2^13 roundings, 1e-3, as the tests hold them. An
operand between two numbers of bfloat16 falls to either: weights after such steps are held to one rounding of 8 bits.
"""

USUAL_PAIR = "vampprior"
PAIR_OF = {
    **dict.fromkeys(("reinforce", "running-average", "nvil", "rloo", "vimco", "wake-wake", "wake-sleep"), "bernoulli"),
    **dict.fromkeys(("vq", "vq-ema", "fsq", "lfq"), "vq"),
    **dict.fromkeys(
        ("per-datapoint", "semi-amortised", "diffusion", "ali", "avb", "gan", "vae-gan", "fivo", "nasmc"), "standard"
    ),
    "enumeration": "categorical",
}
"""Strategy -> the pair that it trains, where that is not the usual one."""
FILTERED = {**COMPONENTS["smoothing"], "posterior": "filtering", "transition_hidden": (8,)}
SETTINGS_OF = {"fivo": FILTERED, "nasmc": FILTERED, "ali": {"likelihood": "normal"}}
"""Strategy -> further settings of that pair, which it does not bring itself."""

COMPILED = ("trace", "inductor")
"""The ways in which a step of Pyro is recorded."""


@dataclass(frozen=True)
class Options:
    """Where the cases run, and whether as a rehearsal of a few small ones."""

    device: str
    smoke: bool
    of: Sequence[str] = backends.NAMES
    """the backends that are asked for"""

    @property
    def backends(self) -> list[str]:
        """Those that take part."""
        return [name for name in self.of if why_not(name, self.device) is None]


def why_not(backend: str, device: str) -> str | None:
    """Why a backend takes no part; None where it does."""
    for module in NEEDS[backend]:
        try:
            importlib.import_module(module)
        except ImportError as error:
            return f"{module} cannot be imported ({error})"
    try:
        backends.load(backend).inference.Pair  # noqa: B018
        sys.modules[f"ppl_vae{'.numpyro' if backend == 'numpyro' else ''}.inference.pair"].find_device(device)
    except Exception as error:
        return str(error).splitlines()[0]
    return None


def facts(options: Options) -> dict[str, Any]:
    """The GPU, its driver, the libraries with their versions, and what is left out."""
    reasons = {name: why_not(name, options.device) for name in options.of}
    found: dict[str, Any] = {
        "backends": [name for name, reason in reasons.items() if reason is None],
        "left_out": [f"{name} is left out: {reason}" for name, reason in reasons.items() if reason is not None],
        "versions": versions.versions(),
        "platform": f"{platform.platform()}, {os.cpu_count()} CPUs",
        "environment": {k: v for k, v in os.environ.items() if k.startswith(("XLA_", "JAX_", "NVIDIA_TF32", "CUDA_"))},
        "compilers": {name: shutil.which(name) for name in ("g++", "nvcc")},
    }
    for name, tell in {"torch": _facts_of_torch, "jax": _facts_of_jax, "nvidia-smi": _facts_of_the_driver}.items():
        with contextlib.suppress(Exception):
            found[name] = tell()
    return found


def _facts_of_torch() -> dict[str, Any]:
    import torch

    told: dict[str, Any] = {"cuda": torch.version.cuda, "gpus": []}
    for number in range(torch.cuda.device_count()):
        has = torch.cuda.get_device_properties(number)
        gpu = {"name": has.name, "capability": f"{has.major}.{has.minor}", "memory": has.total_memory}
        told["gpus"].append({**gpu, "multiprocessors": has.multi_processor_count})
    told["cudnn"] = torch.backends.cudnn.version()
    return told


def _facts_of_jax() -> dict[str, Any]:
    import jax

    return {"devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()]}


def _facts_of_the_driver() -> list[str]:
    asked = "name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,power.limit"
    command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv"]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()


def healthy() -> bool:
    """Whether the GPU still answers; after an error in a kernel a process has lost it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return True
    try:
        torch.cuda.synchronize()
        return bool((torch.ones(2, device="cuda") + 1).sum().item() == 4)
    except Exception:
        return False


# ---- tests

OUTCOME = re.compile(
    r"(?:\[gw\d+\] \[ *\d+%\] (?P<first>[A-Z]+) (?P<id>\S+::.+)|(?P<id2>\S+::.+?) (?P<second>[A-Z]{5,}))"
)


def marked_files(folder: Path) -> list[Path]:
    """The files of tests in which the marker ``gpu`` stands: others are not even imported."""
    return sorted(p for p in folder.rglob("test_*.py") if re.search(r"mark\.gpu\b", p.read_text(encoding="utf-8")))


def test_cases(options: Options) -> list[Case]:
    """pytest on the tests marked ``gpu``."""
    return [("pytest -m gpu", partial(run_tests, options))]


def run_tests(options: Options) -> Iterator[Row]:
    """The outcome of each test, as it comes, then the end of pytest's output."""
    root = Path(__file__).resolve().parent.parent
    files = marked_files(root / "tests")
    spread = ["-n", "4"] if importlib.util.find_spec("xdist") and not options.smoke else []
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-m",
        "gpu",
        "-o",
        "addopts=--strict-markers",
        "--continue-on-collection-errors",
    ]
    command += ["-W", "default", "--tb=short", "-rfE", *spread, *map(str, files)]
    usual = os.environ if options.smoke else {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    process = subprocess.Popen(
        command, cwd=root, env=usual, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    lines, counts = [], Counter()
    for line in process.stdout:
        lines.append(line)
        match = OUTCOME.match(line.strip())
        if match and "summary" not in counts:
            outcome, name = match["first"] or match["second"], match["id"] or match["id2"]
            if outcome in ("PASSED", "FAILED", "ERROR", "SKIPPED", "XFAIL", "XPASS"):
                counts[outcome] += 1
                yield {"what": name.replace(str(root), ""), "outcome": outcome.lower()}
                yield {"of_the_part": {"counts": dict(counts)}}
    status = process.wait()
    yield {"of_the_part": {"counts": dict(counts), "output": "".join(lines)[-12000:], "exit": status}}
    if status != 0:
        raise RuntimeError(f"pytest ended with exit status {status}: {lines[-1].strip() if lines else 'no output'}")


# ---- agreement


@contextlib.contextmanager
def drawn_on_the_cpu(backend: str) -> Iterator[None]:
    """A block in which torch draws every random number on the CPU, then takes it to where it belongs.

    A seed gives other numbers on a GPU of torch than on the CPU. JAX's are the same on every device.
    """
    if backend != "pyro":
        yield
        return
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map

    class OnTheCPU(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if torch.Tag.nondeterministic_seeded not in func.tags:
                return func(*args, **kwargs)
            tensors = [a for a in args if isinstance(a, torch.Tensor)]
            device = torch.device(kwargs.get("device") or (tensors[0].device if tensors else "cpu"))
            if device.type in ("cpu", "meta"):
                return func(*args, **kwargs)
            here, named = tree_map(lambda a: a.cpu() if isinstance(a, torch.Tensor) else a, (args, kwargs))
            drawn = func(*here, **({**named, "device": torch.device("cpu")} if "device" in named else named))
            if func._schema.is_mutable:
                return args[0].copy_(drawn)
            return drawn.to(device)

    with OnTheCPU():
        yield


def recipe_of(name: str, backend: str, **settings: Any) -> tuple[recipes.Recipe, np.ndarray]:
    """The recipe of that name, and data for it."""
    large = name in LARGE_PAIRS
    x = _images(200, 784) if large else toy(60)
    if large:
        settings = {**LARGE, **LARGE_PAIRS[name], **settings}
        if settings.get("guide") or "prior" not in settings:
            settings.pop("num_pseudo_inputs", None)
        settings["num_pseudo_inputs"] = min(settings.get("num_pseudo_inputs", 1), len(x))
    else:
        settings = {**SMALL, **PAIRS[name], **settings}
    return recipes.vae(x, backend=backend, **settings), x


def _images(count: int, pixels: int) -> np.ndarray:
    return (seeds.generator(0, "images").random((count, pixels)) < 0.2).astype(np.float32)


def agreement_cases(options: Options) -> list[Case]:
    """Every pair's densities and gradient, every strategy's training steps, on each backend: first Pyro, the faster."""
    small = ("standard",) if options.smoke else tuple(PAIRS)
    large = () if options.smoke else tuple(LARGE_PAIRS)
    names = ("enumeration",) if options.smoke else tuple(strategies.STRATEGIES)
    found: list[Case] = []
    for backend in options.backends:
        of_pairs = [
            (f"{backend}, pair {name}", partial(pair_agrees, options, backend, name)) for name in (*large, *small)
        ]
        of_steps = [(f"{backend}, strategy {name}", partial(steps_agree, options, backend, name)) for name in names]
        found += [*of_pairs, *of_steps, *([] if options.smoke else further_cases(options, backend))]
        if backend == "pyro" and not options.smoke:
            found += [(f"pyro, compile={mode!r}", partial(compiled_agrees, options, mode)) for mode in COMPILED]
    return found


def further_cases(options: Options, backend: str) -> list[Case]:
    """Objectives that no strategy is of, components of recipes that no pair has, and samplers."""
    found: list[Case] = [
        (f"{backend}, objective {name}", partial(objective_agrees, options, backend, name)) for name in OTHERS
    ]
    for name, settings in COMPONENTS.items():
        agrees = partial(pair_agrees, options, backend, "standard", settings, OBJECTIVE_OF.get(name))
        found.append((f"{backend}, component {name}", agrees))
    found.append((f"{backend}, precision='bfloat16'", partial(steps_agree, options, backend, "elbo", "bfloat16")))
    return found + [(f"{backend}, sampler {n}", partial(sampler_agrees, options, backend, n)) for n in SAMPLERS]


def compared(what: str, kind: str, cpu: Sequence[Any], device: Sequence[Any], unit: float | None = None) -> Row:
    """The norm of the difference over the norm of what the CPU gives (or ``unit``), beside what it may be."""
    a, b = (np.concatenate([np.ravel(np.asarray(v, np.float64)) for v in values]) for values in (cpu, device))
    norm = float(np.linalg.norm(a)) if unit is None else unit
    found = float(np.linalg.norm(b - a) / max(norm, 1e-30))
    row = {"what": what, "quantity": kind, "found": found, "tolerance": TOLERANCES[kind], "norm": norm}
    return {**row, "agrees": bool(found <= TOLERANCES[kind])}


def on_both(options: Options, backend: str, compute: Callable[[str], Any]) -> list[Any]:
    """What ``compute`` gives on the CPU and on the device, with the same draws."""
    cpu = compute("cpu")
    with drawn_on_the_cpu(backend):
        return [cpu, compute(options.device)]


def pair_agrees(
    options: Options, backend: str, name: str, settings: Mapping[str, Any] = NOTHING, objective: Any = None
) -> Iterator[Row]:
    """Draws and log-densities of three draws, then the gradient of the ELBO; exact or by score where z is discrete."""
    recipe, x = recipe_of(name, backend, **settings)
    b = backends.load(backend)
    discrete = recipe.latents != "gaussian"
    usual = b.inference.TraceGraphELBO(3) if discrete else b.inference.TraceELBO(2)
    objective = usual if objective is None else b.inference.adopt(objective)
    if name in EXACT:
        objective = getattr(b.inference, EXACT[name])()
    rows = np.arange(min(len(x), 50))

    def compute(device: str) -> Any:
        pair = b.inference.Pair(*recipe(seeds.generator(0, "weights")), device=device)
        pair.prepare(x[:4], 0)
        draws, terms = pair.sample(x[rows], 3, 1)
        gradients = importlib.import_module(f"{b.inference.__name__}.gradients")
        ((uphill, _),) = gradients.draw_gradients(pair, objective, x, rows[None], [2])
        return draws, (terms.log_lik, terms.log_prior, terms.log_guide), uphill

    (z, terms, grads), (other_z, other_terms, other_grads) = on_both(options, backend, compute)
    if z:
        yield compared("draws", "densities", list(z.values()), list(other_z.values()))
    for label, one, other in zip(("log p(x | z)", "log p(z)", "log q(z | x)"), terms, other_terms, strict=True):
        yield compared(label, "densities", [one], [other])
    named = type(objective).__name__
    yield compared(f"gradient of {named}", "gradient", list(grads.values()), [other_grads[n] for n in grads])


def steps_agree(options: Options, backend: str, name: str, precision: str = "full") -> Iterator[Row]:
    """Three epochs of a step each: the losses, of which the first is the bound at equal weights, and the weights."""
    settings = {**SETTINGS_OF.get(name, {}), **strategies.recipe_settings(name)}
    recipe, x = recipe_of(PAIR_OF.get(name, USUAL_PAIR), backend, **settings)
    svi = strategies.svi(name, backend, epochs=3, batch_size=len(x), learning_rate=0.01, precision=precision)

    def compute(device: str) -> Any:
        fit = svi.fit(*recipe(seeds.generator(0, "weights")), x, device=device, progress=False)
        return fit.history["loss"], fit.pair.state()

    kinds = ("losses", "weights" if precision == "full" else "rounded")
    yield from _same_training(*on_both(options, backend, compute), kinds)


def objective_agrees(options: Options, backend: str, name: str) -> Iterator[Row]:
    """The same of an objective that no strategy is of, with what the pair is given."""
    settings, loss, given = OTHERS[name]
    (recipe, x), inference = recipe_of("standard", backend, **settings), backends.load(backend).inference
    training = inference.Adversarial if loss.needs_critic else inference.SVI
    svi = training(loss, epochs=3, batch_size=len(x), learning_rate=0.01)
    side = {key: np.resize(values, (len(x), values.shape[1])) for key, values in given.items()}

    def compute(device: str) -> Any:
        fit = svi.fit(*recipe(seeds.generator(0, "weights")), x, device=device, progress=False, **side)
        return fit.history["loss"], fit.pair.state()

    yield from _same_training(*on_both(options, backend, compute))


def sampler_agrees(options: Options, backend: str, name: str) -> Iterator[Row]:
    """Draws of short chains."""
    recipe, x = recipe_of("standard", backend)

    def compute(device: str) -> Any:
        pair = backends.load(backend).inference.Pair(*recipe(seeds.generator(0, "weights")), device=device)
        pair.prepare(x[:4], 0)
        return list(SAMPLERS[name].run(Fit(pair, {}, {}), x[:8]).draws.values())

    yield compared("draws of chains", "weights", *on_both(options, backend, compute))


def _same_training(one: Any, other: Any, kinds: tuple[str, str] = ("losses", "weights")) -> Iterator[Row]:
    (losses, weights), (other_losses, other_weights) = one, other
    first, rest = (losses[:1], losses[1:]), (other_losses[:1], other_losses[1:])
    unit = max(1.0, float(np.abs(losses).max()))
    yield compared("bound at equal weights", kinds[0], first[:1], rest[:1], unit)
    yield compared("losses of the next steps", kinds[0], first[1:], rest[1:], unit)
    yield compared("weights after the steps", kinds[1], list(weights.values()), [other_weights[n] for n in weights])


def compiled_agrees(options: Options, mode: str) -> Iterator[Row]:
    """Steps recorded and replayed beside eager ones, both on the device, with its own draws; five steps an epoch."""
    recipe, x = recipe_of("vampprior", "pyro")
    inference = backends.load("pyro").inference

    def fitted(compile: str | bool) -> Any:
        svi = inference.SVI(inference.TraceELBO(2), epochs=2, batch_size=12, learning_rate=0.01, compile=compile)
        fit = svi.fit(*recipe(seeds.generator(0, "weights")), x, device=options.device, progress=False)
        return fit.history["loss"], fit.pair.state()

    with said() as messages:
        found = fitted(False), fitted(mode)
    yield from _same_training(*found, kinds=("compiled", "compiled"))
    fallen = [message for message in messages if message.startswith("NotTraceable")]
    yield {"what": "captured", "agrees": not fallen, "quantity": "compiled", "said": fallen}


@contextlib.contextmanager
def said() -> Iterator[list[str]]:
    """A block whose warnings are gathered in a list, as ``Category: text``."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield messages
        finally:
            messages += [f"{w.category.__name__}: {w.message}" for w in caught]


# ---- step


def step_cases(options: Options) -> list[Case]:
    """Each task by every program in turns; then those that compile for long, beside the base."""
    tasks = list(TASKS)[:1] if options.smoke else list(TASKS)
    found = [(task, partial(steps, options, task, REHEARSED if options.smoke else PROGRAMS)) for task in tasks]
    later = [] if options.smoke else tasks
    return found + [(f"{task}, compiled", partial(steps, options, f"{task}, compiled", LATER)) for task in later]


def steps(options: Options, name: str, programs: Sequence[str]) -> Iterator[Row]:
    """Milliseconds of a step of each program, and its ratio to code by hand, after each round.

    A program that fails, at first or later, is told and left out.
    """
    import contenders
    import cost
    import step

    scale = replace(step.SMOKE if options.smoke else step.FULL, device=options.device)
    settings, sizes, count = TASKS[name.removesuffix(", compiled")]
    task, count = contenders.Task(**settings), 2 if options.smoke else count
    scale = scale if options.smoke else replace(scale, **sizes)
    there = {"pyro": contenders.BASE, "numpyro": contenders.BASE_JAX}
    bases = [there[backend] for backend in options.backends]
    wanted = [p for p in programs if "numpyro" in options.backends or p not in contenders.OF_JAX]
    wanted = [p for p in wanted if "pyro" in options.backends or p in contenders.OF_JAX]
    bases = [base for base in bases if any((p in contenders.OF_JAX) == (base == contenders.BASE_JAX) for p in wanted)]
    blocks, told = {}, {}
    for program in [*bases, *wanted]:
        try:
            with said() as messages:
                began = time.perf_counter()
                block = (contenders.CONTENDERS | contenders.ROUNDED)[program](scale, task, count)
                made = time.perf_counter()
                block()
                told[program] = {"made": made - began, "first": time.perf_counter() - made}
                block()  # a step is captured at the second batch of a shape
            told[program]["said"] = sorted(set(messages))[:5]
            blocks[program] = block
            yield {"what": program, **told[program]}
        except Exception:
            yield {"what": program, "failed": traceback.format_exc()}
    if not blocks:
        return
    for seconds in cost.timed_rounds(blocks, 2 if options.smoke else 7):
        for program, values in seconds.items():
            base = contenders.BASE_JAX if program in contenders.OF_JAX else contenders.BASE
            yield {
                "what": program,
                **told[program],
                **_timing(values, seconds, {"base": base, "torch": contenders.BASE}),
            }


def _timing(values: np.ndarray, seconds: Mapping[str, np.ndarray], beside: Mapping[str, str]) -> Row:
    """The median and the spread of the clock's time, and ratios within a round, that are medians too."""
    ms = 1e3 * values[:, 0]
    row: Row = {"ms": float(np.median(ms)), "rounds": len(ms), "ms_least": float(ms.min()), "ms_most": float(ms.max())}
    row["cpu_ms"] = float(1e3 * np.median(values[:, 1]))
    for kind, name in beside.items():
        if name in seconds:
            row |= {f"beside_{kind}": name, f"ratio_{kind}": float(np.median(values[:, 0] / seconds[name][:, 0]))}
    return row


PARTS: dict[str, Callable[[Options], list[Case]]] = {
    "tests": test_cases,
    "agreement": agreement_cases,
    "step": step_cases,
}
"""Name -> its cases, each of which yields rows."""

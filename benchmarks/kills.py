"""Strike trainings and studies with SIGKILL at random moments, go on with them, and compare their end.

    python benchmarks/kills.py --kills 100

Four kinds of work: ``ppl-vae fit --resume`` on Pyro and on NumPyro; a ``Study``, which is what ``ppl-vae compare`` is
made of; and ``vampprior_table.py``, a table of a paper. Each attempt is a fork of this process, which has imported
everything and started no thread. Some kills come as it starts, some at a random time, some while a file is being
written. After each kill everything on disk has to load; an attempt that is left to end has to leave the same weights,
histories and results, to the bit, as one that was never struck (times and memory apart), and nothing beside them. Needs
a system with ``fork``.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import numpy as np
import torch
import vampprior_cells
import vampprior_table

from ppl_vae import backends, data, recipes, strategies
from ppl_vae.cli import main as ppl_vae
from ppl_vae.evaluation import Cell, Study
from ppl_vae.runtime import storage

CLOCKS = {
    "run",
    "command",
    "date",
    "seconds",
    "seconds_per_epoch",
    "seconds_per_step",
    "elapsed",
    "memory",
    "compilation",
    "peak_memory",
}
"""What differs between two runs of the same numbers: how long they took, and where they are."""
LONGEST = 0.4
"""Seconds within which a kill comes: about what a training takes here."""
DIGITS = data.load("digits")
FIT = ("--hidden", "100", "--latent-dim", "4", "--epochs", "20", "--no-figures")


def fit(backend: str, folder: Path) -> None:
    """A training by the command line, from where it is."""
    arguments = ("fit", "--resume", "--quiet", "--data", "digits", "--out", str(folder), "--backend", backend, *FIT)
    if ppl_vae(arguments):
        raise RuntimeError("the command failed")


def study(folder: Path) -> None:
    """Two strategies under two seeds, from where they are."""
    recipe = recipes.vae(DIGITS, latent_dim=4, hidden=(32,))
    cells = [Cell(name, "pyro", recipe, strategies.svi(name, "pyro", epochs=4)) for name in ("elbo", "iwae-3")]
    Study(folder, DIGITS, cells, seeds=(0, 1), num_particles=20, elbo_particles=2).run(progress=False)


def table(folder: Path) -> None:
    """A data set of the VampPrior table, digits in its place, under two priors, from where it is."""
    vampprior_cells.STEPS_BETWEEN_CHECKPOINTS = 1
    vampprior_cells.DataSet.load = lambda self: DIGITS  # type: ignore[method-assign]
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    arguments = ["--smoke", "--backend", "pyro", "--epochs", "5", "--num-particles", "4", "--data", "static_mnist"]
    if vampprior_table.main([*arguments, "--priors", "standard", "vampprior", "--out", str(folder)]):
        raise RuntimeError("the command failed")


JOBS: dict[str, Callable[[Path], None]] = {
    "fit, pyro": partial(fit, "pyro"),
    "study, pyro": study,
    "table, pyro": table,
    "fit, numpyro": partial(fit, "numpyro"),
}
SHARES = {"fit, pyro": 0.4, "study, pyro": 0.25, "table, pyro": 0.2, "fit, numpyro": 0.15}


@dataclass
class Tally:
    """What became of one kind of work."""

    job: str
    kills: int = 0
    while_saving: int = 0
    """kills that left a file half-written beside the whole one"""
    ended: int = 0
    """trainings or studies that were gone on with to their end, which was the undisturbed one's"""


def forked(job: Callable[[Path], None], folder: Path) -> BaseProcess:
    """Start an attempt in a child of this process."""
    child = multiprocessing.get_context("fork").Process(target=job, args=(folder,))
    child.start()
    return child


def ended(child: BaseProcess) -> bool:
    """Wait for the attempt; whether it came to its own end, and not to ours."""
    child.join()
    if child.exitcode not in (0, -signal.SIGKILL):
        sys.exit(f"an attempt failed with exit code {child.exitcode}")
    return child.exitcode == 0


def strike(child: BaseProcess, folder: Path, rng: np.random.Generator) -> None:
    """Kill the attempt: as it starts, at a random time after it has first saved something, or while it saves."""
    kind, before = rng.choice(["start", "training", "saving"], p=[0.2, 0.4, 0.4]), newest(folder)
    if kind != "start" and not comes(child, lambda: newest(folder) > before):
        return
    moment = time.monotonic() + rng.uniform(0, LONGEST)
    if not comes(child, lambda: time.monotonic() > moment):
        return
    if kind != "saving" or comes(child, lambda: bool(parts(folder))):
        child.kill()


def comes(child: BaseProcess, event: Callable[[], bool]) -> bool:
    """Wait for an event; whether it comes before the attempt has ended."""
    while not event():
        if not child.is_alive():
            return False
        time.sleep(0.0002)
    return True


def parts(folder: Path) -> list[Path]:
    """Files that are being written, or that were when their process was killed."""
    return [path for path in below(folder) if path.suffix == storage.PART]


def below(folder: Path) -> list[Path]:
    """Every file."""
    return [Path(path) / name for path, _, names in os.walk(folder) for name in names]


def newest(folder: Path) -> float:
    """When weights below the folder were last written."""
    times = [0.0]
    for path in below(folder):
        if path.suffix in WEIGHTS:
            with suppress(FileNotFoundError):
                times.append(path.stat().st_mtime)
    return max(times)


def load_all(folder: Path) -> None:
    """Load every file that an attempt has left, but those half-written."""
    for path in below(folder):
        if path.suffix in LOADERS:
            LOADERS[path.suffix](path)


def differences(ours: Path, theirs: Path) -> Iterator[str]:
    """The names of files that only one folder has, or whose content differs by more than clocks."""
    names = [{str(path.relative_to(folder)) for path in below(folder)} for folder in (ours, theirs)]
    yield from sorted(names[0] ^ names[1])
    for name in sorted(names[0] & names[1]):
        load = LOADERS[Path(name).suffix]
        if load(ours / name) != load(theirs / name):
            yield name


def from_safetensors(path: Path) -> Any:
    arrays, header = storage.read(path)
    return timeless(header), {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in arrays.items()}


def from_json(path: Path) -> Any:
    return timeless(json.loads(path.read_text(encoding="utf-8")))


def from_csv(path: Path) -> Any:
    return timeless(list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())))


WEIGHTS = (".safetensors", ".checkpoint", ".values")
LOADERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys(WEIGHTS, from_safetensors),
    ".json": from_json,
    ".csv": from_csv,
    ".toml": Path.read_text,
    ".md": lambda path: None,  # names its folder
}


def timeless(content: Any) -> Any:
    """Nested content without clocks; NaN as a word, so that it equals itself."""
    if isinstance(content, dict):
        return {name: timeless(value) for name, value in content.items() if name not in CLOCKS}
    if isinstance(content, list):
        return [timeless(value) for value in content]
    return "NaN" if isinstance(content, float) and content != content else content


def survive(name: str, kills: int, folder: Path, rng: np.random.Generator) -> Tally:
    """Strike at one kind of work so many times, and go on with it each time."""
    job, whole, struck, tally = JOBS[name], folder / "whole", folder / "struck", Tally(name)
    begun = time.monotonic()
    ended(forked(job, whole))
    print(f"{name}: undisturbed in {time.monotonic() - begun:.1f} s", flush=True)
    while tally.kills < kills or struck.exists():
        child = forked(job, struck)
        if tally.kills < kills:
            strike(child, struck, rng)
        if ended(child):
            different = list(differences(struck, whole))
            if different:
                sys.exit(f"{name}: after {tally.kills} kills {', '.join(different)} in {struck} differ from {whole}")
            shutil.rmtree(struck)
            tally.ended += 1
        else:
            tally.kills += 1
            tally.while_saving += bool(parts(struck))
            load_all(struck)
    return tally


def main() -> None:
    """Strike; print what was survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="in all (default: 100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments (default: 0)")
    parser.add_argument("--out", type=Path, help="a folder for the work and kills.json (default: a temporary one)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # imports what every child would otherwise import
    for backend in backends.NAMES:
        backends.load(backend)
    out = options.out or Path(tempfile.mkdtemp(prefix="kills-"))
    out.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(out / "jax"))  # compiled once, by the undisturbed training
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    rng, tallies = np.random.default_rng(options.seed), []
    for name, share in SHARES.items():
        tallies.append(survive(name, max(1, round(share * options.kills)), out / name.replace(", ", "-"), rng))
        print(f"{name}: {tallies[-1].kills} kills, {tallies[-1].while_saving} of them while saving", flush=True)
    (out / "kills.json").write_text(json.dumps([asdict(tally) for tally in tallies], indent=2), encoding="utf-8")
    kills, saving = sum(t.kills for t in tallies), sum(t.while_saving for t in tallies)
    print(f"{kills} kills survived, {saving} of them while saving; {sum(t.ended for t in tallies)} ends, all the same")


if __name__ == "__main__":
    main()

"""One training on one data set, evaluated on all test images, as one row of JSON: what the long benchmarks share.

Below ``folder``, for a training called ``name``: ``name.checkpoint``, which an interrupted training and a longer one go
on from; ``name.safetensors``, the fit; ``name.values``, the numbers of each test image; and ``name.json``, the row. The
row is written last: where it is, the training is done.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae import backends, evaluation, recipes, seeds
from ppl_vae.data import Split
from ppl_vae.results import Fit
from ppl_vae.runtime import locks, storage, versions

MONITORED = 100
"""Images that a training on all of the data watches; nothing is decided by them."""

Row = dict[str, Any]


def add_options(
    parser: argparse.ArgumentParser, *, out: str, epochs: int | None = None, num_particles: int | None = None
) -> None:
    """The options that every such benchmark has; without ``epochs`` and ``num_particles`` these are the setting's."""
    add, of_setting = parser.add_argument, "that of the setting"
    add("--backend", choices=backends.NAMES, default="numpyro", help="numpyro by default")
    add("--epochs", type=positive, default=epochs, help=f"at most so many; by default {epochs or of_setting}")
    add("--device", help="cpu, cuda, cuda:1, ...")
    text = f"importance samples per test image; by default {num_particles or of_setting}"
    add("--num-particles", type=positive, default=num_particles, help=text)
    add("--out", type=Path, default=Path(out), help=f"a folder; {out} by default")


def positive(text: str) -> int:
    """An integer of at least 1, from a command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} should be an integer of at least 1")
    return int(text)


def whole(split: Split) -> Split:
    """The split with its validation images among the training images, as is usual without early stopping.

    Its validation part are a hundred of them: a monitor, by which nothing is decided.
    """
    train, valid = split.pixels["train"], split.pixels["valid"]
    pixels = {**split.pixels, "train": np.concatenate([train, valid]), "valid": valid[:MONITORED]}
    return replace(split, pixels=pixels, labels=None, source=f"{split.source}; trained on train and validation images")


@dataclass(frozen=True)
class Training:
    """One training, where it is kept, and what its row says of it beyond the numbers.

    Args:
        folder: where its files lie.
        stem: what it is called, without its number of epochs.
        recipe: of the pair.
        svi: what trains it.
        split: the data.
        seed: of the weights, the order of the data and every draw.
        num_particles: draws per test image for log p(x).
        command: what makes its row again.
        about: further entries of its row.
        certify: the number of test images whose log p(x) gets a certificate.
        annealing: settings of its annealed runs.
        extends: whether it goes on from the longest training of the same stem and fewer epochs; not where a schedule
            depends on the number of epochs.
    """

    folder: Path
    stem: str
    recipe: recipes.Recipe
    svi: Any
    split: Split
    seed: int
    num_particles: int
    command: str
    about: Row = field(default_factory=dict)
    extends: bool = True
    certify: int = 0
    annealing: evaluation.Annealing | None = None

    @property
    def name(self) -> str:
        """Its name, that of its files."""
        return f"{self.stem}-{self.svi.epochs}epochs"

    def path(self, suffix: str) -> Path:
        """One of its files."""
        return self.folder / f"{self.name}.{suffix}"

    def done(self) -> Row | None:
        """Its row, where it is done with as many draws as are asked for, and says of itself what it would say now."""
        row, wanted = read_row(self.path("json")), {**self.about, "num_particles": self.num_particles}
        wanted |= {"certify": self.certify} if self.certify else {}
        return row if row and wanted.items() <= row.items() else None

    def run(self, *, device: str | None = None, progress: bool | None = None) -> Row:
        """Train what is left, evaluate, write the row and return it.

        Raises:
            ValueError: what ``SVI.fit`` refuses.
            NotFiniteLoss: the loss became NaN or infinite.
            InUse: another process is at it.
        """
        with locks.only_writer(self.path("json")):
            storage.remove_parts(*(self.path(suffix) for suffix in ("checkpoint", "safetensors", "values", "json")))
            return self._run(device, progress)

    def _run(self, device: str | None, progress: bool | None) -> Row:
        if self.extends and not self.path("checkpoint").exists():
            self._start_from_shorter()
        fit = self.svi.fit(
            *self.recipe(seeds.generator(self.seed, "weights")),
            self.split,
            seed=self.seed,
            device=device,
            checkpoint=self.path("checkpoint"),
            resume=True,
            progress=progress,
            description=self.name,
        )
        fit.save(self.path("safetensors"), recipe=self.recipe)
        options: dict[str, Any] = {"train": self.split.train, "certify": self.certify, "annealing": self.annealing}
        options["seed"] = self.seed
        values = evaluation.evaluate(fit, self.split.test, self.num_particles, progress=progress, **options)
        per_image = {"log_p": values.log_p.values, "elbo": values.elbo.values, "ess": values.log_p.ess}
        storage.write(self.path("values"), per_image, {"kind": "values", "name": self.name})
        row = {**self.about, **self._row(fit, values), "command": self.command, **provenance(fit.pair.device_name)}
        storage.write_atomically(self.path("json"), (json.dumps(row, indent=2) + "\n").encode())
        return row

    def _row(self, fit: Fit, values: evaluation.Evaluation) -> Row:
        numbers: Row = {n: value if value == value else None for n, value in values.row().items()}  # NaN is no JSON
        if values.certificate is not None:
            numbers |= {"certify": self.certify, "verdict": values.certificate.verdict}
        return {
            "backend": fit.backend,
            "epochs": self.svi.epochs,
            "epochs_done": len(fit.history["loss"]),
            "seed": self.seed,
            "num_particles": self.num_particles,
            "images": self.split.sizes,
            "binarisation": self.split.binarisation,
            **numbers,
            "seconds_per_epoch": float(np.median(fit.history["seconds"])),
        }

    def _start_from_shorter(self) -> None:
        """Take the checkpoint of the longest training with the same stem and fewer epochs, if there is one."""
        pattern = re.compile(re.escape(self.stem) + r"-(\d+)epochs\.checkpoint")
        found = [(int(match[1]), path) for path in self.folder.glob("*") if (match := pattern.fullmatch(path.name))]
        shorter = [(epochs, path) for epochs, path in found if epochs < self.svi.epochs]
        if shorter:
            storage.write_atomically(self.path("checkpoint"), max(shorter)[1].read_bytes())


def read_row(path: Path) -> Row | None:
    """A row that was written, or None where there is none.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        row: Row = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove it, and run the same command again.") from None
    return row


def provenance(device: str) -> Row:
    """What a number has to be read with: the commit, the machine, the versions, the day."""
    return {
        "commit": commit(),
        "hardware": hardware(device),
        "versions": versions.versions(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def commit() -> str:
    """The commit of this checkout, with ``+dirty`` where files differ from it; ``unknown`` without git."""
    git = shutil.which("git")
    if git is None:
        return "unknown"

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([git, *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)

    head, status = ask("rev-parse", "HEAD"), ask("status", "--porcelain")
    if head.returncode or status.returncode:
        return "unknown"
    return head.stdout.strip() + ("+dirty" if status.stdout.strip() else "")


def hardware(device: str) -> str:
    """The processor and how many of its cores the process may use, or the GPU."""
    if not device.startswith("cpu"):
        return gpu(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor()}, {cores} core{'' if cores == 1 else 's'}"


def processor() -> str:
    """The processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def gpu(device: str) -> str:
    """The name of an accelerator that a backend calls ``device``."""
    import jax
    import torch

    number = int(device.partition(":")[2] or 0)
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(number)
    return str(jax.devices()[number].device_kind)

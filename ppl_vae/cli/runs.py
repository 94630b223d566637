"""A run: the folder that a training leaves and that the other commands read."""

from __future__ import annotations

import argparse
import functools
import io
import json
import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Split
from ..recipes.components import check_saved
from ..runtime.locks import only_writer
from ..runtime.storage import PART, write_atomically
from .config import CONFIG
from .parsing import folder as folder_of

if TYPE_CHECKING:
    from ..results.fit import Fit

FIT = "fit.safetensors"
SETTINGS = "settings.json"
HISTORY = "history.csv"
CHECKPOINT = "checkpoint.safetensors"
RECORD = "fit.json"
METRICS = "metrics.json"
DISENTANGLEMENT = "disentanglement.json"
README = "README.md"
FIGURES = "figures"
KIND = "ppl_vae run"
REFINE = 300
"""Steps at most for each batch of images that a per-datapoint guide does not know."""
SECTIONS = ("version", "options", "recipe", "svi", "data")


@dataclass(frozen=True)
class Run:
    """A folder and what its ``settings.json`` says."""

    folder: Path
    settings: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Run:
        """The run in ``folder``.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: the folder holds no finished fit, or its settings are damaged.
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no run folder {str(folder)!r}: 'ppl-vae fit --out' makes one")
        if not (folder / FIT).exists() and (folder / CHECKPOINT).exists():
            raise ValueError(unfinished(folder))
        for name in (FIT, SETTINGS):
            if not (folder / name).is_file():
                raise ValueError(f"{str(folder)!r} is no run: it holds no {name}; 'ppl-vae fit --out' makes one")
        return cls(folder, read_settings(folder))

    @property
    def data(self) -> str:
        """The name or the file of the run's data."""
        return str(self.settings["options"]["data"])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return tuple(self.settings["recipe"]["shape"])

    @property
    def dim(self) -> int:
        """P, the number of pixels."""
        return math.prod(self.shape)

    def fit(self, device: str | None = None) -> Fit:
        """The trained fit.

        Raises:
            ValueError: damaged, or older than the training, which was resumed and has not finished.
        """
        from ..results.fit import Fit

        fit = Fit.load(self.folder / FIT, device=device)
        if fit.settings["svi"] != self.settings["svi"]:
            raise ValueError(unfinished(self.folder))
        return fit


def ready(
    fit: Fit, x: np.ndarray, number: int | None, refine: int | None, progress: bool | None
) -> tuple[Fit, np.ndarray, np.ndarray | None]:
    """A fit that can encode the first ``number`` of these images, the images, and which of its own rows they are.

    A guide that has parameters for its training images only is fitted to others, as any is with ``refine`` steps.
    """
    first = x if number is None else x[:number]
    if refine is None and not fit.generalises:
        try:
            index = fit.positions(x)
            return fit, first, None if index is None else index[:number]
        except ValueError:
            refine = REFINE
    return (fit.refine(first, steps=refine, progress=progress) if refine else fit), first, None


def alone(run: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], None]:
    """The command, refused while another process writes to its --out; what a killed one left there is removed."""

    @functools.wraps(run)
    def locked(arguments: argparse.Namespace) -> None:
        with only_writer(folder := folder_of(arguments), folder=True):
            for part in folder.rglob(f".*{PART}"):
                part.unlink(missing_ok=True)
            run(arguments)

    return locked


def read_settings(folder: Path) -> dict[str, Any]:
    """What ``settings.json`` holds.

    Raises:
        ValueError: it is damaged, not one of ours, or names a component that is not registered here.
    """
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): fit again, into another --out") from None
    if not isinstance(settings, dict) or settings.get("kind") != KIND or not set(SECTIONS) <= set(settings):
        raise ValueError(f"{path} holds no settings of a run: give a folder that 'ppl-vae fit --out' made")
    check_saved(settings["recipe"], settings["options"].get("with", ()))
    return settings


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """A block that begins a training in ``folder``: where it could not start, what it wrote goes again."""
    had = set(folder.iterdir())
    try:
        yield
    except ValueError:
        if not (folder / CHECKPOINT).exists():
            for name in (SETTINGS, CONFIG):
                if folder / name not in had:
                    (folder / name).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """A record that one of the commands wrote, or None where it did not."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file, atomically."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomically(path, buffer.getvalue())


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_history(path: Path, history: dict[str, np.ndarray]) -> None:
    """Write one line per epoch, atomically."""
    rows = zip(*(values.tolist() for values in history.values()), strict=True)
    lines = [",".join(history), *(",".join(f"{value:.10g}" for value in row) for row in rows)]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def unfinished(folder: Path) -> str:
    """What to say of a run whose training has begun and not ended."""
    return f"the training of {folder} has not finished; go on with: {resume_command(folder)}"


def resume_command(folder: Path) -> str:
    """The command line that goes on with a training."""
    return f"ppl-vae fit --resume --out {shlex.quote(str(folder))}"


def check_unchanged(split: Split, settings: dict[str, Any], remedy: str) -> None:
    """Refuse data that are no longer those of the run.

    Raises:
        ValueError: another fingerprint.
    """
    if split.fingerprint() != settings["data"]["fingerprint"]:
        where = settings["options"]["data"]
        raise ValueError(f"the data in {where} have changed since the fit (their fingerprint is another): {remedy}")

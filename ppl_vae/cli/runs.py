"""Runs: the folder that a training writes and that the other commands read."""

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
from ..recipes.recipe import Recipe
from ..runtime import folders
from ..runtime.locks import only_writer
from ..runtime.storage import write_atomically
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
KIND = folders.RUN_KIND
REFINE = 300
"""Largest number of steps for each batch of images for which a per-datapoint guide has no parameters yet."""
SECTIONS = ("version", "options", "recipe", "svi", "data")


@dataclass(frozen=True)
class Run:
    """Run: its folder and its settings, from ``settings.json``."""

    folder: Path
    settings: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open the run in ``folder``.

        Raises:
            FileNotFoundError: a folder that does not exist.
            ValueError: a folder without a finished fit, or with damaged settings.
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
        """Name or file of the run's data."""
        return str(self.settings["options"]["data"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return tuple(self.settings["recipe"]["shape"])

    @property
    def datum(self) -> str:
        """The name of one datum: image, row or sequence."""
        return Recipe.from_dict(self.settings["recipe"]).datum

    @property
    def dim(self) -> int:
        """Number of pixels, P."""
        return math.prod(self.shape)

    def fit(self, device: str | None = None) -> Fit:
        """Load the trained fit.

        Raises:
            ValueError: a file that is damaged, or older than a training that was resumed and has not finished.
        """
        from ..results.fit import Fit

        fit = Fit.load(self.folder / FIT, device=device)
        if fit.settings["svi"] != self.settings["svi"]:
            raise ValueError(unfinished(self.folder))
        return fit


def ready(
    fit: Fit, x: np.ndarray, number: int | None, refine: int | None, progress: bool | None
) -> tuple[Fit, np.ndarray, np.ndarray | None]:
    """Return a fit that can encode the first ``number`` images, these images, and their rows in the guide's table.

    The rows are None where the guide needs none. A guide with parameters for its training images alone is
    fitted to other images first. With ``refine`` steps every guide is.
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
    """Decorate a command: refuse it while another process writes to --out."""

    @functools.wraps(run)
    def locked(arguments: argparse.Namespace) -> None:
        with only_writer(folder_of(arguments), folder=True):
            run(arguments)

    return locked


def read_settings(folder: Path) -> dict[str, Any]:
    """Read ``settings.json``.

    Raises:
        ValueError: a file that is damaged, holds no settings of a run, or names a component that is not registered.
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
    """Context in which a training starts in ``folder``; if it cannot start, the files that it wrote are removed."""
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
    """Read a record that a command wrote; None if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write_array(path: Path, array: np.ndarray, name: str = "x") -> None:
    """Write a ``.npy`` file, or a ``.csv`` of rows under ``name`` and a number for each column, atomically."""
    if path.suffix.lower() == ".csv":
        rows = array.reshape(len(array), -1)
        lines = [",".join(f"{name}{column}" for column in range(rows.shape[1]))]
        lines += [",".join(f"{value:.9g}" for value in row) for row in rows.tolist()]
        write_atomically(path, ("\n".join(lines) + "\n").encode())
        return
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
    """Return the message about a run whose training has not finished."""
    return f"the training of {folder} has not finished; go on with: {resume_command(folder)}"


def resume_command(folder: Path) -> str:
    """Return the command line that resumes a training."""
    return f"ppl-vae fit --resume --out {shlex.quote(str(folder))}"


def check_unchanged(split: Split, settings: dict[str, Any], remedy: str, where: str | None = None) -> None:
    """Refuse data that have changed since the run; ``where`` they are now, if that is another place.

    Raises:
        ValueError: data with another fingerprint.
    """
    if split.fingerprint() != settings["data"]["fingerprint"]:
        before = settings["options"]["data"]
        said = f"the data in {before} have changed since the fit"
        if where not in (None, before):
            said = f"the data in {where} are not those of the fit, which were in {before}"
        raise ValueError(f"{said} (their fingerprint is another): {remedy}")

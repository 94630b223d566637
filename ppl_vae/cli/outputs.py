"""Files and folders that commands write, and the refusal of those that somebody else would lose."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..runtime import folders
from ..runtime.storage import remove_parts
from .parsing import output
from .readme import OF_A_RUN
from .runs import CONFIG, README, Run


def claim_run(folder: Path) -> None:
    """Refuse a folder that is no run's, or that holds files of the names of a run's; remove what a killed one left.

    Raises:
        ValueError: names what made the folder, or the file.
    """
    folders.refuse_others(folder, folders.RUN)
    if folders.owner(folder) is None:
        folders.refuse_loss(folder, OF_A_RUN)
    remove_parts(*(folder / name for name in OF_A_RUN))


def claim_comparison(folder: Path) -> None:
    """Refuse a folder that is no comparison's, or that holds files of the names of a comparison's.

    A study without a report may be a comparison that was interrupted.

    Raises:
        ValueError: names what made the folder, or the file.
    """
    folders.refuse_others(folder, folders.COMPARISON, folders.STUDY)
    if folders.owner(folder) != folders.COMPARISON:
        folders.refuse_loss(folder, _of_a_comparison())


def open_with_output(arguments: argparse.Namespace, *suffixes: str, own: str = "") -> tuple[Run, Path]:
    """Open the run, and return it with the file to write.

    Args:
        arguments: with ``folder``, the run, and ``out``, the file.
        suffixes: that the file may have.
        own: the file within a run that is the command's own.

    Raises:
        ValueError: no run, or a file that cannot be written, or that the run or another folder would lose.
    """
    out = output(arguments, *suffixes)
    opened = Run.open(arguments.folder)
    data = Path(opened.data)
    if any(path.exists() and data.exists() and path.samefile(data) for path in (out, out.parent)):
        raise ValueError(f"--out {str(out)!r} is among the run's own data, which would be lost: give another")
    found = folders.belongs(out)
    if found is not None:
        folder, made = found
        name = out.resolve().relative_to(folder).as_posix()
        if name != own and _is_of(name, folder, made):
            raise ValueError(f"--out {str(out)!r} is a file of {folder}, {made}, which would lose it: give another")
    return opened, out


def _is_of(name: str, folder: Path, made: str) -> bool:
    """Whether what made a folder writes a file of this name in it; in a folder with a mark, every one that is there."""
    if made == folders.RUN:
        return name in OF_A_RUN
    if made in (folders.COMPARISON, folders.STUDY, folders.REPORT):
        return name in _of_a_comparison() or name.startswith("cells/")
    return (folder / name).exists()


def _of_a_comparison() -> tuple[str, ...]:
    from ..evaluation.studies.report import WRITTEN

    return README, CONFIG, *WRITTEN

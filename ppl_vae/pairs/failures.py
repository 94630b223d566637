"""Errors of a user's own code, in words that help: what was raised, and at which line."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import errors
from ..runtime.out_of_memory import ran_out
from .keywords import KEYWORDS

NAMED = tuple(e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception))
"""The package's own errors, which say what to do already."""
OF_SHAPES = (ValueError, TypeError, RuntimeError, AssertionError)
"""Types of errors that shapes that do not fit cause in the libraries."""
CLASHES = ("already in the trace as a", "all sites must have unique names", "Multiple sample sites named")
"""What the libraries say of one name for two things."""
LOOPED = "Put steps into a Python loop, each a site, or draw the whole path as one site, as priors.Markov does."
"""What to do about the steps of NumPyro's scan, and the like, which are one site with an axis of their own."""
_FOLDERS = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
_LIBRARIES = (*(folder + os.sep for folder in _FOLDERS), "<frozen")


def line_of(error: BaseException) -> str:
    """The line of the user's code that failed, as ``file:line``; nothing where only libraries' code ran.

    It is the innermost one outside this package, installed packages and Python's own library.

    >>> line_of(ValueError("never raised"))
    ''
    """
    lines = [(frame.f_code.co_filename, number) for frame, number in traceback.walk_tb(error.__traceback__)]
    own = [f"{file}:{number}" for file, number in lines if not _of_a_library(file)]
    return own[-1] if own else ""


def _of_a_library(file: str) -> bool:
    return file.startswith(_LIBRARIES) or any(part in file for part in ("site-packages", "dist-packages"))


def origin(error: BaseException) -> BaseException:
    """The user's error, where a library raised another one while it handled that, as Pyro does of some types."""
    found: BaseException | None = error
    while found is not None and not line_of(found):
        found = found.__cause__ or found.__context__
    return found or error


def told(error: BaseException) -> str:
    """The type, the first line of the message, and the line of the user's code.

    >>> told(KeyError("scale"))
    "KeyError: 'scale'"
    """
    error = origin(error)
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "").rstrip(".")
    line = line_of(error)
    return type(error).__name__ + (f": {message}" if message else "") + (f", at {line}" if line else "")


def does_not_run(
    args: tuple[Any, ...], error: Exception, remedies: Mapping[type[Exception], str] | None = None
) -> ValueError | errors.OutOfMemory:
    """The error for a pair that fails on its first batch.

    Args:
        args: of the programs, the batch first.
        error: what they raised.
        remedies: what to do about errors that the backend has of its own.
    """
    raised = origin(error)
    shape = tuple(getattr(args[0], "shape", ())) if args else ()
    if ran_out(error):
        return errors.OutOfMemory(f"on a batch of shape {shape}", {"the rows of the batch": len(args[0])})
    remedy = next((said for kind, said in (remedies or {}).items() if isinstance(raised, kind)), None)
    if isinstance(raised, TypeError) and any(
        f"unexpected keyword argument {name!r}" in str(raised) for name in KEYWORDS
    ):
        remedy = (
            "A program that hands its keywords on to another calls it as tolerant(program)(...), of "
            "ppl_vae.pairs.keywords, which drops those that it has no use for."
        )
    if "to be within the support" in str(raised):
        remedy = (
            "Rescale or round the data to values that the distribution can have, or observe another distribution; of a "
            "latent site, let the guide draw such values."
        )
    if any(said in str(raised) for said in CLASHES):
        remedy = "Each site, plate and parameter of a program needs a name of its own: rename one of them."
    if "control flow primitive under a `plate`" in str(raised):
        remedy = LOOPED
    unknown = _left_at_none(error)
    if remedy is None and unknown:
        remedy = (
            f"Its argument {unknown!r} got no value, as a program is called by x and the keywords "
            f"{', '.join(KEYWORDS)} alone. Call what each datum comes with 'given', and pass given=, (N, G)."
        )
    if remedy is None and isinstance(raised, OF_SHAPES):
        remedy = (
            f"Do the nets take {shape[-1:]} numbers and return what their distributions need, and does every "
            "vector-valued site end in .to_event(1)?"
        )
    remedy = remedy or "Mend the program there: model(x) and guide(x) have to run on such a batch."
    return ValueError(f"The model and the guide do not run on a batch of shape {shape}: {told(error)}. {remedy}")


def _left_at_none(error: BaseException) -> str:
    """Name an argument of the program that is None as it fails, but for the keywords; nothing where there is none."""
    for frame, _ in traceback.walk_tb(origin(error).__traceback__):
        code = frame.f_code
        if not _of_a_library(code.co_filename):
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            left = [n for n in names if n not in (*KEYWORDS, "x", "self") and frame.f_locals.get(n, 0) is None]
            return left[0] if left else ""
    return ""


@contextmanager
def explained(*args: Any, remedies: Mapping[type[Exception], str] | None = None) -> Iterator[None]:
    """Run the programs of a pair in a block, on these arguments; explain whatever they raise.

    Raises:
        ValueError: from the error of any type.
        OutOfMemory: memory ran out.
    """
    try:
        yield
    except NAMED:
        raise
    except Exception as error:
        raise does_not_run(args, error, remedies) from error


def check_batch_shape(name: str, shape: tuple[int, ...], plates: Mapping[int, tuple[str, int]]) -> None:
    """Compare a site's batch shape with its plates, given as dim -> (name, size), -1 where Pyro was told none.

    Raises:
        ValueError: a dimension that no plate explains.
    """
    sizes = {dim: size for dim, (_, size) in plates.items()}
    if plates and any(size not in (1, sizes.get(i - len(shape))) for i, size in enumerate(shape)):
        said = (
            f"Site {name!r} has batch shape {shape}, which its plates {[p for p, _ in plates.values()]} do not explain"
        )
        unsized = next((plate for plate, size in plates.values() if size == -1), None)
        if unsized is not None:
            raise ValueError(f"{said}: give the plate its size, plate({unsized!r}, len(x), dim=-1).")
        if shape[-1] == sizes.get(-1):
            raise ValueError(f"{said}. Of those of a loop or a scan, {LOOPED}")
        raise ValueError(f"{said}: is .to_event(1) missing?")


def not_of_its_plates(name: str, shape: tuple[int, ...], dim: int, draws: int) -> ValueError:
    """Make the error for a site whose batch shape, with several draws, has a dimension of none of its plates."""
    return ValueError(
        f"Site {name!r} has batch shape {shape} for {draws} draws, and no plate of its own at dim {dim}: where the "
        "program sums or indexes a plate away, keep its dimension, as z.sum(-2)[..., None, :] does, so that the draws "
        "stay left of it."
    )

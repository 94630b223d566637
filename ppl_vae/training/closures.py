"""Numbers in a program's code and in what it closes over: settings of optimisers, and counts of its runs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any

LIBRARIES = ("jax", "jaxlib", "numpy", "torch", "flax", "optax", "pyro", "numpyro", "ppl_vae", "builtins")
"""Their code is told apart by their versions; what it closes over is the user's."""
OPEN = ("optax", "torch.optim", "pyro.optim", "numpyro.optim")
"""Parts of libraries whose functions and objects close over settings."""


def numbers_within(value: Any) -> list[str]:
    """List the numbers and texts that a function, or an object of settings, has within, in a fixed order.

    They are those of its closures, defaults, arguments and attributes, and in the code of a user's own functions, with
    the global numbers that these read. Of an array there is none, unless it is a single number, and of what is trained.

    >>> __name__ = "a_module_of_yours"  # code of this library's modules is told apart by its version alone
    >>> def rate(start):
    ...     return lambda step: start / (1.5 + step)
    >>> numbers_within(rate(0.25))
    ['1.5', '0.25']
    """
    return list(_within(value, set()))


def _within(value: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(value, int | float | str):
        yield repr(value)
        return
    trained = hasattr(value, "param_groups") or getattr(value, "requires_grad", False)
    if value is None or isinstance(value, type) or id(value) in seen or trained:
        return
    seen.add(id(value))
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        yield from _number(value)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            texts = list(_within(value[key], seen))
            yield from (str(key), *texts) if texts else ()
    elif isinstance(value, list | tuple):
        yield from (text for part in value for text in _within(part, seen))
    elif isinstance(value, functools.partial):
        yield from _within((value.func, value.args, value.keywords), seen)
    elif isinstance(value, MethodType):
        yield from _within((value.__self__, value.__func__), seen)
    elif isinstance(value, FunctionType):
        yield from _of_function(value, seen)
    elif _is_open(type(value).__module__) and isinstance(getattr(value, "__dict__", None), dict):
        yield from _within(value.__dict__, seen)


def _of_function(function: FunctionType, seen: set[int]) -> Iterator[str]:
    if not _is_open(function.__module__ or ""):
        return
    if not _is_library(function.__module__ or ""):
        yield from _of_code(function.__code__, function.__globals__, seen)
    yield from _within((function.__defaults__, function.__kwdefaults__), seen)
    for cell in function.__closure__ or ():
        try:
            yield from _within(cell.cell_contents, seen)
        except ValueError:  # a name that is not bound yet
            continue


def _of_code(code: CodeType, names: Mapping[str, Any], seen: set[int]) -> Iterator[str]:
    """Yield the constants of a function's code, and of functions in it, but for its docstring, and global numbers."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant, names, seen)
        elif isinstance(constant, int | float | tuple):
            yield from _within(constant, seen)
    yield from (text for name in code.co_names if name in names for text in _within(names[name], seen))


def _number(value: Any) -> Iterator[str]:
    try:
        yield repr(value.item())
    except Exception:  # a random key, or an array within a program that is being recorded
        return


def _is_open(module: str) -> bool:
    return not _is_library(module) or any(f"{module}.".startswith(f"{name}.") for name in OPEN)


def _is_library(module: str) -> bool:
    return module.partition(".")[0] in LIBRARIES

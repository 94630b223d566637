"""Calling a program, ours or a user's own, with the keywords of the house."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

KEYWORDS = ("index", "given", "mask", "size")
"""The keywords of the house: positions in the data set, side information, observed pixels, number to generate. A
program takes those that it has a use for."""


def _names(function: Any) -> frozenset[str] | None:
    """The names of a function's parameters; None where it takes every keyword."""
    found = inspect.signature(function).parameters.values()
    return None if any(p.kind is p.VAR_KEYWORD for p in found) else frozenset(p.name for p in found)


_names_of_method = lru_cache(_names)
"""The same of a class's function, which many programs share: looked up once."""


def parameters(program: Any) -> frozenset[str] | None:
    """The names of a program's parameters; None where it takes every keyword.

    >>> sorted(parameters(lambda x, index=None: x)), parameters(lambda **kwargs: 0)
    (['index', 'x'], None)
    """
    handled = within_handler(program)
    if handled is not None:
        return parameters(handled)
    called = getattr(program, "forward", program)
    return _names_of_method(called.__func__) if inspect.ismethod(called) else _names(called)


def within_handler(program: Any) -> Any | None:
    """The program that a handler of Pyro or NumPyro was put around, as in ``poutine.scale(model, 0.1)``; else None.

    A handler is a context manager too. Without one, what a program holds, such as the net of ``partial(model, net)``,
    is no program.

    >>> within_handler(partial(print, abs)) is None
    True
    """
    if isinstance(program, partial):  # Pyro's, of the handler and the program
        handler, fn, *_ = (*program.args, None, None)
    else:  # NumPyro's, which holds the program
        handler, fn = program, getattr(program, "fn", None)
    return fn if callable(fn) and hasattr(type(handler), "__enter__") else None


def accepted(program: Any, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Select those of the ``wanted`` keywords that the program takes.

    >>> accepted(lambda x, index=None: x, {"index": 1, "size": 2})
    {'index': 1}
    """
    names = parameters(program)
    return {name: value for name, value in wanted.items() if names is None or name in names}


def generated_site(model: Any, sites: Any) -> str:
    """The name of the site that a model generates, its observed one, or the one that an implicit model says.

    A conditional model draws an image for each row of ``given``, and takes no ``size``.

    Raises:
        ValueError: the model does not take ``size``, so it cannot be asked for so many images, or observes several
            sites, of which nobody knows the columns.
    """
    observed = [site.name for site in sites.observed if not site.label] if sites else []
    if sites and sites.implicit:
        observed = [sites.implicit]
    if len(observed) > 1:
        raise ValueError(
            f"The model observes the sites {', '.join(map(repr, observed))}, and which columns of x each of them is, "
            "is not known where there is no x: trace fit.model, on data or with a size= that it takes, and read "
            "the value and the mean of each site."
        )
    if not accepted(model, {"size": 1}) and not getattr(model, "takes_given", False):
        raise ValueError(
            "To generate, the model should take x=None and size=, and draw what it otherwise observes: "
            "def model(x=None, *, size=1): with pyro.plate('data', size if x is None else len(x), dim=-1): ..."
        )
    return observed[0] if sites else "x"


def net_holder(posterior: Any) -> Any:
    """The part of a posterior that holds its ``net``: of a flow, which only shows it, the base distribution's."""
    shown = isinstance(getattr(type(posterior), "net", None), property)
    return net_holder(posterior.posterior) if shown else posterior


def no_family(guide: Any) -> ValueError:
    """The error for a guide that cannot be fitted to single data points, in words that help."""
    return ValueError(
        "Refining puts a row of parameters for each data point in the place of the net of the guide's one posterior, "
        f"guide.posterior.net, and {type(guide).__name__} has no such: use Amortised, SemiAmortised or PerDatapoint "
        "over one of the conditionals. Its log p(x) needs none: evaluation.log_likelihood, or ais from the prior."
    )


def check_rows(posterior: Any) -> None:
    """Refuse a posterior whose net has an output for each step, which no row of parameters replaces.

    Raises:
        ValueError: it says so by its attribute ``reads_steps``.
    """
    if getattr(posterior, "reads_steps", False):
        raise ValueError(
            "Refining puts a row of parameters for each data point in the place of the outputs of a net, and that of "
            f"{type(posterior).__name__} has some for each step of a sequence: use fit.draws(x, method='importance'), "
            "which leaves the guide as it is."
        )


class Tolerant:
    """A program that is callable with every keyword of the house: what it does not take is dropped.

    But not those of ``needs``, without which its density would be another. Its signature is read once.
    """

    def __init__(self, program: Any, needs: tuple[str, ...] = ()) -> None:
        self.program, self.needs = program, needs
        names = parameters(program)
        self.ignored = frozenset() if names is None else frozenset(KEYWORDS) - names

    def taken(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords of a call without those that the program has no use for.

        Raises:
            ValueError: it does not take one that it needs.
        """
        for name in self.needs:
            if name in self.ignored and kwargs.get(name) is not None:
                raise ValueError(
                    f"The model takes no {name!r}, so that the zeros in the hidden places would count as data: def "
                    f"model(x=None, *, {name}=None, ...), with conditionals.observed_only(likelihood, mask)"
                )
        taken = dict(kwargs)
        for name in self.ignored:
            taken.pop(name, None)
        return taken

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the program with the keywords that it takes.

        Raises:
            ValueError: it does not take one that it needs.
        """
        return self.program(*args, **self.taken(kwargs))


class Disturbed(Tolerant):
    """A tolerant program that reads x with noise on it."""

    def __init__(self, program: Tolerant, noise: Any) -> None:
        self.program, self.needs, self.ignored, self.noise = program.program, program.needs, program.ignored, noise

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the program on x and the noise."""
        return self.program(x + self.noise, *args, **self.taken(kwargs))


def tolerant(program: Any, needs: tuple[str, ...] = ()) -> Any:
    """The program, callable with every keyword of the house.

    A program that hands its keywords on to one of ours calls it like this. Other keywords are passed on as they are.

    >>> tolerant(lambda x: x)(1, index=3)
    1
    """
    return program if isinstance(program, Tolerant) else Tolerant(program, needs)


def inner(program: Any) -> Any:
    """The program that ``tolerant`` was given.

    >>> inner(tolerant(print)) is print
    True
    """
    return program.program if isinstance(program, Tolerant) else program

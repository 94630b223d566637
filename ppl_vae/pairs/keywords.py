"""Calling a program, ours or a user's own, with the keywords of the house."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

KEYWORDS = ("index", "given", "mask", "size")
"""What every program of the collection takes: positions in the data set, side information, observed pixels, how many
to generate."""


def accepted(program: Any, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the ``wanted`` keywords that the program takes.

    >>> accepted(lambda x, index=None: x, {"index": 1, "size": 2})
    {'index': 1}
    """
    parameters = inspect.signature(getattr(program, "forward", program)).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return dict(wanted)
    return {name: value for name, value in wanted.items() if name in parameters}


def generated_site(model: Any, sites: Any) -> str:
    """The name of the site that a model generates: its first observed one.

    Raises:
        ValueError: the model does not take ``size``, so it cannot be asked for so many images.
    """
    if not accepted(model, {"size": 1}):
        raise ValueError(
            "To generate, the model should take x=None and size=, and draw what it otherwise observes: "
            "def model(x=None, *, size=1): with pyro.plate('data', size if x is None else len(x), dim=-1): ..."
        )
    return sites.observed[0].name if sites else "x"


def no_family(guide: Any) -> ValueError:
    """The error for a guide that cannot be fitted to single data points, in words that help."""
    return ValueError(
        "Refining puts a row of parameters for each data point in the place of the net of the guide's one posterior, "
        f"guide.posterior.net, and {type(guide).__name__} has no such: use Amortised, SemiAmortised or PerDatapoint "
        "over one of the conditionals. Its log p(x) needs none: evaluation.log_likelihood, or ais from the prior."
    )


class Tolerant:
    """A program that is callable with every keyword of the house: what it does not take is dropped.

    But not those of ``needs``, without which its density would be another.
    """

    def __init__(self, program: Any, needs: tuple[str, ...] = ()) -> None:
        self.program, self.needs = program, needs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the program with the keywords that it takes.

        Raises:
            ValueError: it does not take one that it needs.
        """
        taken = accepted(self.program, kwargs)
        for name in self.needs:
            if kwargs.get(name) is not None and name not in taken:
                raise ValueError(
                    f"The model takes no {name!r}, so that the zeros in the hidden places would count as data: def "
                    f"model(x=None, *, {name}=None, ...), with conditionals.observed_only(likelihood, mask)"
                )
        return self.program(*args, **taken)


def tolerant(program: Any, needs: tuple[str, ...] = ()) -> Any:
    """The program itself if it takes every keyword of the house, else wrapped so that it does.

    >>> tolerant(lambda x: x)(1, index=3)
    1
    """
    return program if len(accepted(program, dict.fromkeys(KEYWORDS))) == len(KEYWORDS) else Tolerant(program, needs)


def inner(program: Any) -> Any:
    """The program that ``tolerant`` was given.

    >>> inner(tolerant(print)) is print
    True
    """
    return program.program if isinstance(program, Tolerant) else program

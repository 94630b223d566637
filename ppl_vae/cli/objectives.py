"""Objectives on the command line: names from ``strategies``, and options from the fields that they declare."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import schedules, strategies
from ..objectives.options import Option, options_of
from .parsing import (
    Group,
    finite_float,
    flag,
    fraction,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    weight,
)

SCHEDULES: dict[str, tuple[Option, Callable[[float, float], schedules.Schedule]]] = {
    "warm_up": (
        Option(
            "number of epochs over which --beta, --capacity or --strength rises from 0",
            "warm_up",
            "non-negative",
            "EPOCHS",
        ),
        lambda value, epochs: schedules.Linear(0.0, value, over=epochs),
    ),
    "cooling": (
        Option("number of epochs over which --temperature falls from 1", "cooling", "non-negative", "EPOCHS"),
        lambda value, epochs: schedules.Exponential(1.0, value, over=epochs),
    ),
}
"""Option -> its declaration, and the schedule of the field that it sets, of the field's value and the epochs."""
KINDS = {
    "count": positive_int,
    "whole": non_negative_int,
    "number": finite_float,
    "positive": positive_float,
    "non-negative": non_negative_float,
    "share": weight,
    "between": fraction,
}
SVI = (
    *(
        "epochs",
        "epoch_size",
        "batch_size",
        "learning_rate",
        "clip_norm",
        "patience",
        "validation_particles",
        "checkpoint_every",
    ),
    *("local_steps", "local_learning_rate", "local_tolerance", "precision"),
)
USUAL = {"gaussian": "elbo", "bernoulli": "rloo-4", "categorical": "rloo-4", "concrete": "elbo"}
USUAL |= {"vq": "vq", "residual-vq": "vq", "fsq": "fsq", "lfq": "lfq"}
"""Kind of latents -> the default objective of ``fit``."""


def fields_of(name: str) -> dict[str, str]:
    """Return option -> field for the objective of a strategy; warm-up and cooling set the fields that they schedule."""
    strategy = strategies.STRATEGIES[name]
    objective = strategy.loss(strategy.number or 0)
    found = {declared.name or field: field for field, declared in options_of(objective).items()}
    scheduled = {"warm_up": objective.scheduled, "cooling": objective.cooled}
    return {**found, **{option: field for option, field in scheduled.items() if field is not None}}


def having() -> dict[str, list[str]]:
    """Return option -> the names of the strategies whose objective has it."""
    found: dict[str, list[str]] = {}
    for name in strategies.STRATEGIES:
        for option in fields_of(name):
            found.setdefault(option, []).append(name)
    return found


def defaults() -> dict[str, Any]:
    """Return the options of all objectives, each None."""
    return dict.fromkeys(having())


def add_objective(group: Group) -> None:
    """Add an option for each field that an objective declares as an option."""
    for option, names in having().items():
        declared: dict[Option, list[str]] = {}
        for name in names:
            declared.setdefault(_declaration(name, option), []).append(name)
        everywhere = len(names) > len(strategies.STRATEGIES) / 2
        texts = [one.about if everywhere else f"{', '.join(having)}: {one.about}" for one, having in declared.items()]
        text, one = "; ".join(texts), next(iter(declared))
        default = "0, none" if option in SCHEDULES else "the objective's own"
        if one.kind == "switch":
            group.switch(flag(option), text, default)
        elif isinstance(one.kind, tuple):
            group.option(flag(option), text, default, choices=one.kind)
        else:
            group.option(flag(option), text, default, type=KINDS[one.kind], metavar=one.metavar or "NUMBER")


def _declaration(name: str, option: str) -> Option:
    """Return the declaration of an option by the objective of that strategy."""
    if option in SCHEDULES:
        return SCHEDULES[option][0]
    strategy = strategies.STRATEGIES[name]
    return options_of(strategy.loss(strategy.number or 0))[fields_of(name)[option]]


def listing() -> str:
    """List every name with a description, one line each."""
    lines = zip(strategies.spellings(), strategies.STRATEGIES.values(), strict=True)
    names = (f"  {n:<18} {s.about}" + (f" (default N: {s.number})" if s.number is not None else "") for n, s in lines)
    return "\n".join([*names, "  N is a number, such as the draws per image; without it, its default", ""])


def name(text: str) -> str:
    """Check the name of an objective and return it."""
    try:
        strategies.find(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def check_used(names: Iterable[str], options: Mapping[str, Any]) -> None:
    """Refuse options of objectives that none of the named ones has.

    Raises:
        ValueError: such an option; the message names it and the objectives that have it.
    """
    names = list(names)
    for option, others in having().items():
        given = options.get(option)
        if given is not None and given is not False and not any(stem(name) in others for name in names):
            raise ValueError(f"{flag(option)} is for {', '.join(others)}; {', '.join(names)} has no use for it")


def stem(name: str) -> str:
    """Return a name without its number.

    >>> stem("mean-field"), stem("mean-field-3")
    ('mean-field', 'mean-field')
    """
    return name if name in strategies.STRATEGIES else name.rpartition("-")[0]


def check_own(name: str, given: Mapping[str, Any]) -> None:
    """Refuse settings that contradict those that an objective fixes.

    Raises:
        ValueError: such a setting; the message names it.
    """
    for setting, value in own(name).items():
        if given.get(setting, value) != value:
            brings = f"{flag(setting)} {value}" if value is not None else f"no {flag(setting)}"
            raise ValueError(
                f"the objective {name!r} brings {brings}, and here it is {given[setting]}: leave it out of the "
                "command line and of --config, or give another objective"
            )


def own(name: str) -> dict[str, Any]:
    """Return the settings of the pair and of its training that an objective fixes."""
    strategy, number = strategies.find(name)
    return {**strategy.recipe(number), **strategy.svi(number)}


def svi(name: str, backend: str, options: Mapping[str, Any]) -> Any:
    """Make the ``SVI`` that trains by the objective of that name, with its options.

    Raises:
        ValueError: an option that contradicts the number in the name, or a wrong value.
    """
    settings = {setting: options[setting] for setting in SVI}
    if options["final_learning_rate"]:
        start, stop = options["learning_rate"], options["final_learning_rate"]
        settings["learning_rate_factor"] = schedules.Exponential(1.0, stop / start, over=options["decay_epochs"])
    made = strategies.svi(name, backend, **settings)
    anew = {"critic": None} if made.loss.needs_critic else {}  # the new objective's own
    return dataclasses.replace(made, loss=dataclasses.replace(made.loss, **_changes(name, made.loss, options)), **anew)


def _changes(name: str, loss: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the objective that the options set, with their values."""
    fields = fields_of(stem(name))
    mine = {option: fields[option] for option in fields if options.get(option) is not None}
    changes = {field: options[option] for option, field in mine.items() if option not in SCHEDULES}
    for option, field in mine.items():
        if option not in SCHEDULES and field in _fields_of_number(name) and options[option] != getattr(loss, field):
            raise ValueError(f"{name!r} sets {flag(option)} by its number: give one of them")
    for option, (_, schedule) in SCHEDULES.items():
        if option in mine and options[option]:
            field = mine[option]
            changes[field] = schedule(changes.get(field, getattr(loss, field)), options[option])
    return changes


def _fields_of_number(name: str) -> set[str]:
    """Return the fields that the number in a name sets; none for a name without a number."""
    if name == stem(name):
        return set()
    strategy, _ = strategies.find(name)
    one, other = (strategy.loss(number) for number in (2, 3))
    return {f.name for f in dataclasses.fields(one) if getattr(one, f.name) != getattr(other, f.name)}

"""The objective: its name is one of ``strategies``, and its options are fields of what that name makes."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from .. import backends, schedules, strategies
from .options import flag
from .parsing import Group, finite_float, non_negative_float, positive_int, weight

FIELDS = {
    "train_particles": "num_particles",
    "chunk": "chunk",
    "beta": "beta",
    "stick_the_landing": "stick_the_landing",
    "analytic_kl": "analytic_kl",
    "free_bits": "floor",
    "free_bits_of_batch": "over_batch",
    "capacity": "target",
    "strength": "strength",
    "alpha": "alpha",
    "num_groups": "num_groups",
    "elbo_weight": "weight",
}
"""Option -> the field of an objective that it sets."""
OBJECTIVE: dict[str, Any] = dict.fromkeys([*FIELDS, "warm_up"])
_SAMPLED = tuple(name for name in strategies.STRATEGIES if name != "enumeration")
_REGULARISED = ("beta-tc", "dip-i", "dip-ii", "infovae", "wae", "factor", "aae")
_PATHWISE = ("elbo", "stl", "beta", "per-datapoint", "semi-amortised")
HAVING: dict[str, tuple[str, ...]] = {
    "train_particles": _SAMPLED,
    "chunk": tuple(name for name in _SAMPLED if name not in _REGULARISED),
    "beta": ("mean-field", *_PATHWISE),
    "warm_up": ("mean-field", *_PATHWISE, "capacity", *_REGULARISED),
    "stick_the_landing": ("iwae", *_PATHWISE),
    "analytic_kl": ("reinforce", "running-average", "nvil", "rloo"),
    "free_bits": ("free-bits",),
    "free_bits_of_batch": ("free-bits",),
    "capacity": ("capacity",),
    "strength": ("capacity", *_REGULARISED),
    "alpha": ("renyi", "infovae"),
    "num_groups": ("miwae",),
    "elbo_weight": ("ciwae",),
}
"""Option -> the objectives that have it; to ask the objectives themselves would load their backend."""
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
    *("local_steps", "local_learning_rate", "local_tolerance"),
)
USUAL = {"gaussian": "elbo", "bernoulli": "rloo-4", "categorical": "rloo-4"}
"""What ``fit`` trains by on latents of a kind where nobody says what."""


def add_objective(group: Group) -> None:
    """The options of ``OBJECTIVE``."""

    def of(option: str, text: str, **settings: Any) -> None:
        text, default = f"{', '.join(HAVING[option])}: {text}", "the objective's own"
        add = group.option if settings else group.switch
        add(flag(option), text, "0, none" if option == "warm_up" else default, **settings)

    text = "draws per image and step, K; where the name's N is that, N is the same"
    group.option("--train-particles", text, "the objective's own", type=positive_int, metavar="K")
    text = "draws held in memory at a time, a divisor of their number: less memory, more time"
    group.option("--chunk", text, "all", type=positive_int, metavar="K")
    of("beta", "weight of the KL term", type=non_negative_float, metavar="WEIGHT")
    of(
        "warm_up",
        "over so many epochs --beta, --capacity or --strength rises from 0",
        type=non_negative_float,
        metavar="EPOCHS",
    )
    of("stick_the_landing", "leave the score of log q out of the gradient")
    of("analytic_kl", "the KL in closed form")
    of("free_bits", "a KL up to this one costs nothing", type=finite_float, metavar="NATS")
    of("free_bits_of_batch", "the batch's mean KL instead of each image's")
    of("capacity", "the KL to hold", type=finite_float, metavar="NATS")
    of(
        "strength",
        "weight of the distance from it, or of what is asked of the codes",
        type=non_negative_float,
        metavar="WEIGHT",
    )
    of("alpha", "order of the bound; of infovae, how much of the KL to leave out", type=finite_float, metavar="ALPHA")
    of("num_groups", "how many IWAE bounds to take the mean of", type=positive_int, metavar="M")
    of("elbo_weight", "share of the ELBO", type=weight, metavar="SHARE")


def listing() -> str:
    """Every name with what it is, a line each."""
    lines = zip(strategies.spellings(), strategies.STRATEGIES.values(), strict=True)
    names = (f"  {n:<18} {s.about}" + (f" (default N: {s.number})" if s.number is not None else "") for n, s in lines)
    return "\n".join([*names, "  N is a number, such as the draws per image; without it, its default", ""])


def name(text: str) -> str:
    """The name of an objective, checked."""
    try:
        strategies.find(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def check_used(names: Iterable[str], options: Mapping[str, Any]) -> None:
    """Refuse options of objectives that none of the named ones has.

    Raises:
        ValueError: names the option, and the objectives that have it.
    """
    names = list(names)
    for option, having in HAVING.items():
        if options[option] is not None and options[option] is not False and not any(stem(n) in having for n in names):
            raise ValueError(f"{flag(option)} is for {', '.join(having)}; {', '.join(names)} has no use for it")


def stem(name: str) -> str:
    """A name without its number.

    >>> stem("mean-field"), stem("mean-field-3")
    ('mean-field', 'mean-field')
    """
    return name if name in strategies.STRATEGIES else name.rpartition("-")[0]


def check_own(name: str, given: Mapping[str, Any]) -> None:
    """Refuse settings that contradict what belongs to an objective.

    Raises:
        ValueError: names the setting.
    """
    for setting, value in own(name).items():
        if given.get(setting, value) != value:
            brings = f"{flag(setting)} {value}" if value is not None else f"no {flag(setting)}"
            raise ValueError(
                f"the objective {name!r} brings {brings}, and here it is {given[setting]}: leave it out of the "
                "command line and of --config, or give another objective"
            )


def own(name: str) -> dict[str, Any]:
    """The settings of the pair and of its training that belong to an objective."""
    strategy, number = strategies.find(name)
    return {**strategy.recipe(number), **strategy.svi(number)}


def svi(name: str, backend: str, options: Mapping[str, Any]) -> Any:
    """The ``SVI`` that trains by the objective of that name, its options those that it has.

    Raises:
        ValueError: an option that says again, and otherwise, what the number in the name says; or a wrong value.
    """
    settings = {setting: options[setting] for setting in SVI}
    if options["final_learning_rate"]:
        start, stop = options["learning_rate"], options["final_learning_rate"]
        settings["learning_rate_factor"] = schedules.Exponential(1.0, stop / start, over=options["decay_epochs"])
    made = strategies.svi(name, backend, **settings)
    return dataclasses.replace(made, loss=dataclasses.replace(made.loss, **_changes(name, made.loss, options)))


def _changes(name: str, loss: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the objective that the options set."""
    mine = [option for option, having in HAVING.items() if options[option] is not None and stem(name) in having]
    changes = {FIELDS[option]: options[option] for option in mine if option in FIELDS}
    for option in mine:
        if option in FIELDS and FIELDS[option] in _numbered(name) and options[option] != getattr(loss, FIELDS[option]):
            raise ValueError(f"{name!r} sets {flag(option)} by its number: give one of them")
    if "warm_up" in mine and options["warm_up"]:
        field = "target" if stem(name) == "capacity" else loss.weight_field
        changes[field] = schedules.Linear(0.0, changes.get(field, getattr(loss, field)), over=options["warm_up"])
    return changes


def _numbered(name: str) -> set[str]:
    """The fields that the number in a name sets, if there is one."""
    if name == stem(name):
        return set()
    strategy, _ = strategies.find(name)
    one, other = (strategy.loss(backends.load("pyro").inference, number) for number in (2, 3))
    return {f.name for f in dataclasses.fields(one) if getattr(one, f.name) != getattr(other, f.name)}

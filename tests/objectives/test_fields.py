"""Fields of objectives and schedules: whatever their declared kind does not take is refused when they are made."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from ppl_vae import backends, baselines, critics, objectives, schedules
from ppl_vae.objectives.options import options_of
from ppl_vae.training.settings import KINDS

NEVER: list[Any] = [math.nan, math.inf, -math.inf, 1j, [1.0], np.ones(2), torch.ones(2), "none such", object(), max]
BAD: dict[str, list[Any]] = {
    "count": [*NEVER, True, 0, -1, 1.5],
    "whole": [*NEVER, True, -1, 1.5],
    "number": [*NEVER, True],
    "positive": [*NEVER, True, -1.0, 0.0],
    "non-negative": [*NEVER, True, -1.0],
    "decay": [*NEVER, True, -0.1, 1.0],
    "between": [*NEVER, True, 0.0, 1.0],
    "share": [*NEVER, True, -0.1, 1.1],
    "switch": [*NEVER, 1, 0.0],
    "names": [v for v in NEVER if v is not max] + [1, True],
}
CLASSES = objectives.concrete()
FIELDS = [(name, field) for name, cls in CLASSES.items() for field in options_of(cls)]


def refuses(make: Any, field: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=f"{field!r}.* should be .*; got ") as refusal:
        make(**{field: value})
    assert str(refusal.value).startswith(f"{make.__name__}: ")


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_field_takes_its_kind_alone(name: str, field: str) -> None:
    cls, kind = CLASSES[name], options_of(CLASSES[name])[field].kind
    default = next(f.default for f in dataclasses.fields(cls) if f.name == field)
    for value in BAD["names" if isinstance(kind, tuple) else kind]:
        refuses(cls, field, value)
    if default is not None:
        refuses(cls, field, None)
    if isinstance(default, int | float):
        kept = getattr(cls(**{field: np.asarray(default)[()]}), field)
        assert kept == default and type(kept) is type(default)


@pytest.mark.parametrize("name", CLASSES)
def test_a_scheduled_field_takes_a_schedule_and_its_values(name: str) -> None:
    field, schedule = CLASSES[name].scheduled, schedules.Linear(0.0, 1.0, over=4)
    if field is not None:
        made = CLASSES[name](**{field: schedule})
        assert getattr(made.at(2.0), field) == 0.5 == getattr(made.at(torch.tensor(2.0)), field)


def test_what_only_python_sets_is_counted(backend: backends.Backend) -> None:
    for value in BAD["count"]:
        refuses(objectives.BetaTCVAE, "num_data", value)
        refuses(backend.inference.TraceELBO, "max_plate_nesting", value)


@pytest.mark.parametrize("kind", [schedules.Linear, schedules.Exponential])
@pytest.mark.parametrize("field", ["start", "stop", "over"])
def test_schedules_take_finite_numbers(kind: Any, field: str) -> None:
    for value in [*BAD["number"], None]:
        with pytest.raises(ValueError, match=f"{kind.__name__}: .*{field!r}.* should be"):
            kind(**{"start": 1.0, "stop": 0.5, "over": 2, field: value})


@pytest.mark.parametrize(
    "change",
    [
        {"values": (1.0,)},
        {"values": (1.0, 0.5, float("nan"))},
        {"values": (1.0, True, 0.1)},
        {"values": 1.0},
        {"boundaries": (4, 2)},
        {"boundaries": (2, 2)},
        {"boundaries": (0, 2)},
        {"boundaries": (2, float("inf"))},
    ],
)
def test_pieces_are_one_more_than_their_boundaries_which_rise(change: dict[str, Any]) -> None:
    kept = {"values": (1.0, 0.5, 0.1), "boundaries": (2, 4)}
    assert schedules.PiecewiseConstant(**{n: list(v) for n, v in kept.items()}) == schedules.PiecewiseConstant(**kept)
    with pytest.raises(ValueError, match=r"PiecewiseConstant: .*'boundaries' (should be|rising)"):
        schedules.PiecewiseConstant(**{**kept, **change})


def holders(backend: backends.Backend) -> dict[str, tuple[Any, dict[str, str]]]:
    """What is made of settings besides objectives: the class, and the kinds of its fields."""
    return {
        "SVI": (backend.inference.SVI, dict(KINDS)),
        "Critic": (critics.Critic, {"learning_rate": "positive", "slope": "share", "outputs": "count"}),
        "RunningAverage": (baselines.RunningAverage, {"decay": "decay"}),
        "Neural": (baselines.Neural, {"decay": "decay", "learning_rate": "positive"}),
    }


@pytest.mark.parametrize("name", ["SVI", "Critic", "RunningAverage", "Neural"])
def test_settings_take_their_kind_alone(backend: backends.Backend, name: str) -> None:
    make, kinds = holders(backend)[name]
    for field, kind in kinds.items():
        for value in BAD[kind]:
            refuses(make, field, value)
        if next(f.default for f in dataclasses.fields(make) if f.name == field) is not None:
            refuses(make, field, None)


@pytest.mark.parametrize(
    ("make", "field", "value"),
    [
        (critics.Critic, "hidden", 5),
        (critics.Critic, "hidden", (True,)),
        (critics.Critic, "betas", 0.5),
        (critics.Critic, "betas", (False, 0.9)),
        (critics.Critic, "outputs", 3),
        (baselines.Neural, "hidden", 5),
        (baselines.Neural, "hidden", (1.0,)),
    ],
)
def test_tuples_of_settings_are_checked(make: Any, field: str, value: Any) -> None:
    refuses(make, field, value)


@pytest.mark.parametrize("factor", [True, 0.0, "fast", None])
def test_what_is_no_factor_is_told(backend: backends.Backend, factor: Any) -> None:
    refuses(backend.inference.SVI, "learning_rate_factor", factor)

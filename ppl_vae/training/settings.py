"""The settings of a training, their checks, and their description as text."""

from __future__ import annotations

import functools
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar

from ..arrays.plain import as_python, keep_python
from ..kinds import PRECISIONS, Kind, check, fits
from ..objectives.base import Objective
from ..players import Player
from ..schedules import Schedule
from .closures import numbers_within

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("epochs", "batch_size", "validation_particles", "checkpoint_every", "epoch_size"), "count"),
    **dict.fromkeys(("learning_rate", "clip_norm", "local_learning_rate", "local_tolerance"), "positive"),
    **dict.fromkeys(("check_stock", "freeze_model"), "switch"),
    "patience": "count",
    "local_steps": "whole",
}
"""Field of a training's settings -> the numbers that it takes."""
LATER = frozenset({"later_steps", "optim_within", "elbo_before"})
"""Names of records that files from before do not have, which are compared where both have them."""


def describe(value: Any) -> str:
    """Describe a setting in text that is the same in every process: no memory addresses.

    A field of the metadata ``later`` is told only where it is not at its default, so that files from before have it.

    >>> describe(Schedule), describe(len), describe(0.5)
    ('Schedule', 'len', '0.5')
    """
    value = as_python(value)
    if isinstance(value, functools.partial):
        options = ", ".join(f"{name}={describe(v)}" for name, v in sorted(value.keywords.items()))
        return f"{describe(value.func)}({options})"
    if is_dataclass(value) and not isinstance(value, type):
        told_of = (f for f in fields(value) if f.repr and not (f.metadata.get("later") and _at_default(value, f)))
        own = {f.name: as_python(getattr(value, f.name)) for f in told_of}
        told = ", ".join(f"{name}={describe(v) if callable(v) else repr(v)}" for name, v in own.items())
        return f"{type(value).__qualname__}({told})"
    if hasattr(value, "__name__"):
        return str(value.__name__)
    own = {n: as_python(v) for n, v in sorted(getattr(value, "__dict__", {}).items())}
    plain = {n: v for n, v in own.items() if isinstance(v, int | float | str | None)}
    text = repr(value) if isinstance(value, int | float | str | None) else type(value).__name__
    return f"{text}({', '.join(f'{n}={v}' for n, v in plain.items())})" if plain else text


def _at_default(value: Any, field: Field[Any]) -> bool:
    return bool(getattr(value, field.name) == field.default)


@dataclass(frozen=True)
class TrainingSettings:
    """Stochastic variational inference: mini-batches, an optimiser, early stopping and checkpoints.

    One frozen set of settings; ``fit`` trains a copy of the pair that it is given and leaves its inputs alone.

    Args:
        loss: the objective: one of ``ppl_vae.objectives``, of the backend's ``inference``, or a stock one of its
            library; ``TraceELBO(beta=schedules.Linear(0.0, 1.0, over=20))`` for KL warm-up.
        optim: on Pyro a factory that takes the parameters, such as ``partial(torch.optim.Adam, lr=1e-3)``; on NumPyro
            an optax transformation. By default Adam at ``learning_rate``.
        learning_rate: of the default Adam.
        learning_rate_factor: a number or schedule that multiplies the learning rate; not within an inner loop.
        epochs: largest number of passes over the data.
        batch_size: data points per step; the last batch of an epoch may be shorter.
        clip_norm: the largest norm of the whole gradient, rows of single data points apart; or None.
        patience: number of epochs after warm-up without a rise of the validation ELBO, after which training stops and
            the best weights are restored; None trains to the end.
        validation_particles: draws per datum of the validation ELBO.
        checkpoint_every: epochs between two checkpoints.
        check_stock: whether stock objectives that are known to be wrong on a pair are refused.
        local_steps: largest number of steps on a batch's variational parameters before each step of the model (the
            classical inner loop), under a per-datapoint guide. At 0 both move together, in one step.
        local_learning_rate: of Adam on the parameters of single data points, which count their own steps.
        local_tolerance: the inner loop ends when thirty steps gain less than this every ten, nats per datum.
        freeze_model: train the guide only; what it shares with the model stays too.
        epoch_size: data points of an epoch, a random part of the data afresh each time; None takes them all.
        precision: ``"bfloat16"`` rounds the operands of a step's matrix products and convolutions to bfloat16; sums,
            results, densities, weights and optimiser stay in float32, and so does evaluation. Refused where it moves
            the loss by over 0.05 nats per datum. ``"full"`` leaves products as the backend has them.
    """

    objective_class: ClassVar[type] = object

    @property
    def players(self) -> tuple[Player, ...]:
        """The objective's own players, and the critic of an adversarial training."""
        critic = getattr(self, "critic", None)
        return (*getattr(self.loss, "players", ()), *(() if critic is None else (critic.playing(self.loss),)))

    loss: Any = None
    optim: Any = None
    learning_rate: float = 1e-3
    learning_rate_factor: float | Schedule = 1.0
    epochs: int = 100
    batch_size: int = 100
    clip_norm: float | None = None
    patience: int | None = None
    validation_particles: int = 1
    checkpoint_every: int = 1
    check_stock: bool = True
    local_steps: int = 0
    local_learning_rate: float = 0.1
    local_tolerance: float = 0.01
    freeze_model: bool = False
    epoch_size: int | None = None
    precision: str = field(default="full", metadata={"later": True})

    def __post_init__(self) -> None:
        keep_python(self)
        if isinstance(self.loss, Objective) and self.loss.backend is None:
            object.__setattr__(self, "loss", self.adopt(self.loss))
        check(self, KINDS, "SVI", optional=("clip_norm", "patience", "epoch_size"))
        if self.epoch_size is not None and self.epoch_size < self.batch_size:
            raise ValueError(
                f"SVI: 'epoch_size' should be an integer of at least 'batch_size', {self.batch_size}; got "
                f"{self.epoch_size!r}."
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"SVI: 'precision' should be 'full' or 'bfloat16'; got {self.precision!r}.")
        factor = self.learning_rate_factor
        if not isinstance(factor, Schedule) and not fits("positive", factor):
            raise ValueError(
                "SVI: 'learning_rate_factor' should be a positive number or a schedule, which says at which epoch it "
                f"ends, such as schedules.Exponential(1.0, 0.01, over=50); got {factor!r}."
            )
        if not isinstance(self.loss, self.objective_class):
            raise TypeError(
                f"SVI: 'loss' should be an objective such as TraceELBO(), of {self.objective_class.__module__} "
                f"or of the ppl_vae package that this SVI comes from; got {self.loss!r}."
            )

    def adopt(self, objective: Objective) -> Any:
        """Make the backend's own ELBO with the settings of a neutral objective."""
        return objective

    def optimiser_steps(self) -> list[float] | None:
        """Take three steps of a custom ``optim`` from (0.1, 0.2, 0.3), to recognise settings that it does not show."""
        return None

    def later_steps(self) -> list[str]:
        """Take a step of a custom ``optim`` at each of some later times, to recognise schedules by steps alone."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """Return every setting as JSON-able values, and whether the loss is a bound.

        A field of the metadata ``later`` is there only where it is not at its default, as in ``describe``.
        """
        own = (f for f in fields(self) if not (f.metadata.get("later") and _at_default(self, f)))
        settings = {f.name: getattr(self, f.name) for f in own}
        settings["is_bound"] = getattr(self.loss, "is_bound", None)
        if getattr(self.loss, "prior_apart", False):
            settings["prior_apart"] = True
        if self.optim is not None:
            settings["optim"] = f"{describe(self.optim)}, steps to {self.optimiser_steps()}"
            if later := self.later_steps():
                settings["later_steps"] = ", ".join(later)
            settings["optim_within"] = ", ".join(numbers_within(self.optim))
        told = {name: v if isinstance(v, int | float | None) else describe(v) for name, v in settings.items()}
        untrained = not getattr(self.loss, "trains_likelihood", True)
        return told | ({"shown_to_critic": self.loss.request.latents.dreams} if untrained else {})

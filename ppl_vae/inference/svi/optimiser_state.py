"""The state of a torch optimiser, as arrays by the names of its parameters, and its learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

NUMBER = ":number"
"""The end of the name of a slot that is a Python number, and is to be one again."""


class Rates:
    """The learning rates of an optimiser's groups: its own, each multiplied by a factor.

    An optimiser may change its own from step to step, as Pyro's ``ClippedAdam`` does, and keep other numbers in its
    groups. A rate that is a tensor is copied, as it belongs to the caller, too.
    """

    def __init__(self, optim: torch.optim.Optimizer) -> None:
        self.optim = optim
        self.own: list[float | None] = []
        for group in optim.param_groups:
            rate = group.get("lr")
            if isinstance(rate, torch.Tensor):
                group["lr"] = rate.clone()
            self.own.append(None if rate is None else float(rate))

    def set(self, factor: float) -> None:
        """Multiply each rate by a factor."""
        for group, rate in zip(self.optim.param_groups, self.own, strict=True):
            if rate is not None and isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate * factor)
            elif rate is not None:
                group["lr"] = rate * factor

    def follow(self, factor: float) -> None:
        """Keep what a step made of the rates that ``set`` had set."""
        for place, group in enumerate(self.optim.param_groups):
            rate = self.own[place]
            if rate is None or not factor:
                continue
            before = torch.as_tensor(rate * factor, dtype=getattr(group["lr"], "dtype", torch.float64))
            if float(group["lr"]) != float(before):
                self.own[place] = float(group["lr"]) / factor

    def state(self) -> dict[str, np.ndarray]:
        """Return the rates and the other numbers of each group, by name."""
        own = {f"{i}/lr": np.array(rate) for i, rate in enumerate(self.own) if rate is not None}
        groups = enumerate(self.optim.param_groups)
        return own | {
            f"{i}/{name}": np.array(value)
            for i, group in groups
            for name, value in group.items()
            if name != "lr" and isinstance(value, int | float)
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned."""
        for key, value in state.items():
            place, name = key.split("/", 1)
            if name == "lr":
                self.own[int(place)] = float(value)
            else:
                self.optim.param_groups[int(place)][name] = value.item()


def slots(optim: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the optimiser's state, ``name/slot`` -> array; ``names`` are those of its parameters, in order."""
    state = {}
    for number, values in optim.state_dict()["state"].items():
        for slot, value in values.items():
            if isinstance(value, int | float):
                state[f"{names[number]}/{slot}{NUMBER}"] = np.array(value)
            elif value is not None:
                state[f"{names[number]}/{slot}"] = torch.as_tensor(value).detach().cpu().numpy().copy()
    return state


def load_slots(optim: torch.optim.Optimizer, names: Sequence[str], state: Mapping[str, np.ndarray]) -> None:
    """Restore what ``slots`` returned."""
    numbers = {name: number for number, name in enumerate(names)}
    loaded: dict[int, dict[str, torch.Tensor | float]] = {}
    for key, value in state.items():
        name, slot = key.rsplit("/", 1)
        plain = slot.endswith(NUMBER)
        restored = value.item() if plain else torch.from_numpy(value.copy())
        loaded.setdefault(numbers[name], {})[slot.removesuffix(NUMBER)] = restored
    optim.load_state_dict({**optim.state_dict(), "state": loaded})

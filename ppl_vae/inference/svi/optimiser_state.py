"""The state of a torch optimiser, as arrays by the names of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch


def slots(optim: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the optimiser's state, ``name/slot`` -> array; ``names`` are those of its parameters, in order."""
    state = {}
    for number, values in optim.state_dict()["state"].items():
        for slot, value in values.items():
            if value is not None:
                state[f"{names[number]}/{slot}"] = torch.as_tensor(value).detach().cpu().numpy().copy()
    return state


def load_slots(optim: torch.optim.Optimizer, names: Sequence[str], state: Mapping[str, np.ndarray]) -> None:
    """Restore what ``slots`` returned."""
    numbers = {name: number for number, name in enumerate(names)}
    loaded: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        name, slot = key.rsplit("/", 1)
        loaded.setdefault(numbers[name], {})[slot] = torch.from_numpy(value.copy())
    optim.load_state_dict({**optim.state_dict(), "state": loaded})

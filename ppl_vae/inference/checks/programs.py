"""Programs that cannot be a pair, in Pyro."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...pairs.programs import check_backend


def check_programs(model: Any, guide: Any) -> None:
    """Refuse programs that are of another kind, or whose nets cannot be copied with parameters of their own.

    Raises:
        ValueError: names the net, and what to use.
    """
    check_backend(model, guide, "pyro")
    modules = {n: m for n, m in (("model", model), ("guide", guide)) if isinstance(m, nn.Module)}
    for name, module in nn.ModuleDict(modules).named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"The net {name!r} is scripted, and cannot be copied with parameters of its own: pass the net as it is "
                "before torch.jit.script or torch.jit.trace; SVI(compile='trace') records steps of it."
            )
        made = [n for n, value in vars(module).items() if isinstance(value, Tensor) and not value.is_leaf]
        if made:
            raise ValueError(
                f"The net {name!r} holds a tensor, {made[0]!r}, that is computed from its parameters, so that it "
                "cannot be copied: compute it in forward(), or by a parametrisation, as "
                "torch.nn.utils.parametrizations.weight_norm(net) does in place of torch.nn.utils.weight_norm(net)."
            )

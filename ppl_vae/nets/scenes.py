"""Images of several objects: each is drawn in a window of its own, and absent ones leave nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..arrays.windows import COORDINATES, Windows

FAINT = 2.0


class Scene(nn.Module):
    """The sum of what each object looks like in its window: (..., 1 + T (3 + D)) -> (..., H W), for T objects.

    The inputs are the number of objects, then for each the coordinates of its window (3,) and its code (D,); the
    objects beyond the number leave nothing. ``net`` maps a code to the logits of a patch (..., R R), less 2, so that a
    new net's patches are faint.

    >>> import numpy as np
    >>> from ppl_vae.nets import MLP
    >>> scene = Scene(MLP((4, 64), np.random.default_rng(0)), Windows((32, 32), 8, typical=8.0), most=2)
    >>> scene(torch.zeros(5, 1 + 2 * (3 + 4))).shape
    torch.Size([5, 1024])
    """

    def __init__(self, net: nn.Module, windows: Windows, *, most: int) -> None:
        super().__init__()
        self.net = net
        self.windows = windows
        self.most = most

    def forward(self, h: Tensor) -> Tensor:
        """(..., 1 + T (3 + D)) -> (..., H W)."""
        count, objects = h[..., :1], h[..., 1:].unflatten(-1, (self.most, -1))
        where, what = objects[..., :COORDINATES], objects[..., COORDINATES:]
        present = torch.arange(self.most, device=h.device) < count
        drawn = self.windows.write(torch.sigmoid(self.net(what) - FAINT), where)
        return (present.unsqueeze(-1) * drawn).sum(-2)

"""The parts of a diffusion model that are learned, in torch: the schedule of its noise, and the estimate of x."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..arrays import diffusion


class NoiseSchedule(nn.Module):
    """gamma(t) = -log SNR(t), rising from ``low`` at t = 0 to ``high`` at t = 1: a line, or pieces that rise alike.

    Args:
        low: gamma(0), where the pixels are all but known.
        high: gamma(1), where nothing is.
        pieces: M; how long each takes is learned where there are several.
        learned: whether the end points are learned, too.

    Raises:
        ValueError: ends that do not rise, or no piece.

    >>> NoiseSchedule(-3.0, 5.0)(torch.tensor([0.0, 0.5, 1.0])).tolist()
    [-3.0, 1.0, 5.0]
    """

    def __init__(self, low: float = -3.0, high: float = 6.0, *, pieces: int = 1, learned: bool = True) -> None:
        super().__init__()
        diffusion.check_ends(low, high, pieces)
        ends = torch.tensor([low, math.log(high - low)])
        self.ends = nn.Parameter(ends) if learned else nn.Buffer(ends)
        self.durations = nn.Parameter(torch.zeros(pieces)) if pieces > 1 else None

    def parts(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """gamma(0), gamma(1) - gamma(0), and the logits of the pieces' shares of the time, (M,), or None."""
        return self.ends[0], self.ends[1].exp(), self.durations

    def levels(self, num_levels: int) -> Tensor:
        """gamma at the T + 1 levels of a chain."""
        return self(torch.linspace(0, 1, num_levels + 1, dtype=self.ends.dtype, device=self.ends.device))

    def forward(self, t: Tensor) -> Tensor:
        """gamma at times t in [0, 1], of any shape."""
        return diffusion.schedule(*self.parts(), t)[0]


class Denoiser(nn.Module):
    """The estimate of x in [-1, 1] from z = alpha x + sigma eps at noise gamma.

    Args:
        net: maps z and gamma / 4 beside it, (..., P + 1), to (..., P).
        values: L, the values of a pixel, evenly spaced.
        prediction: ``x``, to which the net adds what z says of each pixel by itself, so that a net of zeros is exact
            for independent pixels whose values are equally likely; or ``eps``, the noise.

    >>> Denoiser(nn.Linear(4, 3), 2)(torch.zeros(5, 3), torch.zeros(5)).shape
    torch.Size([5, 3])
    """

    def __init__(self, net: nn.Module, values: int = 2, *, prediction: str = "x") -> None:
        super().__init__()
        diffusion.check_denoiser(values, prediction)
        self.net, self.values, self.prediction = net, values, prediction

    def forward(self, z: Tensor, gamma: Tensor) -> Tensor:
        """Map z (..., P) and gamma (...) to (..., P)."""
        noise = (gamma[..., None] / 4).expand(*z.shape[:-1], 1)
        out = self.net(torch.cat([z, noise], -1))
        return diffusion.predict(out, z, gamma, self.values, self.prediction)

"""The codes of a quantised latent, in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import quantisation


class Codebook(nn.Module):
    """K learned vectors of E numbers, ``vectors`` (K, E), which posterior and prior share.

    Args:
        start: their initial values (K, E), which are copied; (L, K, E) for L stages of a residual quantiser.

    Raises:
        ValueError: values that are not (K, E) or (L, K, E), K >= 2, or not finite.

    >>> Codebook(np.zeros((8, 4)))().shape
    torch.Size([8, 4])
    """

    def __init__(self, start: np.ndarray) -> None:
        super().__init__()
        start = quantisation.check_codebook(start)
        self.vectors = nn.Parameter(torch.tensor(start, dtype=torch.get_default_dtype()))

    def array(self) -> np.ndarray:
        """Copy the codes, (K, E) or (L, K, E)."""
        return self.vectors.detach().cpu().numpy().copy()

    def set(self, vectors: np.ndarray) -> None:
        """Replace the codes by others of that shape."""
        vectors = quantisation.check_codebook(vectors)
        with torch.no_grad():
            self.vectors.copy_(torch.as_tensor(vectors))

    def forward(self) -> Tensor:
        """Return the codes (K, E) or (L, K, E)."""
        return self.vectors

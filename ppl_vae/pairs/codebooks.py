"""The codebook of a pair whose latents are codes."""

from __future__ import annotations

from typing import Any

import numpy as np


def quantiser_of(pair: Any) -> Any:
    """Find the module of a pair's guide that has a codebook.

    Raises:
        ValueError: there is none.
    """
    for part in pair.guide_parts():
        if hasattr(getattr(part, "codebook", None), "array"):
            return part
    raise ValueError(
        "The codes of this pair are not known: no module of the guide has a codebook. Make the guide a module that "
        "holds conditionals.Nearest(net, codebook)."
    )


def codebook_of(pair: Any) -> np.ndarray:
    """Copy the codes of a pair, (K, E), or (L, K, E) of a residual quantiser.

    Raises:
        ValueError: no module of the guide has a codebook.
    """
    return quantiser_of(pair).codebook.array()

"""The codebook of a pair whose latents are codes."""

from __future__ import annotations

from typing import Any

import numpy as np


def codebook_of(pair: Any) -> np.ndarray:
    """Find the codes of a pair, those of the guide's module that has a codebook: (K, E).

    Raises:
        ValueError: no module of the guide has a codebook.
    """
    for part in pair.guide_parts():
        if (codebook := getattr(part, "codebook", None)) is not None and hasattr(codebook, "array"):
            return codebook.array()
    raise ValueError(
        "The codes of this pair are not known: no module of the guide has a codebook. Make the guide a module that "
        "holds conditionals.Nearest(net, codebook)."
    )

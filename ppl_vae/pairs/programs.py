"""Programs that cannot be a pair of a backend, by their kinds."""

from __future__ import annotations

import sys
from typing import Any

BASES = {"pyro": ("torch.nn", "Module"), "numpyro": ("flax.nnx", "Module")}
"""Backend -> the class of its programs that are modules."""
LIBRARIES = {"pyro": "Pyro", "numpyro": "NumPyro"}
PACKAGES = {"pyro": "ppl_vae", "numpyro": "ppl_vae.numpyro"}


def is_a(thing: Any, module: str, name: str) -> bool:
    """Whether it is an instance of a class of a library, which is not imported for that.

    >>> is_a(print, "no.such.library", "Module")
    False
    """
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(thing, kind)


def check_backend(model: Any, guide: Any, backend: str) -> None:
    """Refuse a pair of the other backend, and guides that are made from the model.

    Raises:
        ValueError: says what to use.
    """
    (other,) = BASES.keys() - {backend}
    for part, program in (("model", model), ("guide", guide)):
        if is_a(program, *BASES[other]):
            raise ValueError(
                f"The {part} ({type(program).__name__}) is of {LIBRARIES[other]}, and this training is of "
                f"{LIBRARIES[backend]}: make the pair with backend={backend!r}, or of {PACKAGES[backend]}.models, "
                f".guides and .conditionals; or train it by {PACKAGES[other]}.inference.SVI."
            )
    if is_a(guide, f"{backend}.infer.autoguide", "AutoGuide"):
        raise ValueError(
            f"The guide is an automatic one ({type(guide).__name__}), which has parameters for the data that it first "
            "ran on, in place of a q(z | x) of any batch, and no copy of its own: use guides.Amortised("
            f"conditionals.DiagNormal(net)), of {PACKAGES[backend]}, with a net from x to 2 D numbers; or train it by "
            f"{backend}.infer.SVI, on all data in each step."
        )

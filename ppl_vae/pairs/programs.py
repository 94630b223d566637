"""Programs that cannot be a pair of a backend, by their kinds, and what belongs to no datum, by its plates."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sites import Plates

BASES = {"pyro": ("torch.nn", "Module"), "numpyro": ("flax.nnx", "Module")}
"""Backend -> the class of its programs that are modules."""
AUTOMATIC = (("", "AutoGuide"), (".effect", "AutoMessenger"))
"""Classes of guides that are made from the model."""
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
    if any(is_a(guide, f"{backend}.infer.autoguide{part}", kind) for part, kind in AUTOMATIC):
        raise ValueError(
            f"The guide is an automatic one ({type(guide).__name__}), which has parameters for the data that it first "
            "ran on, in place of a q(z | x) of any batch, and no copy of its own: use guides.Amortised("
            f"conditionals.DiagNormal(net)), of {PACKAGES[backend]}, with a net from x to 2 D numbers; or train it by "
            f"{backend}.infer.SVI, on all data in each step."
        )


def misplaced(plates: Plates, size: int, with_another: Callable[[], Plates]) -> str:
    """Say which site is not in the plate of the data at dim -1; nothing where all are.

    Args:
        plates: of every site, on a batch.
        size: of the batch.
        with_another: returns the plates on a batch of one datum more; asked where an inner plate has the batch's size.

    >>> misplaced({"x": {-1: ("pixels", 3)}}, 5, dict)[:65]
    "Site 'x' has the plate 'pixels' at dim -1, of size 3: the data's "
    """
    if any(dim < -1 and own == size for frames in plates.values() for dim, (_, own) in frames.items()):
        plates, size = with_another(), size + 1
    for name, frames in plates.items():
        if -1 not in frames:
            return (
                f"Site {name!r} is outside the plate of the data at dim -1, so its density does not belong to any "
                "datum: put it inside, or use a stock objective, which sums over everything."
            )
        plate, own = frames[-1]
        if own != size:
            return (
                f"Site {name!r} has the plate {plate!r} at dim -1, of size {own}: the data's plate, of the batch's "
                f"size {size}, belongs there. Put {plate!r} at dim -2, or make it part of the site by .to_event(1)."
            )
    return ""

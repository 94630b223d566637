"""Libraries of the extras ``pyro`` and ``numpyro``, of which one is enough."""

from __future__ import annotations

from importlib.util import find_spec

LIBRARIES = {"pyro": ("torch", "pyro"), "numpyro": ("jax", "numpyro", "flax", "optax")}
"""Extra -> the modules that its part of the package imports."""


def check_installed(extra: str) -> None:
    """Refuse a part of the package whose libraries are not installed.

    Raises:
        ModuleNotFoundError: the message names them, and the extra.
    """
    missing = [name for name in LIBRARIES[extra] if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"This part of ppl_vae needs {', '.join(missing)}, not installed here: pip install 'ppl_vae[{extra}]'.",
            name=missing[0],
        )

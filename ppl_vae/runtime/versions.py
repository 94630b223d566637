"""The libraries whose numbers a record holds."""

from __future__ import annotations

__version__ = "0.1.0"
"""The version of this package."""
LIBRARIES = ("numpy", "torch", "pyro-ppl", "jax", "flax", "numpyro", "optax")


def versions() -> dict[str, str]:
    """Name -> version of Python and of each library that is installed.

    >>> "python" in versions()
    True
    """
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

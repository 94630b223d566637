"""Names and layouts of weights on Pyro and on NumPyro."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "mean": "running_mean", "var": "running_var"}
"""Names of nnx, and those of torch."""
Path = tuple[str, ...]


def tokens(name: str, owners: tuple[str, ...] = ()) -> Path:
    """Split the name of a weight of either backend into parts that both have.

    Args:
        name: as ``weights`` of a backend gives it.
        owners: the programs that are modules, in NumPyro's order.

    >>> tokens("store.decoder$$$0.weight"), tokens("params/sites/decoder$params/layers/0/kernel")
    (('decoder', '0', 'weight'), ('decoder', '0', 'weight'))
    >>> tokens("params/modules/0/net/layers/2/bias/value", ("guide",)), tokens("guide.net.2.bias")
    (('guide', 'net', '2', 'bias'), ('guide', 'net', '2', 'bias'))
    """
    for prefix in ("params/modules/", "params/tables/", "constants/"):
        if name.startswith(prefix) and "/" in name:
            number, *rest = name.removeprefix(prefix).split("/")
            parts = [owners[int(number)], *rest]
            break
    else:
        name = name.removeprefix("store.").removeprefix("params/sites/").replace("$params", "").replace("$$$", "/")
        parts = re.split(r"[./]", name)
    parts = [p for p in parts if p != "value"]
    parts = [p for p, after in zip(parts, [*parts[1:], ""], strict=True) if not (p == "layers" and after.isdigit())]
    return (*parts[:-1], LEAVES.get(parts[-1], parts[-1]))


def match(
    pyro: Mapping[str, np.ndarray],
    numpyro: Mapping[str, np.ndarray],
    owners: tuple[str, ...],
    names: Mapping[str, str],
) -> dict[str, str]:
    """Find the NumPyro name of each of Pyro's weights.

    Args:
        pyro: the weights of Pyro's pair.
        numpyro: those of NumPyro's.
        owners: the programs that are modules, in NumPyro's order.
        names: what is known already, Pyro's name -> NumPyro's.

    Raises:
        ValueError: weights without a partner, or names that are not there.
    """
    unknown = [n for n in names if n not in pyro] + [n for n in names.values() if n not in numpyro]
    if unknown:
        raise ValueError(
            f"names= speaks of {unknown[0]!r}, which is no weight of these pairs. {_listed(pyro, numpyro)}"
        )
    found = dict(names)
    for trimmed in (lambda path: path, lambda path: path[path[0] in ("model", "guide") :]):
        left = _unique({n: trimmed(tokens(n)) for n in pyro if n not in found})
        right = _unique({n: trimmed(tokens(n, owners)) for n in numpyro if n not in found.values()})
        found |= {name: right[path] for path, name in left.items() if path in right}
    alone = (
        {n: a for n, a in pyro.items() if n not in found},
        {n: a for n, a in numpyro.items() if n not in found.values()},
    )
    if any(alone):
        raise ValueError(
            "The weights of the two pairs do not have the same names, and no partner was found for some: pass "
            f"names={{Pyro's name: NumPyro's name}} for these. {_listed(*alone)}"
        )
    return found


def _unique(paths: Mapping[str, Path]) -> dict[Path, str]:
    """Path -> name, of the paths that one name alone has."""
    held = list(paths.values())
    return {path: name for name, path in paths.items() if held.count(path) == 1}


def _listed(pyro: Mapping[str, np.ndarray], numpyro: Mapping[str, np.ndarray]) -> str:
    told = (", ".join(f"{n!r} {a.shape}" for n, a in side.items()) or "none" for side in (pyro, numpyro))
    return "In Pyro: {}; in NumPyro: {}.".format(*told)


def to_numpyro(name: str, value: np.ndarray) -> np.ndarray:
    """Bring a weight of torch into the layout of a NumPyro name: nnx's kernels have their inputs before their outputs.

    >>> to_numpyro("params/modules/0/layers/0/kernel", np.zeros((3, 2))).shape
    (2, 3)
    """
    if _is_kernel(name) and value.ndim > 1:
        return np.transpose(value, (*range(2, value.ndim), 1, 0))
    return value


def to_pyro(name: str, value: np.ndarray) -> np.ndarray:
    """Bring a weight with a NumPyro name into torch's layout."""
    if _is_kernel(name) and value.ndim > 1:
        return np.transpose(value, (value.ndim - 1, value.ndim - 2, *range(value.ndim - 2)))
    return value


def _is_kernel(name: str) -> bool:
    return name.removesuffix("/value").rpartition("/")[2] == "kernel"

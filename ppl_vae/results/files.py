"""A fit as a file: weights, history and settings; no code is run from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import backends
from ..errors import UnreadableFile
from ..objectives.prior import GivenNeighbour
from ..pairs.pair import Pair, check_shapes, probe
from ..pairs.side_inputs import Arrays, placeholder
from ..recipes.recipe import Recipe
from ..runtime import storage
from ..runtime.versions import __version__
from ..seeds import generator

PROBED = 4
"""The rows of the batch by which a loaded pair is compared with the one that was saved."""

APART = "prior_apart/"
"""The prefix of the weights of a prior that learned beside the pair."""

FIT_KEYS = frozenset({"backend", "settings", "history", "recipe", "dim", "probe"})
"""The keys of a fit's header."""


def write_fit(path: Path, pair: Pair, record: Mapping[str, Any], recipe: Any, critic: Any = None) -> Path:
    """Write a pair with the settings and the history in ``record``, and the recipe that makes such a pair, or None.

    Of critics, a prior that learned beside the pair is written too.

    Raises:
        ValueError: a recipe that makes another pair; the message names the first difference.
    """
    if hasattr(recipe, "skeleton"):
        check_recipe(recipe, pair)
    example, value = _examined(pair)
    header = {
        "kind": "fit",
        "version": __version__,
        "backend": pair.backend,
        "settings": record["settings"],
        "history": {name: np.asarray(values).tolist() for name, values in record["history"].items()},
        "recipe": None if recipe is None else recipe.to_dict(),
        "dim": pair.dim,
        "given_dim": pair.given_dim,
        "example": example and {name: array.tolist() for name, array in example.items()},
        "probe": value,
        "probe_of_bits": _probe_of_bits(pair),
    }
    apart = critic.weights if isinstance(critic, GivenNeighbour) else {}
    storage.write(path, {**pair.state(), **{APART + name: weight for name, weight in apart.items()}}, header)
    return path


def _examined(pair: Pair) -> tuple[Arrays | None, float]:
    """Probe the pair at zeros, or, where it does not take them, at a datum that it has seen, which is returned."""
    try:
        value = _probe(pair, None)
    except Exception:  # whatever a program raises at values that are none of its data
        value = np.nan
    if np.isfinite(value) or not pair.example:
        return None, value
    return pair.example, _probe(pair, pair.example)


def _probe(pair: Pair, example: Arrays | None) -> float:
    x, side = _batch(example, pair.dim, pair.given_dim)
    return probe(pair, x, 0, side)


def _probe_of_bits(pair: Pair) -> float | None:
    """Probe the pair at zeros and ones, as zeros alone do not tell programs apart that scale x; None where it cannot.

    Side information has the same pattern.
    """
    rng = generator(0, "probe")
    side = {name: rng.integers(0, 2, a.shape).astype(a.dtype) for name, a in _batch(None, 1, pair.given_dim)[1].items()}
    try:
        value = probe(pair, rng.integers(0, 2, (PROBED, pair.dim)).astype(np.float32), 0, side)
    except Exception:  # whatever a program raises at values that are none of its data
        return None
    return value if np.isfinite(value) else None


def _batch(example: Arrays | None, dim: int, given_dim: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Make a batch of one datum, or of zeros: x and its side inputs but for the positions."""
    rows = example or {"x": np.zeros((1, dim)), **placeholder(1, None, given_dim)}
    side = {name: np.repeat(array, PROBED, 0) for name, array in rows.items()}
    return side.pop("x"), side


def check_recipe(recipe: Any, pair: Pair) -> None:
    """Refuse a recipe that makes another pair, which could not be read again.

    Raises:
        ValueError: names the first difference.
    """
    made = backends.load(recipe.backend).inference.Pair(*recipe.skeleton()).state()
    shapes = {name: value.shape for name, value in made.items()}
    try:
        check_shapes(shapes, pair.state())
    except ValueError as error:
        raise ValueError(
            f"The recipe makes another pair than this fit has, so that nothing could be loaded with it: {error} "
            "Save without a recipe, and load with pair=(model, guide); a refined fit is saved so."
        ) from None


def read_fit(
    path: Path, pair: tuple[Any, Any] | None, device: str | None
) -> tuple[Pair, dict[str, np.ndarray], Mapping[str, Any], GivenNeighbour | None]:
    """Read what ``write_fit`` wrote: the pair with its weights, the history, the settings, and a prior beside the pair.

    Raises:
        FileNotFoundError: no such file.
        UnreadableFile: not one of ours, or damaged.
        ValueError: no recipe and no pair, weights that do not fit, or a device that is not there.
    """
    arrays, header = storage.read(path)
    if header.get("kind") != "fit" or not set(header) >= FIT_KEYS:
        raise UnreadableFile(
            f"{path} is a {header.get('kind')}, not a fit: load a file that Fit.save wrote; a checkpoint is for "
            "SVI.fit(..., checkpoint=)."
        )
    if pair is None and header["recipe"] is None:
        raise ValueError(f"{path} was saved without a recipe: pass pair=(model, guide) of the same structure.")
    inference = backends.load(header["backend"]).inference
    inference.pair.find_device(device)
    if pair is None:
        pair = Recipe.from_dict(header["recipe"]).skeleton()
    own = inference.Pair(*pair, device=device)
    example = header.get("example") and {name: np.array(rows) for name, rows in header["example"].items()}
    x, side = _batch(example, header["dim"], header.get("given_dim", 0))
    own.prepare(x, 0, {**placeholder(len(x), 1, 0), **side})
    apart = storage.below(APART, arrays)
    own.load_state({name: array for name, array in arrays.items() if not name.startswith(APART)})
    values, others = [_probe(own, example)], [header["probe"]]
    if header.get("probe_of_bits") is not None:
        values.append(np.nan if (value := _probe_of_bits(own)) is None else value)
        others.append(header["probe_of_bits"])
    if not np.allclose(values, others, rtol=1e-3, atol=1e-3, equal_nan=True):
        raise ValueError(
            f"The weights in {path} fit the pair, but give another ELBO than when they were saved: it is another "
            "model (activations, likelihood, ...). Pass the recipe or the pair that was trained."
        )
    history = {name: np.asarray(values) for name, values in header["history"].items()}
    return own, history, header["settings"], GivenNeighbour(apart) if apart else None

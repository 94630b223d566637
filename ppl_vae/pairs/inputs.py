"""Data for a pair: checks of their shape and values, and a digest by which to recognise them."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, overload

import numpy as np

from ..arrays import causal, pixel_levels
from ..arrays.sequences import lasts
from ..data import Stream, check_binary, check_unit_interval
from ..data.containers import as_array, check_numbers
from ..data.streams import Data, blocks
from ..data.tables.kinds import Column, check_columns
from ..errors import RoundedData
from ..init import check_index
from .pair import Pair
from .side_inputs import Arrays, apply_mask, given_of, take_rows, told_by
from .sites import Site, Sites, value_of_data

X = TypeVar("X", bound=Data)

REAL = "divide intensities by their largest, or take the likelihood 'normal' for numbers of any size"
"""The way out for data that a Bernoulli likelihood does not have."""

DIGITS = 200
"""The number of steps of the programs' numbers that a column's values should span at least."""
DRAW = (
    "draw them, x > np.random.default_rng(0).random(x.shape), or pass the validation part of a 'dynamic' split, which "
    "is drawn; or let the program take ppl_vae's conditionals.Bernoulli, under which they count as expected values"
)
"""The way out for grey levels, such as the training part of a 'dynamic' split holds."""


def rows_of(rows: int, size: int, index: Any, trained_on: Callable[[], bool]) -> np.ndarray:
    """Find the rows of a per-datapoint guide that ``size`` data have, by ``index`` or as the data of its training.

    Raises:
        ValueError: positions that do not fit, or none for data that are not those of the training.
    """
    if index is not None:
        index = np.asarray(index)
        if index.shape != (size,) or index.dtype.kind not in "iu":
            raise ValueError(f"'index' should hold {size} integers, one for each row of x; got {index!r}.")
        check_index(index, rows)
        return np.ascontiguousarray(index)
    if size == rows and trained_on():
        return np.arange(rows)
    raise ValueError(
        f"The guide has parameters for the {rows} data points that it was trained on and for no others: infer z "
        "for new ones, fit.refine(x), or say which of the training data these are, index=."
    )


class Requirements(NamedTuple):
    """A pair's requirements on its data; those of two pairs of one likelihood are equal."""

    dim: int
    """P, the number of columns; 0 before the pair has run"""
    given_dim: int
    """G, the number of columns of the side information"""
    binary: bool
    """whether values are within [0, 1]"""
    whole: str
    """the name of an observed site whose values are 0 or 1, and no grey levels; empty where there is none"""
    levels: tuple[int, ...]
    """the numbers of levels that a pixel can have, of each observed site that has levels"""
    read: tuple[int, ...]
    """the numbers of values 0, 1, ... of a pixel, of each observed site that reads its own pixels"""
    columns: tuple[tuple[Column, ...], ...]
    """the kinds of columns of each observed site but labels, where all of these know theirs"""
    steps: tuple[int, ...]
    """the numbers of steps of each observed site whose steps read those before, so that a mask has no gaps"""

    @classmethod
    def of(cls, pair: Pair) -> Requirements:
        """Read them off a pair's sites."""
        sites = pair.sites.observed if pair.sites is not None else ()
        levels = tuple(site.levels for site in sites if site.levels is not None)
        read = tuple(site.read_values for site in sites if site.read_values is not None)
        steps = tuple(site.steps for site in sites if site.steps)
        of_x = [site for site in sites if not site.label]
        columns = tuple(site.columns for site in of_x) if all(site.columns for site in of_x) else ()
        whole, mixed = next((site.name for site in of_x if site.whole), ""), len({site.binary for site in of_x}) > 1
        binary = any(site.binary and not (mixed and site.validates) for site in of_x)  # or bits are some columns alone
        return cls(pair.dim, pair.given_dim, binary, whole, levels, read, columns, steps)


@overload
def as_batch(x: Stream, what: str = "x", dim: int | None = None, *, maskable: bool = True) -> Stream: ...


@overload
def as_batch(x: Any, what: str = "x", dim: int | None = None, *, maskable: bool = True) -> np.ndarray: ...


def as_batch(x: Any, what: str = "x", dim: int | None = None, *, maskable: bool = True) -> Data:
    """Check data, and return them as a floating (N, P) array; of a stream, which checks what it reads, the shape alone.

    ``maskable`` data have a mask, with which a caller may hide values.

    Raises:
        ValueError: not (N, P), another P than ``dim``, empty, or NaN or infinite values.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError(f"{what!r} is a masked array, and all of its values are needed: pass {what}.data.")
    array: Any = x if isinstance(x, Stream) else as_array(x, what)
    if array.ndim != 2 or (dim is not None and array.shape[1] != dim):
        rows = f"{what}.reshape(len({what}), -1)" if hasattr(x, "reshape") else f"np.reshape({what}, (len({what}), -1))"
        flat = f": pass {rows}" if array.ndim > 2 and len(array) else ""
        if array.ndim == 1 and dim in (None, 1) and hasattr(x, "reshape"):
            flat = f": pass {what}.reshape(-1, 1) of single numbers, or {what}.reshape(1, -1) of one datum"
        raise ValueError(f"{what!r} should have shape (N, {'P' if dim is None else dim}); got {array.shape}{flat}.")
    if not len(array):
        raise ValueError(f"{what!r} is empty: it has shape {array.shape}.")
    if isinstance(array, Stream):
        return array
    check_numbers(array, what)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"{what!r} holds NaN or infinite values, first at row {row}, column {column}: remove them"
            + (f", or say which values were seen, {told_by(what, f'np.isfinite({what})')}." if maskable else ".")
        )
    array = array if array.dtype.kind == "f" else array.astype(np.float32)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


Mask: TypeAlias = np.ndarray | None


@overload
def checked(pair: Pair, x: Stream, what: str = "x", *, intensities: bool = False, mask: Mask = None) -> Stream: ...


@overload
def checked(pair: Pair, x: Any, what: str = "x", *, intensities: bool = False, mask: Mask = None) -> np.ndarray: ...


def checked(pair: Pair, x: Any, what: str = "x", *, intensities: bool = False, mask: Mask = None) -> Data:
    """Check the shape and the values of data (N, P) for a pair; ``intensities`` are binarised before it sees them.

    Where ``mask`` hides them, which takes data in memory, values of a table's columns may be any.

    Raises:
        ValueError: another shape, NaN or infinite values, or values that the likelihood cannot have.
    """
    array, requirements = as_batch(x, what, pair.dim or None), Requirements.of(pair)
    read = () if intensities else requirements.read
    asked = requirements.binary or requirements.levels or read or requirements.columns
    for first, block in blocks(array) if asked else ():
        if requirements.binary:
            check_unit_interval(block, f"{what!r}, under a Bernoulli likelihood,", remedy=REAL, first=first)
        if requirements.whole and not intensities:
            told = f"{what!r}, observed at {requirements.whole!r} by a Bernoulli that takes no grey levels,"
            check_binary(block, told, remedy=DRAW, first=first)
        for count in requirements.levels:
            pixel_levels.check(block, count, what, first)
        for count in read:
            causal.check_values(block, count, what, first)
        for columns in requirements.columns:
            check_columns(block, columns, what, first, mask)
    if isinstance(array, np.ndarray) and pair.sites is not None:
        _warn_if_rounded(array, mask, pair.sites.precision, what)
    return array


def _warn_if_rounded(x: np.ndarray, mask: Mask, precision: float, what: str) -> None:
    """Warn of columns of which the programs' numbers, such as x - mean, have two digits or fewer."""
    seen: dict[str, Any] = {} if mask is None else {"where": mask}
    low, high = x.min(0, initial=np.inf, **seen), x.max(0, initial=-np.inf, **seen)
    apart, size = np.maximum(high - low, 0), np.maximum(np.abs(low), np.abs(high))
    rounded = (apart < DIGITS * precision * size) & (apart > np.finfo(np.float64).eps * DIGITS * size)
    if rounded.any() and len(x) > 1:
        column = int(rounded.argmax())
        warnings.warn(
            f"Programs compute with steps of {precision * size[column]:.2g} around {size[column]:.6g}, the values of "
            f"column {column} of {what!r}, which differ by {apart[column]:.2g}, so that densities of them are of "
            "rounded numbers: take what the column has in common off, x - x.mean(0), or compute in double precision, "
            "by torch.set_default_dtype(torch.float64) or jax.config.update('jax_enable_x64', True).",
            RoundedData,
            stacklevel=4,
        )


def check_scale(x: Any, scale: float | None) -> None:
    """Refuse stored integers where the training divided its own by ``scale``: they are not what the model sees.

    Raises:
        ValueError: an array of integers, or a stream of them with another divisor.
    """
    if scale is None or isinstance(x, CheckedData):
        return
    if isinstance(x, Stream):
        if x.stored.dtype.kind in "iu" and x.scale != scale:
            raise ValueError(
                f"The stream divides its pixels by {x.scale:g}, and the training divided its own by {scale:g}: open "
                f"it by data.stream(..., scale={scale:g})."
            )
        return
    dtype = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x).dtype
    if scale != 1 and dtype.kind in "iu":
        raise ValueError(
            f"'x' holds integers ({dtype}), and the training divided its own by {scale:g}: pass x / {scale:g} of "
            "stored levels, and x.astype(bool) of pixels that are 0 or 1 already."
        )


def digest(*parts: Data | None) -> str:
    """Compute the SHA-256 of arrays' bytes, which is equal for equal data."""
    sha = hashlib.sha256()
    for array in parts:
        if array is None:
            sha.update(b"none")
            continue
        for _, block in blocks(array):
            sha.update(np.ascontiguousarray(block).data)
    return sha.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class CheckedData(Generic[X]):
    """Data with side inputs that have passed a pair's checks, which read every value; they need not pass them again.

    ``Fit.checked`` makes one. Whatever takes data (N, P) for a fit takes it in their place, without side inputs then.
    """

    x: X
    """(N, P), zeros where the mask hides them"""
    side: Arrays
    """``given`` and ``mask``, those that there are"""
    pair: Pair = dataclasses.field(repr=False)
    """whose checks they passed, and whose rows ``index`` counts"""
    likely: bool = True
    """whether the likelihood was found to have such values"""
    index: np.ndarray | None = None
    """the position of each datum among those of a per-datapoint guide, where it is known or was passed"""
    located: bool = False
    """whether ``index`` is checked, and belongs to ``arrays``"""
    digests: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    """those that were computed, shared with copies of these data"""

    def __len__(self) -> int:
        """N."""
        return len(self.x)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The side inputs as a pair takes them."""
        index = self.index if self.located else None
        return dict(self.side) if index is None else {**self.side, "index": index}

    @property
    def digest(self) -> str:
        """The SHA-256 of x, computed once."""
        if "x" not in self.digests:
            self.digests["x"] = digest(self.x)
        return self.digests["x"]

    @property
    def side_digest(self) -> str | None:
        """The SHA-256 of the side inputs without ``index``, computed once; None where there are none."""
        if self.side and "side" not in self.digests:
            self.digests["side"] = digest(*self.side.values())
        return self.digests.get("side")

    def take(self, rows: Any) -> CheckedData[np.ndarray]:
        """Some of the rows, which are checked as all are."""
        index = None if self.index is None else self.index[rows]
        side = take_rows(self.side, rows)
        return CheckedData(np.asarray(self.x[rows]), side, self.pair, self.likely, index, self.located)


Input: TypeAlias = Data | CheckedData[Any]
"""Data (N, P) as methods of a fit take them: to be checked, or checked already."""


def check_gaps(sites: Sites, mask: np.ndarray | None) -> None:
    """Refuse a mask that hides numbers before the end of a sequence of which each step reads those before.

    Raises:
        ValueError: names the first row.
    """
    for length in (site.steps for site in sites.observed if site.steps and mask is not None):
        assert mask is not None
        holed = (np.repeat(lasts(mask, length), mask.shape[1] // length, 1) & ~mask).any(1)
        if holed.any():
            raise ValueError(
                "Each step of this model reads all that came before, so that a mask may end a sequence and hide "
                f"nothing within; {holed.sum()} rows have gaps, first row {int(np.argmax(holed))}: leave these out, or "
                "use recipes.deep_markov, whose latents bridge them."
            )


@overload
def check_data(
    pair: Pair, x: CheckedData[X], likely: bool = True, given: Any = None, mask: Any = None
) -> CheckedData[X]: ...


@overload
def check_data(pair: Pair, x: X, likely: bool = True, given: Any = None, mask: Any = None) -> CheckedData[X]: ...


def check_data(pair: Pair, x: Any, likely: bool = True, given: Any = None, mask: Any = None) -> CheckedData[Any]:
    """Check data and side inputs for a pair, but for data that passed the checks of a pair with equal requirements.

    Args:
        pair: the pair that is to be asked.
        x: data (N, P), or checked data.
        likely: whether the likelihood must be able to have these values; an encoder may be asked about any.
        given: side information (N, G); labels that are left out are unknown.
        mask: true where a pixel was seen, (N, P).

    Raises:
        ValueError: another shape, NaN or infinite values where a pixel was seen, values that the likelihood cannot
            have, side information or a mask that do not fit, or either of these beside data that are checked.
    """
    index, digests = None, {}
    if isinstance(x, CheckedData):
        if given is not None or mask is not None:
            raise ValueError("Checked data have their side inputs: pass them without 'given' and 'mask'.")
        if Requirements.of(x.pair) == Requirements.of(pair) and (x.likely or not likely):
            return x
        index, digests = x.index if x.pair is pair else None, x.digests
        x, given, mask = x.x, x.side.get("given"), x.side.get("mask")
    values, side = apply_mask(x, mask)
    values = checked(pair, values, mask=side.get("mask")) if likely else as_batch(values, dim=pair.dim)
    side |= given_of(pair, given, len(values))
    if pair.sites is not None:
        check_gaps(pair.sites, side.get("mask"))
    return CheckedData(values, side, pair, likely, index, digests=digests)


def observed_data(site: Site, values: np.ndarray) -> np.ndarray:
    """Bring what a site observed, (plates, B, ...), into the order (B, ...); without inner plates it has it."""
    return value_of_data(site, values)[0] if site.plates else values


def side_by_side(
    x: np.ndarray, values: Mapping[str, np.ndarray], means: Mapping[str, np.ndarray], mask: np.ndarray | None = None
) -> np.ndarray:
    """Put the means of the observed sites, (K, B, ...) each, side by side: E[x | z] of data x (B, P), (K, B, P).

    Args:
        x: the data.
        values: what each site observed of them, (B, ...).
        means: of the same sites, in the order of the model.
        mask: true where x was seen; elsewhere a site may have observed anything.

    Raises:
        ValueError: what the sites observed is not x, so that nobody knows which column of x a mean is of.
    """
    if all(mean.shape[1:2] == (len(x),) for mean in means.values()):
        seen = [np.broadcast_to(values[name], mean.shape)[0].reshape(len(x), -1) for name, mean in means.items()]
        rows, where = np.concatenate(seen, -1), True if mask is None else mask
        if rows.shape == x.shape and np.all(np.isclose(rows, x, rtol=1e-4, atol=1e-6) | ~np.asarray(where)):
            return np.concatenate([mean.reshape(*mean.shape[:2], -1) for mean in means.values()], -1)
    raise ValueError(
        f"E[x | z] is known where observed sites, side by side, are x as it is given; {', '.join(map(repr, means))} "
        "observed something else, so that the columns of x that a mean is of are not known: let the program observe x "
        "itself, or its columns in their order; or trace fit.model, and read the mean of each site."
    )

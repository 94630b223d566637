"""All metrics of one representation, from one encoding of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, Unpack, runtime_checkable

import numpy as np

from ...data.checks import closest
from ...pairs.side_inputs import Side
from .beta_vae import beta_vae_metric
from .checks import as_codes
from .dci import DCI, dci
from .factor_vae import factor_vae_metric
from .mig import mig_binned
from .mig_sampled import mig_sampled
from .modularity import modularity
from .sap import sap
from .score import Score
from .unsupervised import active_dims, gaussian_total_correlation, gaussian_wasserstein


@dataclass(frozen=True, eq=False)
class Codes:
    """An encoder's answer for some data."""

    means: np.ndarray
    """(N, D); of a deterministic encoder the codes"""
    sds: np.ndarray | None = None
    """standard deviations of q(z | x), (N, D); None where they are not known"""


@runtime_checkable
class Encoder(Protocol):
    """An object that has a posterior, as a ``Fit``."""

    def posterior(self, x: Any, **side: Any) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and standard deviation for each latent site, (N, D) each."""


Representation = Encoder | Callable[[Any], Any]

SUPERVISED: Mapping[str, Callable[..., Score | DCI]] = {
    "beta_vae": beta_vae_metric,
    "factor_vae": factor_vae_metric,
    "mig_binned": mig_binned,
    "mig_sampled": mig_sampled,
    "sap": sap,
    "dci": dci,
    "modularity": modularity,
}
UNSUPERVISED: Mapping[str, Callable[..., float]] = {
    "gaussian_total_correlation": gaussian_total_correlation,
    "gaussian_wasserstein": gaussian_wasserstein,
    "active_dims": active_dims,
}
METRICS = (*SUPERVISED, *UNSUPERVISED)
"""The names of all."""
NEED_SDS = ("mig_sampled",)
Settings = Mapping[str, Mapping[str, Any]]
"""Name -> keywords of that metric, such as ``{"sap": {"categorical": ["shape"]}}``."""
NONE: Settings = MappingProxyType({})


def encode(representation: Representation, x: Any, **side: Unpack[Side]) -> Codes:
    """The codes of data x: of a fit the means and standard deviations of q(z | x), of a function what it returns.

    Several latent sites stand side by side, in order. A function returns codes (N, D), or a pair of means and standard
    deviations.

    Args:
        representation: a ``Fit``, or a function of x.
        x: data, as the representation takes them.
        side: what there is beside x, for a fit.

    >>> encode(lambda x: 2 * x, np.ones((3, 2))).means.shape
    (3, 2)
    """
    if isinstance(representation, Encoder):
        sites = representation.posterior(x, **side).values()
        if not sites:
            raise ValueError("The guide has no latent site, so that there is nothing to measure.")
        means, sds = ([np.reshape(site[i], (len(site[i]), -1)) for site in sites] for i in (0, 1))
        return Codes(np.concatenate(means, 1), np.concatenate(sds, 1))
    if not callable(representation):
        raise ValueError(
            f"'representation' should be a Fit or a function of x; got {type(representation).__name__}: "
            "of codes that are there, metrics(codes, factors)."
        )
    found = representation(x)
    if isinstance(found, tuple):
        means, sds = found
        return Codes(as_codes(means), as_codes(sds, "sds"))
    return Codes(as_codes(found))


def evaluate(
    representation: Representation,
    x: Any,
    factors: Any,
    *,
    which: Iterable[str] | None = None,
    settings: Settings = NONE,
    seed: int = 0,
    **side: Unpack[Side],
) -> dict[str, float]:
    """Every metric of a representation of x, which is encoded once.

    Args:
        representation: a ``Fit``, or a function of x: see ``encode``.
        x: data, a row for each datum.
        factors: (N, F) integers, or what has them as ``classes``.
        which: names of ``METRICS``; by default all that are possible, see ``metrics``.
        settings: name -> keywords of that metric.
        seed: of all that is drawn.
        side: what there is beside x, for a fit.

    Returns:
        Name -> number; a row of a table.

    Raises:
        ValueError: an unknown name, or codes and factors that do not fit a metric.

    >>> grid = np.indices((4, 5)).reshape(2, -1).T
    >>> evaluate(lambda x: -x, grid, grid, which=["mig_binned", "modularity"])
    {'mig_binned': 1.0, 'modularity': 1.0}
    """
    codes = encode(representation, x, **side)
    return metrics(codes.means, factors, sds=codes.sds, which=which, settings=settings, seed=seed)


def metrics(
    codes: Any,
    factors: Any,
    *,
    sds: Any = None,
    which: Iterable[str] | None = None,
    settings: Settings = NONE,
    seed: int = 0,
) -> dict[str, float]:
    """Every metric of codes (N, D) with factors (N, F).

    By default all of ``METRICS``, ``mig_sampled`` only with standard deviations that are positive.

    Args:
        codes: means of q(z | x), (N, D).
        factors: (N, F) integers, or what has them as ``classes``.
        sds: standard deviations of q(z | x), (N, D).
        which: names of ``METRICS``, computed in this order.
        settings: name -> keywords of that metric, ``{"sap": {"categorical": ["shape"]}}``, say.
        seed: of all that is drawn.

    Returns:
        Name -> number; of ``dci`` three, ``dci_disentanglement`` and so on.

    Raises:
        ValueError: an unknown name, ``mig_sampled`` without ``sds``, or codes and factors that do not fit a metric.
    """
    seen = Codes(as_codes(codes), None if sds is None else as_codes(sds, "sds"))
    if which is None:
        noisy = seen.sds is not None and bool((seen.sds > 0).all())
        names = [name for name in METRICS if noisy or name not in NEED_SDS]
    else:
        names = list(which)
    _check_names(names, "which")
    _check_names(settings, "settings")
    if seen.sds is None and set(names) & set(NEED_SDS):
        raise ValueError("'mig_sampled' needs the standard deviations of q(z | x), sds=, a row for each of the codes.")
    found: dict[str, float] = {}
    for name in names:
        found |= _numbers(name, seen, factors, {"seed": seed, **settings.get(name, {})})
    return found


def _numbers(name: str, codes: Codes, factors: Any, options: dict[str, Any]) -> dict[str, float]:
    if name in UNSUPERVISED:
        options.pop("seed")
        return {name: UNSUPERVISED[name](codes.means, **options)}
    inputs = (codes.means, codes.sds) if name in NEED_SDS else (codes.means,)
    score = SUPERVISED[name](*inputs, factors, **options)
    return score.row() if isinstance(score, DCI) else {name: float(score)}


def _check_names(names: Iterable[str], what: str) -> None:
    for name in names:
        if name not in METRICS:
            raise ValueError(f"{what!r} names {name!r}{closest(name, METRICS)}; there are {', '.join(METRICS)}.")

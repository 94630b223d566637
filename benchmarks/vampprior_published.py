"""What others report for the cells of the VampPrior table, and how each number is known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

NOT_STATED = "convention not stated"
CITED = "as commonly cited"
"""Quoted from other papers, not read in the work itself."""


@dataclass(frozen=True)
class Published:
    """A number that stands beside ours."""

    value: float
    source: str
    """one of ``SOURCES``"""
    note: str = ""
    unit: str = "nats"
    """``nats``, log p(x) of a test image; or ``bits/dim``, where lower is better"""

    def to_dict(self) -> dict[str, Any]:
        """Every field, and the source in full; JSON-able."""
        return {**asdict(self), "reference": SOURCES[self.source]}

    def __str__(self) -> str:
        unit = "" if self.unit == "nats" else f" {self.unit}"
        return f"{self.value:.2f}{unit} ({self.source}{f'; {self.note}' if self.note else ''})"


REPORT, HAND_WRITTEN, PAPER, EXEMPLAR = "report", "by hand", "Tomczak and Welling", "Exemplar VAE"
SOURCES = {
    REPORT: "the VampPrior report, Large VAE, 2021: Adam at 1e-3, no warm-up, a net of means, 1000 epochs, no early "
    "stopping, 500 draws",
    HAND_WRITTEN: "a JAX program of the plain setting, train and validation images, one seed",
    PAPER: "their VAE with a VampPrior, 2018, 5000 draws",
    EXEMPLAR: "that of Norouzi, Fleet and Norouzi, 2020, 5000 draws",
}

_REPORT = {
    "static_mnist": ((-93.08, -88.72, -90.85), ""),
    "fashion_mnist": ((-235.32, -231.94, -232.79), f"{NOT_STATED}: binarisation"),
    "fashion_mnist-grey": ((-235.32, -231.94, -232.79), f"{NOT_STATED}: binarisation"),
    "freyfaces": (
        (-2281.16, -2257.76, -2286.52),
        f"{NOT_STATED}: scale of the likelihood, split (1,900 training images)",
    ),
    "caltech101_silhouettes": ((-137.32, -135.15, -142.02), f"{NOT_STATED}: polarity"),
}

PUBLISHED: dict[tuple[str, str, str], tuple[Published, ...]] = {
    ("report", data, prior): (Published(value, REPORT, note),)
    for data, (values, note) in _REPORT.items()
    for prior, value in zip(("standard", "vampprior", "vampprior-data"), values, strict=True)
}
"""(setting, data, prior) -> what stands beside it."""
PUBLISHED |= {(name, *cell): n for name in ("plain", "early-stopping") for (_, *cell), n in PUBLISHED.items()}
PUBLISHED["plain", "static_mnist", "standard"] += (Published(-89.69, HAND_WRITTEN, "200 epochs"),)
PUBLISHED["plain", "static_mnist", "vampprior"] += (Published(-87.13, HAND_WRITTEN, "100 epochs"),)

_OF_PAPERS = ("standard", "vampprior", "two-levels", "two-levels+vampprior")
_PAPERS: dict[str, tuple[Published, ...]] = {
    "static_mnist": (
        Published(-88.56, PAPER, CITED),
        Published(-85.57, PAPER),
        Published(-86.05, PAPER, CITED),
        Published(-83.19, PAPER, CITED),
    ),
    "caltech101_silhouettes": tuple(Published(n, PAPER, CITED) for n in (-123.43, -114.55, -112.08, -108.28)),
    "freyfaces": tuple(Published(n, PAPER, CITED, "bits/dim") for n in (4.63, 4.57, 4.61, 4.51)),
    "dynamic_mnist": (
        Published(-84.45, EXEMPLAR, "± 0.12"),
        Published(-82.43, EXEMPLAR, "± 0.06"),
        Published(-82.39, EXEMPLAR, "± 0.11"),
        Published(-81.56, EXEMPLAR, "± 0.09"),
    ),
    "fashion_mnist": (
        Published(-228.70, EXEMPLAR, "± 0.15"),
        Published(-227.35, EXEMPLAR, "± 0.05"),
        Published(-227.37, EXEMPLAR, "± 0.1"),
        Published(-226.72, EXEMPLAR, "± 0.08"),
    ),
}
for _data, _values in _PAPERS.items():
    for _prior, _value in zip(_OF_PAPERS, _values, strict=True):
        PUBLISHED["paper", _data, _prior] = (_value,)
        for _ours in ("plain", "early-stopping"):
            PUBLISHED[_ours, _data, _prior] = (*PUBLISHED.get((_ours, _data, _prior), ()), _value)

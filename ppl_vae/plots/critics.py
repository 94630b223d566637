"""Figures of a critic: its training, and its log-ratio against the known one; in ``ppl_vae.plots`` too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import expit

from .drawing import COLOURS, WIDTH, vector


def ratio_calibration(
    learned: np.ndarray,
    known: np.ndarray,
    *,
    from_q: np.ndarray | None = None,
    history: Mapping[str, np.ndarray] | None = None,
    bins: int = 15,
    title: str = "Is the learned ratio right?",
) -> Figure:
    """A critic's log-ratio log q(z) - log r(z) against the known one, its reliability, and its accuracy in training.

    In bins of as many points each: the mean learned log-ratio and one standard deviation against the mean known one,
    with the identity; and how often a point of a bin came from q, with two standard errors, against the mean
    probability sigmoid(learned) that the critic gave it. If q and r gave as many points each, both follow the diagonal
    where the critic is right.

    Args:
        learned: the critic's log-ratio at N points, (N,), nats.
        known: the true one, (N,), nats.
        from_q: whether a point is from q (true) or from r, (N,); without it the frequency is that which the known ratio
            gives.
        history: of the training, with ``critic_accuracy`` for each epoch or step, which is drawn beside the best
            accuracy that the known ratio allows.
        bins: how many.
        title: of the figure.

    Raises:
        ValueError: arrays of other or unequal shapes, more bins than points, or a history without accuracy.

    >>> ratio = np.linspace(-2.0, 2.0, 100)
    >>> figure = ratio_calibration(0.5 * ratio, ratio, bins=5)
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['known log-ratio [nats]', "critic's probability of q"]
    """
    ours, truth = vector(learned, "'learned'"), vector(known, "'known'")
    if ours.shape != truth.shape:
        raise ValueError(f"'learned' and 'known' should have one shape; got {ours.shape} and {truth.shape}.")
    if not 1 <= bins <= len(ours):
        raise ValueError(f"'bins' should be 1 to {len(ours)}, the number of points; got {bins}.")
    share = expit(truth) if from_q is None else _flags(from_q, ours.shape)
    accuracies = None if history is None else _accuracies(history)
    figure = Figure(figsize=(WIDTH, 3.6 if accuracies is not None else 4.4), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, 2 if accuracies is None else 3)
    _ratios(panels[0], ours, truth, bins)
    _reliability(panels[1], ours, share, bins, counted=from_q is not None)
    if accuracies is not None:
        _training(panels[2], accuracies, 0.5 + 0.5 * float(np.abs(np.tanh(truth / 2)).mean()))
    return figure


def _flags(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    flags = np.asarray(values)
    if flags.shape != shape or not np.isin(flags, (0, 1)).all():
        raise ValueError(f"'from_q' should hold true or false for each of the {shape[0]} points; got {flags.shape}.")
    return flags.astype(float)


def _accuracies(history: Mapping[str, np.ndarray]) -> np.ndarray:
    if "critic_accuracy" not in history:
        raise ValueError(
            "'history' should have 'critic_accuracy', as that of inference.Adversarial or critics.train has; got "
            f"{', '.join(history) or 'nothing'}."
        )
    return vector(history["critic_accuracy"], "history['critic_accuracy']")


def _bins(by: np.ndarray, bins: int) -> list[np.ndarray]:
    """Find the positions of the points of each bin, in ascending order."""
    return np.array_split(np.argsort(by, kind="stable"), bins)


def _ratios(axes: Axes, learned: np.ndarray, known: np.ndarray, bins: int) -> None:
    places = _bins(known, bins)
    x, y, spread = (
        np.array([f(a[p]) for p in places]) for f, a in ((np.mean, known), (np.mean, learned), (np.std, learned))
    )
    axes.plot([x[0], x[-1]], [x[0], x[-1]], color="black", linewidth=0.8, linestyle=":", label="identity")
    axes.errorbar(x, y, spread, color=COLOURS[0], marker="o", linestyle="none", label="mean and sd of a bin")
    axes.set(xlabel="known log-ratio [nats]", ylabel="learned log-ratio [nats]")
    axes.legend(fontsize="small")


def _reliability(axes: Axes, learned: np.ndarray, share: np.ndarray, bins: int, *, counted: bool) -> None:
    probability = expit(learned)
    places = _bins(learned, bins)
    x, y = (np.array([a[p].mean() for p in places]) for a in (probability, share))
    errors = np.array([2 * math.sqrt(m * (1 - m) / len(p)) for m, p in zip(y, places, strict=True)])
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    axes.errorbar(x, y, errors if counted else None, color=COLOURS[1], marker="o", linestyle="none")
    axes.set(xlabel="critic's probability of q", ylabel="share from q" if counted else "probability of q, known ratio")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")


def _training(axes: Axes, accuracy: np.ndarray, best: float) -> None:
    axes.plot(np.arange(1, len(accuracy) + 1), accuracy, color=COLOURS[2], linewidth=0.9)
    axes.axhline(best, color="black", linewidth=0.8, linestyle=":", label=f"known ratio: {best:.2f}")
    axes.axhline(0.5, color="0.7", linewidth=0.8)
    axes.set(xlabel="epoch or step", ylabel="critic's accuracy")
    axes.legend(fontsize="small", loc="lower right")

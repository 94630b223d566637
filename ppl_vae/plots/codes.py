"""The figure of the lengths of codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .drawing import COLOURS, WIDTH, colours, legend, some, vector


def code_lengths(
    growth: Mapping[str, Sequence[float]],
    bounds: Mapping[str, Sequence[float]],
    *,
    files: Mapping[str, float] | None = None,
    batch_size: int = 1,
    title: str = "Bits-back coding of the test images",
) -> Figure:
    """The length of a code as images are added, what it has beyond the negative ELBO, and each coder's bits per image.

    Args:
        growth: name of the fit -> the bits that each batch added, ``Message.growth``, (batches,).
        bounds: the same names -> -ELBO of each image, in bits, (N,).
        files: name of another coder -> bits of all images.
        batch_size: images of a batch.
        title: of the figure.

    Raises:
        ValueError: no fits, or values that are not finite.

    >>> code_lengths({"vae": [3.0, 2.0]}, {"vae": [2.0, 2.0]}).axes[0].lines[0].get_ydata().tolist()
    [0.0, 3.0, 5.0]
    """
    series = {name: vector(bits, f"growth[{name!r}]") for name, bits in some(growth, "growth").items()}
    figure = Figure(figsize=(WIDTH, 4.5), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplot_mosaic([["length", "mean"], ["beyond", "mean"]], width_ratios=(3, 2), height_ratios=(3, 2))
    left, below, right = panels["length"], panels["beyond"], panels["mean"]
    means: dict[str, float] = {}
    for (name, bits), colour in zip(series.items(), colours(), strict=False):
        bound = vector(bounds[name], f"bounds[{name!r}]")
        images = np.minimum(batch_size * np.arange(len(bits) + 1), len(bound))
        code, ideal = (np.concatenate([[0], part.cumsum()]) for part in (bits, bound))
        left.plot(images, code, color=colour, label=f"{name}: code")
        left.plot(np.arange(len(ideal)), ideal, color="black", linestyle=":")
        below.plot(images, code - ideal[images], color=colour)
        means |= {f"{name}: code": bits.sum() / len(bound), f"{name}: -ELBO": bound.mean()}
        number = len(bound)
    left.plot([], [], color="black", linestyle=":", label="-ELBO / log 2")
    left.set_ylabel("bits")
    left.tick_params(labelbottom=False)
    below.axhline(0, color="black", linestyle=":")
    below.set_ylabel("beyond -ELBO")
    below.set_xlabel("test images")
    means |= {name: bits / number for name, bits in (files or {}).items()}
    ours = 2 * len(series)
    right.barh(range(len(means)), list(means.values()), color=[COLOURS[0]] * ours + ["#999999"] * (len(means) - ours))
    for y, mean in enumerate(means.values()):
        right.text(mean, y, f" {mean:.1f}", va="center")
    right.set_yticks(range(len(means)), list(means))
    right.set_ylim(len(means) - 0.5, -0.5)
    right.set_xlim(0, 1.2 * max(means.values()))
    right.set_xlabel("bits per image")
    legend(figure, left)
    return figure

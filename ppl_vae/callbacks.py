"""Callbacks, which ``SVI.fit(..., callback=)`` calls after each epoch with (epoch, metrics, fit so far)."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .pairs.inputs import as_batch
from .pairs.side_inputs import Side, apply_mask
from .plots.drawing import is_drawable
from .results.fit import Fit
from .training.protocols import Callback

SAMPLES = 16
"""Number of new images in a drawing."""


@dataclass(frozen=True)
class Chain:
    """Chain of callbacks as one callback; they are called in this order."""

    callbacks: tuple[Callback, ...]

    def __call__(self, epoch: int, metrics: Mapping[str, float], fit: Fit) -> None:
        """Call each callback."""
        for callback in self.callbacks:
            callback(epoch, metrics, fit)


def chain(*callbacks: Callback) -> Chain:
    """Combine several callbacks in one, which calls them in this order.

    >>> seen = []
    >>> chain(lambda epoch, *_: seen.append(epoch), lambda *_: seen.append("again"))(0, {}, None)
    >>> seen
    [0, 'again']
    """
    return Chain(callbacks)


@dataclass(frozen=True)
class Log:
    """Callback that gives the metrics of each epoch to a logger, by ``function(metrics, step=epoch)``.

    ``wandb.log`` and ``mlflow.log_metrics`` are such functions.

    Args:
        function: takes a dictionary of numbers by their names, and ``step``.

    >>> seen = {}
    >>> Log(lambda metrics, step: seen.update({step: metrics}))(3, {"epoch": 3.0, "loss": 1.5}, None)
    >>> seen
    {3: {'loss': 1.5}}
    """

    function: Callable[..., Any]

    def __call__(self, epoch: int, metrics: Mapping[str, float], fit: Fit) -> None:
        """Pass on the metrics of an epoch."""
        self.function({name: value for name, value in metrics.items() if name != "epoch"}, step=epoch)


@dataclass
class TensorBoard:
    """Callback that logs the metrics of each epoch, and images if asked to, for TensorBoard.

    The step of an event is its epoch. A training that resumes from a checkpoint, or starts again in the same folder,
    replaces the events there from its first epoch on. Give each training its own folder.

    Args:
        log_dir: the folder of the event files.
        image_shape: (H, W), (H, W, 1) or (H, W, 3): draw new images, E[x | z] for z ~ p(z), as rows of this shape.
        images: with ``image_shape``, rows (N, P) to draw with their reconstructions.
        every: epochs between two drawings; the first is after epoch 0.
        side: the side inputs of ``images``: ``given`` of a conditional pair, used for new images, too; ``mask``;
            ``index`` for a per-datapoint guide.

    Raises:
        ImportError: TensorBoard is not installed.
        ValueError: a shape that cannot be drawn, images that do not have it, or ``every`` below 1.

    ``svi.fit(model, guide, data, callback=TensorBoard("runs/tb"))``, then ``tensorboard --logdir runs``.
    """

    log_dir: str | Path
    image_shape: tuple[int, ...] | None = None
    images: np.ndarray | None = field(default=None, repr=False, compare=False)
    every: int = 10
    side: Side = field(default_factory=Side, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._writer: Any = None
        self._last = -1
        _summary_writer()
        if self.image_shape is None and self.images is not None:
            raise ValueError("TensorBoard: 'images' are drawn in an 'image_shape', such as (28, 28): give one.")
        if self.image_shape is not None and not is_drawable(self.image_shape):
            raise ValueError(
                f"TensorBoard: 'image_shape' should be (H, W), (H, W, 1) or (H, W, 3); got {self.image_shape}."
            )
        if self.image_shape is not None and self.images is not None:
            shown_images, _ = apply_mask(self.images, self.side.get("mask"), "images")
            self.images = as_batch(shown_images, "images", math.prod(self.image_shape))
        if self.every < 1:
            raise ValueError(f"TensorBoard: 'every' should be at least 1; got {self.every}.")

    def __call__(self, epoch: int, metrics: Mapping[str, float], fit: Fit) -> None:
        """Write the metrics of an epoch, and draw images every ``every`` epochs."""
        if epoch <= self._last:
            self.close()
        if self._writer is None:
            self._writer = _summary_writer()(str(self.log_dir), purge_step=epoch)
            self._finalizer = weakref.finalize(self, self._writer.close)
        for name, value in metrics.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch)
        if self.image_shape is not None and epoch % self.every == 0:
            self._draw(epoch, fit, self.image_shape)
        self._writer.flush()
        self._last = epoch

    def _draw(self, epoch: int, fit: Fit, image_shape: tuple[int, ...]) -> None:
        given = self.side.get("given")
        given = None if given is None else np.asarray(given)[:SAMPLES]
        mean = fit.sites.has_data_means
        drawn = {}
        if not fit.sites.prior_apart:
            size = SAMPLES if given is None else None
            drawn = {"samples": fit.generate(size, seed=epoch, mean=mean, given=given)}
        if self.images is not None and fit.sites.latent:
            reconstructions = fit.reconstruct(self.images, seed=epoch, mean=mean, **self.side)
            drawn |= {"originals": self.images, "reconstructions": reconstructions}
        shape = image_shape if len(image_shape) == 3 else (*image_shape, 1)
        for name, rows in drawn.items():
            pixels = np.clip(rows, 0, 1).reshape(-1, *shape)
            self._writer.add_images(name, pixels, epoch, dataformats="NHWC")

    def close(self) -> None:
        """Close the event file; a later call opens another one."""
        if self._writer is not None:
            self._finalizer()
        self._writer = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings, without the open file; a copy opens its own."""
        return {**self.__dict__, "_writer": None, "_finalizer": None}


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "The callback TensorBoard needs the package 'tensorboard': pip install 'ppl_vae[tensorboard]'."
        ) from error
    return SummaryWriter

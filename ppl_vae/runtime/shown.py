"""Short texts of results, and their tables and small figures in a notebook."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .pages import html, part

WIDTH, HEIGHT = 240, 60
"""Of a curve, in pixels."""
LONGEST = 60
"""Characters of a value in a short text."""
TABLE = """\
<div><b>{{ title }}</b>\
<table>{% for name, value in rows %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>{% endfor %}</table>\
{{ figure }}{% if then %}<p>{{ then }}</p>{% endif %}</div>"""
CURVE = """\
<svg width="{{ width }}" height="{{ height }}" role="img" aria-label="{{ said }}">\
<polyline points="{{ points }}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>\
<br><small>{{ said }}</small>"""
"""Templates."""


def datum(shape: Sequence[int], *, of_steps: bool = False) -> str:
    """Name one datum of a shape, or of a model of sequences, in what is printed.

    >>> datum((13,)), datum((28, 28)), datum((60, 1), of_steps=True)
    ('row', 'image', 'sequence')
    """
    if of_steps:
        return "sequence"
    return "row" if len(shape) == 1 else "image"


def of_data(text: str, each: str) -> str:
    """Write a text about images for data of another name.

    >>> of_data("nats per image, of test images", "row")
    'nats per row, of test rows'
    """
    return re.sub(r"\bimage(?=s?\b)", each, text)


def brief(value: Any) -> str:
    """Write a value in a few words: of an array its shape and mean.

    >>> brief(np.ones((3, 2))), brief(0.123456), brief(None)
    ('(3, 2), mean 1', '0.1235', 'None')
    """
    if isinstance(value, np.ndarray):
        mean = f", mean {value.mean():.4g}" if value.size and value.dtype.kind in "fiub" else ""
        return f"{value.shape}{mean}"
    if hasattr(value, "shape"):
        return str(tuple(value.shape))
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(map(str, value)) + "}"
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def table(rows: Mapping[str, Any], title: str = "", figure: str = "", then: str = "") -> str:
    """Write name -> value as an HTML table, with a figure beneath and the next step in a sentence."""
    cells = [(name, brief(value)) for name, value in rows.items()]
    return part(TABLE, title=title, rows=cells, figure=html(figure), then=then)


def curve(values: Sequence[float] | np.ndarray, label: str) -> str:
    """Draw values as a line, in SVG; nothing where fewer than two are finite."""
    y = np.asarray(values, float)
    keep = np.isfinite(y)
    if keep.sum() < 2:
        return ""
    low, high = y[keep].min(), y[keep].max()
    x = np.arange(len(y))[keep] * (WIDTH - 4) / (len(y) - 1) + 2
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, _height(y[keep], low, high), strict=True))
    return part(CURVE, width=WIDTH, height=HEIGHT, points=points, said=f"{label}: {low:.4g} to {high:.4g}")


def _height(y: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.asarray(HEIGHT - 2 - (y - low) / (high - low or 1.0) * (HEIGHT - 4))


def image_row(images: np.ndarray) -> str:
    """Draw images (N, H, W) or (N, H, W, C) of values in [0, 1] side by side, as one PNG within an ``img``."""
    pixels = np.round(255 * np.clip(images.astype(float), 0, 1)).astype(np.uint8)
    pixels = pixels if pixels.ndim == 4 else pixels[..., None]
    row = np.concatenate([np.pad(image, ((1, 1), (1, 1), (0, 0))) for image in pixels], 1)
    data = base64.b64encode(png(row)).decode()
    scale = max(1, round(48 / images.shape[1]))
    style = f"width:{scale * row.shape[1]}px;image-rendering:pixelated;max-width:100%"
    return f'<img src="data:image/png;base64,{data}" style="{style}" alt="{len(images)} images">'


def png(pixels: np.ndarray) -> bytes:
    """Encode uint8 pixels (H, W, 1) or (H, W, 3) as a PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


class Shown:
    """Result with a short text, and a table in a notebook.

    Both say ``shown()``: by default the numbers of ``row()`` or, without one, each field in a few words.
    """

    then: ClassVar[str] = ""
    """the next step, in a sentence"""

    def shown(self) -> Mapping[str, Any]:
        """Return what is shown, by name."""
        row = getattr(self, "row", None)
        if row is not None:
            return {name: value for name, value in row().items() if value is not None and not _is_nan(value)}
        fields: Any = dataclasses.fields(self) if dataclasses.is_dataclass(self) else ()
        return {field.name: getattr(self, field.name) for field in fields if field.repr}

    def figure(self) -> str:
        """Return a small figure as HTML."""
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={brief(value)}' for name, value in self.shown().items())})"

    def _repr_html_(self) -> str:
        return table(self.shown(), type(self).__name__, self.figure(), self.then)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)

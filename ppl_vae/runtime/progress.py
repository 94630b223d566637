"""Progress bars: on a terminal, and in a notebook with widgets or without."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(progress: bool | None, **options: Any) -> tqdm:
    """Make a bar of ``tqdm``; with None it is shown on a terminal and in a notebook alone.

    In a notebook it is a widget where ipywidgets is installed, and a line of text where it is not.
    """
    notebook = in_notebook()
    disable = None if progress is None and not notebook else progress is False
    return (_widget() or tqdm)(disable=disable, **options) if notebook else tqdm(disable=disable, **options)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return ipython is not None and "IPKernelApp" in ipython.config


def _widget() -> Any:
    """Return the bar that is a widget; None without ipywidgets."""
    from tqdm import notebook

    return notebook.tqdm if notebook.IProgress is not None else None

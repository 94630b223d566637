"""Examples run in a process of their own, as a reader starts them, or in this one."""

from __future__ import annotations

import contextlib
import io
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def example(
    script: Callable[..., subprocess.CompletedProcess[str]],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``example("name", *options)``: a process of its own; with ``here=True`` none. Warnings are errors in both."""

    def start(name: str, *options: str, here: bool = False) -> subprocess.CompletedProcess[str]:
        path = EXAMPLES / f"{name}.py"
        if not here:
            return script(path, *options)
        out, error, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [str(path), *options])
            patch.syspath_prepend(str(EXAMPLES))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                try:
                    runpy.run_path(str(path), run_name="__main__")
                except SystemExit as end:
                    code = end.code or 0
        return subprocess.CompletedProcess([str(path), *options], code, out.getvalue(), error.getvalue())

    return start

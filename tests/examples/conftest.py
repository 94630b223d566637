"""Examples are started as a reader starts them, or run in this process, which spares seconds of imports."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def example() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``example("name", *options)``: a process of its own; with ``here=True`` none. Warnings are errors in both."""

    def start(name: str, *options: str, here: bool = False) -> subprocess.CompletedProcess[str]:
        script = str(EXAMPLES / f"{name}.py")
        if not here:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
            command = [sys.executable, "-W", "error", script, *options]
            return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)
        out, error, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [script, *options])
            patch.syspath_prepend(str(EXAMPLES))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                try:
                    runpy.run_path(script, run_name="__main__")
                except SystemExit as end:
                    code = end.code or 0
        return subprocess.CompletedProcess([script, *options], code, out.getvalue(), error.getvalue())

    return start

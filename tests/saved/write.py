"""Write the saved files anew, with the code of version 0.1.0, commit 3e5a992, and with no other.

Run it in a checkout of that commit, with this folder in its ``tests``: ``python tests/saved/write.py FOLDER``. A later
version must read what that one wrote, so it is not run again, unless a kind of file is added from the same commit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # as the tests do
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from saved import cases
from saved.cases import BACKENDS, EXPECTED, FITS, HALFWAY, IMAGES, INNER, TOLERANCE, TRAININGS, WHOLE, WITHOUT_RECIPE

import ppl_vae
from ppl_vae import backends, baselines
from ppl_vae.cli import main

DROPPED = ("figures", "index.html", "results.json")
"""What the commands draw for a reader, and nothing reads again."""


def write(folder: Path) -> None:
    """Write everything into a folder."""
    _check_code()
    from ppl_vae.versions import versions

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    numbers = {
        "made": {"version": cases.VERSION, "commit": cases.COMMIT, "libraries": versions()},
        "tolerance": TOLERANCE,
        "fits": {b: {name: _fit(name, b) for name in FITS} for b in BACKENDS},
        "trainings": {b: {name: _training(name, b) for name in TRAININGS} for b in BACKENDS},
        "study": _studies(),
        "runs": {name: _run(name, options) for name, options in cases.RUNS.items()},
        "interrupted": {name: _interrupted(name, options) for name, options in cases.INTERRUPTED.items()},
        "compared": _compared(),
        "estimators": {name: _estimator(name, kind) for name, kind in cases.ESTIMATORS.items()},
    }
    text = re.sub(r"\[[^][{}]*\]", lambda rows: " ".join(rows[0].split()), json.dumps(_short(numbers), indent=1))
    Path(EXPECTED).write_text(text + "\n", encoding="utf-8")
    for lock in Path().rglob("*.lock"):
        lock.unlink()


def _check_code() -> None:
    """Refuse any other code than that whose files these are."""
    root = Path(ppl_vae.__file__).parents[1]
    commit = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    if ppl_vae.__version__ != cases.VERSION or not commit.startswith(cases.COMMIT):
        here = f"{ppl_vae.__version__}, {commit or 'of no commit'}"
        raise SystemExit(f"These are files of {cases.VERSION}, {cases.COMMIT}; the ppl_vae that is imported is {here}.")


def _fit(name: str, backend: str) -> dict[str, Any]:
    inference = backends.load(backend).inference
    discrete = "latents" in FITS[name]
    loss = inference.TraceGraphELBO(3, baseline=baselines.LeaveOneOut()) if discrete else inference.TraceELBO()
    x, svi = cases.images(name), inference.SVI(loss, epochs=2, **INNER)
    fit = svi.fit(*cases.drawn(name, backend), x, seed=0, progress=False, **cases.given(name, len(x)))
    recipe = None if name in WITHOUT_RECIPE else cases.maker(name, backend)
    fit.save(Path("fits", backend, f"{name}.safetensors"), recipe=recipe)
    return cases.numbers(fit, name)


def _training(name: str, backend: str) -> dict[str, Any]:
    cases.trained(name, backend, HALFWAY, Path("trainings", backend, f"{name}.safetensors"))
    whole = cases.trained(name, backend, WHOLE, None)
    return {"outcome": cases.outcome(whole, name), "weights": cases.weights(whole)}


def _studies() -> dict[str, Any]:
    whole, part = cases.study(Path("study")), cases.study(Path("study-interrupted"))
    whole.run(progress=False)
    for cell, epochs in zip(part.cells, (None, 1), strict=True):
        with _interrupting(epochs), contextlib.suppress(KeyboardInterrupt):
            dataclasses.replace(part, cells=[cell]).run(progress=False)
    return cases.results(whole)


def _run(name: str, options: tuple[object, ...]) -> dict[str, Any]:
    run = Path("cli", name)
    _fit_by_command(run, options)
    record = json.loads(_command("evaluate", run, *cases.EVALUATED))
    if name == "factor":
        (run / "checkpoint.safetensors").unlink()  # of the critic's five million weights
    return {"record": cases.numeric(record), "fingerprint": record["data"]["fingerprint"]}


def _interrupted(name: str, options: tuple[object, ...]) -> dict[str, Any]:
    run, whole = Path("cli", name), Path("whole")
    with _interrupting(HALFWAY):
        _fit_by_command(run, options, code=130)
    _fit_by_command(whole, options)
    fit = cases.Fit.load(whole / "fit.safetensors")
    shutil.rmtree(whole)
    return {"loss": fit.history["loss"], "valid_elbo": fit.history["valid_elbo"], "weights": cases.weights(fit)}


def _compared() -> dict[str, Any]:
    folder = Path("cli", "compared")
    record = json.loads(_command("compare", "--out", folder, *cases.TINY, *cases.COMPARED, "--json"))
    for name in DROPPED:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return cases.ranked(record["rows"])


def _estimator(name: str, kind: str) -> dict[str, Any]:
    settings = {"latent_dim": 2, "hidden": (4,), "epochs": 2, "num_particles": 5, "num_pseudo_inputs": 5}
    backend = name.partition("-")[2]
    estimator = getattr(ppl_vae, kind)(**settings, **INNER, backend=backend, random_state=0).fit(cases.table())
    Path("estimators").mkdir(exist_ok=True)
    Path("estimators", f"{name}.pickle").write_bytes(pickle.dumps(estimator))
    return cases.said(estimator)


def _fit_by_command(run: Path, options: tuple[object, ...], code: int = 0) -> None:
    where = () if "--data" in options else ("--data", IMAGES)
    _command("fit", *where, "--out", run, *cases.TINY, *options, "--no-figures", "--quiet", code=code)


def _command(*words: object, code: int = 0) -> str:
    """What a command prints; the paths that it records stay relative, so that no file names a machine's folders."""
    out = io.StringIO()
    np.save(IMAGES, cases.binary())
    with mock.patch("ppl_vae.cli.parsing.os.path.abspath", str), contextlib.redirect_stdout(out):
        assert main(cases.arguments(*words)) == code, words
    Path(IMAGES).unlink()
    return out.getvalue()


@contextlib.contextmanager
def _interrupting(epochs: int | None) -> Iterator[None]:
    """Let Ctrl-C strike a training after so many epochs."""
    from ppl_vae.loop import Loop

    whole = Loop.order

    def order(self: Any, epoch: int) -> np.ndarray:
        if epoch == epochs:
            raise KeyboardInterrupt
        return whole(self, epoch)

    with mock.patch.object(Loop, "order", order):
        yield


def _short(value: Any) -> Any:
    """JSON-able, numbers with seven digits."""
    if isinstance(value, dict):
        return {name: _short(v) for name, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_short(v) for v in np.asarray(value).tolist()]
    return float(f"{value:.7g}") if isinstance(value, float) else value


if __name__ == "__main__":
    write(Path(sys.argv[1]))

"""Tiny trainings by the command line, and what they leave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppl_vae.cli import main
from ppl_vae.cli.runs import FIT
from ppl_vae.inference.svi.run import PyroRun
from ppl_vae.runtime import storage

BACKENDS = ("pyro", "numpyro")
COMMANDS = ("fit", "evaluate", "encode", "reconstruct", "sample", "traverse", "metrics", "compare", "data")
TINY = ("--hidden", "6", "--latent-dim", "2", "--batch-size", "16", "--num-pseudo-inputs", "4")


def binary(count: int = 40, shape: tuple[int, ...] = (4, 3), seed: int = 0) -> np.ndarray:
    """Images of two kinds, uint8 in {0, 1}."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=(count, *[1] * len(shape)))
    return (rng.random((count, *shape)) < 0.15 + 0.7 * kind).astype(np.uint8)


def write_images(folder: Path) -> Path:
    """The folder with images.npy, reversed.npy and parts.npz."""
    x = binary()
    np.save(folder / "images.npy", x)
    np.save(folder / "reversed.npy", x[::-1])
    np.savez(folder / "parts.npz", train=x[:30], valid=x[30:35], test=x[35:])
    return folder


def command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def fit(images: object, out: Path, *arguments: object, backend: str = "pyro") -> None:
    """A tiny fit that should succeed."""
    options = (*TINY, "--epochs", 2, "--no-figures", *arguments)
    assert command("fit", "--data", images, "--out", out, "--backend", backend, "--quiet", *options) == 0


def weights(folder: Path) -> dict[str, np.ndarray]:
    return storage.read(folder / FIT)[0]


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def one_line(capsys: pytest.CaptureFixture[str], prefix: str = "ppl-vae: error: ") -> str:
    """The one line on stderr."""
    out, err = capsys.readouterr()
    assert err.startswith(prefix) and err.count("\n") == 1 and err.endswith("\n"), err
    assert "Traceback" not in err + out
    return err


def interrupt_at(patch: pytest.MonkeyPatch, epochs: int) -> None:
    """Let Ctrl-C strike a training by Pyro in that epoch."""
    whole = PyroRun.epoch

    def interrupted(self: PyroRun, epoch: int, order: np.ndarray) -> np.ndarray:
        if epoch == epochs:
            raise KeyboardInterrupt
        return whole(self, epoch, order)

    patch.setattr(PyroRun, "epoch", interrupted)

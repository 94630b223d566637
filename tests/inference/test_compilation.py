"""What is compiled: once for an epoch, its seconds told, kept for the next process where the user names a folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import pair, toy

from ppl_vae import backends
from ppl_vae.inference.svi import recorded_step
from ppl_vae.numpyro.inference.svi.step import scan_steps
from ppl_vae.runtime.compile_cache import CACHE_VARIABLE, cache_folder

X = toy(50)
"""In batches of 20: two, and a shorter one."""


def compiled_programs(svi: Any, **settings: Any) -> int:
    """How many programs of gradient steps a training needs."""
    before = scan_steps._cache_size()
    svi.fit(*pair("standard", "numpyro", **settings), X)
    return scan_steps._cache_size() - before


def test_a_shorter_last_batch_is_no_second_program(fresh_programs: None) -> None:
    """Where rows of no weight may fill it; what scales the batch as a whole has a program for it."""
    inference = backends.load("numpyro").inference
    assert compiled_programs(inference.SVI(epochs=2, batch_size=20)) == 1
    assert compiled_programs(inference.SVI(epochs=2, batch_size=20), guide="per-datapoint", num_images=50) == 1
    assert compiled_programs(inference.SVI(inference.CapacityELBO(target=1.0), epochs=1, batch_size=20)) == 2


def test_rows_that_fill_a_batch_leave_every_table_as_it_is(base_noise: None, fresh_programs: None) -> None:
    """A per-datapoint guide ends where it does without them: as on Pyro, where the last batch is shorter."""
    fits = [
        backends.load(name)
        .inference.SVI(epochs=3, batch_size=20)
        .fit(*pair("standard", name, guide="per-datapoint", num_images=50), X)
        for name in ("pyro", "numpyro")
    ]
    np.testing.assert_allclose(*(fit.history["loss"] for fit in fits), rtol=1e-5)
    np.testing.assert_allclose(*(fit.encode(X) for fit in fits), rtol=1e-4, atol=1e-5)


def test_the_history_tells_the_seconds(fresh_programs: None) -> None:
    """The first epoch compiles, the others do not; an eager training never does."""
    for name, settings in (("numpyro", {}), ("pyro", {"compile": "trace"})):
        svi = backends.load(name).inference.SVI(epochs=3, batch_size=20, **settings)
        history = svi.fit(*pair("tanh", name), X).history
        assert 0 < history["compilation"][0] < history["seconds"][0]
        np.testing.assert_array_equal(history["compilation"][1:], 0)
    eager = backends.load("pyro").inference.SVI(epochs=2, batch_size=20).fit(*pair("tanh", "pyro"), X)
    np.testing.assert_array_equal(eager.history["compilation"], 0)


TRAINING = """
import sys
import jax
sys.path.insert(0, sys.argv[1])
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_compilation_cache_dir", None)  # not the folder that all tests share
jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
from pairs import pair, toy
from ppl_vae.numpyro.inference import SVI
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
SVI(epochs=1, batch_size=20).fit(*pair("standard", "numpyro"), toy(50))
hits, misses = (events.count(f"/jax/compilation_cache/cache_{what}") for what in ("hits", "misses"))
print(hits, misses)
"""


@pytest.mark.slow
def test_programs_are_kept_for_the_next_process(
    tmp_path: Path, script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The second process compiles nothing: it finds every program of the first."""
    said = []
    (tmp_path / "training.py").write_text(TRAINING, encoding="utf-8")
    for _ in range(2):
        done = script(tmp_path / "training.py", str(Path(__file__).parents[1]), **{CACHE_VARIABLE: str(tmp_path)})
        assert done.returncode == 0, done.stderr
        said.append([int(number) for number in done.stdout.split()])
    (_, missed), (hits, misses) = said
    assert missed > 0 and misses == 0 and hits >= missed
    assert any((tmp_path / "jax").iterdir())


def test_inductor_keeps_its_programs_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not in the folder that torch has by itself written into its variable, before anything is compiled."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "default"))
    recorded_step._compiled(torch.sin, rounds=False)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "inductor")


def test_a_cache_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(file))
    with pytest.raises(ValueError, match=f"{CACHE_VARIABLE} should name a folder"):
        cache_folder("jax")

"""Laws of studies whose trainings run elsewhere."""

from __future__ import annotations

import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pairs import recipe, toy

from ppl_vae import data, evaluation, inference
from ppl_vae.errors import InUse
from ppl_vae.evaluation import Cell, Study

SPLIT = data.from_arrays(toy(40), toy(10, seed=2), toy(10, seed=1))


class Here:
    """Calls at once; the first ``lost`` of them in vain, as where their process is killed."""

    def __init__(self, lost: int = 0) -> None:
        self.lost, self.calls = lost, 0

    def submit(self, fn: Any, /, *args: Any) -> Future[Any]:
        self.calls, future = self.calls + 1, Future[Any]()
        try:
            if self.calls <= self.lost:
                raise BrokenProcessPool("killed")
            future.set_result(fn(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def study(folder: Path, **settings: Any) -> Study:
    cells = [Cell("ELBO", "pyro", recipe("standard", "pyro"), inference.SVI(epochs=1, batch_size=20))]
    return Study(folder, SPLIT, cells, (0, 1), num_particles=5, elbo_particles=2, **settings)


def test_a_study_elsewhere_is_the_study_here(tmp_path: Path) -> None:
    """Where a process is killed its own cell alone is left, and the same study does it; what is done is done once."""
    lossy, whole = Here(lost=1), study(tmp_path / "here").run()
    with pytest.raises(BrokenProcessPool) as raised:
        study(tmp_path / "there", executor=lossy).run()
    assert raised.value.__notes__ == ["in the training 'ELBO, pyro, seed 0'; the same study goes on from what is done"]
    assert study(tmp_path / "there").remaining == 1 and lossy.calls == 2
    again = study(tmp_path / "there", executor=lossy)
    table = again.run()
    assert lossy.calls == 3 and list(table["seeds"]) == [2]
    for column in ("log_p", "elbo", "kl", "objective", "log_p_sd"):
        assert table[column]["ELBO"] == whole[column]["ELBO"], column
    again.run()
    assert lossy.calls == 3


def test_what_is_done_by_now_is_not_done_again(tmp_path: Path) -> None:
    """A worker that is lost after its last write is called again; another's end comes before its turn."""

    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.name != ".lock"}

    class Twice(Here):
        def submit(self, fn: Any, /, *args: Any) -> Future[Any]:
            super().submit(fn, *args).result()
            before, future = written(), super().submit(fn, *args)
            assert future.exception() is None and written() == before
            return future

    twice = Twice()
    assert list(study(tmp_path, executor=twice).run()["seeds"]) == [2] and twice.calls == 4


def test_one_scheduler_at_a_time(tmp_path: Path) -> None:
    class Second(Here):
        def submit(self, fn: Any, /, *args: Any) -> Future[Any]:
            with pytest.raises(InUse, match="in use by another training"):
                study(tmp_path, executor=Here()).run()
            return Here(lost=1).submit(fn, *args)

    with pytest.raises(BrokenProcessPool):
        study(tmp_path, executor=Second()).run()


def test_a_process_that_is_killed_starts_again(tmp_path: Path) -> None:
    dies = f"import os, pathlib; p = pathlib.Path({str(tmp_path / 'seen')!r}); seen = p.exists(); p.touch()\n"
    dies += "if not seen: os._exit(9)"
    assert evaluation.Processes(1, restarts=1).submit(exec, dies).result() is None
    (tmp_path / "seen").unlink()
    with pytest.raises(BrokenProcessPool):
        evaluation.Processes(1, restarts=0).submit(exec, dies).result()
    with pytest.raises(ValueError, match="'executor' should have a method 'submit' that answers with futures.*; got 2"):
        study(tmp_path, executor=2)
    with pytest.raises(ValueError, match="'count' should be an integer of at least 1; got 0"):
        evaluation.Processes(0)


def test_an_address_names_an_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="An executor should be 'processes:2' .*; got 'threads:2'"):
        evaluation.executor("threads:2")

    class Client:
        def __init__(self, address: str, timeout: float) -> None:
            self.address = address
            if address.endswith(":9"):
                raise OSError("Timed out")

        def get_executor(self) -> Any:
            return self.address

    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=Client))
    assert evaluation.executor("dask://host:8786") == "tcp://host:8786"
    with pytest.raises(
        OSError, match=r"No Dask scheduler answers at tcp://host:9 \(Timed out\): start one by 'dask sched"
    ):
        evaluation.executor("dask://host:9")


def test_a_command_that_fails_says_its_last_line() -> None:
    fails = "import sys; print('one\\ntwo', file=sys.stderr); sys.exit(3)"
    commands = {"good": [sys.executable, "-c", "print(1)"], "bad": [sys.executable, "-c", fails]}
    commands["silent"] = [sys.executable, "-c", "raise SystemExit(3)"]
    told = dict(evaluation.run_commands(Here(), commands))
    assert told == {"good": "", "bad": "two", "silent": "exit status 3"}

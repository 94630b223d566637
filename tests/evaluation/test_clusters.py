"""Studies on clusters: run before a release, with the extras that they need (pytest -m cluster)."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import recipe, toy

from ppl_vae import data, evaluation, inference
from ppl_vae.evaluation import Cell, Study
from ppl_vae.evaluation.studies.executors import Executor
from ppl_vae.evaluation.studies.study import CHECKPOINT

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]
EPOCHS = 400
SPLIT = data.from_arrays(toy(40), toy(10, seed=2), toy(10, seed=1))


@pytest.fixture(scope="module", params=["dask", "ray"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """An executor with two workers on this machine."""
    module = pytest.importorskip({"dask": "distributed"}.get(request.param, request.param))
    if request.param == "ray":
        module.init(num_cpus=2, runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}})
        yield evaluation.executor("ray")
        module.shutdown()
    else:
        with module.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
            yield evaluation.executor("dask" + local.scheduler_address.removeprefix("tcp"))


def study(folder: Path, epochs: int = 1, **settings: Any) -> Study:
    svi = inference.SVI(epochs=epochs, batch_size=20)
    return Study(
        folder, SPLIT, [Cell("ELBO", "pyro", recipe("standard", "pyro"), svi)], (0, 1), num_particles=5, **settings
    )


def test_a_study_on_a_cluster_is_the_study_here(tmp_path: Path, cluster: Executor) -> None:
    whole = study(tmp_path / "here").run()
    table = study(tmp_path / "there", executor=cluster).run()
    assert list(table["seeds"]) == [2] and table["log_p"]["ELBO"] == whole["log_p"]["ELBO"]


def killed_once(seen: str) -> int:
    """Kill its own process the first time."""
    if not Path(seen).exists():
        Path(seen).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_a_killed_worker_loses_its_own_call_alone(tmp_path: Path, cluster: Executor) -> None:
    futures = [cluster.submit(killed_once, str(tmp_path / "seen")), cluster.submit(pow, 2, 5)]
    assert futures[0].result(timeout=60) != os.getpid() and futures[1].result(timeout=60) == 32


@dataclass(frozen=True)
class Struck:
    """A recipe whose first process is killed as soon as it has written a checkpoint below ``folder``, if it has one."""

    folder: str = ""

    def checkpoints(self) -> list[Path]:
        return list(Path(self.folder).rglob(CHECKPOINT))

    def __call__(self, random: np.random.Generator) -> Any:
        if self.folder and not (seen := Path(self.folder, "..", "seen")).exists():
            seen.write_text(str(os.getpid()))
            threading.Thread(target=self.strike, daemon=True).start()
        elif self.folder and seen.read_text().isdecimal() and int(seen.read_text()) != os.getpid():
            seen.write_text("goes on" if self.checkpoints() else "anew")
        return recipe("standard", "pyro")(random)

    def strike(self) -> None:
        while not self.checkpoints():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_training_goes_on_elsewhere_from_its_checkpoint(tmp_path: Path, cluster: Executor) -> None:
    """Without its scheduler's help, and the table is that of a study that nobody disturbed."""

    def of(folder: Path, struck: Struck, executor: Executor | None = None) -> Any:
        svi = inference.SVI(epochs=EPOCHS, batch_size=20, checkpoint_every=10)
        cells = [Cell("ELBO", "pyro", struck, svi)]
        return Study(folder, SPLIT, cells, num_particles=5, executor=executor).run()

    table = of(tmp_path / "there", Struck(str(tmp_path / "there")), cluster)
    assert (tmp_path / "seen").read_text() == "goes on"
    assert table["log_p"]["ELBO"] == of(tmp_path / "here", Struck())["log_p"]["ELBO"]

"""``benchmarks/gpu.py`` without a GPU: a rehearsal, and what becomes of parts that fail, crash or take too long."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from ppl_vae import strategies

Script = Callable[..., subprocess.CompletedProcess[str]]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu")


@pytest.fixture
def cases(gpu: ModuleType) -> ModuleType:
    return importlib.import_module("gpu_cases")


@pytest.mark.release
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.slow
def test_without_a_gpu_one_line_says_so(tmp_path: Path, script: Script) -> None:
    done = script(BENCHMARKS / "gpu.py", "--backends", "pyro", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "There is no GPU 'cuda' here" in done.stdout.splitlines()[-1]


@pytest.mark.release
@pytest.mark.slow
def test_a_rehearsal_writes_every_measurement_and_a_page(tmp_path: Path, script: Script) -> None:
    """The same code on the CPU: both devices are one, so that nothing differs at all."""
    done = script(
        BENCHMARKS / "gpu.py", "--device", "cpu", "--smoke", "--parts", "agreement", "step", "--out", str(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert {name: part["status"] for name, part in record["parts"].items()} == {"agreement": "done", "step": "done"}
    agreement, steps = ([row for row in record["rows"] if row["part"] == part] for part in ("agreement", "step"))
    assert {row["case"].split(",")[0] for row in agreement} == {"pyro", "numpyro"}
    assert all(row["found"] == 0 and row["agrees"] and row["norm"] > 0 for row in agreement)
    assert {row["what"] for row in steps} == {
        *("by hand, PyTorch", "Pyro, trace", "Pyro, trace, bfloat16"),
        *("by hand, JAX", "NumPyro", "NumPyro, bfloat16"),
    }
    assert all(row["ratio_base"] > 0 and row["rounds"] == 2 and not row["said"] for row in steps)
    for row in record["rows"]:
        assert f"| {row['case']} | {row['what']} |".replace("p(x | z)", r"p(x \| z)") in page.replace(
            r"(z \| x)", "(z | x)"
        )
    assert page.startswith("# On a CPU (no GPU)") and record["facts"]["versions"]["torch"] in page


def passing() -> Iterator[dict[str, Any]]:
    yield {"what": "a number", "found": 1.0}


def failing() -> Iterator[dict[str, Any]]:
    yield {"what": "before", "found": 1.0}
    raise ValueError("on purpose")


def test_a_failure_is_told_and_everything_else_goes_on(gpu: ModuleType) -> None:
    told: list[dict[str, Any]] = []
    parts = {
        "first": lambda: [("bad", failing), ("good", passing)],
        "unprepared": lambda: 1 / 0,
        "last": lambda: [("good", passing)],
    }
    assert gpu.work(parts, 0, told.append)
    rows = [(m["row"]["part"], m["row"]["case"], m["row"]["what"]) for m in told if m["kind"] == "row"]
    assert rows == [("first", "bad", "before"), ("first", "good", "a number"), ("last", "good", "a number")]
    errors = [m["text"].splitlines()[-1] for m in told if m["kind"] == "error"]
    assert errors == ["ValueError: on purpose", "ZeroDivisionError: division by zero"]
    assert [m["kind"] for m in told].count("end") == 3
    assert not gpu.work(parts, 0, told.append, lambda: False)  # the process is to end where the device is lost


WORKER = """
import json, os, sys, time
*parts, first, pipe = sys.argv[1:]
with os.fdopen(int(pipe), "w") as pipe:
    def tell(kind, **rest):
        pipe.write(json.dumps({"kind": kind, **rest}) + "\\n"), pipe.flush()
    tell("facts", facts={"backends": ["pyro"]})
    for part in parts:
        tell("begin", cases=["one", "two", "three"])
        for number in range(int(first), 3):
            tell("case", case=["one", "two", "three"][number], number=number)
            if part == "agreement" and number == 1:
                print("a kernel went wrong", flush=True)
                os._exit(7)
            if part == "tests" and number == 1:
                time.sleep(60)
            tell("row", row={"part": part, "case": str(number), "what": "x", "agrees": True, "outcome": "passed"})
        first = 0
        tell("end")
"""


def supervised(gpu: ModuleType, out: Path, parts: list[str], seconds: float) -> dict[str, Any]:
    record = gpu.Record(out, {"command": "none"})
    started = []

    def start(todo: list[str], first: int) -> Any:
        started.append((list(todo), first))
        return gpu.Worker([sys.executable, "-c", WORKER, *todo, str(first)], os.environ)

    gpu.supervise(record, parts, seconds, start)
    written = json.loads((out / "gpu.json").read_text(encoding="utf-8"))
    return {**written, "started": started, "failed": record.failed}


def test_a_crash_costs_one_case(gpu: ModuleType, tmp_path: Path) -> None:
    """A new process goes on with the next one; the output of the old one and its exit status are kept."""
    found = supervised(gpu, tmp_path, ["agreement", "step"], 60)
    assert found["started"] == [(["agreement", "step"], 0), (["agreement", "step"], 2)]
    assert [(row["part"], row["case"]) for row in found["rows"]] == [
        *(("agreement", case) for case in "02"),
        *(("step", case) for case in "012"),
    ]
    (error,) = found["parts"]["agreement"]["errors"]
    assert error["case"] == "two" and "a kernel went wrong" in error["text"] and "exit status 7" in error["text"]
    assert found["failed"] and "a kernel went wrong" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_a_part_that_runs_over_is_ended_and_keeps_what_it_had(gpu: ModuleType, tmp_path: Path) -> None:
    found = supervised(gpu, tmp_path, ["tests", "step"], 3)
    assert found["parts"]["tests"]["status"].startswith("stopped after") and found["parts"]["step"]["status"] == "done"
    assert [(row["part"], row["case"]) for row in found["rows"]] == [("tests", "0"), *(("step", c) for c in "012")]
    assert "Not reached: three." in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_draws_are_the_cpus_wherever_the_tensors_are(cases: ModuleType) -> None:
    """On a device of its own numbers (here one without any) nothing is drawn; on the CPU nothing changes."""
    shapes, found = torch.rand(3, 4), []
    for context in (torch.enable_grad(), cases.drawn_on_the_cpu("pyro")):
        torch.manual_seed(0)
        with context:
            drawn = [torch.randn(3), torch.empty(2).normal_(), shapes.bernoulli(), torch.randperm(5)]
            found.append([*drawn, torch.normal(shapes, 1.0), torch.multinomial(shapes, 2)])
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(plain, other, rtol=0, atol=0)


def test_comparisons_follow_the_tolerance(cases: ModuleType) -> None:
    one, tolerance = np.ones((3, 4)), cases.TOLERANCES["gradient"]
    assert cases.compared("w", "gradient", [one], [one * (1 + 0.9 * tolerance)])["agrees"]
    assert not cases.compared("w", "gradient", [one], [one * (1 + 1.1 * tolerance)])["agrees"]
    assert not cases.compared("w", "gradient", [one], [np.nan * one])["agrees"]


@pytest.mark.parametrize(
    "name",
    ["objective ACN", "objective Labelled", "component hidden-markov", "sampler LearnedHMC", "precision='bfloat16'"],
)
def test_a_further_case_agrees_with_itself(name: str, cases: ModuleType) -> None:
    """On the CPU both devices are one."""
    rows = list(dict(cases.further_cases(cases.Options("cpu", False, ("pyro",)), "pyro"))[f"pyro, {name}"]())
    assert rows and all(row["found"] == 0 and row["agrees"] for row in rows)
    assert all(row["norm"] > 0 for row in rows if row["what"] not in ("log p(z)", "log q(z | x)"))


def test_every_strategy_and_every_marked_test_takes_part(cases: ModuleType) -> None:
    options = cases.Options("cpu", False, ("pyro",))
    names = [name for name, _ in cases.agreement_cases(options)]
    assert {f"pyro, strategy {name}" for name in strategies.STRATEGIES} <= set(names)
    assert {f"pyro, pair {name}" for name in cases.PAIRS} <= set(names)
    assert {f"pyro, objective {name}" for name in cases.OTHERS} <= set(names)
    assert set(cases.PAIR_OF) <= set(strategies.STRATEGIES)
    assert any(path.name == "test_gpu.py" for path in cases.marked_files(Path(__file__).parents[1]))

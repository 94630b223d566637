"""This package on a GPU in one run of at most nine minutes: its tests, agreement with the CPU, steps beside other code.

    python benchmarks/gpu.py                                # everything, within --seconds
    python benchmarks/gpu.py --parts agreement              # one part alone; --seconds for another limit
    python benchmarks/gpu.py --device cpu --smoke --parts agreement step   # a rehearsal without a GPU

- tests: those marked ``gpu``, by pytest;
- agreement: the same draws on the CPU and on the GPU, and how far apart terms, gradients and training steps come out;
- step: a gradient step of this package beside hand-written PyTorch and JAX and the stock SVIs, in turns.

Parts run in a process of their own, which is ended where it takes longer than its share of the time and started again
at the next case where it crashes. After every measurement all that is known stands in ``gpu.json`` and ``gpu.md`` below
``--out``. Matrix products are in full single precision on both libraries (by default JAX's are in TF32 on a GPU), but
with ``--tf32`` as each has them. What a library cannot take part in is left out, with a line that says why.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [path for path in map(str, (ROOT, HERE, ROOT / "tests")) if path not in sys.path]

import gpu_page  # noqa: E402

from ppl_vae import backends  # noqa: E402
from ppl_vae.runtime import storage  # noqa: E402

SHARES = {"tests": 0.4, "agreement": 0.35, "step": 0.25}
"""Part -> its share of the time; what one leaves over goes to those after it."""
SECONDS = 500.0
RESTARTS = 4
"""How often a part goes on in a new process after a crash."""
TAIL = 6000
"""Characters of a process's output that are kept."""

Message = dict[str, Any]
Case = tuple[str, Callable[[], Any]]
"""A name, and what yields or returns rows of results."""


@dataclass
class Record:
    """Everything known so far, on the disk after each addition.

    Args:
        out: the folder of ``gpu.json`` and ``gpu.md``.
        about: what the page says of the run: its command, its device.
    """

    out: Path
    about: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def part(self, name: str, **values: Any) -> None:
        """Set what is known of a part."""
        self.parts.setdefault(name, {"errors": [], "cases": [], "reached": 0}).update(values)
        self.write()

    def error(self, part: str, case: str, text: str) -> None:
        """Add a failure of a part."""
        self.parts[part]["errors"].append({"case": case, "text": text[-TAIL:]})
        print(f"{part}, {case}: {text.strip().splitlines()[-1] if text.strip() else 'failed'}", flush=True)
        self.write()

    def row(self, row: dict[str, Any]) -> None:
        """Add a measurement; one of the same part, case and name is replaced."""
        key = [row.get(name) for name in ("part", "case", "what")]
        self.rows = [r for r in self.rows if [r.get(name) for name in ("part", "case", "what")] != key] + [row]
        self.write()

    @property
    def failed(self) -> bool:
        """Whether a part did not end well, or a measurement disagrees."""
        ended = all(part["status"] in ("done", "skipped") and not part["errors"] for part in self.parts.values())
        return not ended or any(row.get("agrees") is False for row in self.rows)

    def write(self) -> None:
        """Put JSON and page in place."""
        whole = {**self.about, "facts": self.facts, "parts": self.parts, "rows": self.rows}
        storage.write_atomically(self.out / "gpu.json", (json.dumps(whole, indent=1, default=str) + "\n").encode())
        storage.write_atomically(self.out / "gpu.md", gpu_page.page(whole).encode())


class Worker:
    """A process that measures and reports by lines of JSON through a pipe; its output goes to a file.

    Args:
        command: its command but for the number of the pipe, which comes last.
        environment: its variables.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 (end closes it)
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [*command, str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            env=dict(environment),
            start_new_session=True,
        )
        os.close(writing)
        self.messages: queue.Queue[Message | None] = queue.Queue()
        threading.Thread(target=self._read, args=(reading,), daemon=True).start()

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, encoding="utf-8") as lines:
            for line in lines:
                self.messages.put(json.loads(line))
        self.messages.put(None)

    def next(self, timeout: float) -> Message | None:
        """The next message, or None after the last.

        Raises:
            TimeoutError: there was none for so many seconds.
        """
        try:
            return self.messages.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            raise TimeoutError from None

    def end(self, patience: float = 5.0) -> str:
        """End it with all that it started, in so many seconds at most; how it ended, and the last of what it said."""
        if self.output.closed:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        with self.output:
            self.output.seek(0)
            said = self.output.read().decode(errors="replace")[-TAIL:]
        return f"{said}\n(exit status {status})"


Start = Callable[[Sequence[str], int], Worker]
"""A worker for these parts, the first of them from the case of that number on."""


def supervise(record: Record, parts: Sequence[str], seconds: float, start: Start) -> None:
    """Have workers do the parts in order, each within its share of the seconds that are left."""
    end, todo = time.monotonic() + seconds, list(parts)
    for name in parts:
        record.part(name, status="not run")
    first, restarts, limit, worker = 0, 0, end, start(todo, 0)
    while todo:
        name, began = todo[0], time.monotonic()
        share = SHARES.get(name, 1.0) / sum(SHARES.get(other, 1.0) for other in todo)
        limit = began + (end - began) * share if restarts == 0 else limit
        spent = record.parts[name].get("seconds", 0.0)
        record.part(name, status="running", limit=round(limit - began + spent, 1))
        why = _follow(record, name, worker, limit)
        record.part(name, seconds=round(spent + time.monotonic() - began, 1))
        if why == "no device":
            break
        if why == "":
            todo, first, restarts = todo[1:], 0, 0
            continue
        if why == "late":
            state = record.parts[name]
            record.part(name, status=f"stopped after {state['seconds']:.0f} s, its share of the time")
            record.error(name, state.get("case") or "start", f"{worker.end(0.0)}\nCut off: the time was over.")
            todo, first, restarts = todo[1:], 0, 0
        else:
            state = record.parts[name]
            record.error(name, state.get("case") or "start", f"{worker.end()}\nThe process ended.")
            first, restarts = state["reached"], restarts + 1
            if restarts > RESTARTS or first == 0 or first >= len(state["cases"]):
                record.part(name, status="failed" if first < len(state["cases"]) or first == 0 else "done")
                todo, first, restarts = todo[1:], 0, 0
        if todo:
            worker = start(todo, first)
    worker.end()


def _follow(record: Record, name: str, worker: Worker, limit: float) -> str:
    """Take the messages of a part; why it ended: '' well, 'late', 'dead', or 'no device'."""
    while True:
        try:
            message = worker.next(limit - time.monotonic())
        except TimeoutError:
            return "late"
        if message is None:
            return "dead"
        kind = message["kind"]
        if kind == "facts":
            record.facts = message["facts"]
            record.write()
            for line in record.facts.get("left_out", []):
                print(line, flush=True)
            if not record.facts.get("backends"):
                record.part(name, status="not run")
                return "no device"
        elif kind == "begin":
            record.part(name, cases=message["cases"])
        elif kind == "case":
            record.part(name, case=message["case"], reached=message["number"] + 1)
        elif kind == "row":
            record.row(message["row"])
        elif kind == "part":
            record.part(name, **message["values"])
        elif kind == "error":
            record.error(name, message["case"], message["text"])
        elif kind == "end":
            if record.parts[name]["status"] == "running":
                record.part(name, status="failed" if message.get("failed") else "done")
            return ""


def work(
    parts: Mapping[str, Callable[[], Sequence[Case]]],
    first: int,
    report: Callable[[Message], None],
    healthy: Callable[[], bool] = lambda: True,
) -> bool:
    """Measure the cases of each part, from the case of that number of the first part on.

    A case that raises is reported with its traceback, and the next one follows, unless the device is no longer
    ``healthy``: then the process is to end, and false is returned.
    """
    for name, cases_of in parts.items():
        try:
            cases = list(cases_of())
        except Exception:
            report({"kind": "begin", "cases": []})
            report({"kind": "error", "case": "preparation", "text": traceback.format_exc()})
            report({"kind": "end", "failed": True})
            first = 0
            continue
        report({"kind": "begin", "cases": [case for case, _ in cases]})
        for number in range(first, len(cases)):
            case, measure = cases[number]
            report({"kind": "case", "case": case, "number": number})
            try:
                for row in measure():
                    said = row.pop("of_the_part", None)
                    if said is not None:
                        report({"kind": "part", "values": said})
                    else:
                        report({"kind": "row", "row": {"part": name, "case": case, **row}})
            except Exception:
                report({"kind": "error", "case": case, "text": traceback.format_exc()})
                if not healthy():
                    return False
        report({"kind": "end"})
        first = 0
    return True


def measure(args: argparse.Namespace) -> None:
    """The worker: tell what there is, then measure the parts."""
    with os.fdopen(args.worker, "w", encoding="utf-8") as pipe:

        def report(message: Message) -> None:
            pipe.write(json.dumps(message, default=str) + "\n")
            pipe.flush()

        try:
            import gpu_cases

            options = gpu_cases.Options(args.device, args.smoke, args.backends)
            report({"kind": "facts", "facts": gpu_cases.facts(options)})
            parts = {name: lambda name=name: gpu_cases.PARTS[name](options) for name in args.parts}
            healthy = gpu_cases.healthy
        except Exception:
            print(traceback.format_exc(), flush=True)
            raise
        if not work(parts, args.first, report, healthy):
            print("The device no longer answers: what is left is measured by a new process.", flush=True)
            os._exit(3)


def environment(device: str, tf32: bool) -> dict[str, str]:
    """Variables of the workers: both libraries share the GPU, and compute products in full single precision."""
    paths = [str(ROOT), str(HERE), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    found = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    if not tf32:
        found |= {"NVIDIA_TF32_OVERRIDE": "0", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    if device.startswith("cpu"):
        found |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return found


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--backends", nargs="+", choices=backends.NAMES, default=list(backends.NAMES))
    parser.add_argument("--device", default="cuda", help="cuda (by default), cuda:1; cpu for a rehearsal")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for all parts together ({SECONDS:.0f})")
    parser.add_argument("--smoke", action="store_true", help="a few small cases: seconds, and times that mean nothing")
    parser.add_argument("--tf32", action="store_true", help="matrix products as each library has them by default")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main() -> int:
    """Measure, and say where it stands; the exit status is 0 where all went well or there is no GPU."""
    args = arguments()
    if args.worker is not None:
        measure(args)
        return 0
    shown = " ".join(["python benchmarks/gpu.py", *sys.argv[1:]])
    about = {"command": shown, "device": args.device, "tf32": args.tf32, "smoke": args.smoke}
    about["began"] = time.strftime("%Y-%m-%d %H:%M:%S %z")
    record, variables = Record(args.out, about), environment(args.device, args.tf32)

    def start(parts: Sequence[str], first: int) -> Worker:
        options = ["--backends", *args.backends, *(["--smoke"] if args.smoke else [])]
        command = [sys.executable, str(HERE / "gpu.py"), *options, "--device", args.device, "--first", str(first)]
        return Worker([*command, "--parts", *parts, "--worker"], variables)

    began = time.monotonic()
    supervise(record, args.parts, args.seconds, start)
    if record.facts and not record.facts.get("backends"):
        print(f"There is no GPU {args.device!r} here, so nothing was measured: --device cpu rehearses on the CPU.")
        return 0
    record.about["seconds"] = round(time.monotonic() - began, 1)
    record.write()
    for name, part in record.parts.items():
        print(
            f"{name}: {part['status']}, {part['reached']} of {len(part['cases'])} cases, {len(part['errors'])} errors"
        )
    print(f"{gpu_page.device_line(record.facts)}; written to {args.out / 'gpu.json'} and {args.out / 'gpu.md'}")
    return int(record.failed)


if __name__ == "__main__":
    sys.exit(main())

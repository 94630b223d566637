"""Train on a set four times the memory that there is for it, and beside it on the same set read whole.

    python benchmarks/larger_than_memory.py                 # 128 MiB, one to three minutes on two cores
    python benchmarks/larger_than_memory.py --limit 1024    # 1 GiB of memory, 4 GiB of data

Makes grey images of 784 pixels in single precision, four times as many bytes as ``--limit``, as one .npy file and as
a folder of shards. Each training has a process of its own, which imports everything, compiles on the first block, and
then gets the limit (``RLIMIT_DATA``, which counts what the process may write to): the system refuses more. Reading the
set whole has to fail there, and streaming it to pass. Then the set is read whole without a limit, for the memory and
the time that this takes. ``mapped`` trains on nothing: it fetches the batches of an epoch from a memory-mapped file,
for the resident memory of that. The file is in the page cache, as it was just written. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

MIB = 2**20
PIXELS, BATCH, SHARDS, TIMES = 784, 100, 16, 4
KINDS = ("stream", "shards", "whole", "mapped")
Row = dict[str, Any]


def main() -> None:
    """Make the set, run every child, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=128, metavar="MIB", help="of memory, 128 by default")
    parser.add_argument("--epochs", type=int, default=3, help="3 by default; the fastest of them is reported")
    parser.add_argument("--backends", nargs="+", default=["pyro", "numpyro"], choices=("pyro", "numpyro"))
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, help="all by default")
    parser.add_argument("--folder", type=Path, help="where the set goes while this runs; the system's own by default")
    parser.add_argument("--out", type=Path, help="a JSON file of the rows; none by default")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(**json.loads(args.child))))
        return
    block = args.limit * MIB // 32 // (4 * PIXELS * BATCH) * BATCH  # rows: a thirty-second of the limit, whole batches
    if not block:
        parser.error("--limit should be at least 16")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        size = write(Path(folder), block, TIMES * args.limit * MIB)
        print(f"{size / MIB:.0f} MiB of data, {args.limit} MiB of memory for them\n\n{HEADING}")
        rows = []
        for backend in args.backends:
            for kind in args.kinds:
                for limit in {"whole": (args.limit, None), "mapped": (None,)}.get(kind, (args.limit,)):
                    if kind == "mapped" and backend != args.backends[0]:
                        continue
                    spec = {"backend": backend, "kind": kind, "folder": folder, "block": block, "limit": limit}
                    rows.append(run({**spec, "epochs": args.epochs}))
                    print(told(rows[-1]), flush=True)
    if args.out:
        args.out.write_text(json.dumps({"data": size / MIB, "limit": args.limit, "rows": rows}, indent=2) + "\n")


HEADING = (
    f"{'backend':<9}{'read':<8}{'limit':>7}{'peak':>8}{'images/s':>11}{'CPU':>8}{'before':>9}   "
    "MiB, MiB, by the clock, us of CPU per image, s of checks before the first epoch"
)


def told(row: Row) -> str:
    """A line of the table."""
    limit = "none" if row["limit"] is None else row["limit"]
    start = f"{row['backend']:<9}{row['kind']:<8}{limit:>7}"
    if "failed" in row:
        return f"{start}   {row['failed']}"
    return f"{start}{row['peak']:>8.0f}{row['rate']:>11,.0f}{row['cpu']:>8.1f}{row['before']:>9.1f}"


def write(folder: Path, block: int, least: int) -> int:
    """The set in one file and in shards, at least so many bytes: whole blocks of random images; its bytes."""
    rng, row = np.random.default_rng(0), 4 * PIXELS
    count = -(-least // (row * block)) * block
    whole = np.lib.format.open_memmap(folder / "whole.npy", "w+", np.float32, (count, PIXELS))
    for first in range(0, count, block):
        whole[first : first + block] = rng.random((block, 1), np.float32) * rng.random((block, PIXELS), np.float32)
    (folder / "shards").mkdir()
    for number, part in enumerate(np.array_split(whole, SHARDS)):
        np.save(folder / "shards" / f"{number:03}.npy", part)
    whole.flush()
    return count * row


def run(spec: Row) -> Row:
    """What a child found."""
    command = [sys.executable, __file__, "--child", json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{spec} ended with {done.returncode}: {done.stderr[-2000:]}")
    return {**spec, **json.loads(done.stdout)}


def child(kind: str, backend: str, folder: str, block: int, limit: int | None, epochs: int) -> Row:
    """Warm up on a block; then, within the limit, read the set and train."""
    from ppl_vae import backends, data, recipes
    from ppl_vae.data import Stream

    path = Path(folder) / ("shards" if kind == "shards" else "whole.npy")
    stream = data.stream(path, at_once=block)
    if kind == "mapped":
        return mapped(path, stream.shape[0], block)
    inference = backends.load(backend).inference
    recipe = recipes.vae((PIXELS,), likelihood="normal", backend=backend)
    pair = recipe(np.random.default_rng(0))
    first = Stream(stream.stored.take(np.arange(block)))
    inference.SVI(epochs=1, batch_size=BATCH).fit(*pair, first, progress=False)
    with peak_memory() as peak:
        if limit is not None:
            most = status("VmData") + limit * MIB
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        began, cpu = time.perf_counter(), time.process_time()
        try:
            x = np.load(path) if kind == "whole" else stream
            fit = inference.SVI(epochs=epochs, batch_size=BATCH).fit(*pair, x, progress=False)
        except MemoryError as error:
            return {"failed": f"{type(error).__name__}: {error}"[:90]}
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    spent = fit.history["seconds"]
    row = {"peak": peak[0], "rate": len(x) / spent.min(), "cpu": 1e6 * cpu / (len(x) * epochs)}
    return {**row, "before": seconds - spent.sum(), "loss": fit.history["loss"].tolist()}


def mapped(path: Path, count: int, block: int) -> Row:
    """Fetch the rows of an epoch, block by block in random order, from a memory-mapped file."""
    order = np.random.default_rng(0).permutation(count)
    with peak_memory() as peak:
        began, cpu = time.perf_counter(), time.process_time()
        x = np.load(path, mmap_mode="r")
        for start in range(0, count, block):
            x[order[start : start + block]]
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"backend": "-", "peak": peak[0], "rate": count / seconds, "cpu": 1e6 * cpu / count, "before": 0.0}


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """A block whose highest resident memory, above that at its start, is in the list at its end: MiB, each 2 ms."""
    peak, done, base = [0.0], threading.Event(), status("VmRSS")

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], (status("VmRSS") - base) / MIB)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def status(name: str) -> int:
    """Bytes under a name in what Linux tells of this process."""
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

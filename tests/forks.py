"""A process that has the libraries in memory, and runs each script in a fork of itself, which need not import them.

A job is a line of JSON on its standard input: the script and its arguments, the environment, and the files that take
the output. The answer is a line with the exit code. Nothing of the package is imported before the fork, and JAX starts
no thread before its first computation.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import sys

LIBRARIES = ("arviz", "flax.nnx", "matplotlib.pyplot", "numpyro", "optax", "pandas", "pyro", "scipy.stats", "sklearn")
DYNAMO = "torch._dynamo"
"""The first optimiser of a process imports it, which takes a second."""

for name in (*LIBRARIES, DYNAMO):
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module(name)
gc.collect()
gc.freeze()  # or each fork would spend two seconds at its end on looking through the libraries

for line in sys.stdin:
    job, child = json.loads(line), os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()

for path, stream in ((os.devnull, 0), (job["stdout"], 1), (job["stderr"], 2)):
    os.dup2(os.open(path, os.O_RDWR), stream)
os.environ.clear()
os.environ.update(job["environment"])
sys.argv = job["arguments"]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")

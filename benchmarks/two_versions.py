"""A gradient step of two checkouts of the package, measured in turns.

``python benchmarks/two_versions.py OLD NEW`` trains a VAE (784-300-300-40, batch 100) under several objectives with
each checkout's package, one process after the other, and prints, for each case, the processor time of a step, the
ratio new / old with its spread over rounds, and, on Pyro, the Python calls of a step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

CASES: dict[str, tuple[str, dict[str, Any], str, tuple[Any, ...], dict[str, Any]]] = {
    "pyro ELBO": ("pyro", {}, "TraceELBO", (), {}),
    "pyro ELBO, trace": ("pyro", {}, "TraceELBO", (), {"compile": "trace"}),
    "pyro VampPrior": ("pyro", {"prior": "vampprior", "num_pseudo_inputs": 100}, "TraceELBO", (), {}),
    "pyro IWAE 5": ("pyro", {}, "IWAE", (5,), {}),
    "pyro DReG 5": ("pyro", {}, "DReG", (5,), {}),
    "pyro NVIL": ("pyro", {"latents": "bernoulli"}, "TraceGraphELBO", (4,), {"baseline": True}),
    "pyro beta-TCVAE": ("pyro", {}, "BetaTCVAE", (), {}),
    "numpyro ELBO": ("numpyro", {}, "TraceELBO", (), {}),
    "numpyro VampPrior": ("numpyro", {"prior": "vampprior", "num_pseudo_inputs": 100}, "TraceELBO", (), {}),
    "numpyro DReG 5": ("numpyro", {}, "DReG", (5,), {}),
    "numpyro NVIL": ("numpyro", {"latents": "bernoulli"}, "TraceGraphELBO", (4,), {"baseline": True}),
}
"""Name -> backend, settings of the recipe, objective, its arguments, settings of the training."""
STEPS, EPOCHS = 20, 6


def measure(name: str) -> dict[str, float]:
    """The processor time of a step in seconds, the least of the epochs after the first two; on Pyro its calls, too."""
    import torch

    from ppl_vae import backends, baselines, recipes, seeds

    torch.set_num_threads(1)
    backend, settings, objective, arguments, training = CASES[name]
    inference, rng = backends.load(backend).inference, np.random.default_rng(0)
    x = (rng.random((100 * STEPS, 784)) < 0.2).astype(np.float32)
    recipe = recipes.vae(x, backend=backend, hidden=(300, 300), latent_dim=40, **settings)
    options = {"baseline": baselines.Neural()} if training.get("baseline") else {}
    loss = getattr(inference, objective)(*arguments, **options)
    own = {key: value for key, value in training.items() if key != "baseline"}
    ends: list[float] = []
    calls = [0]

    def profile(frame: Any, event: str, arg: Any) -> None:
        calls[0] += event == "call"

    def after(epoch: int, metrics: Any, fit: Any) -> None:
        ends.append(time.process_time())
        if backend == "pyro":
            sys.setprofile(profile if epoch == EPOCHS - 2 else None)

    svi = inference.SVI(loss, epochs=EPOCHS, batch_size=100, **own)
    svi.fit(*recipe(seeds.generator(0, "weights")), x, seed=0, callback=after, progress=False)
    sys.setprofile(None)
    found = {"seconds": float(np.diff(ends)[1:-1].min() / STEPS)}
    return found | ({"calls": calls[0] / STEPS} if backend == "pyro" else {})


def child(checkout: Path, name: str) -> dict[str, float]:
    """``measure`` in a process that imports the package of a checkout."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--case", name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=checkout, check=False)
    if done.returncode:
        raise SystemExit(f"{name} fails with {checkout}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, metavar="OLD NEW")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: 5)")
    parser.add_argument("--cases", nargs="+", default=list(CASES), help="a part of the cases")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(arguments.case)))
        return
    if len(arguments.checkouts) != 2:
        parser.error("give two checkouts, OLD and NEW")
    print(
        f"{'case':<20}{'old ms':>8}{'new ms':>8}{'ratio':>8}{'least':>8}{'most':>8}{'old calls':>11}{'new calls':>11}"
    )
    for name in arguments.cases:
        pairs = [[child(c.resolve(), name) for c in arguments.checkouts] for _ in range(arguments.rounds)]
        old, new = (np.array([pair[i]["seconds"] for pair in pairs]) for i in (0, 1))
        ratios, calls = new / old, [pairs[-1][i].get("calls") for i in (0, 1)]
        told = "".join(f"{c:>11.0f}" if c else f"{'':>11}" for c in calls)
        numbers = (1e3 * np.median(old), 1e3 * np.median(new), np.median(ratios), ratios.min(), ratios.max())
        print(f"{name:<20}" + "".join(f"{n:>8.2f}" for n in numbers) + told, flush=True)


if __name__ == "__main__":
    main()

"""The report's static MNIST cells: 300-300 units, 40 latents, batch 100, 500 pseudo-inputs, 500 draws for log p(x).

    python benchmarks/static_mnist.py --prior standard --epochs 200
    python benchmarks/static_mnist.py --prior vampprior --epochs 100 --backend pyro

Trains on Larochelle's train and validation images together (60,000), with a KL warm-up of 20 epochs and Adam at 5e-4,
as the hand-written baseline beside it does, and evaluates all 10,000 test images. One row of JSON per run is written
to ``--out``; an interrupted run goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np

from ppl_vae import backends, data, evaluation, recipes, schedules, seeds, storage

PUBLISHED = {"standard": -93.08, "vampprior": -88.72, "vampprior-data": -90.85}
"""log p(x) of the VampPrior report (Large VAE, 2021), 1000 epochs."""
HAND_WRITTEN = {("standard", 200): -89.69, ("vampprior", 100): -87.13}
"""log p(x) of a hand-written JAX program at the same setting and epochs."""


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", choices=recipes.PRIORS, default="standard")
    parser.add_argument("--backend", choices=backends.NAMES, default="numpyro")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pseudo-inputs-start", choices=recipes.STARTS, default="random")
    parser.add_argument("--device")
    parser.add_argument("--num-particles", type=int, default=500, help="importance samples per test image")
    parser.add_argument("--out", type=Path, default=Path("runs/static_mnist"))
    return parser.parse_args()


def main() -> None:
    """Train, evaluate, print and write one row."""
    args = arguments()
    split = data.load("static_mnist")
    images = np.concatenate([split.train, split.valid])
    backend = backends.load(args.backend)
    start = args.pseudo_inputs_start
    recipe = recipes.report_vae(images, prior=args.prior, backend=args.backend, pseudo_inputs_start=start)
    loss = backend.inference.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=20))
    svi = backend.inference.SVI(loss, learning_rate=5e-4, epochs=args.epochs, batch_size=100, checkpoint_every=5)
    name = f"{args.prior}-{start}-{args.backend}-{args.epochs}-seed{args.seed}"
    fit = svi.fit(
        *recipe(seeds.generator(args.seed, "weights")),
        images,
        seed=args.seed,
        device=args.device,
        checkpoint=args.out / f"{name}.checkpoint",
        resume=True,
        description=name,
    )
    fit.save(args.out / f"{name}.safetensors", recipe=recipe)
    began = time.perf_counter()
    likelihood = evaluation.log_likelihood(fit, split.test, args.num_particles, progress=None)
    row = {
        "prior": args.prior,
        "backend": args.backend,
        "epochs": args.epochs,
        "pseudo_inputs_start": start if args.prior.startswith("vampprior") else None,
        "seed": args.seed,
        "log_p": likelihood.mean,
        "test_error": likelihood.test_error,
        "mc_error": likelihood.mean_mc_error,
        "elbo": evaluation.elbo(fit, split.test).mean,
        "active_units": evaluation.active_units(fit, split.test),
        "train_seconds": fit.seconds,
        "seconds_per_epoch": float(np.median(fit.history["seconds"])),
        "evaluation_seconds": time.perf_counter() - began,
        "published": PUBLISHED.get(args.prior),
        "hand_written": HAND_WRITTEN.get((args.prior, args.epochs)),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, device {args.device or 'default'}",
    }
    storage.write_atomically(args.out / f"{name}.json", json.dumps(row, indent=2).encode())
    print(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()

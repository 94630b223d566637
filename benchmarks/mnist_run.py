"""One training on static MNIST, evaluated on all test images, as one row of JSON: what the MNIST benchmarks share."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae import backends, data, evaluation, seeds, storage


def add_options(parser: argparse.ArgumentParser, *, out: str, epochs: int, num_particles: int) -> None:
    """The options that every such benchmark has."""
    parser.add_argument("--backend", choices=backends.NAMES, default="numpyro")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--num-particles", type=int, default=num_particles, help="importance samples per test image")
    parser.add_argument("--out", type=Path, default=Path(out))


def images() -> tuple[np.ndarray, np.ndarray]:
    """Larochelle's train and validation images together, 60,000, and his 10,000 test images."""
    split = data.load("static_mnist")
    return np.concatenate([split.train, split.valid]), split.test


def train(name: str, recipe: Any, svi: Any, args: argparse.Namespace, about: dict[str, Any]) -> None:
    """Train, or go on from the checkpoint; evaluate; print and write one row, with ``about`` in it."""
    x, test = images()
    fit = svi.fit(
        *recipe(seeds.generator(args.seed, "weights")),
        x,
        seed=args.seed,
        device=args.device,
        checkpoint=args.out / f"{name}.checkpoint",
        resume=True,
        description=name,
    )
    fit.save(args.out / f"{name}.safetensors", recipe=recipe)
    began = time.perf_counter()
    likelihood = evaluation.log_likelihood(fit, test, args.num_particles, progress=None)
    row = {
        **about,
        "backend": args.backend,
        "epochs": args.epochs,
        "seed": args.seed,
        "log_p": likelihood.mean,
        "test_error": likelihood.test_error,
        "mc_error": likelihood.mean_mc_error,
        "elbo": evaluation.elbo(fit, test).mean,
        "train_elbo": evaluation.elbo(fit, x[:10000]).mean,
        "objective": -float(fit.history["loss"][-1]),
        "active_units": evaluation.active_units(fit, test),
        "train_seconds": fit.seconds,
        "seconds_per_epoch": float(np.median(fit.history["seconds"])),
        "evaluation_seconds": time.perf_counter() - began,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, device {args.device or 'default'}",
    }
    storage.write_atomically(args.out / f"{name}.json", json.dumps(row, indent=2).encode())
    print(json.dumps(row, indent=2))

"""How long an epoch takes with its batches shared out, beside an epoch of one process or device.

    python benchmarks/parallel.py                                  # Pyro: two processes
    python benchmarks/parallel.py --backend numpyro                # NumPyro: all devices that JAX sees
    XLA_FLAGS=--xla_force_host_platform_device_count=2 \
        python benchmarks/parallel.py --backend numpyro

A VAE of 784-300-300-40 on random binary images. Both take turns; what is printed is the ratio of the medians, below 1
where sharing out pays. On cores that are shared it says nothing.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.distributed as dist

from ppl_vae import backends, inference, recipes


def rounds(args: argparse.Namespace) -> dict[bool, list[float]]:
    """Seconds of epochs, alone and shared out; in a group, while one process is alone the others wait."""
    torch.set_num_threads(1)
    x = np.random.default_rng(0).integers(2, size=(args.images, 784)).astype(np.float32)
    pair = recipes.vae(x, latent_dim=40, hidden=(300, 300), backend=args.backend)(np.random.default_rng(0))
    svi = backends.load(args.backend).inference.SVI(epochs=3, batch_size=args.batch_size)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(args.rounds):
        for parallel in seconds:
            if parallel or not dist.is_initialized() or dist.get_rank() == 0:
                fit = svi.fit(*pair, x, parallel=parallel, device=args.device, progress=False)
                seconds[parallel].extend(fit.history["seconds"][1:])  # the first compiles
            if dist.is_initialized():
                dist.barrier()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--processes", type=int, default=2, help="on Pyro")
    parser.add_argument("--device", help="cpu or cuda")
    parser.add_argument("--batch-size", type=int, default=500)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    pyro = args.backend == "pyro"
    seconds = inference.launch(rounds, args, processes=args.processes) if pyro else rounds(args)
    alone, shared = (float(np.median(seconds[parallel])) for parallel in (False, True))
    print(f"an epoch: {alone:.3f} s alone, {shared:.3f} s shared out, ratio {shared / alone:.2f}")


if __name__ == "__main__":
    main()

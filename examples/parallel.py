"""One training over several processes or devices; the numbers are those of one.

    python examples/parallel.py                                                   # one process
    torchrun --nproc-per-node 2 examples/parallel.py --parallel                   # two, which share each batch
    python examples/parallel.py --parallel --backend numpyro                      # all devices that JAX sees
    XLA_FLAGS=--xla_force_host_platform_device_count=2 \
        python examples/parallel.py --parallel --backend numpyro                  # two parts of the CPU

Under torchrun every process runs this script. A checkpoint goes on with any number of processes: --checkpoint FILE.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
import torch

from ppl_vae import backends, data, evaluation, recipes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--parallel", action="store_true", help="share each batch out")
    parser.add_argument("--device", help="cpu or cuda: under torchrun a GPU for each process")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--checkpoint", help="a file to write to, and to go on from")
    parser.add_argument("--smoke", action="store_true", help="a few seconds: does it run?")
    args = parser.parse_args()
    torch.set_num_threads(1)  # nets this small run faster on one thread

    digits = data.load("digits")
    hidden, epochs = ((20,), 2) if args.smoke else ((200, 200), args.epochs)
    recipe = recipes.vae(digits.train, latent_dim=10, hidden=hidden, prior="vampprior", backend=args.backend)
    svi = backends.load(args.backend).inference.SVI(epochs=epochs, batch_size=100)
    fit = svi.fit(
        *recipe(np.random.default_rng(0)),  # every process draws the same first weights
        digits,
        device=args.device,
        parallel=args.parallel,
        checkpoint=args.checkpoint,
        resume=True,
        progress=False if args.smoke else None,
    )
    if os.environ.get("RANK", "0") == "0":  # every process has the fit; one of them speaks
        elbo = evaluation.elbo(fit, digits.test)
        print(f"ELBO {elbo.mean:.2f} nats per test image after {epochs} epochs")


if __name__ == "__main__":
    main()

"""A model of your own: plain functions of Pyro or of NumPyro, trained by three strategies that know nothing of it.

    python examples/your_own_model.py                      # handwritten digits, half a minute on two cores
    python examples/your_own_model.py --backend numpyro

Every digit has a shape, a vector, and ink, one number, which can only fill pixels in:

    shape ~ N(0, I);  ink ~ N(0, 1);  x | shape, ink ~ Bernoulli(logits = drawing(shape) + gain * ink),  gain > 0

The table is in nats per test image, higher is better. The figure shows test images in the order of their inferred ink.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae import backends, data, evaluation, plots, seeds
from ppl_vae.runtime import folders, scripts

SHAPE = 7


def pyro_pair(dim: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """The model and the guide as any Pyro user would write them, and an objective of Pyro's own."""
    import pyro
    import torch
    from pyro.distributions import Bernoulli, Normal, constraints
    from torch.nn.functional import softplus

    from ppl_vae import nets

    torch.set_num_threads(1)  # nets this small run faster on one thread
    decoder, encoder = nets.MLP((SHAPE, 100, dim), rng), nets.MLP((dim, 100, 2 * (1 + SHAPE)), rng)

    def model(x: Any = None, *, size: int = 1) -> None:
        drawing = pyro.module("drawing", decoder)
        gain = pyro.param("gain", torch.ones(dim), constraint=constraints.positive)
        with pyro.plate("data", size if x is None else len(x), dim=-1):
            ink = pyro.sample("ink", Normal(torch.zeros(1), 1.0).to_event(1))
            shape = pyro.sample("shape", Normal(torch.zeros(SHAPE), 1.0).to_event(1))
            pyro.sample("x", Bernoulli(logits=drawing(shape) + gain * ink, validate_args=False).to_event(1), obs=x)

    def guide(x: Any) -> None:
        loc, raw = pyro.module("encoder", encoder)(x).chunk(2, -1)
        scale = softplus(raw) + 1e-3
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("ink", Normal(loc[:, :1], scale[:, :1]).to_event(1))
            pyro.sample("shape", Normal(loc[:, 1:], scale[:, 1:]).to_event(1))

    return model, guide, pyro.infer.TraceMeanField_ELBO()


def numpyro_pair(dim: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """The same in NumPyro."""
    import jax.numpy as jnp
    import numpyro
    from jax.nn import softplus
    from numpyro.contrib.module import nnx_module
    from numpyro.distributions import Bernoulli, Normal, constraints

    from ppl_vae.numpyro import nets

    decoder, encoder = nets.MLP((SHAPE, 100, dim), rng), nets.MLP((dim, 100, 2 * (1 + SHAPE)), rng)

    def model(x: Any = None, *, size: int = 1) -> None:
        drawing = nnx_module("drawing", decoder)
        gain = numpyro.param("gain", jnp.ones(dim), constraint=constraints.positive)
        with numpyro.plate("data", size if x is None else len(x), dim=-1):
            ink = numpyro.sample("ink", Normal(jnp.zeros(1), 1.0).to_event(1))
            shape = numpyro.sample("shape", Normal(jnp.zeros(SHAPE), 1.0).to_event(1))
            numpyro.sample("x", Bernoulli(logits=drawing(shape) + gain * ink).to_event(1), obs=x)

    def guide(x: Any) -> None:
        loc, raw = jnp.split(nnx_module("encoder", encoder)(x), 2, -1)
        scale = softplus(raw) + 1e-3
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("ink", Normal(loc[:, :1], scale[:, :1]).to_event(1))
            numpyro.sample("shape", Normal(loc[:, 1:], scale[:, 1:]).to_event(1))

    return model, guide, numpyro.infer.TraceMeanField_ELBO()


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--out", type=Path, help="a folder; by default runs/your-own-model-<backend>")
    parser.add_argument("--smoke", action="store_true", help="a few images, epochs and draws: seconds")
    return parser.parse_args()


def main() -> None:
    """Train under each strategy, print the table, draw the figure."""
    args = arguments()
    out = args.out or Path("runs") / f"your-own-model-{args.backend}"
    epochs, draws = (2, 20) if args.smoke else (args.epochs, 500)
    folders.claim(out, "the work of examples/your_own_model.py")
    digits = data.load("digits")
    digits = digits.subset(200, 40, 40) if args.smoke else digits
    pair, inference = (
        {"pyro": pyro_pair, "numpyro": numpyro_pair}[args.backend],
        backends.load(args.backend).inference,
    )
    model, guide, stock = pair(digits.train.shape[1], seeds.generator(args.seed, "weights"))
    losses = {"ELBO": inference.TraceELBO(), "IWAE 10": inference.IWAE(10), "stock mean field": stock}
    fits = {}
    for name, loss in losses.items():
        svi = inference.SVI(loss, epochs=epochs, batch_size=100, learning_rate=2e-3)
        fits[name] = svi.fit(model, guide, digits, seed=args.seed, device=args.device, description=name)
    table = evaluation.compare(fits, digits.test, num_particles=draws)
    print(table[["elbo", "kl", "objective", "log_p", "test_error", "mc_error", "seconds"]].round(3).to_string())
    ink = fits["IWAE 10"].posterior(digits.test)["ink"][0][:, 0]
    order = np.argsort(ink)[np.linspace(0, len(ink) - 1, 40).astype(int)]
    figure = plots.image_grid(
        digits.test[order], digits.image_shape, 10, "Test images, in the order of their inferred ink"
    )
    plots.save(figure, out / "ink.png")
    table.to_csv(out / "table.csv", index_label="strategy")
    print(f"\nELBO and log p(x): nats per test image, higher is better. Written to {out}")


if __name__ == "__main__":
    sys.exit(scripts.run(main))

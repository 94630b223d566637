"""The report's static MNIST cells: 300-300 units, 40 latents, batch 100, 500 pseudo-inputs, 500 draws for log p(x).

    python benchmarks/static_mnist.py --prior standard --epochs 200
    python benchmarks/static_mnist.py --prior vampprior --epochs 100 --backend pyro

Trains on Larochelle's train and validation images together (60,000), with a KL warm-up of 20 epochs and Adam at 5e-4,
as the hand-written baseline beside it does, and evaluates all 10,000 test images. One row of JSON per run is written
to ``--out``; an interrupted run goes on from its checkpoint.
"""

from __future__ import annotations

import argparse

import mnist_run

from ppl_vae import backends, recipes, schedules

PUBLISHED = {"standard": -93.08, "vampprior": -88.72, "vampprior-data": -90.85}
"""log p(x) of the VampPrior report (Large VAE, 2021), 1000 epochs."""
HAND_WRITTEN = {("standard", 200): -89.69, ("vampprior", 100): -87.13}
"""log p(x) of a hand-written JAX program at the same setting and epochs."""


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prior", choices=recipes.PRIORS, default="standard")
    parser.add_argument("--pseudo-inputs-start", choices=recipes.STARTS, default="random")
    mnist_run.add_options(parser, out="runs/static_mnist", epochs=200, num_particles=500)
    return parser.parse_args()


def main() -> None:
    """Train, evaluate, print and write one row."""
    args = arguments()
    start = args.pseudo_inputs_start
    settings = {"prior": args.prior, "backend": args.backend, "pseudo_inputs_start": start}
    recipe = recipes.report_vae(mnist_run.images()[0], **settings)
    inference = backends.load(args.backend).inference
    loss = inference.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=20))
    svi = inference.SVI(loss, learning_rate=5e-4, epochs=args.epochs, batch_size=100, checkpoint_every=5)
    about = {
        "prior": args.prior,
        "pseudo_inputs_start": start if args.prior.startswith("vampprior") else None,
        "published": PUBLISHED.get(args.prior),
        "hand_written": HAND_WRITTEN.get((args.prior, args.epochs)),
    }
    mnist_run.train(f"{args.prior}-{start}-{args.backend}-{args.epochs}-seed{args.seed}", recipe, svi, args, about)


if __name__ == "__main__":
    main()

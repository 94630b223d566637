"""Text by characters: whether a decoder that reads its own past leaves its latents alone, in nats a character.

    python benchmarks/text.py --out text.jsonl      # a minute of the processor a row, or less; goes on

Lines of the sonnets (``data.load("sonnets")``), 37 symbols. A variational recurrent net reads each character that came
before, and so can do without z; a deep Markov model has its past in z alone. KL is the mean of
log q(z | x) - log p(z) over draws of q; log p(x) is by particle filters of 16 particles, a lower bound. Each number is
the sum over the test lines, divided by the sum of their lengths. Each training is a line of the file.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rows import checkpoint_of, options_of, table

from ppl_vae import backends, data, evaluation, objectives, recipes, seeds

RECURRENT, MARKOV = "recurrent", "deep Markov"
COLUMNS = ("program", "objective", "seed", "ELBO", "log p(x)", "KL")


def train(arguments: argparse.Namespace, program: str, objective: str, seed: int) -> dict[str, Any]:
    """Train one pair, and evaluate it."""
    lines, backend = data.load("sonnets"), backends.load(arguments.backend)
    assert lines.labels is not None
    masks = {part: data.lengths_to_mask(lengths, lines.image_shape) for part, lengths in lines.labels.items()}
    floor = arguments.free_bits * float(lines.labels["train"].mean())
    loss = {
        "ELBO": objectives.TraceELBO(),
        "free bits": objectives.FreeBitsELBO(floor=floor),
        "FIVO-4": objectives.FIVO(4),
    }[objective]
    settings: dict[str, Any] = {"likelihood": "categorical", "levels": len(data.sonnets.SYMBOLS), "symbols": True}
    settings |= {"latent_dim": arguments.latent_dim, "recurrent_units": arguments.units, "hidden": (arguments.units,)}
    if program == MARKOV:
        settings |= {"transition_hidden": (arguments.units,), "posterior": "filtering"}
    make = recipes.deep_markov if program == MARKOV else recipes.variational_recurrent
    pair = make(lines, backend=arguments.backend, **settings)(seeds.generator(seed, "weights"))
    svi = backend.inference.SVI(loss, epochs=arguments.epochs, batch_size=50, learning_rate=arguments.learning_rate)
    cell = {"program": program, "objective": objective, "seed": seed}
    path = checkpoint_of(arguments.out, cell, options_of(arguments, "seeds"))
    fit = svi.fit(*pair, lines.train, mask=masks["train"], seed=seed, checkpoint=path, resume=True)
    steps, beside = lines.labels["test"].sum(), {"mask": masks["test"]}
    terms = fit.terms(lines.test, 4, **beside)
    numbers = (
        evaluation.elbo(fit, lines.test, num_particles=4, **beside).values.sum() / steps,
        evaluation.smc(fit, lines.test, 16, **beside).values.sum() / steps,
        (terms.log_guide - terms.log_prior).mean(0).sum() / steps,
    )
    path.unlink(missing_ok=True)
    return dict(zip(COLUMNS[3:], map(float, numbers), strict=True))


def frequencies() -> float:
    """Nats a character of the test lines by the frequencies of the training lines alone."""
    lines = data.load("sonnets")
    assert lines.labels is not None
    text = {part: "".join(data.sonnets.spelled(getattr(lines, part), lines.labels[part])) for part in ("train", "test")}
    counts = {symbol: text["train"].count(symbol) + 1 for symbol in data.sonnets.SYMBOLS}
    total = sum(counts.values())
    return float(np.mean([np.log(counts[symbol] / total) for symbol in text["test"]]))


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backend", default="numpyro", choices=backends.NAMES)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--units", type=int, default=64, help="of every hidden layer and of the recurrent net")
    parser.add_argument("--free-bits", type=float, default=0.5, metavar="NATS", help="a character")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    cells = (
        {"program": program, "objective": objective, "seed": seed}
        for program in (RECURRENT, MARKOV)
        for objective in ("ELBO", "FIVO-4", "free bits")
        for seed in arguments.seeds
    )
    table(arguments.out, COLUMNS, options_of(arguments, "seeds"), cells, partial(train, arguments))
    print(f"\nThe frequencies of the characters: {frequencies():.2f}")


if __name__ == "__main__":
    main()

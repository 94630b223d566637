"""How low importance-sampled log p(x) of VAEs is: numbers of draws against annealing, by prior, decoder and epochs.

    python benchmarks/importance_sampled.py
    python benchmarks/importance_sampled.py --data static_mnist --epochs 5 20 --hidden 300 300 --latents 40 --images 20

For each prior and decoder a VAE is trained, and looked at after each of ``--epochs``. Each row certifies log p(x) of
the same ``--images`` test images (``evaluation.certify``), and says by how much importance sampling with each of
``--draws`` is below the best of its three lower bounds, on the same images; beyond ``--many`` draws on the first
``--few`` of them. What is below a lower bound is low by at least as much. 'From the prior' is from its components where
it is a mixture. Nats per image, standard errors over images. Written as ``importance_sampled.json`` and ``.md`` in
``--out``, a row as soon as it is known; rows that stand there are not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ppl_vae import backends, data, evaluation, recipes, seeds
from ppl_vae.arrays.log_weights import UNRELIABLE
from ppl_vae.evaluation.certificates import ANNEALED
from ppl_vae.results import Fit

DECODERS: dict[str, dict[str, Any]] = {"mlp": {}, "gated": {"gated": True}, "conv": {"net": "conv"}}
NAME = "importance_sampled"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", default="digits")
    add("--backend", choices=backends.NAMES, default="numpyro")
    add("--priors", nargs="+", default=["standard", "mixture", "vampprior"])
    add("--decoders", nargs="+", choices=list(DECODERS), default=["mlp", "gated"])
    add("--epochs", nargs="+", type=int, default=[20, 100])
    add("--hidden", nargs="+", type=int, default=[100])
    add("--latents", type=int, default=8)
    add("--components", type=int, default=100, help="of the priors that are mixtures")
    add("--images", type=int, default=50, help="of the test part, and simulated")
    add("--draws", nargs="+", type=int, default=[50, 500, 5000, 50_000])
    add("--many", type=int, default=5000, help="more draws than this are of --few images")
    add("--few", type=int, default=10)
    add("--temperatures", type=int, default=200)
    add("--chains", type=int, default=16)
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("runs") / NAME)
    add("--train-only", action="store_true")
    return parser.parse_args()


def trained(prior: str, decoder: str, epochs: int, split: data.Split, args: argparse.Namespace) -> Fit:
    """A VAE after so many epochs; more epochs go on from the checkpoint of fewer."""
    own = {} if prior == "standard" else {"num_pseudo_inputs": args.components}
    settings = {"hidden": tuple(args.hidden), "latent_dim": args.latents, **own, **DECODERS[decoder]}
    recipe = recipes.vae(split, backend=args.backend, prior=prior, **settings)
    place = args.out / f"{args.data}-{prior}-{decoder}"
    saved = place.with_name(f"{place.name}-{epochs}epochs.safetensors")
    if not saved.exists():
        svi = backends.load(args.backend).inference.SVI(epochs=epochs, batch_size=100)
        pair = recipe(seeds.generator(args.seed, "weights"))
        fit = svi.fit(*pair, split, seed=args.seed, checkpoint=place.with_suffix(".checkpoint"), resume=True)
        fit.save(saved, recipe=recipe)
    return Fit.load(saved)


def row(fit: Fit, x: np.ndarray, args: argparse.Namespace) -> dict[str, Any]:
    """The certificate of these images, and by how much importance sampling with each number of draws is below it."""
    settings = evaluation.Annealing(args.temperatures, args.chains, schedule="adaptive")
    most = max([k for k in args.draws if k <= args.many], default=args.many)
    certificate = evaluation.certify(fit, x, most, settings, size=len(x), seed=args.seed)
    found: dict[str, Any] = {"log p(x)": certificate.log_p.mean, "best": certificate.best}
    for draws in args.draws:
        some = slice(None) if draws <= args.many else slice(args.few)
        sampled = evaluation.log_likelihood(fit, x[some], draws, seed=args.seed + 1)
        best = {n: e.values[some] for n, e in certificate.estimates.items()}[certificate.best]
        below = best - sampled.values
        found[f"low, {draws} draws"] = float(below.mean())
        found[f"low, {draws} draws, error"] = float(below.std(ddof=1) / len(below) ** 0.5)
    for name in [name for name in ANNEALED.values() if name in certificate.estimates]:
        gap, start = certificate.gap(name), "guide" if name == ANNEALED["guide"] else "prior"
        found[f"low, from the {start}"] = certificate.behind(name).mean
        found[f"gap, from the {start}"] = "unknown" if gap is None else str(gap)
    found[f"k-hat > {UNRELIABLE}"] = certificate.share_unreliable
    return {**found, "settled": certificate.settled, "verdict": certificate.verdict}


def page(rows: list[dict[str, Any]], args: argparse.Namespace) -> str:
    """The table, as Markdown."""
    table = pd.DataFrame(rows)
    columns = ["data", "prior", "decoder", "epochs", "log p(x)"]
    low = [c for c in table if c.startswith("low") and not c.endswith("error")]
    columns += [*low, f"k-hat > {UNRELIABLE}", *(c for c in table if c.startswith("gap")), "settled"]

    def text(entry: dict[str, Any], name: str) -> str:
        value, error = entry[name], entry.get(f"{name}, error")
        if not isinstance(value, float):
            return {"True": "yes", "False": "no"}.get(str(value), str(value))
        if name.startswith("k-hat"):
            return f"{value:.0%}"
        value = round(value, 2) + 0.0  # without a -0.00
        return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"

    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(text(entry, name) for name in columns) + " |" for entry in table.to_dict("records")]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, certify, print and write the table."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    split, place = data.load(args.data, **({"binarisation": "threshold"} if args.data == "digits" else {})), args.out
    x = split.test[np.sort(np.random.default_rng(args.seed).permutation(len(split.test))[: args.images])]
    done = place / f"{NAME}.json"
    rows = json.loads(done.read_text()) if done.exists() else []
    for prior, decoder, epochs in itertools.product(args.priors, args.decoders, sorted(args.epochs)):
        cell = {"data": args.data, "prior": prior, "decoder": decoder, "epochs": epochs}
        if any(cell.items() <= entry.items() for entry in rows):
            continue
        fit = trained(prior, decoder, epochs, split, args)
        if args.train_only:
            continue
        rows.append({**cell, **row(fit, x, args)})
        done.write_text(json.dumps(rows, indent=1) + "\n")
        (place / f"{NAME}.md").write_text(page(rows, args))
        print(cell, rows[-1]["verdict"], flush=True)
    print(page(rows, args) if rows else "")


if __name__ == "__main__":
    main()

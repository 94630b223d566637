"""A decoder that needs no latents ignores them: posterior collapse, and five treatments, side by side.

    python examples/posterior_collapse.py                     # about a minute
    python examples/posterior_collapse.py --backend numpyro

Binarised digits of 8 x 8 pixels, a PixelCNN as p(x | z). Under the ELBO a nat that z carries has to gain more than a
nat of reconstruction, and the pixels before the next one say much of it for nothing. The treatments: a KL that is
weighted by 0 at first and 1 in the end (warm-up), one that is not charged below a floor (free bits), one that is
weighted by less than 1 (beta), and decoders that see little of the image: one layer of 3 x 3 windows, and none, which
is independent pixels. ELBO, KL and log p(x) are of test images, in nats, whatever was maximised. The figures have KL
and active units as bars, and draws.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ppl_vae import backends, data, evaluation, objectives, plots, recipes, seeds
from ppl_vae.runtime import folders, scripts
from ppl_vae.schedules import Linear

SHOWN = 12
"""Images in a row of the figure of draws."""
SMALL: dict[str, Any] = {"pixel_layers": 1, "pixel_kernel": 3}

TREATMENTS: dict[str, tuple[Callable[[int], Any], dict[str, Any]]] = {
    "ELBO": (lambda epochs: objectives.TraceELBO(), {}),
    "warm-up": (lambda epochs: objectives.TraceELBO(beta=Linear(0.0, 1.0, max(1, epochs // 2))), {}),
    "free bits, 4 nats": (lambda epochs: objectives.FreeBitsELBO(floor=4.0), {}),
    "beta 0.5": (lambda epochs: objectives.TraceELBO(beta=0.5), {}),
    "windows of 3 x 3": (lambda epochs: objectives.TraceELBO(), SMALL),
    "independent pixels": (lambda epochs: objectives.TraceELBO(), {"likelihood": "bernoulli"}),
}
"""Name -> the objective of so many epochs, and settings of the recipe."""


def bars(table: pd.DataFrame) -> Figure:
    """KL, active units and what is lost of the best log p(x), a bar for each treatment."""
    figure = Figure(figsize=(8.5, 2.6), layout="constrained")
    lost = table["log p(x)"].max() - table["log p(x)"]
    columns = {"KL, nats": table["KL"], "active units": table["active units"], "log p(x) below the best, nats": lost}
    for axes, (title, values) in zip(figure.subplots(1, 3, sharey=True), columns.items(), strict=True):
        axes.barh(list(table.index), values, color="#4878a8")
        axes.invert_yaxis() if axes.get_subplotspec().is_first_col() else None
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
    return figure


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--treatments", nargs="+", default=list(TREATMENTS), choices=TREATMENTS, metavar="NAME")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder; by default runs/posterior-collapse-<backend>")
    parser.add_argument("--smoke", action="store_true", help="one epoch of few images: seconds")
    return parser.parse_args()


def main() -> None:
    """Train under each treatment, print the table, draw both figures."""
    args = arguments()
    out, b = args.out or Path("runs") / f"posterior-collapse-{args.backend}", backends.load(args.backend)
    digits = data.load("digits").with_binarisation("threshold")
    digits, args.epochs = (digits.subset(60, 30, 30), 1) if args.smoke else (digits, args.epochs)
    net = {"pixel_channels": 12, "pixel_layers": 2, "hidden": (100,)}
    rows, pictures = {}, {"test images": digits.test[:SHOWN]}
    folders.claim(out, "the work of examples/posterior_collapse.py")
    if args.backend == "pyro":
        import torch

        torch.set_num_threads(1)  # nets this small run faster on one thread
    for name in args.treatments:
        print(name, file=sys.stderr)
        loss, settings = TREATMENTS[name]
        settings = {"likelihood": "pixelcnn", "latent_dim": args.latent_dim, **net, **settings}
        recipe = recipes.vae(digits, backend=b.name, **settings)
        svi = b.inference.SVI(loss(args.epochs), epochs=args.epochs, batch_size=min(100, len(digits.train)))
        pair = recipe(seeds.generator(args.seed, "weights"))
        fit = svi.fit(*pair, digits, seed=args.seed, progress=False)
        found = evaluation.evaluate(fit, digits.test, 5 if args.smoke else 20, seed=args.seed)
        rows[name] = {
            "ELBO": found.elbo.mean,
            "reconstruction": float(found.elbo.reconstruction.mean()),
            "KL": float(found.elbo.kl.mean()),
            "active units": found.active_units,
            "log p(x)": found.log_p.mean,
        }
        pictures[f"{name}: of test images"] = fit.reconstruct(digits.test[:SHOWN], seed=args.seed, mean=False)
        pictures[f"{name}: new"] = fit.generate(SHOWN, seed=args.seed, mean=False)
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.to_csv(out / "table.csv", index_label="treatment")
    plots.save(bars(table), out / "bars.png")
    title = "Draws from p(x | z): z of the test images above, then z from the prior"
    plots.save(plots.labelled_rows(pictures, digits.image_shape, title=title), out / "draws.png")
    print(f"Test images, nats\n{table.round(2).to_string()}\nWritten to {out}")


if __name__ == "__main__":
    sys.exit(scripts.run(main))

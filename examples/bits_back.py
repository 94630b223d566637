"""Alice and Bob with a real code: a test set sent without loss, in as many bits as the negative ELBO says.

    python examples/bits_back.py                          # digits, half a minute on two cores
    python examples/bits_back.py --backend numpyro
    python examples/bits_back.py --data static_mnist --images 1000 --epochs 20 --batch-size 20

Alice codes the test images by a VAE with Gaussian latents, and by one with bits as latents; Bob has the saved fit and
the message, and reads every image again. Beside them the negative ELBO, and what gzip, bz2, lzma and PNG make of the
same images in one file.

Practical Lossless Compression with Latent Variables using Bits Back Coding, Townsend, Bird and Barber, 2019.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import lzma
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ppl_vae import backends, baselines, coding, data, evaluation, plots, recipes, seeds
from ppl_vae.results import Fit
from ppl_vae.runtime import folders, scripts

LATENTS: dict[str, dict[str, Any]] = {
    "Gaussian latents": {"latent_dim": 16},
    "bits as latents": {"latent_dim": 24, "latents": "bernoulli"},
}
"""Name -> settings of the recipe."""


def png(x: np.ndarray, shape: tuple[int, ...]) -> bytes:
    """All images, one above the other, as a PNG of one bit a pixel."""
    buffer = io.BytesIO()
    Image.fromarray(x.reshape(-1, shape[1]) > 0).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def files(x: np.ndarray, shape: tuple[int, ...]) -> dict[str, int]:
    """Coder -> bits of one file of all images, whose pixels are bits."""
    packed = np.packbits(x > 0).tobytes()
    made = {
        "a bit a pixel": packed,
        "gzip": gzip.compress(packed, 9, mtime=0),
        "bz2": bz2.compress(packed, 9),
        "lzma": lzma.compress(packed, preset=9 | lzma.PRESET_EXTREME),
        "PNG": png(x, shape),
    }
    return {name: 8 * len(content) for name, content in made.items()}


def train(name: str, split: data.Split, args: argparse.Namespace) -> Path:
    """Train a pair, and save the fit for Bob."""
    settings = {"hidden": tuple(args.hidden), "backend": args.backend, **LATENTS[name]}
    recipe = recipes.vae(split, **settings)
    inference = backends.load(args.backend).inference
    discrete = "latents" in LATENTS[name]
    loss = {"loss": inference.TraceGraphELBO(4, baseline=baselines.LeaveOneOut())} if discrete else {}
    svi = inference.SVI(epochs=args.epochs, learning_rate=2e-3, batch_size=50, patience=20, **loss)
    fit = svi.fit(*recipe(seeds.generator(args.seed, "weights")), split, seed=args.seed, device=args.device)
    return fit.save(args.out / f"{name.split()[0].lower()}.safetensors", recipe=recipe)


def send(path: Path, x: np.ndarray, args: argparse.Namespace) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Code images as Alice, read them as Bob; return the table's row, each batch's bits and each image's -ELBO."""
    alice, began = Fit.load(path, device=args.device), time.perf_counter()
    message = coding.bits_back(alice, x, batch_size=args.batch_size, latent_bits=args.latent_bits, seed=args.seed)
    content, coded = message.to_bytes(), time.perf_counter()
    bob = Fit.load(path, device=args.device)
    if not np.array_equal(coding.decode(bob, coding.Message.from_bytes(content)), x):
        raise ValueError("What Bob read is not what Alice sent.")
    read = time.perf_counter()
    bound = -evaluation.elbo(alice, x, 100).values / np.log(2)
    net = float(message.growth.sum())
    row = {
        "bits per image": net / len(x),
        "-ELBO / log 2": float(bound.mean()),
        "bits per pixel": net / x.size,
        "initial bits": message.initial_bits,
        "bits of the message": message.bits,
        "seconds to code": coded - began,
        "seconds to read": read - coded,
        "bits of the fit": 8 * path.stat().st_size,
    }
    return row, message.growth, bound


def run(split: data.Split, args: argparse.Namespace) -> pd.DataFrame:
    """Train, send, and save the table and the figure."""
    x = split.test[:: max(1, len(split.test) // args.images)][: args.images]
    rows, growth, bounds = {}, {}, {}
    for name in LATENTS:
        rows[name], growth[name], bounds[name] = send(train(name, split, args), x, args)
    others = files(x, split.image_shape)
    for name, bits in others.items():
        rows[name] = {"bits per image": bits / len(x), "bits per pixel": bits / x.size, "bits of the message": bits}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.to_csv(args.out / "table.csv", index_label="coder")
    title = f"{len(x)} test images of {split.name} without loss"
    drawn = plots.code_lengths(growth, bounds, files=others, batch_size=args.batch_size, title=title)
    plots.save(drawn, args.out / "lengths.png")
    return table


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--data", default="digits", help=f"{', '.join(data.names())}, or a .npy or .npz file")
    parser.add_argument("--images", type=int, default=400, help="test images, at most")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--hidden", type=int, nargs="+", default=[200])
    parser.add_argument(
        "--batch-size", type=int, default=1, help="images coded side by side: faster, more initial bits"
    )
    parser.add_argument("--latent-bits", type=int, default=12, help="2^this bins of a Gaussian latent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--out", type=Path, help="a folder; by default runs/bits-back-<data>-<backend>")
    parser.add_argument("--smoke", action="store_true", help="a few images and epochs: seconds")
    return parser.parse_args()


def main() -> None:
    """Train, code, read, and print the table."""
    args = arguments()
    if args.backend == "pyro":
        import torch

        torch.set_num_threads(1)  # one sum, in one order
    split = data.load(args.data)
    split = split if split.binarisation == "fixed" else split.with_binarisation("threshold")
    if args.smoke:
        split, args.epochs, args.hidden = split.subset(100, 20, 20), 1, [20]
    args.out = args.out or Path("runs") / f"bits-back-{split.name}-{args.backend}"
    folders.claim(args.out, "the work of examples/bits_back.py")
    args.out.mkdir(parents=True, exist_ok=True)
    table = run(split, args)
    print(f"{split.name}, {args.backend}: the test images without loss; Bob has the fit, which is not counted\n")
    print(table.round(3).to_string(na_rep="", float_format=lambda v: f"{v:.3f}".rstrip("0").rstrip(".")))
    print(f"\ntable.csv, lengths.png and the fits: {args.out}")


if __name__ == "__main__":
    sys.exit(scripts.run(main))

"""``ppl-vae metrics``: measure how well the codes of a run disentangle the factors of its images."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.files.readers import read_arrays
from ...runtime.versions import __version__
from .. import inputs, readme, runs
from ..console import Console, keys
from ..options import IMAGES, OUTPUT, add_config, add_console, add_device, add_images, add_seed
from ..outputs import open_with_output
from ..parsing import Group, Parser, add_run
from ..runs import DISENTANGLEMENT, README, write_json

if TYPE_CHECKING:
    from ...results.fit import Fit

KEYS = {
    "metrics": "name -> number; the higher the better, but for the last, which read no factors",
    "elbo": "the plain ELBO, by one draw for each image",
    "reconstruction": "E_q[log p(x | z)]",
    "kl": "E_q[log q(z | x) - log p(z)]",
    "surgery": "the rate in parts, over some of the images; null for a guide that has none",
    "factors": "how many values each factor has among these images",
    "left_out": "columns of factors with one value only",
    "num_images": "how many",
    "seed": "of all that is drawn",
    "run": "the run",
    "data": "name or file of the images",
    "part": "which of them",
    "version": "of ppl_vae",
}

ABOUT = f"""\
Measure how well codes, the means of q(z | x), disentangle the factors of the images: the metrics of beta-VAE and
FactorVAE, the mutual information gap in two definitions, SAP, DCI, modularity, and metrics that need no factors. The
images are encoded once. The ELBO and its parts are given, too, in nats per image.

A factor is an integer for each image, as its shape or its position. They are the labels of the data, (N, F), or those
of --factors; a column with one value only is left out.

reads   RUN, its data or --data, as 'ppl-vae encode' does, and their labels or --factors
writes  --out, by default RUN/{DISENTANGLEMENT}, over that of an earlier call, and RUN/{README}; the table to stdout
"""

EXAMPLES = """\
examples:
  ppl-vae metrics runs/sprites
  ppl-vae metrics runs/sprites --metrics mig_binned sap dci --json | jq .metrics.mig_binned
  ppl-vae metrics runs/mine --data images.npy --factors factors.npy --out metrics.json
"""

DEFAULTS: dict[str, Any] = {
    **OUTPUT,
    **IMAGES,
    **{"factors": None, "metrics": None, "part": "all", "refine": None, "seed": 0, "device": None},
}
SURGERY = 1000
"""Largest number of images of which the rate is decomposed; the cost grows with its square."""


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae metrics RUN [OPTIONS]", EXAMPLES + keys(KEYS)
    parser: Parser = commands.add_parser("metrics", usage=usage, help=text, description=ABOUT, epilog=end)
    add_run(parser)
    group = Group(parser, "output", DEFAULTS)
    group.option("--out", "a .json file", f"RUN/{DISENTANGLEMENT}", type=Path, metavar="FILE")
    add_config(group)
    add_console(group)
    images = Group(parser, "images and factors", DEFAULTS)
    add_images(images, part=True)
    text = "a .npy file of integers (N, F), or (N,) for one factor, a row for each image of --part in its order"
    images.option("--factors", text, "the labels of the data", type=Path, metavar="FILE")
    text = "some of beta_vae, factor_vae, mig_binned, mig_sampled, sap, dci, modularity, ..."
    images.option("--metrics", text, "all that the codes allow", nargs="+", metavar="NAME")
    add_seed(images, "all that is drawn")
    add_device(images)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Compute the metrics; write the record; print it."""
    if arguments.out is None:
        arguments.out = arguments.folder / DISENTANGLEMENT
    (opened, out), console = open_with_output(arguments, ".json", own=DISENTANGLEMENT), Console.of(arguments)
    part, what = arguments.part, arguments.data or opened.data
    x, labels = inputs.labelled(opened, arguments.data, arguments.binarisation, part, arguments.stream)
    factors, left_out = _factors(labels if arguments.factors is None else arguments.factors, len(x), part, what)
    fit, x, index = runs.ready(opened.fit(arguments.device), x, None, arguments.refine, console.progress)
    index = np.arange(len(x)) if index is None and not fit.generalises else index
    measured = _measured(fit, x, index, factors, arguments.metrics, arguments.seed)
    record = {
        **measured,
        "factors": [len(np.unique(column)) for column in factors.T],
        "left_out": left_out,
        "num_images": len(x),
        "seed": arguments.seed,
        "run": str(opened.folder),
        "data": what,
        "part": part,
        "version": __version__,
    }
    record = {name: record[name] for name in KEYS}
    write_json(out, record)
    readme.write(opened.folder)
    console.say(*_table(record), f"\nwritten to {out}")
    console.result(record)


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return f"nothing was written to {arguments.out or arguments.folder / DISENTANGLEMENT}"


def _factors(source: Any, count: int, part: str, what: str) -> tuple[np.ndarray, list[int]]:
    """Load the factors (N, F) that vary, and the numbers of the columns that do not.

    Raises:
        ValueError: none, another number of rows than of images, no integers, or none that varies.
    """
    if source is None:
        raise ValueError(f"{what} has no labels: give the factors of its images, --factors FILE.npy")
    where = f"the labels of {what}"
    if isinstance(source, Path):
        if not source.is_file() or source.suffix != ".npy":
            raise ValueError(f"--factors should be a .npy file that is there; got {str(source)!r}")
        with inputs.reading():
            source, where = read_arrays(source), str(source)
    factors = np.asarray(source)
    if factors.dtype.kind not in "iub" or factors.ndim not in (1, 2) or not factors.size:
        raise ValueError(
            f"{where} should be integers of shape (N, F); got {factors.dtype} of shape {factors.shape}: give such, "
            "--factors FILE.npy"
        )
    if len(factors) != count:
        raise ValueError(f"{where} has {len(factors)} rows; there are {count} {part} images, and each needs one")
    factors = factors.reshape(count, -1)
    varies = np.ptp(factors.astype(np.int64), 0) > 0
    if not varies.any():
        raise ValueError(f"no factor in {where} has more than one value among these images: there is nothing to tell")
    return factors[:, varies], np.flatnonzero(~varies).tolist()


def _measured(
    fit: Fit, x: np.ndarray, index: np.ndarray | None, factors: np.ndarray, which: list[str] | None, seed: int
) -> dict[str, Any]:
    """Compute the metrics and the ELBO; None stands for a value that is not finite."""
    from ... import evaluation
    from ...evaluation import disentanglement

    representation: Any = fit
    codes = disentanglement.encode(representation, x, index=index)
    try:
        found = disentanglement.metrics(codes.means, factors, sds=codes.sds, which=which, seed=seed)
    except ValueError as error:
        remedy = f" Choose others with --metrics, of {', '.join(disentanglement.METRICS)}." if which is None else ""
        raise ValueError(f"{error}{remedy}") from None
    parts = evaluation.elbo(fit, x, 1, seed=seed, index=index)
    return {
        "metrics": {name: value if math.isfinite(value) else None for name, value in found.items()},
        "elbo": parts.mean,
        "reconstruction": float(parts.reconstruction.mean()),
        "kl": float(parts.kl.mean()),
        "surgery": _surgery(fit, x, index, seed),
    }


def _surgery(fit: Fit, x: np.ndarray, index: np.ndarray | None, seed: int) -> dict[str, Any] | None:
    """Decompose the rate over some of the images; None for a guide that does not allow it."""
    from ... import evaluation
    from ...seeds import generator

    rows = np.sort(generator(seed, "surgery images").permutation(len(x))[:SURGERY])
    try:
        parts = evaluation.elbo_surgery(fit, x[rows], 2, seed=seed, index=None if index is None else index[rows])
    except ValueError:
        return None
    finite = {name: value if math.isfinite(value) else None for name, value in parts.row().items()}
    return {**finite, "num_images": len(rows)}


def _table(record: dict[str, Any]) -> list[str]:
    sizes = " x ".join(map(str, record["factors"]))
    lines = [f"{record['data']}: {record['num_images']} {record['part']} images, factors with {sizes} values"]
    if record["left_out"]:
        lines.append(f"left out, as they have one value only: columns {', '.join(map(str, record['left_out']))}")
    rows = {**record["metrics"], "": None}
    rows |= {f"{name} [nats]": record[name] for name in ("elbo", "reconstruction", "kl")}
    surgery = record["surgery"] or {}
    rows |= {
        f"{name} of {surgery['num_images']} images [nats]": value
        for name, value in surgery.items()
        if name not in ("elbo", "distortion", "rate", "num_images")
    }
    for name, value in rows.items():
        lines.append(
            f"{name:<46}{format(value, '.4f') if value is not None else 'unknown' if name else '':>12}".rstrip()
        )
    return lines

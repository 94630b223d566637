"""``ppl-vae traverse``: decode images while one latent dimension after another changes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import inputs, pictures, runs
from ..console import Console, keys
from ..options import IMAGES, OUTPUT, add_device, add_image_shape, add_images, add_output, add_seed
from ..outputs import open_with_output
from ..parsing import PICTURES, Group, Number, Parser, add_run, non_negative_int, positive_float, positive_int

if TYPE_CHECKING:
    from ...results.fit import Fit

KEYS = {
    "out": "the file",
    "run": "the run",
    "data": "name or file of the images",
    "part": "which of them",
    "start": "'image', 'prior draw' or 'prior mean'",
    "image": "which image; null for another start",
    "z": "the latents that it starts from",
    "values": "that each dimension takes",
    "dimensions": "which, in the order of the rows",
    "kl": "of each of them, nats; null where the guide has no such",
    "num_images": "that the KL is a mean over",
    "shape": "(dimensions, steps, *image shape)",
    "seed": "of the draw from the prior",
}

ABOUT = """\
Traverse the latents: move one dimension of z at a time from -RANGE to RANGE, the others left as they are, and decode. A
row for each dimension, sorted by the mean of KL(q(z_d | x) || p(z_d)) over images: what tells most comes first.

It starts at the mean of the prior, or with --prior at a draw from it, or with --image at the mean of q(z | x) of one.

reads   RUN, and its data or --data, as 'ppl-vae encode' does
writes  --out, over a file that is there:
          .png  a row for each dimension, labelled with its KL; above them the image that it starts from, if it does
          .npy  E[x | z], float32 (dimensions, steps, *image shape), in the same order
"""

EXAMPLES = """\
examples:
  ppl-vae traverse runs/digits --out traversal.png
  ppl-vae traverse runs/digits --image 7 --top 10 --out traversal_7.png
  ppl-vae traverse runs/digits --prior --seed 3 --steps 11 --range 4 --out traversal_prior.npy
"""

NUMBERS: dict[str, Any] = {"image": None, "prior": False, "steps": 9, "range": 3.0, "top": None, "num": 1000}
DEFAULTS: dict[str, Any] = {
    **OUTPUT,
    **IMAGES,
    **NUMBERS,
    **{"part": "test", "refine": None, "image_shape": None, "seed": 0, "device": None},
}
at_least_two = Number(int, "a whole number of at least 2", lambda n: n >= 2)


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae traverse RUN --out FILE [OPTIONS]", EXAMPLES + keys(KEYS)
    parser: Parser = commands.add_parser("traverse", usage=usage, help=text, description=ABOUT, epilog=end)
    add_run(parser)
    add_output(parser, DEFAULTS, "a .png, .jpg or .npy file", metavar="FILE")
    path = Group(parser, "traversal", DEFAULTS)
    text = "start at the mean of q(z | x) of this image of --part, the first being 0"
    path.option("--image", text, "at the prior", type=non_negative_int, metavar="I")
    path.switch("--prior", "start at a draw from the prior", "no, at its mean")
    path.option("--steps", "values of each dimension", type=at_least_two, metavar="N")
    path.option("--range", "from minus this to this", type=positive_float, metavar="Z")
    path.option("--top", "only the first N dimensions", "all", type=positive_int, metavar="N")
    add_seed(path, "the draw from the prior")
    images = Group(parser, "images", DEFAULTS)
    add_images(images, part=True)
    text = "how many images the KL is a mean over, the first of them"
    images.option("--num", text, type=positive_int, metavar="N")
    add_image_shape(images)
    add_device(images)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Compute the traversal; write the array or the picture."""
    (opened, out), console = open_with_output(arguments, *PICTURES, ".npy"), Console.of(arguments)
    if arguments.image is not None and arguments.prior:
        raise ValueError("--image and --prior are two starts: give one of them")
    picture = out.suffix.lower() in PICTURES
    shape = pictures.image_shape(opened, arguments.image_shape, drawn=picture)
    x = inputs.images(opened, arguments.data, arguments.binarisation, arguments.part, arguments.stream)
    if arguments.image is not None and arguments.image >= len(x):
        raise ValueError(
            f"--image should be below {len(x)}, the number of {arguments.part} {opened.datum}s; got {arguments.image}"
        )
    number = max(arguments.num, (arguments.image or 0) + 1)
    fit, x, index = runs.ready(opened.fit(arguments.device), x, number, arguments.refine, console.progress)
    index = np.arange(len(x)) if index is None and not fit.generalises else index
    record = _traverse(fit, x, index, arguments)
    images, above = record.pop("images"), record.pop("above")
    where = f"{opened.datum} {arguments.image}" if above else f"the {record['start']}"
    if picture:
        _draw(out, images, above, shape, record, f"{opened.folder.resolve().name}: traversals from {where}")
    else:
        runs.write_array(out, images.reshape(*images.shape[:2], *shape))
    console.say(
        f"{out}: {len(images)} dimensions in {images.shape[1]} steps, from {where}", *_summary(record, opened.datum)
    )
    about = {"out": str(out), "run": str(opened.folder), "data": arguments.data or opened.data, "part": arguments.part}
    whole = {**about, **record, "shape": [*images.shape[:2], *shape], "seed": arguments.seed}
    console.result({name: whole[name] for name in KEYS})


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return f"nothing was written to {arguments.out}"


def _traverse(fit: Fit, x: np.ndarray, index: np.ndarray | None, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compute the traversal and return it as the record of the command."""
    from ... import evaluation

    above = {}
    if arguments.image is not None:
        chosen, rows = x[[arguments.image]], None if index is None else index[[arguments.image]]
        name, start = "image", fit.encode(chosen, index=rows)[0]
        above = {"image": chosen[0], "reconstruction": fit.decode(start[None])[0]}
    elif arguments.prior:
        name, start = "prior draw", evaluation.prior_draws(fit, 1, seed=arguments.seed)[0]
    else:
        name, start = "prior mean", evaluation.prior_mean(fit, x, seed=arguments.seed, index=index)
    kl = _kl(fit, x, index)
    order = np.arange(len(start)) if kl is None else np.argsort(-kl, kind="stable")
    values = np.linspace(-arguments.range, arguments.range, arguments.steps)
    moved = evaluation.traverse(fit, start, values=values, dimensions=order[: arguments.top])
    return {
        "start": name,
        "image": arguments.image,
        "z": [float(value) for value in start],
        "values": values.tolist(),
        "dimensions": moved.dimensions.tolist(),
        "kl": None if kl is None else kl[moved.dimensions].tolist(),
        "num_images": len(x),
        "images": moved.images.astype(np.float32),
        "above": above,
    }


def _kl(fit: Fit, x: np.ndarray, index: np.ndarray | None) -> np.ndarray | None:
    """Return the mean KL of each dimension, (D,), or None where there are several latent sites."""
    from ... import evaluation

    sites = fit.pair.sites.latent if fit.pair.sites is not None else ()
    return evaluation.kl_by_dimension(fit, x, index=index) if len(sites) == 1 and sites[0].num_values is None else None


def _draw(out: Any, images: np.ndarray, above: Any, shape: Any, record: dict[str, Any], title: str) -> None:
    from ... import plots

    names = [f"z{d}" for d in record["dimensions"]]
    if record["kl"] is not None:
        names = [f"{name}, {kl:.2f} nats" for name, kl in zip(names, record["kl"], strict=True)]
    figure = plots.traversals(images, record["values"], shape, labels=names, above=above, title=title)
    plots.save(figure, out)


def _summary(record: dict[str, Any], each: str) -> list[str]:
    if record["kl"] is None:
        return ["the guide has several sites: the dimensions are in their order, not sorted"]
    most = ", ".join(f"z{d} {kl:.2f}" for d, kl in list(zip(record["dimensions"], record["kl"], strict=True))[:5])
    return [f"mean KL over {record['num_images']} {each}s, nats: {most}{', ...' if len(record['kl']) > 5 else ''}"]

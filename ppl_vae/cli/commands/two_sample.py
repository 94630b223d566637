"""``ppl-vae two-sample``: compare two samples of rows or images, by tests and measures with their null."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.files.readers import read_arrays
from ...runtime.versions import __version__
from .. import inputs
from ..console import Console, keys
from ..options import OUTPUT, add_console, add_seed
from ..parsing import Group, Parser, positive_int

if TYPE_CHECKING:
    from ...evaluation import SampleQuality

KEYS = {
    "measures": "name -> value; null, null_sd and p, how often two samples of one law look at least as bad",
    "rows": "of each sample that were compared",
    "remarks": "what makes a measure doubtful",
    "samples": "A",
    "reference": "B",
    "train": "the training data, or null",
    "labels": "their classes, or null",
    "seed": "of the rows, the divisions and the nets",
    "version": "of ppl_vae",
}

ABOUT = """\
Compare two samples, of which A is what a model generates and B what it should look like: data that it has not seen.

Do they have one law? The maximum mean discrepancy, and how often the nearest neighbour and a net tell a row of A from
one of B. How do they differ? Precision and density say whether A looks like B, recall and coverage whether all of B is
in A; with --train, whether A is copied. Beside each number stands what it is for random parts of all rows (null).

reads   A, B and the files of --train and --labels: .npy, a row or an image for each item, in the same units
writes  nothing: the table goes to stdout
"""

EXAMPLES = """\
examples:
  ppl-vae sample runs/digits --out drawn.npy --num 500 --draw && ppl-vae two-sample drawn.npy test.npy
  ppl-vae two-sample drawn.npy test.npy --train train.npy --labels classes.npy --features
  ppl-vae two-sample a.npy b.npy --json | jq .measures.MMD.p
"""

DEFAULTS: dict[str, Any] = {
    **{name: OUTPUT[name] for name in ("quiet", "json")},
    **{"train": None, "labels": None, "features": False, "neighbours": 5, "permutations": 100},
    **{"max_rows": 1000, "seed": 0},
}


def add(commands: Any, text: str) -> Parser:
    """Add the parser of this command, which the list of commands describes by this text, and return it."""
    usage, end = "ppl-vae two-sample A.npy B.npy [OPTIONS]", EXAMPLES + keys(KEYS)
    parser: Parser = commands.add_parser("two-sample", usage=usage, help=text, description=ABOUT, epilog=end)
    for name, text in (
        ("samples", "what is judged, such as generated images"),
        ("reference", "what it is held against"),
    ):
        parser.add_argument(name, type=Path, metavar="AB"[name == "reference"], help=text)
    add_console(Group(parser, "output", DEFAULTS))
    group = Group(parser, "measures", DEFAULTS)
    text = "the data that the model was trained on: are the samples nearer to them than new data are?"
    group.option("--train", text, "none", type=Path, metavar="FILE")
    text = "a class, an integer, for each row of --train: how many classes do the samples have?"
    group.option("--labels", text, "none", type=Path, metavar="FILE")
    group.switch("--features", "measure distances in the hidden layer of a small net that tells these classes")
    group.option("--neighbours", "k of precision, recall, density and coverage", type=positive_int, metavar="K")
    group.option("--permutations", "random divisions of all rows, for the null", type=positive_int, metavar="N")
    group.option("--max-rows", "rows of each sample, at most; more are drawn at random", type=positive_int, metavar="N")
    add_seed(group, "the rows, the divisions and the nets")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Read the samples; print the table."""
    console, files = Console.of(arguments), ("samples", "reference", "train", "labels")
    arrays: dict[str, Any] = {name: _array(path) for name in files if (path := getattr(arguments, name)) is not None}
    from ...evaluation import sample_quality

    options = ("features", "neighbours", "permutations", "max_rows", "seed")
    found = sample_quality(**arrays, **{name: getattr(arguments, name) for name in options})
    console.say(*_lines(arguments, found))
    console.result(
        {
            "measures": found.table.to_dict("index"),
            "rows": found.rows,
            "remarks": list(found.remarks),
            **{name: str(path) if (path := getattr(arguments, name)) else None for name in files},
            "seed": arguments.seed,
            "version": __version__,
        }
    )


def interrupted(arguments: argparse.Namespace) -> str:
    """Return the message for Ctrl-C, which says what was written."""
    return "nothing was written"


def _array(path: Path) -> np.ndarray:
    if path.suffix != ".npy" or not path.is_file():
        raise ValueError(f"a sample should be a .npy file that is there; got {str(path)!r}: save it with np.save")
    with inputs.reading():
        array = read_arrays(path)
    return np.asarray(array)


def _lines(arguments: argparse.Namespace, found: SampleQuality) -> list[str]:
    title = f"{arguments.samples} beside {arguments.reference}, {found.rows} rows of each"
    lines = [title, f"{'':<16}{'value':>10}{'null':>10}{'+-':>9}{'p':>9}"]
    for name, row in found.table.iterrows():
        lines.append(f"{name!s:<16}{row.value:>10.4f}{row.null:>10.4f}{row.null_sd:>9.4f}{row.p:>9.4f}")
    return [*lines, *found.remarks]

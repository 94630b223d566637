"""Labels that a training knows: options, and which of the training images have one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Split
from .parsing import Group, Number, non_negative_float, non_negative_int

if TYPE_CHECKING:
    from ..results.fit import Fit

DEFAULTS: dict[str, Any] = {"labels": None, "label_column": 0, "label_weight": 10.0}
PAIR = {"program": "semi-supervised", "guide": "semi-supervised"}
OBJECTIVE = "enumeration"
COMPARED = ("enumeration", "reinforce-4", "rloo-4")
"""The strategies that a comparison trains by default."""
AUXILIARY_DRAWS = 10
"""Draws of an auxiliary variable for q(y | x)."""
_whole = Number(int, "a whole number of at least 1, or 'all'", lambda n: n >= 1)


def number(text: str) -> str:
    """Return the text of a number of labels, or ``all``."""
    return text if text == "all" else str(_whole(text))


def add(group: Group) -> None:
    """Add the options of ``DEFAULTS``."""
    text = (
        "learn with the labels of so many training images, as many of each class, drawn by --data-seed, or of 'all': "
        "the label is a latent, known of these (--program and --guide 'semi-supervised')"
    )
    group.option("--labels", text, "none", type=number, metavar="N|all")
    text = "which label it is, of data with several of each image"
    group.option("--label-column", text, type=non_negative_int, metavar="N")
    text = "weight of log q(y | x) of each known label y, in images"
    group.option("--label-weight", text, type=non_negative_float, metavar="WEIGHT")


def settled(chosen: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the options that --labels sets.

    Raises:
        ValueError: another program or guide, or an option of labels without --labels.
    """
    if not chosen["labels"]:
        for name in ("label_column", "label_weight"):
            if given.get(name, DEFAULTS[name]) != DEFAULTS[name]:
                raise ValueError(f"--{name.replace('_', '-')} is for --labels: give it, too")
        for name, value in PAIR.items():
            if chosen[name] == value:
                raise ValueError(f"the {name} {value!r} is for labels: give --labels, which sets program and guide")
        return dict(chosen)
    for name, value in PAIR.items():
        if given.get(name, value) != value:
            raise ValueError(f"--labels makes the {name} {value!r}, and here it is {given[name]!r}: leave --{name} out")
    return {**chosen, **PAIR}


def column(labels: np.ndarray, which: int) -> np.ndarray:
    """Return one label of each image, (N,).

    Raises:
        ValueError: fewer labels, or some that are no whole numbers of at least -1.
    """
    table = np.reshape(labels, (len(labels), -1))
    if which >= table.shape[1]:
        raise ValueError(f"--label-column should be at most {table.shape[1] - 1}, of the labels there are; got {which}")
    y = table[:, which]
    if y.dtype.kind not in "iuf" or (y != np.round(y)).any() or (y < -1).any():
        raise ValueError(
            "labels should be whole numbers from 0, or -1 where unknown: save np.where(labels < 0, -1, "
            "np.searchsorted(known, labels)), with known = np.unique(labels[labels >= 0])"
        )
    return y.astype(int)


def of_training(split: Split, options: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    """Return the labels that the training knows, (N, 1), -1 elsewhere, and the number of classes.

    Raises:
        ValueError: data without labels, with labels that are no classes, or with fewer than are asked for.
    """
    if not split.labels or "train" not in split.labels:
        raise ValueError(
            f"--labels needs labels, and {split.name} has none of its training images: save them beside the images in "
            "an .npz file, under 'labels', or 'train_labels' beside 'train'"
        )
    y = column(split.labels["train"], options["label_column"])
    classes, counts = np.unique(y[y >= 0], return_counts=True)
    if len(classes) < 2 or classes.tolist() != list(range(len(classes))):
        raise ValueError(
            f"labels should be of at least two classes, 0, 1, 2 and so on; {split.name} has {classes.tolist()[:20]} in "
            "its training images: save np.where(labels < 0, -1, np.searchsorted(known, labels)), with known = "
            "np.unique(labels[labels >= 0])"
        )
    known = np.full((len(y), 1), -1, np.float32)
    if options["labels"] == "all":
        known[:, 0] = y
        return known, len(classes)
    wanted = int(options["labels"])
    if not len(classes) <= wanted <= len(classes) * counts.min():
        raise ValueError(
            f"--labels should be from {len(classes)} to {len(classes) * counts.min()}, so that each of the "
            f"{len(classes)} classes has as many; got {wanted}: give such a number, or 'all'"
        )
    rng = np.random.default_rng([options["data_seed"], wanted])
    for c in classes:
        share = wanted // len(classes) + (c < wanted % len(classes))
        known[rng.choice(np.flatnonzero(y == c), min(share, counts[c]), replace=False)] = c
    return known, len(classes)


def beside(split: Split, options: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], int]:
    """Return the keywords of a training that say which labels are known, and the number of classes; none without.

    Raises:
        ValueError: as ``of_training``.
    """
    if not options["labels"]:
        return {}, 0
    known, classes = of_training(split, options)
    return {"given": known, "valid_given": np.full((len(split.valid), 1), -1, np.float32)}, classes


def objective(svi: Any, options: Mapping[str, Any]) -> Any:
    """Return the ``SVI`` whose objective learns from labels, too, if there are any."""
    if not options["labels"]:
        return svi
    from ..objectives import Labelled

    return dataclasses.replace(svi, loss=Labelled(svi.loss, weight=options["label_weight"]))


def accuracy(fit: Fit, split: Split, options: Mapping[str, Any]) -> float | None:
    """Return the share of test images whose known label is the likeliest; None without labels."""
    if not options.get("labels") or not split.labels or "test" not in split.labels:
        return None
    from ..evaluation import class_probabilities

    y = column(split.labels["test"], options["label_column"])
    if not (y >= 0).any():
        return None
    draws = AUXILIARY_DRAWS if options["auxiliary_dim"] else 1
    found = class_probabilities(fit, np.asarray(split.test)[y >= 0], draws).argmax(1)
    return float((found == y[y >= 0]).mean())


def given(settings: Mapping[str, Any], label: int, count: int) -> np.ndarray:
    """Return labels (N, 1) of images to be drawn.

    Raises:
        ValueError: a run without labels, or a label that it does not have.
    """
    if not settings["options"].get("labels"):
        raise ValueError("--label is for a run with --labels: leave it out, or give 'ppl-vae fit' --labels")
    classes = settings["recipe"]["given_dim"]
    if label >= classes:
        raise ValueError(f"--label should be at most {classes - 1}, the last of the run's labels; got {label}")
    return np.full((count, 1), label, np.float32)

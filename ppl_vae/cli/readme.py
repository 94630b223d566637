"""README of a run or a comparison: the contents of the folder, and their use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backends import NAMES
from ..recipes.recipe import Recipe
from ..runtime.shown import of_data
from ..runtime.storage import write_atomically
from . import runs
from .config import CONFIG
from .runs import CHECKPOINT, DISENTANGLEMENT, FIGURES, FIT, HISTORY, METRICS, README, RECORD, SETTINGS
from .tables import TABLE

FILES = {
    FIT: "weights, history and recipe in one file; it runs no code when it is read",
    TABLE: "of a table: names, kinds and values of its columns, for `TabularVAE.load` of this folder",
    RECORD: "what the training came to: epochs, seconds, loss, validation ELBO",
    METRICS: "what `ppl-vae evaluate` found on the test images",
    DISENTANGLEMENT: "how well the codes hold the factors of the images apart, by `ppl-vae metrics`",
    SETTINGS: "every setting, the data and their fingerprint, the versions of the libraries",
    CONFIG: "the options of the command line, for `--config`",
    HISTORY: "a line for each epoch: loss and validation ELBO (nats per image), seconds, memory (MiB)",
    CHECKPOINT: "weights and optimiser after the last epoch, for `--resume`; not needed to use the fit",
}
PICTURES = {
    "training.png": "loss and validation ELBO by epoch",
    "reconstructions.png": "images, each with its reconstruction to its right",
    "samples.png": "new images",
    "pseudo_inputs.png": "the pseudo-inputs of the VampPrior",
}
COMPARISON = {
    "index.html": "the report, one page with its figures",
    "table.csv": "a row for each strategy and backend: means, and standard deviations over seeds",
    "cells.csv": "a row for each training",
    "results.json": "every training, with settings and history",
    **{f"gradients-{b}.csv": f"the noise of each strategy's gradients on {b}" for b in NAMES},
    CONFIG: "the options of the command line, for `--config`",
    "figures": "the figures of the page as PNG",
    "cells": "a folder for each training: fit, settings, result; `Fit.load` reads the fit",
}


OF_A_RUN = (README, *FILES, *(f"{FIGURES}/{name}" for name in PICTURES))
"""The files of a run."""


def write(folder: Path) -> None:
    """Write the README of a finished run, atomically, from the files in the folder."""
    record = runs.read_json(folder / RECORD)
    if record is not None:
        text = _text(folder, runs.read_settings(folder), record, runs.read_json(folder / METRICS))
        write_atomically(folder / README, text.encode())


def write_comparison(folder: Path, data: str) -> None:
    """Write the README of a comparison, atomically, from the files in the folder."""
    files = {name: about for name, about in COMPARISON.items() if (folder / name).exists()}
    text = [
        f"# {folder.resolve().name}",
        "",
        f"Inference strategies compared on {data} by `ppl-vae compare`. Open [index.html](index.html) in a browser.",
        "",
        *_table(files),
        "",
        "In this folder, the same command goes on, and `--strategies`, `--backends` and `--seeds` may be added to:",
        "",
        "```bash",
        "ppl-vae compare --config . --out .",
        "ppl-vae compare --config . --out ../another --gated    # other settings need another folder",
        "```",
        "",
    ]
    write_atomically(folder / README, "\n".join(text).encode())


def _table(files: Mapping[str, str]) -> list[str]:
    return ["| file | what it is |", "| --- | --- |", *(f"| [{n}]({n}) | {about} |" for n, about in files.items())]


def _text(
    folder: Path, settings: Mapping[str, Any], record: Mapping[str, Any], metrics: Mapping[str, Any] | None
) -> str:
    shape = settings["data"]["image_shape"]
    each = Recipe.from_dict(settings["recipe"]).datum
    files = {**FILES, **{f"{FIGURES}/{name}": about for name, about in PICTURES.items()}}
    files = {name: of_data(about, each) for name, about in files.items() if (folder / name).exists()}
    pictures = [
        f"![{of_data(about, each)}]({FIGURES}/{name})"
        for name, about in PICTURES.items()
        if (folder / FIGURES / name).exists()
    ]
    return "\n".join(
        [
            f"# {folder.resolve().name}",
            "",
            _about(settings, each),
            "",
            *_results(record, metrics, each),
            "",
            *pictures[:2],
            "",
            *_table(files),
            "",
            "## How to use it",
            "",
            "In this folder:",
            "",
            "```bash",
            *_commands(settings, each, (folder / TABLE).exists()),
            f"ppl-vae fit --resume --out . --epochs {2 * record['epochs']:<12} # train on",
            "ppl-vae fit --config . --out ../another --seed 1    # repeat it, with another seed",
            "```",
            "",
            "```python",
            "from ppl_vae.results import Fit",
            "",
            f'fit = Fit.load("{FIT}")',
            f"{each}s = fit.generate(16)  # (16, {math.prod(shape)})",
            "```",
            "",
        ]
    )


def _commands(settings: Mapping[str, Any], each: str, of_table: bool) -> list[str]:
    """The commands that ask for a density, or of an implicit model what stands in their place, and that which draws."""
    drawn = {"image": "grid.png"}.get(each, "new.csv" if of_table else "new.npy")
    sample = {f"sample . --out {drawn}{' --draw' if each == 'sequence' else ''}": f"new {each}s"}
    if settings["recipe"].get("program") == "implicit":
        return _aligned({"evaluate .": f"its draws beside the test {each}s", **sample})
    made = {"reconstruct . --out pairs.png": "images beside their reconstructions"}
    if each != "image":
        made = {"reconstruct . --out pairs.npy": f"reconstructed {each}s"}
    if of_table:
        made = {"reconstruct . --impute --out filled.csv": "the table with its missing cells filled in"}
    asked = {
        "evaluate .": f"log p(x) of the test {each}s",
        "encode . --out z.npy": f"posterior means; --data FILE for other {each}s",
        **made,
    }
    return _aligned(asked | sample)


def _aligned(commands: Mapping[str, str]) -> list[str]:
    return [f"{f'ppl-vae {command}':<51} # {about}" for command, about in commands.items()]


def _about(settings: Mapping[str, Any], each: str) -> str:
    recipe, data, options = settings["recipe"], settings["data"], settings["options"]
    shape = " x ".join(map(str, data["image_shape"]))
    if recipe.get("program") == "implicit":
        return (
            f"An implicit model of {data['name']}, x = g(z) of {recipe['latent_dim']} numbers of noise: "
            f"{data['sizes']['train']:,} training {each}s of {shape}, binarisation {data['binarisation']!r}; trained "
            f"by {options['objective']!r} on {options['backend']}, seed {options['seed']}, with ppl_vae "
            f"{settings['version']}."
        )
    return (
        f"A variational auto-encoder of {data['name']}: {data['sizes']['train']:,} training {each}s of {shape}, "
        f"binarisation {data['binarisation']!r}. {recipe['latent_dim']} {recipe['latents']} latents, prior "
        f"{recipe['prior']!r}, likelihood {recipe['likelihood']!r}, guide {recipe['guide']!r}; trained by "
        f"{options['objective']!r} on {options['backend']}, seed {options['seed']}, with ppl_vae {settings['version']}."
    )


def _results(record: Mapping[str, Any], metrics: Mapping[str, Any] | None, each: str) -> list[str]:
    stopped = " (early stopping)" if record["stopped_early"] else ""
    lines = [f"- {record['epochs']} epochs{stopped}, {record['seconds']:.1f} s, {record['parameters']:,} parameters"]
    if record["valid_elbo"] is None:
        lines.append(f"- loss {record['loss']:.2f} nats per training {each}")
    else:
        lines.append(f"- validation ELBO {record['valid_elbo']:.2f} nats per {each}")
    lines += [f"- warning: {text}" for text in record.get("warnings", ())]
    if metrics is not None:
        tested = f"{metrics['num_images']:,} test {each}s of {metrics['data']['name']}"
        after = f", after {metrics['epochs']} epochs" if metrics["epochs"] != record["epochs"] else ""
        error = f" ± {metrics['test_error']:.2f} (over {each}s)" if metrics["test_error"] is not None else ""
        log_p = None if metrics["log_p"] is None else f"log p(x) {metrics['log_p']:.2f}{error}"
        elbo = None if metrics["elbo"] is None else f"ELBO {metrics['elbo']:.2f}"
        if metrics.get("samples"):
            told = ", ".join(f"{name} {value:.3f}" for name, value in metrics["samples"].items())
            lines.append(f"- draws beside {tested}{after}: {told}")
        if log_p or elbo:
            lines.append(f"- {tested}{after}: {', '.join(filter(None, (log_p, elbo)))} nats per {each}")
        if metrics.get("likelihood_trained") is False:
            lines.append("- the likelihood that log p(x) and ELBO are of was not trained: a critic stood in its place")
        if metrics.get("discrete_elbo") is not None:
            discrete = f"log p(x) {metrics['discrete_log_p']:.2f}, ELBO {metrics['discrete_elbo']:.2f} nats per {each}"
            lines.append(f"- these are of relaxed categories, another model; of the discrete one: {discrete}")
    return lines

"""The figures of the VampPrior report from the cells that are done: its histograms, pseudo-inputs, images and sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from runs import Row
from torch import Tensor
from vampprior_cells import DATA, PRIORS, SETTINGS
from vampprior_ledger import usual

from ppl_vae import plots
from ppl_vae.data import Split
from ppl_vae.results import Fit
from ppl_vae.runtime import storage

DPI, SHADES = 90, 64
"""So that a figure takes little room: 64 colours tell grey levels apart."""
RECONSTRUCTED, GENERATED, PSEUDO_INPUTS = 12, 16, 100
"""Images of each kind."""

CAPTIONS = {
    "histograms": "How log p(x) spreads over the test images under each prior.",
    "pseudo-inputs": "Pseudo-inputs that VampPrior learned, the first of them.",
    "images": "Test images and their reconstructions; below, new images.",
    "sweep": "Test log p(x) against the number of pseudo-inputs on static MNIST.",
}


def draw(rows: Sequence[Row], folder: Path, into: Path) -> list[str]:
    """Draw what the rows in ``folder`` allow, ``<data>-<setting>-<backend>-<kind>.png``; return what could not be.

    Of each data set the epochs at which the most priors are done, the longest of these, and of each prior the first
    seed; all at the setting's number of pseudo-inputs and its warm-up.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if usual(row) and row["warm_up"] == SETTINGS[row["setting"]].warm_up:
            groups.setdefault(f"{row['data']}-{row['setting']}-{row['backend']}", []).append(row)
    failures = []
    for name, group in groups.items():
        try:
            split = SETTINGS[group[0]["setting"]].split(DATA[group[0]["data"]])
            for kind, figure in _of_a_data_set(_side_by_side(group), folder, split):
                _save(figure, into / f"{name}-{kind}.png")
        except (OSError, ValueError) as error:
            failures.append(f"no figures of {name}: {error}")
    return failures


def _side_by_side(rows: Sequence[Row]) -> list[Row]:
    """One row for each prior, in their order."""
    by_epochs: dict[int, dict[str, Row]] = {}
    for row in sorted(rows, key=lambda row: (row["seed"], row["start"] or ""), reverse=True):
        by_epochs.setdefault(row["epochs"], {})[row["prior"]] = row
    most = max(by_epochs, key=lambda epochs: (len(by_epochs[epochs]), epochs))
    return [by_epochs[most][prior] for prior in PRIORS if prior in by_epochs[most]]


def _of_a_data_set(rows: Sequence[Row], folder: Path, split: Split) -> Iterator[tuple[str, Figure]]:
    """(kind, figure), one by one."""
    fits = {row["prior"]: Fit.load(folder / f"{row['name']}.safetensors", device="cpu") for row in rows}
    values = {row["prior"]: storage.read(folder / f"{row['name']}.values")[0]["log_p"] for row in rows}
    epochs = {row["epochs_done"] for row in rows}
    title = f"{rows[0]['data']}, {f'{epochs.pop()} epochs' if len(epochs) == 1 else 'stopped early'}"
    yield "histograms", plots.likelihood_histograms(values, title=f"Test log-likelihood: {title}")
    if "vampprior" in fits:
        inputs = fits["vampprior"].model.prior.pseudo_inputs()[:PSEUDO_INPUTS]
        if isinstance(inputs, Tensor):
            inputs = inputs.detach().numpy()
        words = f"learned pseudo-inputs: {title}"
        yield "pseudo-inputs", plots.pseudo_inputs(inputs, split.image_shape, columns=20, title=words)
    originals = split.test[:: max(1, len(split.test) // RECONSTRUCTED)][:RECONSTRUCTED]
    yield (
        "images",
        plots.reconstructions_and_generations(
            originals,
            {prior: fit.reconstruct(originals) for prior, fit in fits.items()},
            {prior: fit.generate(GENERATED) for prior, fit in fits.items()},
            split.image_shape,
            title=f"Reconstructions and generations: {title}",
        ),
    )


def draw_sweep(entries: Sequence[dict[str, Any]], into: Path) -> None:
    """log p(x) against the number of pseudo-inputs, ``sweep.png``, of a sweep's entries of the ledger."""
    swept = [entry for entry in entries if entry["prior"] == "vampprior"]
    if len(swept) < 2:
        return
    standard = [entry["log_p"] for entry in entries if entry["prior"] == "standard"]
    several = all(entry["log_p_sd"] is not None for entry in swept)
    figure = plots.pseudo_input_sweep(
        [entry["components"] for entry in swept],
        [entry["log_p"] for entry in swept],
        [entry["log_p_sd"] for entry in swept] if several else None,
        reference=standard[0] if standard else None,
        error_name="standard deviation over seeds",
        title=f"Test log-likelihood and the number of pseudo-inputs, {swept[0]['epochs']} epochs",
    )
    _save(figure, into / "sweep.png")


def _save(figure: Figure, path: Path) -> None:
    plots.save(figure, path, dpi=DPI)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(SHADES)
    small.save(path, optimize=True)

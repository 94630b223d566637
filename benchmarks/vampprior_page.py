"""The ledger to read: ``LEDGER.md``, and ``ledger.html``, one page with its figures inside."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vampprior_cells import PAPER, REPORT, SETTINGS, Cell
from vampprior_figures import CAPTIONS
from vampprior_ledger import CERTIFIED, CORRECTED, Entry, key_of, swept, usual
from vampprior_published import PUBLISHED, SOURCES, Published

from ppl_vae.evaluation.studies import page
from ppl_vae.runtime import pages, storage

TABLE, PAGE, FIGURES = "LEDGER.md", "ledger.html", "figures"
REMARKS = {
    "freyfaces": "A discretised logistic with a scale for each pixel; split 1565/200/200. Target: 4.6 bits/dim.",
    "caltech101_silhouettes": "1 is the object, as in the code of Tomczak and Welling; split 1.",
    "static_mnist": "The binarisation of Larochelle and Murray.",
    "dynamic_mnist": "Training images are drawn afresh in each epoch, test images once.",
    "fashion_mnist": "Training images are drawn afresh in each epoch, test images once.",
    "fashion_mnist-grey": "Grey levels under a Bernoulli likelihood count as expected values: a cross-entropy.",
}


@dataclass(frozen=True)
class Section:
    """A part of the rendered ledger."""

    title: str
    notes: Sequence[str]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Sequence[tuple[Path, str]] = ()


HEADINGS = {
    "prior": "prior",
    "log_p": "log p(x)",
    CERTIFIED: "certified, of some",
    CORRECTED: "corrected, of all",
    "bits_per_dim": "bits/dim",
    "from_standard": "beside standard",
    "elbo": "ELBO",
    "active_units": "active units",
    "seeds": "seeds",
    "epochs": "epochs",
    "steps": "steps",
    "seconds": "seconds",
    "seconds_per_epoch": "s / epoch",
    "published": "published log p(x)",
}
TITLES = {
    "freyfaces": "Frey Faces, 256 levels",
    "caltech101_silhouettes": "Caltech 101 Silhouettes",
    "static_mnist": "static MNIST",
    "dynamic_mnist": "dynamic MNIST",
    "fashion_mnist": "Fashion-MNIST, dynamically binarised",
    "fashion_mnist-grey": "Fashion-MNIST, grey levels",
}
SETTING_WORDS = {
    "plain": "our plain setting",
    "report": "the setting of the VampPrior report",
    "early-stopping": "our plain setting, stopped early",
    "paper": "after Tomczak and Welling, 2018",
    "smoke": "a smoke test, whose numbers mean nothing",
}

SETTING_REMARKS = {
    "paper": (
        "Theirs are gated layers, a warm-up over 100 epochs, a look-ahead of 50 and Adam at 5e-4; not theirs: "
        "pseudo-inputs start at the data mean or at images, a scale is a softplus, gradients are not normalised, "
        "pseudo-inputs not clipped. On Caltech the length of the warm-up decides: README.md has what is known.",
    ),
}


def sections(entries: Sequence[Entry], figures: Path) -> Iterator[Section]:
    """A section for each data set under each setting, one for the sweep, one for where the numbers come from."""
    shown = [entry for entry in entries if usual(entry)]
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in shown:
        groups.setdefault((entry["setting"], entry["data"], entry["backend"]), []).append(entry)
    for (setting, data, backend), group in groups.items():
        title = f"{TITLES[data]}: {SETTING_WORDS[setting]}, {backend}"
        rare = [n for n in ("bits_per_dim", CERTIFIED, CORRECTED) if not any(n in entry for entry in group)]
        columns = [name for name in HEADINGS if name not in rare]
        rows = [[_cell(entry, name, group) for name in columns] for entry in group]
        drawn = _drawn(figures, f"{data}-{setting}-{backend}-")
        yield Section(title, _notes(group), [HEADINGS[name] for name in columns], rows, drawn)
    sweep = swept(entries)
    if sweep:
        columns = ["prior", "log_p", "elbo", "active_units", "seeds", "epochs", "seconds_per_epoch"]
        rows = [[_cell(entry, name, sweep) for name in columns] for entry in sweep]
        notes = [
            "The report found the best at around 500 (100 epochs); a pass over K pseudo-inputs costs as K does.",
            "Seconds are of a machine with other work on it; the benchmarks have steps side by side.",
        ]
        head = [HEADINGS[name] for name in columns]
        yield Section("The number of pseudo-inputs, static MNIST", notes, head, rows, _drawn(figures))
    yield _not_run(entries)
    every = {key_of(entry): entry for entry in (*shown, *sweep)}
    yield _provenance(list(every.values()))


def _not_run(entries: Sequence[Entry]) -> Section:
    """The cells with a published number at the setting of its source, of which the ledger has no run."""
    done = {(entry["setting"], entry["data"], entry["prior"]) for entry in entries}
    rows = []
    for (setting, data, prior), numbers in PUBLISHED.items():
        if setting not in (REPORT.name, PAPER.name) or (setting, data, prior) in done:
            continue
        cell = Cell(data, prior, 0, "numpyro", SETTINGS[setting])
        rows.append([TITLES[data], prior, "; ".join(map(str, numbers)), "not run", cell.command([0, 1, 2])])
    note = "At the settings of their sources, as far as ours has them. Other settings of these cells stand above."
    return Section("Cells that were not run", [note], ["data", "prior", "published", "here", "command"], rows)


def _drawn(figures: Path, name: str = "") -> list[tuple[Path, str]]:
    """The figures whose files are there, with their captions."""
    found = [(figures / f"{name}{kind}.png", caption) for kind, caption in CAPTIONS.items()]
    return [(path, caption) for path, caption in found if path.exists()]


def _notes(group: Sequence[Entry]) -> list[str]:
    runs = [run for entry in group for run in entry["runs"]]
    draws = sorted({run["num_particles"] for run in runs})
    images = {json.dumps(run["images"]): run["images"] for run in runs}
    sizes = "; ".join(f"{n['train']:,} training and {n['test']:,} test images" for n in images.values())
    trained = "; ".join(sorted({run["trained_on"] for run in runs}))
    rule = runs[0]["binarisation"]
    return [
        f"{sizes}; trained on {trained}. Binarisation {rule!r}, likelihood {runs[0]['likelihood']}.",
        f"log p(x) by importance sampling, {' or '.join(map(str, draws))} draws; its standard error over test images "
        f"is {max(run['test_error'] for run in runs):.2f} nats, from the draws {max(r['mc_error'] for r in runs):.3f}.",
        REMARKS[group[0]["data"]],
        *SETTING_REMARKS.get(group[0]["setting"], ()),
    ]


def _cell(entry: Entry, name: str, group: Sequence[Entry]) -> str:
    """One cell of a table, as text."""
    if name == "prior":
        parts = [entry["prior"], *([str(entry["components"])] if entry["components"] else [])]
        start = f", start: {entry['start']}" if entry["start"] else ""
        other = entry["warm_up"] != SETTINGS[entry["setting"]].warm_up
        return " ".join(parts) + start + other * f", warm-up: {entry['warm_up']}"
    if name == "seeds":
        return ", ".join(map(str, entry["seeds"]))
    if name == "epochs":
        done = sorted({run["epochs_done"] for run in entry["runs"]})
        return str(entry["epochs"]) if done == [entry["epochs"]] else f"{', '.join(map(str, done))}"
    if name == "steps":
        batch = SETTINGS[entry["setting"]].batch_size
        done = sorted({run["epochs_done"] * -(-run["images"]["train"] // batch) for run in entry["runs"]})
        return ", ".join(f"{steps:,}" for steps in done)
    if name == CERTIFIED and name in entry:
        return f"{_told(entry, name)}; {_certificates(entry['runs'])}"
    if name == CORRECTED and name in entry:
        return f"{_told(entry, name)}; {_errors(entry['runs'])}"
    if name == "published":
        return "; ".join(str(_published(number)) for number in entry["published"])
    if name == "from_standard":
        return _from_standard(entry, group)
    return _told(entry, name) if name in entry else ""


def _told(entry: Entry, name: str) -> str:
    """A number, with its deviation over seeds where there are several."""
    spread = entry[f"{name}_sd"]
    digits = {"bits_per_dim": 3, "active_units": 0 if spread is None else 1, "seconds": 0}.get(name, 2)
    return f"{entry[name]:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def _certificates(every: Sequence[Entry]) -> str:
    """What the certificates of the seeds say: whether they are settled, and their gaps on simulated data."""
    runs, some = _having(CERTIFIED, every)
    settled = sum(bool(run["settled"]) for run in runs)
    words = "settled" if settled == len(runs) else f"{settled} of {len(runs)} settled"
    gaps = " / ".join(f"{round(run['simulated_gap'], 2) + 0.0:.2f}" for run in runs)
    return f"{some}{words}, gap {gaps}"


def _errors(every: Sequence[Entry]) -> str:
    """The standard errors of the corrected numbers of the seeds, from which images were certified."""
    runs, some = _having(CORRECTED, every)
    errors = [f"{run['corrected_error']:.2f}" for run in runs]
    return f"{some}error{'s' * (len(errors) > 1)} {' / '.join(errors)}"


def _having(number: str, every: Sequence[Entry]) -> tuple[list[Entry], str]:
    """The runs that have a number, and words that say which where not all do."""
    runs = [run for run in every if number in run]
    some = f"seed{'s' * (len(runs) > 1)} {', '.join(str(run['seed']) for run in runs)}: "
    return runs, some * (len(runs) < len(every))


def _published(number: dict[str, Any]) -> Published:
    return Published(**{name: value for name, value in number.items() if name != "reference"})


def _from_standard(entry: Entry, group: Sequence[Entry]) -> str:
    """log p(x) minus that of the standard prior on the seeds that both have; at the same epochs and warm-up only.

    Of the corrected or else the certified numbers, where every seed has them; where one of these is not settled, the
    two are not ranked.
    """
    same = [e for e in group if all(e[name] == entry[name] for name in ("epochs", "warm_up"))]
    others = [e for e in same if e["prior"] == "standard"]
    if entry["prior"] == "standard" or not others:
        return ""
    runs = [run for e in (entry, others[0]) for run in e["runs"]]
    if any(run.get("settled") == 0 for run in runs):
        return "not ranked"
    number = next((n for n in (CORRECTED, CERTIFIED) if all(n in run for run in runs)), "log_p")
    theirs = {run["seed"]: run[number] for run in others[0]["runs"]}
    differences = [run[number] - theirs[run["seed"]] for run in entry["runs"] if run["seed"] in theirs]
    if not differences:
        return ""
    spread = f" ± {statistics.stdev(differences):.2f}" if len(differences) > 1 else ""
    return f"{math.fsum(differences) / len(differences):+.2f}{spread}"


def _provenance(entries: Sequence[Entry]) -> Section:
    rows = []
    for entry in entries:
        runs = entry["runs"]

        def distinct(name: str, runs: Sequence[Entry] = runs) -> str:
            return ", ".join(dict.fromkeys(str(run[name]) for run in runs))

        commits = ", ".join(dict.fromkeys(_short(run["commit"]) for run in runs))
        rows.append([commits, distinct("hardware"), distinct("date"), entry["command"]])
    versions = {json.dumps(run["versions"]): run["versions"] for entry in entries for run in entry["runs"]}
    notes = ["; ".join(", ".join(f"{name} {version}" for name, version in v.items()) for v in versions.values())]
    sources = (f"'{name}' is {reference}" for name, reference in SOURCES.items())
    notes += [f"Published: {'; '.join(sources)}."]
    return Section("Where the numbers come from", notes, ["commit", "hardware", "date", "command"], rows)


def _short(commit: str) -> str:
    """Twelve digits of a commit, and whether files differed from it."""
    head, plus, dirty = commit.partition("+")
    return f"{head[:12]}{plus}{dirty}"


ABOUT = (
    "Mean ± standard deviation over seeds, in nats per test image; higher is better. Without a ±, one seed; "
    "ledger.json has every run by itself. The plain setting has the nets of the VampPrior report, but Adam at 5e-4, "
    "a KL warm-up over 20 epochs and pseudo-inputs that start at training images; the report's numbers stand beside "
    "it for orientation. 'beside standard' is log p(x) minus that of the standard prior, seed by seed, at the same "
    "number of epochs and warm-up; 'certified' is the best of three lower bounds on some of the test images, "
    "the same in every row of a seed; it stands beside others of its column, and not beside log p(x) of all images; "
    "each seed has its own images, so that its ± is mostly theirs, and that of 'beside standard' is not; "
    "its 'gap' is how far it is below an upper bound on simulated images, seed by seed. "
    "'corrected', where a table has it, is log p(x) of all test images plus what it misses of the certified ones, "
    "on average over these; "
    "its 'error' is the standard error of that, from which images were certified. "
    "Where it is not settled, nothing is ranked by it. A gap of 0.5 nats is within the noise between independent "
    "implementations. A commit with '+dirty' had changes that were not committed."
)
TITLE = "Ledger of the VampPrior table"


def markdown(parts: Iterable[Section], folder: Path) -> str:
    """The ledger as Markdown, with figures by paths relative to ``folder``."""
    lines = [f"# {TITLE}", "", "Written by `python benchmarks/vampprior_table.py --ledger`.", "", ABOUT]
    for part in parts:
        lines += ["", f"## {part.title}", "", *(line for note in part.notes for line in (note, ""))]
        lines += [_md_row(part.head), _md_row(["---"] * len(part.head)), *map(_md_row, part.rows)]
        for path, caption in part.figures:
            lines += ["", f"![{caption}]({path.relative_to(folder).as_posix()})"]
    return "\n".join(lines) + "\n"


def _md_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def web_page(parts: Iterable[Section]) -> str:
    """The ledger as one HTML page with its figures inside."""
    told = [
        {
            "title": part.title,
            "notes": part.notes,
            "head": [(kind, text, "") for kind, text in _kinds(part.head)],
            "rows": [(False, [(kind, text, "") for kind, text in _kinds(row)]) for row in part.rows],
            "figures": [page.figure(path, caption) for path, caption in part.figures],
        }
        for part in parts
    ]
    folders = [Path(__file__).parent, page.TEMPLATES]
    return pages.page("vampprior_page.html", folders, title=TITLE, about=ABOUT, parts=told)


def _kinds(texts: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(("left", *([""] * (len(texts) - 2)), "long"), texts, strict=True)


def render(folder: Path, entries: Sequence[Entry]) -> None:
    """``LEDGER.md`` and ``ledger.html``, with the figures that stand in ``figures`` beside them."""
    parts = list(sections(entries, folder / FIGURES))
    storage.write_atomically(folder / TABLE, markdown(parts, folder).encode())
    storage.write_atomically(folder / PAGE, web_page(parts).encode())

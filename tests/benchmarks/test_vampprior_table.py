"""The VampPrior table loses nothing when it is killed, and its ledger holds what the cells say."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shlex
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ppl_vae import data, recipes
from ppl_vae.runtime import storage

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MEASURED = ("seconds", "seconds_per_step", "seconds_per_epoch", "peak_memory", "date")
IMAGES = (np.random.default_rng(0).integers(0, 2, (260, 6, 5)) * 255).astype(np.uint8)
QUICK = ["--smoke", "--backend", "pyro", "--num-particles", "4"]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, over a few random images in the place of every data set, with a checkpoint after each epoch."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    cells = importlib.import_module("vampprior_cells")
    monkeypatch.setattr(cells, "STEPS_BETWEEN_CHECKPOINTS", 1)
    monkeypatch.setattr(cells.DataSet, "load", images)
    return importlib.import_module("vampprior_table")


def images(of: object) -> data.Split:
    rule = getattr(of, "binarisation")  # noqa: B009
    return data.from_arrays(IMAGES[:160], IMAGES[160:220], IMAGES[220:], binarisation=rule, scale=255.0)


def rows(folder: Path) -> dict[str, dict]:
    """Name -> row, without how long it took."""
    read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    return {name: {k: v for k, v in row.items() if k not in MEASURED} for name, row in read.items()}


@pytest.mark.slow
def test_a_cell_of_every_data_set_and_prior(table: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Each is done once, says one line, and is not done again."""
    command = [*QUICK, "--out", str(tmp_path), "--epochs", "1"]
    assert table.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    found = rows(tmp_path)
    names = importlib.import_module("vampprior_cells").DATA
    assert len(lines) == len(found) == len(names) * len(recipes.REPORT_PRIORS)
    assert [(line.split(", ")[0].split()[-1], line.split(", ")[1].split()[0]) for line in lines] == [
        (name, prior) for name in names for prior in recipes.REPORT_PRIORS
    ]
    assert "left, about" in lines[0] and "left" not in lines[-1]
    for row in found.values():
        assert row["log_p"] > row["elbo"] and ("bits_per_dim" in row) == (row["data"] == "freyfaces")
        assert row["images"]["train"] == 200 and row["trained_on"] == "train and validation images"
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert table.main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    assert all("(was done)" in line for line in capsys.readouterr().out.splitlines())


class Killed(BaseException):
    """What no handler catches."""


@pytest.mark.parametrize("landed", [False, True], ids=["before the file is there", "just after"])
def test_a_table_that_is_killed_at_any_write_ends_with_the_same_row(
    table: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    command = [*QUICK, "--data", "static_mnist", "--priors", "vampprior", "--epochs", "3"]
    assert table.main([*command, "--out", str(tmp_path / "whole")]) == 0
    write, writes = storage.write_atomically, 0

    def killed_at(number: int) -> Callable[[Path, bytes], None]:
        def killing(path: Path, content: bytes) -> None:
            nonlocal writes
            writes += 1
            if writes != number or landed:
                write(path, content)
            if writes == number:
                raise Killed

        return killing

    number = 0
    while True:
        number, writes, out = number + 1, 0, tmp_path / str(number)
        monkeypatch.setattr(storage, "write_atomically", killed_at(number))
        try:
            table.main([*command, "--out", str(out)])
        except Killed:
            monkeypatch.setattr(storage, "write_atomically", write)
            assert table.main([*command, "--out", str(out)]) == 0
            assert rows(out) == rows(tmp_path / "whole")
        else:
            break
    assert number - 1 == 6  # three checkpoints, the fit, the values and the row


def test_more_epochs_go_on_from_fewer(table: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """And end where a training without a stop ends; the shorter one stays."""
    command = [*QUICK, "--data", "fashion_mnist", "--priors", "standard"]
    for epochs in ("2", "4"):
        assert table.main([*command, "--epochs", epochs, "--out", str(tmp_path / "twice")]) == 0
    assert table.main([*command, "--epochs", "4", "--out", str(tmp_path / "once")]) == 0
    twice, once = rows(tmp_path / "twice"), rows(tmp_path / "once")
    assert len(twice) == 2 and once.items() <= twice.items()
    both = [storage.read(next((tmp_path / n).glob("*4epochs.checkpoint")))[1]["history"] for n in ("twice", "once")]
    shorter = storage.read(next((tmp_path / "twice").glob("*2epochs.checkpoint")))[1]["history"]
    assert both[0]["loss"] == both[1]["loss"] and both[0]["seconds"][:2] == shorter["seconds"] != both[1]["seconds"][:2]


def test_more_draws_are_drawn_without_training_again(table: ModuleType, tmp_path: Path) -> None:
    command = [*QUICK, "--data", "static_mnist", "--priors", "standard", "--epochs", "2", "--out", str(tmp_path)]
    assert table.main(command) == 0
    (checkpoint,) = tmp_path.glob("*.checkpoint")
    (before,), written = rows(tmp_path).values(), checkpoint.stat().st_mtime_ns
    assert table.main([*command, "--num-particles", "400"]) == 0
    (after,) = rows(tmp_path).values()
    assert checkpoint.stat().st_mtime_ns == written and after["train_elbo"] == before["train_elbo"]
    assert after["num_particles"] == 400 and after["log_p"] > before["log_p"]


def test_a_data_set_that_is_not_there_leaves_the_others(
    table: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """It is named with the reason, once; so is a cell that fails, and the exit status tells."""
    cells = importlib.import_module("vampprior_cells")

    def load(of: object) -> data.Split:
        if of is cells.DATA["freyfaces"]:
            raise FileNotFoundError("no freyfaces.npz: set PPL_VAE_DATA")
        return images(of)

    monkeypatch.setattr(cells.DataSet, "load", load)
    command = [*QUICK, "--priors", "standard", "vampprior", "--epochs", "1", "--out", str(tmp_path)]
    assert table.main([*command, "--data", "freyfaces", "static_mnist"]) == 1
    said = capsys.readouterr()
    assert said.err == "freyfaces is left out: no freyfaces.npz: set PPL_VAE_DATA\n" and len(said.out.splitlines()) == 2
    (tmp_path / next(iter(rows(tmp_path)))).with_suffix(".json").write_text("{", encoding="utf-8")
    assert table.main([*command, "--data", "static_mnist"]) == 1
    said = capsys.readouterr()
    assert "is damaged" in said.err and len(said.out.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--smoke", "--paper"], "not allowed with"),
        (["--sweep", "5", "--data", "freyfaces"], "leave out --data"),
        (["--smoke", "--ledger"], "another folder"),
        (["--epochs", "0"], "at least 1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    table: ModuleType, options: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        table.main(options)
    assert message in capsys.readouterr().err


def test_the_ledger_holds_the_rows_and_is_rendered(table: ModuleType, tmp_path: Path) -> None:
    """Means and deviations over seeds, the sweep, every figure; the same again when it is written again."""
    out, ledger = tmp_path / "cells", tmp_path / "ledger"
    priors = ["--priors", "standard", "vampprior", "--data", "static_mnist", "--seeds", "0", "1"]
    assert table.main([*QUICK, "--out", str(out), "--epochs", "2", *priors]) == 0
    assert table.main([*QUICK, "--out", str(out), "--epochs", "2", "--sweep", "3", "10"]) == 0
    command = [*QUICK, "--out", str(out), "--ledger", str(ledger)]
    assert table.main(command) == 0
    entries = json.loads((ledger / "ledger.json").read_text(encoding="utf-8"))["entries"]
    assert [(e["prior"], e["components"], e["seeds"]) for e in entries] == [
        ("standard", None, [0, 1]),
        ("vampprior", 3, [0]),
        ("vampprior", 10, [0, 1]),
    ]
    values = [row["log_p"] for row in rows(out).values() if row["prior"] == "standard"]
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    assert entries[0]["log_p"] == pytest.approx(mean) and entries[0]["log_p_sd"] == pytest.approx(deviation)
    text = (ledger / "LEDGER.md").read_text(encoding="utf-8")
    assert f"| {mean:.2f} ± {deviation:.2f} |" in text
    figures = sorted((ledger / "figures").iterdir())
    kinds = ("histograms", "images", "pseudo-inputs")
    names = [f"static_mnist-smoke-pyro-{kind}" for kind in kinds]
    assert [path.stem for path in figures] == [*names, "sweep"]
    assert all(path.stat().st_size < 150_000 and f"(figures/{path.name})" in text for path in figures)
    html = (ledger / "ledger.html").read_text(encoding="utf-8")
    assert html.count("data:image/png") == len(figures) and f"{mean:.2f} ± {deviation:.2f}" in html
    assert 'src="http' not in html and "<script" not in html
    before = {path: path.read_bytes() for path in ledger.iterdir() if path.is_file()}
    assert table.main(command) == 0
    assert {path: path.read_bytes() for path in ledger.iterdir() if path.is_file()} == before


@pytest.fixture
def ledger(table: ModuleType) -> ModuleType:
    return importlib.import_module("vampprior_ledger")


def row(seed: int, log_p: float, epochs: int = 10, **key: object) -> dict:
    about = {"data": "static_mnist", "prior": "standard", "components": None, "start": None}
    about |= {"setting": "plain", "warm_up": 20}
    numbers = {
        "num_particles": 500,
        "log_p": log_p,
        "elbo": log_p - 5,
        "active_units": 20,
        "seconds": 1.0,
        "seconds_per_epoch": 0.1,
    }
    return {**about, "backend": "numpyro", "epochs": epochs, "seed": seed, **numbers, **key}


def test_rows_are_merged_by_key_and_seed(ledger: ModuleType) -> None:
    """A seed's newer run replaces its older one; other seeds, epochs and priors stand beside; nothing else is lost."""
    entries = ledger.merged([], [row(0, -90.0), row(1, -92.0), row(0, -88.0, epochs=20)])
    assert [(e["epochs"], e["log_p"], e["seeds"]) for e in entries] == [(10, -91.0, [0, 1]), (20, -88.0, [0])]
    entries = ledger.merged(entries, [row(1, -94.0), row(2, -95.0), row(0, -87.0, prior="mixture", components=500)])
    assert [(e["prior"], e["epochs"], e["log_p"]) for e in entries] == [
        ("standard", 10, -93.0),
        ("mixture", 10, -87.0),
        ("standard", 20, -88.0),
    ]
    assert ledger.merged(entries, []) == json.loads(json.dumps(entries)) == entries


def test_an_entrys_command_makes_its_cells(table: ModuleType, ledger: ModuleType) -> None:
    learned = {"prior": "vampprior", "components": 500, "start": "random"}
    several = [
        [row(0, -1.0), row(3, -1.0)],
        [row(1, -1.0, backend="pyro", **learned)],
        [row(0, -1.0, data="freyfaces", **{**learned, "start": "means"})],
        [row(0, -1.0, **{**learned, "components": 250})],
        [row(0, -1.0, data="fashion_mnist-grey", setting="paper", warm_up=100, **{**learned, "start": "mean"})],
        [row(0, -1.0, num_particles=5000)],
        [row(0, -1.0, certify=20)],
        [row(0, -1.0, setting="early-stopping")],
        [row(0, -1.0, setting="report", epochs=1000, warm_up=0, **{**learned, "start": "means"})],
        [row(0, -1.0, setting="paper", warm_up=40, num_particles=500, **learned)],
        [row(0, -1.0, setting="paper", warm_up=0)],
        [row(0, -1.0, data="dynamic_mnist", prior="flow"), row(1, -1.0, data="dynamic_mnist", prior="flow")],
        [row(0, -1.0, prior="two-levels")],
        [row(0, -1.0, **{**learned, "prior": "two-levels+vampprior"})],
    ]
    for made in several:
        (entry,) = ledger.merged([], made)
        words = shlex.split(entry["command"])
        assert words[:2] == ["python", "benchmarks/vampprior_table.py"]
        cells = [cell for cell in table.chosen(table.arguments(words[2:])) if cell.prior == entry["prior"]]
        assert [cell.seed for cell in cells] == entry["seeds"]
        assert all(tuple(cell.key.values()) == ledger.key_of(entry) for cell in cells)
        assert all(cell.setting.num_particles == made[0]["num_particles"] for cell in cells)
        assert all(cell.setting.certify == made[0].get("certify", 0) for cell in cells)


def test_priors_are_set_beside_each_other_by_certified_numbers(ledger: ModuleType, tmp_path: Path) -> None:
    """And not at all where one of them is not settled."""
    page = importlib.import_module("vampprior_page")
    certified = [
        {"certify": 9, "certified_log_p": n, "settled": s, "simulated_gap": 0.04}
        for n, s in ((-89.0, 1.0), (-85.0, 1.0), (-84, 0.0))
    ]
    learned = {"components": 500, "start": "random"}
    kept = json.loads((BENCHMARKS / "ledger.json").read_text(encoding="utf-8"))["entries"][0]["runs"][0]
    told = {name: kept[name] for name in kept.keys() - row(0, 0.0).keys() - {"num_particles"}}
    rows = [row(0, -90.0, **told, **certified[0])]
    rows.append(row(0, -91.0, prior="vampprior", **told, **learned, **certified[1]))
    (section, *_) = page.sections(ledger.merged([], rows), tmp_path)
    place, beside = (section.head.index(page.HEADINGS[n]) for n in ("certified_log_p", "from_standard"))
    assert [r[place] for r in section.rows] == [f"{n}; settled, gap 0.04" for n in ("-89.00", "-85.00")]
    assert section.rows[1][beside] == "+4.00"
    assert section.rows[0][section.head.index("steps")] == "18,000"  # 1,765 images in batches of 100, 1,000 epochs
    rows[1] |= certified[2]
    (section, *_) = page.sections(ledger.merged([], rows), tmp_path)
    assert section.rows[1][place] == "-84.00; 0 of 1 settled, gap 0.04"
    assert section.rows[1][beside] == "not ranked"
    (section, *_) = page.sections(ledger.merged([], [row(0, -90.0, **told), rows[0] | {"seed": 1}]), tmp_path)
    assert section.rows[0][section.head.index("log p(x)")] == "-90.00 ± 0.00"
    assert section.rows[0][place] == "-89.00; seed 1: settled, gap 0.04"
    (section, *_) = page.sections(ledger.merged([], [row(0, -90.0, **told)]), tmp_path)
    assert not {page.HEADINGS[n] for n in ("certified_log_p", "corrected_log_p")} & set(section.head)


def test_corrected_numbers_stand_beside_each_other_where_all_have_them(ledger: ModuleType, tmp_path: Path) -> None:
    """Before the certified ones: they are of all test images, whichever were certified."""
    page = importlib.import_module("vampprior_page")
    kept = json.loads((BENCHMARKS / "ledger.json").read_text(encoding="utf-8"))["entries"][0]["runs"][0]
    told = {name: kept[name] for name in kept.keys() - row(0, 0.0).keys() - {"num_particles"}}
    told |= {"certify": 9, "certified_log_p": -80.0, "settled": 1.0, "simulated_gap": 0.0}
    corrected = [{"corrected_log_p": n, "corrected_error": 0.2} for n in (-89.0, -87.5, -91.0)]
    vampprior = {"prior": "vampprior", "components": 500, "start": "random"}
    rows = [row(0, -90.0, **told, **corrected[0]), row(0, -91.0, **told, **vampprior, **corrected[1])]
    (section, *_) = page.sections(ledger.merged([], rows), tmp_path)
    place, beside = (section.head.index(page.HEADINGS[n]) for n in ("corrected_log_p", "from_standard"))
    assert [r[place] for r in section.rows] == ["-89.00; error 0.20", "-87.50; error 0.20"]
    assert section.rows[1][beside] == "+1.50"
    (section, *_) = page.sections(ledger.merged([], [*rows, row(1, -92.0, **told)]), tmp_path)
    assert section.rows[0][place] == "-89.00; seed 0: error 0.20" and section.rows[1][beside] == "+0.00"
    (section, *_) = page.sections(ledger.merged([], [*rows, row(1, -92.0, **told, **corrected[2])]), tmp_path)
    assert section.rows[0][place] == "-90.00 ± 1.41; errors 0.20 / 0.20"


def test_the_published_numbers_are_those_of_the_sources(ledger: ModuleType) -> None:
    """Each stands beside its own cell only, with a mark where the convention is not stated."""
    published = importlib.import_module("vampprior_published")
    report = {
        "static_mnist": (-93.08, None, -88.72, -90.85),
        "fashion_mnist": (-235.32, None, -231.94, -232.79),
        "fashion_mnist-grey": (-235.32, None, -231.94, -232.79),
        "freyfaces": (-2281.16, None, -2257.76, -2286.52),
        "caltech101_silhouettes": (-137.32, None, -135.15, -142.02),
    }
    for name, values in report.items():
        for prior, value in zip(recipes.REPORT_PRIORS, values, strict=True):
            (first,) = published.PUBLISHED.get(("report", name, prior), (None,))
            assert (first and first.value) == value
            assert first is None or (published.NOT_STATED in first.note) == (name != "static_mnist")
    (entry,) = ledger.merged([], [row(0, -1.0, prior="vampprior", components=500, start="random")])
    assert [number["value"] for number in entry["published"]] == [-88.72, -87.13, -85.57]
    (entry,) = ledger.merged([], [row(0, -1.0, prior="vampprior", components=250, start="random")])
    assert entry["published"] == []


@pytest.mark.parametrize("prior", ["flow", "two-levels", "two-levels+vampprior"])
def test_priors_beyond_the_reports_are_trained_and_drawn(table: ModuleType, tmp_path: Path, prior: str) -> None:
    """A flow and two levels are cells as the report's are; a VampPrior of two levels starts where that of one does."""
    out, ledger = tmp_path / "cells", tmp_path / "ledger"
    command = [*QUICK, "--data", "static_mnist", "--priors", prior, "--epochs", "1", "--out", str(out)]
    assert table.main(command) == 0
    (found,) = rows(out).values()
    learned = prior == "two-levels+vampprior"
    assert (found["prior"], found["components"], found["start"]) == (
        prior,
        *((10, "random") if learned else (None,) * 2),
    )
    assert found["log_p"] > found["elbo"]
    assert table.main([*QUICK, "--out", str(out), "--ledger", str(ledger)]) == 0
    assert f"| {prior}{' 10, start: random' * learned} | " in (ledger / "LEDGER.md").read_text(encoding="utf-8")
    assert (ledger / "figures" / "static_mnist-smoke-pyro-images.png").exists()


def test_published_cells_without_a_run_are_named_with_their_command(ledger: ModuleType, tmp_path: Path) -> None:
    """And are named no more when they have one."""
    page, published = (importlib.import_module(name) for name in ("vampprior_page", "vampprior_published"))

    def missing(entries: list[dict]) -> dict[str, list[str]]:
        (part,) = [part for part in page.sections(entries, tmp_path) if part.title == "Cells that were not run"]
        return {cells[-1]: cells for cells in part.rows}

    kept = json.loads((BENCHMARKS / "ledger.json").read_text(encoding="utf-8"))["entries"][0]["runs"][0]
    told = {name: kept[name] for name in kept.keys() - row(0, 0.0).keys() - {"num_particles"}}
    run = row(0, -83.0, setting="paper", prior="two-levels+vampprior", components=500, start="mean", **told)
    before, after = missing([]), missing(ledger.merged([], [run]))
    assert len(before) == sum(setting in ("paper", "report") for setting, *_ in published.PUBLISHED)
    (command,) = before.keys() - after.keys()
    assert command == (
        "python benchmarks/vampprior_table.py --data static_mnist --priors two-levels+vampprior "
        "--epochs 2000 --seeds 0 1 2 --paper"
    )
    assert before[command][2:4] == ["-83.19 (Tomczak and Welling; as commonly cited)", "not run"]


def test_the_reports_setting_is_what_its_text_says(table: ModuleType, tmp_path: Path) -> None:
    """Line by line; the plain setting differs from it in three of them, which are ours."""
    said = {
        "hidden": (300, 300),
        "latent_dim": 40,
        "gated": False,
        "num_pseudo_inputs": 500,
        "start": "means",
        "epochs": 1000,
        "warm_up": 0,
        "patience": None,
        "learning_rate": 1e-3,
        "batch_size": 100,
        "num_particles": 500,
        "certify": 0,
        "images": None,
    }
    report, plain = (dataclasses.asdict(table.setting(table.arguments(words))) for words in (["--report"], []))
    assert report == {"name": "report", **said}
    ours = {name: value for name, value in plain.items() if value != report[name]}
    assert ours == {"name": "plain", "start": "random", "warm_up": 20, "learning_rate": 5e-4}
    (cell,) = table.chosen(table.arguments(["--report", "--data", "static_mnist", "--priors", "vampprior"]))
    training = cell.training(cell.setting.split(importlib.import_module("vampprior_cells").DATA[cell.data]), tmp_path)
    assert training.svi.loss.beta == 1.0, "no warm-up"
    model, _ = training.recipe(np.random.default_rng(0))
    assert type(model.prior.inputs).__name__ == "Means"
    layers = (np.shape(layer.weight[...]) for layer in model.likelihood.net.layers)
    assert list(layers) == [(300, 40), (300, 300), (30, 300)]


def test_a_row_of_another_setting_is_not_done(table: ModuleType, tmp_path: Path) -> None:
    """The plain setting was once called the report's: its rows are neither taken for the report's, nor merged."""
    command = [*QUICK, "--data", "static_mnist", "--priors", "standard", "--epochs", "1", "--out", str(tmp_path)]
    assert table.main(command) == 0
    (name,) = rows(tmp_path)
    path, found = tmp_path / f"{name}.json", importlib.import_module("vampprior_ledger").found
    before = json.loads(path.read_text(encoding="utf-8"))
    for changed in ({**before, "learning_rate": 7.0}, {n: v for n, v in before.items() if n != "learning_rate"}):
        path.write_text(json.dumps(changed), encoding="utf-8")
        assert len(found(tmp_path, smoke=True)) == ("learning_rate" in changed)
        assert table.main(command) == 0
        again = json.loads(path.read_text(encoding="utf-8"))
        assert {n: v for n, v in again.items() if n not in MEASURED} == rows(tmp_path)[name]
        assert again["learning_rate"] == before["learning_rate"] and again["log_p"] == before["log_p"]


def test_another_warm_up_is_another_cell(table: ModuleType, ledger: ModuleType, tmp_path: Path) -> None:
    """Trained anew, in a row of its own, named in the ledger, and not set beside the standard prior of another one."""
    command = [*QUICK, "--data", "static_mnist", "--epochs", "2", "--out", str(tmp_path)]
    assert table.main([*command, "--priors", "standard", "vampprior"]) == 0
    assert table.main([*command, "--priors", "vampprior", "--warm-up", "2"]) == 0
    found = {(row["prior"], row["warm_up"]): row for row in rows(tmp_path).values()}
    assert len(found) == 3 and found["vampprior", 1]["objective"] != found["vampprior", 2]["objective"]
    page = importlib.import_module("vampprior_page")
    (part, *_) = page.sections(ledger.merged([], ledger.found(tmp_path, smoke=True)), tmp_path)
    cells = [dict(zip(part.head, row, strict=True)) for row in part.rows]
    learned = "vampprior 10, start: random"
    assert [cell["prior"] for cell in cells] == ["standard", learned, f"{learned}, warm-up: 2"]
    assert [bool(cell["beside standard"]) for cell in cells] == [False, True, False]


@pytest.mark.parametrize("fails", [False, True])
def test_cells_elsewhere_are_the_cells_here(
    table: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, fails: bool
) -> None:
    """Their commands run alone; what fails there is named and not done here, and what is done is not sent again."""
    sent = []

    class Elsewhere:
        def submit(self, run: Callable, words: list[str]) -> Future:
            future: Future = Future()
            sent.append(words)
            assert words[:2] == [sys.executable, str(BENCHMARKS / "vampprior_table.py")] and "--executor" not in words
            future.set_exception(RuntimeError("no memory")) if fails else future.set_result(table.main(words[2:]))
            return future

    monkeypatch.setattr(table.evaluation, "executor", {"there": Elsewhere()}.__getitem__)
    command = [*QUICK, "--data", "static_mnist", "--priors", "standard", "--epochs", "1"]
    assert table.main([*command, "--executor", "there", "--out", str(tmp_path / "there")]) == int(fails)
    assert len(sent) == 1
    if fails:
        assert "failed: no memory" in capsys.readouterr().err and not rows(tmp_path / "there")
        return
    assert table.main([*command, "--executor", "there", "--out", str(tmp_path / "there")]) == 0
    assert table.main([*command, "--out", str(tmp_path / "here")]) == 0
    assert len(sent) == 1 and rows(tmp_path / "there") == rows(tmp_path / "here")

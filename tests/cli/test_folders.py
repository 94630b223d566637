"""Nothing is lost between commands: a folder belongs to what made it, and everything else refuses it by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pairs import TINY, command, fit, interrupt_at, one_line, write_images

from ppl_vae import data, evaluation, recipes, strategies
from ppl_vae.cli.outputs import claim_comparison, claim_run
from ppl_vae.cli.readme import OF_A_RUN
from ppl_vae.evaluation.studies.report import WRITTEN
from ppl_vae.runtime import folders

EXAMPLE = "the work of examples/mine.py"
ROOT = Path(__file__).resolve().parents[2]


def study(folder: Path, images: Path, name: str = "elbo") -> evaluation.Study:
    x = np.load(images).reshape(40, -1)
    split = data.from_arrays(x, x[:5], x[5:10], binarisation="fixed")
    recipe = recipes.vae(split, latent_dim=2, hidden=(6,))
    cell = evaluation.Cell(name, "pyro", recipe, strategies.svi(name, "pyro", epochs=1, batch_size=16))
    return evaluation.Study(folder, split, [cell], num_particles=2, elbo_particles=2)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images")) / "images.npy"


@pytest.fixture(scope="module")
def made(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind, by its name."""
    place = tmp_path_factory.mktemp("made")
    made = {name: place / name for name in ("run", "comparison", "study", "example", "foreign", "begun")}
    assert command("fit", "--data", images, "--out", made["run"], *TINY, "--epochs", 1, "--quiet") == 0
    tiny = (*TINY, "--epochs", 1, "--num-particles", 2, "--quiet")
    assert command("compare", "--data", images, "--out", made["comparison"], "--strategies", "elbo", *tiny) == 0
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 0)
        assert command("fit", "--data", images, "--out", made["begun"], *TINY, "--quiet") == 130
    shutil.copytree(made["comparison"], made["study"], ignore=lambda *_: ["README.md", "config.toml"])
    folders.claim(made["example"], EXAMPLE)
    for name in ("table.csv", "metrics.json", "samples.png"):
        (made["example"] / name).write_text("mine")
    for name in {*OF_A_RUN, *WRITTEN} - {"fit.safetensors", "checkpoint.safetensors"}:
        (made["foreign"] / name).parent.mkdir(parents=True, exist_ok=True)
        (made["foreign"] / name).write_text("mine")
    (made["foreign"] / ".half.part").write_text("mine")
    return made


KINDS = ("run", "comparison", "study", "example", "foreign", "begun")
Command = Callable[[Path, Path, Path], int]
"""(the folder, images, a run) -> exit code."""


def called(work: Callable[[], object]) -> int:
    """2 where it refuses, as a command does; else 0."""
    try:
        work()
    except ValueError as error:
        assert "folder" in str(error) or "--out" in str(error)
        return 2
    return 0


TO_A_FOLDER: dict[str, Command] = {
    "fit": lambda out, images, run: command("fit", "--data", images, "--out", out, *TINY, "--epochs", 1),
    "resume": lambda out, images, run: command("fit", "--resume", "--data", images, "--out", out, *TINY, "--epochs", 1),
    "compare": lambda out, images, run: command(
        "compare", "--data", images, "--out", out, "--strategies", "iwae-2", *TINY, "--epochs", 1
    ),
    "study": lambda out, images, run: called(study(out, images, "iwae-2").run),
    "report": lambda out, images, run: called(lambda: evaluation.write_report(study(out.parent / "new", images), out)),
    "example": lambda out, images, run: called(lambda: folders.claim(out, EXAMPLE)),
}
OWN = {
    "fit": {"begun"},
    "resume": {"run", "begun"},
    "compare": {"comparison"},
    "study": {"study", "comparison", "foreign"},  # it writes below cells/ alone
    "report": {"study", "comparison"},  # of one's own study; files of an earlier report are replaced
    "example": {"example"},
}
"""Command -> the folders that are its own, or in which it overwrites nothing."""
READING = ("evaluate", "encode", "reconstruct", "sample", "traverse", "explore", "forecast", "metrics")
ENDINGS = {"metrics": ".json", "explore": ".html", "forecast": ".npz"}


def content(folder: Path) -> dict[str, bytes]:
    """Every file, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in TO_A_FOLDER for kind in KINDS if kind not in OWN[name]]
)
def test_a_folder_of_another_is_refused_and_stays_as_it_is(
    name: str, kind: str, made: dict[str, Path], images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(made[kind])
    assert TO_A_FOLDER[name](made[kind], images, made["run"]) == 2
    assert content(made[kind]) == before
    if name in ("fit", "resume", "compare"):
        assert "another --out" in one_line(capsys)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "run"])
@pytest.mark.parametrize("name", READING)
def test_what_reads_a_run_refuses_other_folders_and_writes_nothing(
    name: str, kind: str, made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(made[kind])
    out = () if name == "evaluate" else ("--out", tmp_path / f"o{ENDINGS.get(name, '.npy')}")
    assert command(name, made[kind], *out) == 2
    assert "fit" in one_line(capsys) and content(made[kind]) == before and not list(tmp_path.iterdir())


THEIRS = {
    "encode": ("images.npy",),
    "reconstruct": ("run/figures/training.png", "comparison/figures/log_likelihood.png", "images.npy"),
    "sample": ("run/figures/samples.png", "example/samples.png", "images.npy"),
    "traverse": ("study/figures/training.png", "images.npy"),
    "metrics": ("run/settings.json", "run/fit.json", "run/metrics.json", "comparison/results.json"),
}
"""Command that writes a file -> files of others, which it could write."""


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in THEIRS.items() for file in files])
def test_no_file_of_another_is_overwritten(
    name: str, file: str, made: dict[str, Path], images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = images if file == "images.npy" else made["run"].parent / file
    before = path.read_bytes() if path.exists() else None
    more = ("--factors", images) if name == "metrics" else ()
    assert command(name, made["run"], "--out", path, *more) == 2
    assert "would" in (said := one_line(capsys)) and "give another" in said
    assert (path.read_bytes() if path.exists() else None) == before


def test_the_remedy_works(made: dict[str, Path], images: Path, tmp_path: Path) -> None:
    """Another --out; and a command's own files are overwritten, those in its own run too."""
    fit(images, tmp_path / "another")
    run = shutil.copytree(made["run"], tmp_path / "run")
    for _ in range(2):
        assert command("encode", run, "--out", run / "z.npy", "--quiet") == 0
        assert command("sample", run, "--out", run / "grid.png", "--quiet") == 0
        assert command("fit", "--resume", "--out", run, "--epochs", 1, "--quiet") == 0


def test_a_begun_training_and_an_interrupted_comparison_go_on(
    made: dict[str, Path], images: Path, tmp_path: Path
) -> None:
    begun = shutil.copytree(made["begun"], tmp_path / "begun")
    assert command("fit", "--resume", "--out", begun, "--epochs", 1, "--quiet") == 0
    cells = tmp_path / "compared"
    shutil.copytree(made["comparison"] / "cells", cells / "cells")
    tiny = (*TINY, "--epochs", 1, "--num-particles", 2, "--quiet")
    assert command("compare", "--data", images, "--out", cells, "--strategies", "elbo", *tiny) == 0
    assert folders.owner(cells) == folders.COMPARISON


def test_a_report_replaces_no_table_that_is_not_its_own(images: Path, tmp_path: Path) -> None:
    own = study(tmp_path, images)
    own.run(progress=False)
    (tmp_path / "table.csv").write_text("mine")
    with pytest.raises(ValueError, match=r"holds table.csv, .* use another folder"):
        evaluation.write_report(own)
    assert (tmp_path / "table.csv").read_text() == "mine"


def test_a_training_that_was_killed_at_once_is_explained(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing but the files of a lock, and of a file that was being written."""
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").touch()
    (run / ".settings.json.abc.part").write_text("half")
    assert command("fit", "--resume", "--out", run) == 2
    assert "give its options again, --data first of all" in one_line(capsys)
    assert command("fit", "--resume", "--data", images, "--out", run, *TINY, "--epochs", 1, "--quiet") == 0


def test_examples_claim_their_folders() -> None:
    for path in (ROOT / "examples").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert ('"--out"' in text) == (f'"the work of examples/{path.name}"' in text), path.name


def test_an_example_goes_on_in_a_folder_from_before_there_were_marks(tmp_path: Path) -> None:
    (tmp_path / "cells.json").touch()
    with pytest.raises(ValueError, match=r"holds cells\.json"):
        folders.claim(tmp_path, EXAMPLE)
    folders.claim(tmp_path, EXAMPLE, earlier="cells.*")
    assert folders.owner(tmp_path) == EXAMPLE
    for refuse in (claim_run, claim_comparison):
        with pytest.raises(ValueError, match=r"is the work of examples/mine\.py, .*give another --out"):
            refuse(tmp_path)

"""What an error of the command line advises, followed: the next command then does its work."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import TINY, binary, fit, follow, refused, told, write_images

from ppl_vae import data, inference, recipes
from ppl_vae.cli.config import CONFIG
from ppl_vae.cli.runs import CHECKPOINT, FIT, SETTINGS
from ppl_vae.results import Fit


@dataclass(frozen=True)
class Place:
    """Where a test works: a new folder, and in it a finished run of two epochs on images.npy."""

    path: Path

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def images(self) -> Path:
        return self.path / "images.npy"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_images(tmp_path_factory.mktemp("made"))
    np.save(folder / "flat.npy", binary(shape=(12,)))
    np.save(folder / "larger.npy", binary(shape=(4, 4)))
    np.save(folder / "factors.npy", np.arange(80).reshape(40, 2) // (20, 4) % 3)
    np.save(folder / "single.npy", np.minimum(np.arange(80).reshape(40, 2), (50, 3)))
    np.savez(folder / "labelled.npz", images=binary(), labels=np.linspace(0, 1, 40))
    np.save(folder / "floats.npy", 255.0 * binary())
    np.save(folder / "grey.npy", 255 * binary())
    np.save(folder / "first.npy", np.tile(binary(shape=(1, 5, 5)), (1, 3, 1, 1)))
    fit(folder / "grey.npy", folder / "grey_run", "--epochs", 1)
    fit(folder / "first.npy", folder / "first_run", "--epochs", 1)
    fit(folder / "images.npy", folder / "run")
    fit(folder / "flat.npy", folder / "flat")
    return folder


@pytest.fixture
def at(made: Path, tmp_path: Path) -> Place:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    settings = json.loads((tmp_path / "run" / SETTINGS).read_text())
    settings["options"]["data"] = str(tmp_path / "images.npy")
    (tmp_path / "run" / SETTINGS).write_text(json.dumps(settings))
    return Place(tmp_path)


Way = Callable[[Place], Any]


def trains(*words: object, out: str | None = None, data: str | None = "images.npy", after: Way | None = None) -> Way:
    """A training, whose loss is what it ends in; ``after`` something else was done."""

    def train(at: Place) -> Any:
        if after is not None:
            after(at)
        folder = at.path / (out or f"new{len(list(at.path.iterdir()))}")
        named = ("--data", at.path / data) if data and "--resume" not in words else ()
        own = () if "--resume" in words else (*TINY, "--epochs", 1)
        told(
            "fit",
            *named,
            "--out",
            folder,
            *own,
            *(w.format(at=at.path) if isinstance(w, str) else w for w in words),
            "--quiet",
            "--no-figures",
        )
        return Fit.load(folder / FIT).history["loss"]

    return train


def runs(name: str, *words: object, out: str | None = None) -> Way:
    """Another command on the run; in its words {at} stands for the folder."""

    def work(at: Place) -> Any:
        own = (w.format(at=at.path) if isinstance(w, str) else w for w in words)
        printed = told(name, *own, *(("--out", at.path / out) if out else ()), "--quiet")
        return np.load(at.path / out) if out and out.endswith(".npy") else printed

    return work


def as_told(at: Place) -> Any:
    """Run the line of Python that the refusal of a table names, and train on the file that it writes."""
    np.savetxt(at.path / "t.tsv", binary(shape=(6,)), delimiter="\t", header="h")
    line = re.search(r"(np\.save\(.*\)), and give", refused("of another kind", lambda: trains(data="t.tsv")(at)))
    assert line is not None
    exec(line[1].replace("'t.npy'", repr(str(at.path / "t.npy"))), {"np": np})
    return trains(data="t.npy")(at)


def remove(*names: str) -> Way:
    return lambda at: [(at.run / name).unlink() for name in names]


def measure(*words: object) -> Way:
    return runs("metrics", "{at}/run", *words, "--data", "{at}/images.npy")


def evaluates(change: Callable[[np.ndarray], np.ndarray], run: str = "run") -> Way:
    """The evaluation of a run on other images."""

    def evaluate(at: Place) -> Any:
        np.save(at.path / "others.npy", change(binary()))
        return runs("evaluate", f"{{at}}/{run}", "--data", "{at}/others.npy", "--num-particles", 2)(at)

    return evaluate


def shifted(at: Place) -> None:
    """The images are others now."""
    np.save(at.images, binary(seed=3))


def configured(text: str, command: str = "fit", **options: Any) -> Way:
    def work(at: Place) -> Any:
        (at.path / "options.toml").write_text(text)
        return trains("--config", "{at}/options.toml", **options)(at)

    return work


MARKOV = ("--prior", "markov", "--posterior", "smoothing", "--net", "recurrent", "--recurrent-units", 4)


def masked_vowels() -> Fit:
    """A training on a few sequences with the mask of their lengths."""
    split = data.load("japanese_vowels").subset(train=6)
    mask = data.lengths_to_mask(split.labels["train"], split.image_shape)
    recipe = recipes.deep_markov(split, likelihood="normal", latent_dim=2, hidden=(4,), recurrent_units=4)
    return inference.SVI(epochs=1, batch_size=6).fit(*recipe(np.random.default_rng(0)), split.train, mask=mask)


VOWELS = ("--program", "hidden-markov", "--guide", "empty", "--likelihood", "normal", *TINY, "--epochs", 1)


def long_form(folder: Path) -> Path:
    """A table of thirty sequences of one to three steps."""
    lines = [f"{n},{t},{n % 5 - t}" for n in range(30) for t in range(1 + n % 3)]
    (folder / "long.csv").write_text("\n".join(["id,time,flow", *lines]))
    return folder / "long.csv"


def looked_at(folder: Path) -> None:
    """The commands that know where sequences end."""
    told("fit", "--data", long_form(folder), *VOWELS, "--out", folder / "long", "--no-figures", "--resume")
    told("evaluate", folder / "long", "--num-particles", 2)
    told("encode", folder / "long", "--out", folder / "z.npy")
    told("forecast", folder / "long", "--steps", 2, "--out", folder / "n.npz")


def the_help(lists: str, wrong: Callable[[], Any]) -> None:
    """Read the help that an error names."""
    words = refused("(see '{} --help')", wrong).split("(see 'ppl-vae ")[1].split("')")[0]
    assert lists in told(*words.split())


REMEDIES: dict[str, tuple[Way, ...]] = {
    "holds {} already: --resume to go on, or another --out": (
        trains(out="run"),
        trains("--resume", "--epochs", 3, out="run"),
        trains(),
    ),
    "leave {} out to go on, or give another --out": (
        trains("--resume", "--latent-dim", 3, out="run"),
        trains("--resume", "--epochs", 3, out="run"),
        trains("--latent-dim", 3),
    ),
    "to go on with: give another --out": (
        trains("--resume", out="run", after=remove(SETTINGS)),
        trains(),
    ),
    "to go on from: give another --out": (
        trains("--resume", out="run", after=remove(CHECKPOINT)),
        trains(),
    ),
    "epochs already: give --epochs of at least": (
        trains("--resume", "--epochs", 1, out="run"),
        trains("--resume", "--epochs", 2, out="run"),
        trains("--resume", "--epochs", 3, out="run"),
    ),
    "restore them, or fit into another --out": (
        trains("--resume", "--epochs", 3, out="run", after=shifted),
        trains(),
        trains("--resume", "--epochs", 3, out="run", after=lambda at: np.save(at.images, binary())),
    ),
    "pass --data {} to use them as they are now": (
        lambda at: (shifted(at), runs("evaluate", "{at}/run", "--num-particles", 2)(at)),
        runs("evaluate", "{at}/run", "--num-particles", 2, "--data", "{at}/images.npy"),
    ),
    "give such, --factors FILE.npy": (
        runs("metrics", "{at}/run", "--data", "{at}/labelled.npz", "--metrics", "sap"),
        measure("--factors", "{at}/factors.npy", "--metrics", "sap"),
    ),
    "has no labels: give the factors of its images, --factors FILE.npy": (
        measure("--metrics", "sap"),
        measure("--factors", "{at}/factors.npy", "--metrics", "sap"),
    ),
    "Choose others with --metrics, of": (
        measure("--factors", "{at}/single.npy"),
        measure("--factors", "{at}/single.npy", "--metrics", "sap", "mig_binned"),
    ),
    "--image and --prior are two starts: give one of them": (
        runs("traverse", "{at}/run", "--image", 0, "--prior", out="t.npy"),
        runs("traverse", "{at}/run", "--image", 0, out="t.npy"),
        runs("traverse", "{at}/run", "--prior", out="t.npy"),
    ),
    "has no option {}{}; see its --help": (
        configured("ephocs = 1"),
        runs("fit", "--help"),
        configured("epochs = 1"),
    ),
    "stands there twice, with a dash and with an underscore: keep one": (
        configured("batch-size = 16\nbatch_size = 16"),
        configured("batch-size = 16"),
        configured("batch_size = 16"),
    ),
    "give data like those of the fit, or fit on these": (
        runs("evaluate", "{at}/run", "--data", "{at}/larger.npy", "--num-particles", 2),
        runs("evaluate", "{at}/run", "--data", "{at}/reversed.npy", "--num-particles", 2),
        trains(data="larger.npy"),
    ),
    "scale them as the data of the fit were": (
        lambda at: (
            np.save(at.path / "grey.npy", 255.0 * binary()),
            runs("evaluate", "{at}/run", "--data", "{at}/grey.npy", "--binarisation", "none", "--num-particles", 2)(at),
        ),
        lambda at: (
            np.save(at.path / "grey.npy", 255.0 * binary() / 255),
            runs("evaluate", "{at}/run", "--data", "{at}/grey.npy", "--num-particles", 2)(at),
        ),
    ),
    "--scale divides uint8, and {} holds other pixels: leave it out, and save x / scale": (
        trains("--scale", 255, data="floats.npy"),
        trains("--likelihood", "normal", data="floats.npy"),
        lambda at: (
            np.save(at.path / "scaled.npy", np.load(at.path / "floats.npy") / 255),
            trains(data="scaled.npy")(at),
        )[1],
    ),
    "and the data of the run {} were divided by nothing: save what the model is to see, such as x / 255": (
        evaluates(lambda x: (255 * x).astype(np.uint8)),
        evaluates(lambda x: (255 * x).astype(np.uint8) / 255),
    ),
    "save grey levels as x.astype(np.uint8), and pixels that are 0 or 1 already as x.astype(bool)": (
        evaluates(lambda x: x.astype(np.int64), run="grey_run"),
        evaluates(lambda x: 255 * x.astype(np.int64).astype(np.uint8), run="grey_run"),
        evaluates(lambda x: x.astype(np.int64).astype(bool), run="grey_run"),
    ),
    "; {}, and fit again": (
        runs("sample", "{at}/first_run", out="s.png"),
        runs("sample", "{at}/first_run", out="s.npy"),
        lambda at: (
            np.save(at.path / "last.npy", np.moveaxis(np.load(at.path / "first.npy"), 1, -1)),
            trains(data="last.npy", out="last_run")(at),
            runs("sample", "{at}/last_run", out="s.png")(at),
        )[1],
    ),
    "leave it out of the command line and of --config, or give another objective": (
        configured('guide = "amortised"\nobjective = "semi-amortised-1"'),
        configured('objective = "semi-amortised-1"'),
        configured('guide = "amortised"\nobjective = "elbo"'),
    ),
    "by its number: give one of them": (
        trains("--objective", "iwae-3", "--train-particles", 5),
        trains("--objective", "iwae-5"),
        trains("--objective", "iwae", "--train-particles", 5),
    ),
    "is a file of another kind than .npy and .npz: save its numbers in Python": (
        lambda at: (
            np.savetxt(at.path / "t.tsv", binary(shape=(6,)), delimiter="\t", header="h"),
            trains(data="t.tsv")(at),
        )[1],
        as_told,
    ),
    "there is no file {}{}, and relative paths start at {}: give the path of one that is there": (
        runs("fit", "--data", "{at}/image.csv", "--out", "{at}/new"),
        trains(),
    ),
    "there is no data set {}{}: give one of": (
        runs("fit", "--data", "digit", "--out", "{at}/new"),
        runs("data", "digits"),
        trains(),
        lambda at: (np.savez(at.path / "x.npz", binary()), trains(data="x.npz")(at))[1],
        lambda at: (
            (at.path / "shards").mkdir(),
            np.save(at.path / "shards" / "0.npy", binary()),
            trains(data="shards")(at),
        )[2],
    ),
    "--out and --data are the same file, {}: the data would be lost; give another": (
        runs("encode", "{at}/run", "--data", "{at}/images.npy", out="images.npy"),
        runs("encode", "{at}/run", "--data", "{at}/images.npy", out="codes.npy"),
    ),
    "(see '{} --help')": (
        runs("fit", "--epohcs", 3),
        lambda at: the_help("--epochs N", lambda: runs("fit", "--epohcs", 3)(at)),
        lambda at: the_help("digits", lambda: runs("fit", "--data", "digits", "--epochs", "x")(at)),
        lambda at: the_help("evaluate", lambda: runs("evalute", "run")(at)),
    ),
    "needs --{}, {} (see": (
        runs("fit", "--out", "{at}/new"),
        runs("fit", "--help"),
        trains(),
    ),
    "cannot be drawn: give --image-shape HEIGHT WIDTH (and 3 for colours)": (
        runs("sample", "{at}/flat", out="s.png"),
        runs("sample", "{at}/flat", "--image-shape", 4, 3, out="s.png"),
        runs("sample", "{at}/flat", "--image-shape", 2, 2, 3, out="s.png"),
        runs("sample", "{at}/flat", out="s.npy"),
    ),
    "would read the run's images, of shape {}, in another order; got {}: leave it out, or {}": (
        runs("sample", "{at}/run", "--image-shape", 3, 4, out="s.png"),
        runs("sample", "{at}/run", out="s.png"),
        runs("sample", "{at}/run", "--image-shape", 4, 3, out="s.npy"),
    ),
    "give an --out that ends in .npy": (
        runs("sample", "{at}/first_run", out="s.png"),
        runs("sample", "{at}/first_run", out="s.npy"),
    ),
    "holds no settings of a run: give a folder that 'ppl-vae fit --out' made": (
        lambda at: ((at.run / SETTINGS).write_text("{}"), runs("sample", "{at}/run", out="s.npy")(at)),
        runs("sample", "{at}/flat", out="s.npy"),
    ),
    "this command has no mask that says where: use 'ppl-vae fit', and then {}, or pass mask=data.lengths_to_mask(": (
        lambda at: (looked_at(at.path), told("reconstruct", at.path / "long", "--out", at.path / "r.npy")),
        lambda at: looked_at(at.path),
        lambda _: masked_vowels(),
        trains(*MARKOV),
    ),
    "of the ends of sequences or of a table's cells, in their place: leave --labels out": (
        lambda at: told("fit", "--data", long_form(at.path), "--labels", 9, *VOWELS[4:], "--out", at.path / "labelled"),
        lambda at: told("fit", "--data", long_form(at.path), *VOWELS, "--out", at.path / "unlabelled"),
    ),
    "--stream is for .npy files, and {} is read whole: leave it out": (
        lambda at: told("fit", "--data", long_form(at.path), "--stream", *VOWELS, "--out", at.path / "streamed"),
        lambda at: told("fit", "--data", long_form(at.path), *VOWELS, "--out", at.path / "whole"),
    ),
    "is damaged ({}): fit again, into another --out": (
        lambda at: ((at.run / SETTINGS).write_text("{"), runs("sample", "{at}/run", out="s.npy")(at)),
        lambda at: (trains(out="new")(at), runs("sample", "{at}/new", out="s.npy")(at))[1],
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str, at: Place) -> None:
    follow(says, at, *REMEDIES[says])


def test_a_training_that_has_not_finished(at: Place) -> None:
    """The very command that the error gives."""
    (at.run / FIT).unlink()
    said = refused("has not finished; go on with: {}", lambda: runs("sample", "{at}/run", out="s.npy")(at))
    program, *words = shlex.split(said.split("go on with:")[1])
    assert program == "ppl-vae"
    told(*words, "--quiet", "--no-figures")
    assert np.isfinite(runs("sample", "{at}/run", out="s.npy")(at)).all()
    assert (at.run / CONFIG).exists()

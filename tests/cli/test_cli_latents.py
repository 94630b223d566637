"""Laws of the commands 'traverse' and 'metrics': what the library says, and what goes wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import BACKENDS, binary, command, content, fit, one_line, write_images

from ppl_vae import data, evaluation
from ppl_vae.cli.commands import metrics as metrics_command
from ppl_vae.cli.runs import DISENTANGLEMENT, FIT, README
from ppl_vae.evaluation import disentanglement
from ppl_vae.results import Fit

GRID = np.indices((4, 1, 2, 5)).reshape(4, -1).T
"""Factors of forty images, of which one does not vary."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_images(tmp_path_factory.mktemp("data"))
    np.save(folder / "factors.npy", GRID)
    np.savez(folder / "labelled.npz", images=binary(), labels=GRID)
    x = binary()
    parts = {"train": x[:20], "test": x[20:], "train_labels": GRID[:20], "test_labels": GRID[20:]}
    np.savez(folder / "labelled_parts.npz", **parts)
    return folder


@pytest.fixture(scope="module", params=BACKENDS)
def run(request: pytest.FixtureRequest, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on labelled images, by either backend."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    fit(files / "labelled.npz", folder, backend=request.param)
    return folder


@pytest.fixture(scope="module")
def labelled_run(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "labelled"
    fit(files / "labelled.npz", folder)
    return folder


@pytest.fixture(scope="module")
def pyro_run(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit(files / "images.npy", folder)
    return folder


def told(*arguments: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a command prints with --json."""
    capsys.readouterr()
    assert command(*arguments, "--json") == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


# Traversals


@pytest.mark.release("numpyro")
def test_a_traversal_is_that_of_the_library(run: Path, files: Path, tmp_path: Path, capsys: Any) -> None:
    loaded, x = Fit.load(run / FIT), data.load(files / "labelled.npz").test
    kl = evaluation.kl_by_dimension(loaded, x)
    order = np.argsort(-kl)
    starts = {
        (): np.zeros(2),
        ("--image", 3): loaded.encode(x)[3],
        ("--prior", "--seed", 5): evaluation.prior_draws(loaded, 1, seed=5)[0],
    }
    for words, start in starts.items():
        out = tmp_path / "t.npy"
        record = told("traverse", run, "--out", out, "--steps", 5, "--range", 2, *words, capsys=capsys)
        moved = evaluation.traverse(loaded, start, values=np.linspace(-2, 2, 5), dimensions=order)
        images = np.load(out)
        assert images.shape == (2, 5, 4, 3) and images.dtype == np.float32
        np.testing.assert_allclose(images.reshape(2, 5, 12), moved.images, atol=1e-6)
        assert record["dimensions"] == order.tolist() and record["kl"] == pytest.approx(sorted(kl, reverse=True))
        assert record["values"] == [-2, -1, 0, 1, 2] and record["z"] == pytest.approx(start.tolist(), abs=1e-5)
        assert record["num_images"] == len(x) and record["image"] == (3 if "--image" in words else None)
        picture = tmp_path / "t.png"
        assert command("traverse", run, "--out", picture, "--steps", 5, "--top", 1, "--quiet", *words) == 0
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_image_beyond_those_of_the_kl(pyro_run: Path, tmp_path: Path, capsys: Any) -> None:
    words = ("--out", tmp_path / "t.npy", "--part", "all", "--num", 4, "--image", 30)
    record = told("traverse", pyro_run, *words, capsys=capsys)
    x = binary().reshape(40, -1).astype(np.float32)
    assert record["num_images"] == 31
    assert record["z"] == pytest.approx(Fit.load(pyro_run / FIT).encode(x)[30].tolist(), abs=1e-5)


def test_the_picture_shows_the_image_that_it_starts_from(
    pyro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ppl_vae import plots

    seen: dict[str, Any] = {}
    monkeypatch.setattr(plots, "save", lambda figure, path: seen.update(axes=figure.axes[0]))
    arguments = ("--part", "all", "--image", 0, "--top", 1, "--num", 7)
    assert command("traverse", pyro_run, "--out", tmp_path / "t.png", *arguments, "--quiet") == 0
    labels = [tick.get_text() for tick in seen["axes"].get_yticklabels()]
    loaded, x = Fit.load(pyro_run / FIT), binary().reshape(40, -1).astype(np.float32)
    kl = evaluation.kl_by_dimension(loaded, x[:7])
    assert labels == ["image, reconstruction", f"z{kl.argmax()}, {kl.max():.2f} nats"]
    np.testing.assert_allclose(seen["axes"].images[0].get_array()[1:5, 1:4], x[0].reshape(4, 3))


@pytest.mark.parametrize(
    "words", [("--full-covariance",), ("--prior", "mixture"), ("--guide", "per-datapoint")], ids=" ".join
)
def test_other_guides_and_priors_are_traversed(words: tuple[str, ...], files: Path, tmp_path: Path) -> None:
    fit(files / "images.npy", tmp_path / "run", "--epochs", 1, *words)
    for part in ("train", "test"):
        out = tmp_path / f"{part}.npy"
        assert command("traverse", tmp_path / "run", "--out", out, "--part", part, "--image", 1, "--quiet") == 0
        assert np.load(out).shape == (2, 9, 4, 3)
    assert command("traverse", tmp_path / "run", "--out", tmp_path / "mean.npy", "--part", "train", "--quiet") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--image", "8"), "--image should be below 8, the number of test images; got 8"),
        (("--image", "1", "--prior"), "two starts"),
        (("--steps", "1"), "at least 2"),
        (("--range", "0"), "above 0"),
        (("--image-shape", "5", "5"), "12 numbers"),
        (("--out", "t.gif"), "should end in .png or .jpg"),
    ],
)
def test_traversals_that_cannot_be(
    words: tuple[str, ...], said: str, pyro_run: Path, tmp_path: Path, capsys: Any
) -> None:
    assert command("traverse", pyro_run, "--out", tmp_path / "t.png", *words) == 2
    assert said in one_line(capsys)
    assert not list(tmp_path.iterdir())


def test_discrete_latents_are_not_traversed(files: Path, tmp_path: Path, capsys: Any) -> None:
    fit(files / "images.npy", tmp_path / "run", "--epochs", 1, "--latents", "bernoulli", "--objective", "reinforce")
    assert command("traverse", tmp_path / "run", "--out", tmp_path / "t.png") == 2
    assert "the site 'z' is Bernoulli" in one_line(capsys)


# Metrics


def test_metrics_are_those_of_the_library(run: Path, files: Path, capsys: Any) -> None:
    record = told("metrics", run, "--seed", 2, capsys=capsys)
    loaded, x = Fit.load(run / FIT), binary().reshape(40, -1).astype(np.float32)
    varies = GRID[:, [0, 2, 3]]
    mean, sd = loaded.posterior(x)["z"]
    assert record["metrics"] == pytest.approx(disentanglement.metrics(mean, varies, sds=sd, seed=2), rel=1e-4)
    assert record["factors"] == [4, 2, 5] and record["left_out"] == [1] and record["num_images"] == 40
    elbo = evaluation.elbo(loaded, x, 1, seed=2)
    assert record["elbo"] == pytest.approx(elbo.mean) and record["kl"] == pytest.approx(elbo.kl.mean())
    parts = evaluation.elbo_surgery(loaded, x, 2, seed=2).row()
    assert record["surgery"] == pytest.approx({**parts, "num_images": 40})
    assert record == json.loads((run / DISENTANGLEMENT).read_text())
    assert DISENTANGLEMENT in (run / README).read_text(encoding="utf-8")


def test_the_table_has_every_number(pyro_run: Path, files: Path, tmp_path: Path, capsys: Any) -> None:
    before = content(pyro_run)
    arguments = ("--factors", files / "factors.npy", "--metrics", "mig_binned", "sap", "--out", tmp_path / "m.json")
    assert command("metrics", pyro_run, *arguments) == 0
    text, record = capsys.readouterr().out, json.loads((tmp_path / "m.json").read_text())
    assert list(record["metrics"]) == ["mig_binned", "sap"] and "columns 1" in text
    for name in ("elbo", "reconstruction", "kl"):
        assert f"{record[name]:.4f}" in text
    for value in (*record["metrics"].values(), record["surgery"]["mutual_information"]):
        assert f"{value:.4f}" in text
    assert set(content(pyro_run)) == set(before)


def test_parts_have_their_own_labels(labelled_run: Path, files: Path, tmp_path: Path) -> None:
    """Of a split that was drawn, and of one that is stored."""
    split = data.load(files / "labelled.npz")
    for source, part, labels in (
        ((), "test", split.labels["test"]),
        ((), "train", split.labels["train"]),
        (("--data", files / "labelled_parts.npz"), "test", GRID[20:]),
        (("--data", files / "labelled_parts.npz"), "all", GRID),
    ):
        out = tmp_path / "m.json"
        which = ("--metrics", "active_dims", "--part", part, "--out", out, "--quiet")
        assert command("metrics", labelled_run, *source, *which) == 0
        record = json.loads(out.read_text())
        sizes = [len(np.unique(column)) for column in np.asarray(labels).T]
        assert record["num_images"] == len(labels) and record["factors"] == [s for s in sizes if s > 1]


def test_labels_follow_their_images(
    labelled_run: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The factors that the metrics get are those of the images that are encoded."""
    x, seen = binary().reshape(40, -1).astype(np.float32), {}

    def measured(fit: Any, x: Any, index: Any, factors: Any, *_: Any) -> dict[str, Any]:
        seen.update(x=x, factors=factors)
        return dict.fromkeys(("metrics", "elbo", "reconstruction", "kl", "surgery"), 0)

    monkeypatch.setattr(metrics_command, "_measured", measured)
    monkeypatch.setattr(metrics_command, "_table", lambda record: [])
    stored = ("--data", files / "labelled_parts.npz")
    for part, source in (("test", ()), ("train", ()), ("all", ()), ("all", stored)):
        assert command("metrics", labelled_run, "--part", part, *source, "--out", tmp_path / "m.json") == 0
        known = {(row.tobytes(), tuple(labels)) for row, labels in zip(x, GRID[:, [0, 2, 3]].tolist(), strict=True)}
        found = {(row.tobytes(), tuple(f)) for row, f in zip(seen["x"], seen["factors"].tolist(), strict=True)}
        assert found <= known and len(seen["x"]) == {"test": 8, "train": 28, "all": 40}[part]


def test_a_guide_without_a_surgery_has_metrics(files: Path, tmp_path: Path, capsys: Any) -> None:
    fit(files / "labelled.npz", tmp_path / "run", "--epochs", 1, "--full-covariance")
    record = told("metrics", tmp_path / "run", "--metrics", "mig_binned", capsys=capsys)
    assert record["surgery"] is None and 0 <= record["metrics"]["mig_binned"] <= 1


BAD = {
    "short": (GRID[:30], "has 30 rows; there are 40 all images"),
    "floats": (GRID / 2, "should be integers of shape (N, F); got float64"),
    "cube": (GRID[:, :, None], "integers of shape (N, F)"),
    "constant": (np.ones((40, 2), int), "nothing to tell"),
}


@pytest.mark.parametrize("name", BAD)
def test_factors_that_are_none(name: str, pyro_run: Path, tmp_path: Path, capsys: Any) -> None:
    factors, said = BAD[name]
    np.save(tmp_path / "f.npy", factors)
    before = content(pyro_run)
    assert command("metrics", pyro_run, "--factors", tmp_path / "f.npy") == 2
    assert said in one_line(capsys)
    assert content(pyro_run) == before


def test_factors_that_are_not_there(pyro_run: Path, tmp_path: Path, capsys: Any) -> None:
    for words, said in {
        (): "has no labels: give the factors of its images, --factors FILE.npy",
        ("--factors", tmp_path / "absent.npy"): "should be a .npy file that is there",
        ("--factors", tmp_path / "f.npy"): "f.npy",
        ("--out", tmp_path / "m.txt"): ".json",
    }.items():
        (tmp_path / "f.npy").write_bytes(b"nonsense")
        assert command("metrics", pyro_run, *words) == 2
        assert said in one_line(capsys)


def test_an_unknown_metric(labelled_run: Path, capsys: Any) -> None:
    assert command("metrics", labelled_run, "--metrics", "mig_bined") == 2
    assert "did you mean 'mig_binned'" in one_line(capsys)


def test_one_factor_is_too_few_for_some_metrics(labelled_run: Path, tmp_path: Path, capsys: Any) -> None:
    np.save(tmp_path / "f.npy", GRID[:, 3])
    assert command("metrics", labelled_run, "--factors", tmp_path / "f.npy") == 2
    assert "needs at least 2; got 1" in (line := one_line(capsys)) and "--metrics, of beta_vae, " in line


def test_one_factor_has_the_metrics_that_serve_one(labelled_run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", GRID[:, 3])
    arguments = ("--factors", tmp_path / "f.npy", "--metrics", "mig_binned", "--out", tmp_path / "m.json", "--quiet")
    assert command("metrics", labelled_run, *arguments) == 0
    assert json.loads((tmp_path / "m.json").read_text())["factors"] == [5]


def test_counts_are_no_shades_of_grey(tmp_path: Path) -> None:
    """Stored uint8 are taken as they are by a likelihood of counts, by every later command too, and equal floats."""
    x = np.random.default_rng(0).poisson(4, size=(60, 5)).astype(np.uint8)
    for name, values in {"whole": x, "floats": x.astype(np.float32)}.items():
        np.save(tmp_path / f"{name}.npy", values)
        given = ("--data", tmp_path / f"{name}.npy", "--likelihood", "poisson", "--epochs", 1, "--latent-dim", 2)
        assert command("fit", *given, "--hidden", 4, "--out", tmp_path / name, "--quiet", "--no-figures") == 0
        out = ("--out", tmp_path / f"{name}-z.npy", "--quiet")
        assert command("encode", tmp_path / name, "--data", tmp_path / "whole.npy", *out) == 0
    np.testing.assert_array_equal(*(np.load(tmp_path / f"{name}-z.npy") for name in ("whole", "floats")))

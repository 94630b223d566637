"""Laws of stored integers: the training decides what they are divided by, and no image among which they come."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pairs import command, fit, one_line, pair

from ppl_vae import backends, data, recipes
from ppl_vae.cli.runs import FIT, SETTINGS
from ppl_vae.errors import DoubtfulScale
from ppl_vae.estimators import VAE
from ppl_vae.results import Fit

GREY = np.random.default_rng(0).integers(0, 256, (30, 4, 3)).astype(np.uint8)
GREY[0], GREY[1] = 1, 0
GREY[0, 0] = 0
"""Row 0 holds no level beyond 1, row 1 none beyond 0."""
SCALED = (GREY.reshape(30, 12) / 255).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on grey levels, 255 of which are white."""
    folder = tmp_path_factory.mktemp("scales")
    np.save(folder / "grey.npy", GREY)
    fit(folder / "grey.npy", folder / "run", "--binarisation", "dynamic")
    return folder / "run"


def npy(folder: Path, x: np.ndarray) -> Path:
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


def npz(folder: Path, x: np.ndarray) -> Path:
    np.savez(folder / "x.npz", images=x)
    return folder / "x.npz"


def shards(folder: Path, x: np.ndarray) -> Path:
    (folder / "shards").mkdir(exist_ok=True)
    np.save(folder / "shards" / "0.npy", x)
    return folder / "shards"


@pytest.mark.parametrize("write", [npy, npz, shards])
@pytest.mark.parametrize("rows", [slice(0, 1), slice(1, 2), slice(0, 30)])
def test_an_image_has_its_code_in_whatever_company(
    run: Path, tmp_path: Path, write: Callable[[Path, np.ndarray], Path], rows: slice
) -> None:
    expected = Fit.load(run / FIT).encode(SCALED)[rows]
    for x in (GREY[rows], SCALED.reshape(GREY.shape)[rows]):
        assert command("encode", run, "--data", write(tmp_path, x), "--out", tmp_path / "z.npy") == 0
        np.testing.assert_allclose(np.load(tmp_path / "z.npy"), expected, atol=1e-6)
    for name in ("all", "test"):  # each part of a file by itself
        parts = {"train": GREY[2:], "valid": GREY[1:2], "test": GREY[:1]}
        np.savez(tmp_path / "parts.npz", **parts)
        options = (
            "--data",
            tmp_path / "parts.npz",
            "--out",
            tmp_path / "z.npy",
            "--part",
            name,
            "--binarisation",
            "none",
        )
        assert command("encode", run, *options) == 0
        np.testing.assert_allclose(
            np.load(tmp_path / "z.npy")[-1], Fit.load(run / FIT).encode(SCALED[:1])[0], atol=1e-6
        )


def test_booleans_are_divided_by_nothing(run: Path, tmp_path: Path) -> None:
    assert command("encode", run, "--data", npy(tmp_path, GREY > 100), "--out", tmp_path / "z.npy") == 0
    expected = Fit.load(run / FIT).encode((GREY > 100).reshape(30, 12))
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), expected, atol=1e-6)


def test_what_the_run_does_not_say_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bits = (GREY > 100).astype(np.int64)
    assert command("encode", run, "--data", npy(tmp_path, bits), "--out", tmp_path / "z.npy") == 2
    assert "astype(bool)" in one_line(capsys)
    assert command("encode", run, "--data", npy(tmp_path, bits.astype(bool)), "--out", tmp_path / "z.npy") == 0
    np.save(tmp_path / "floats.npy", SCALED.reshape(GREY.shape))
    for name, options in (("floats", ()), ("normal", ("--likelihood", "normal"))):
        fit(tmp_path / "floats.npy", tmp_path / name, *options)
        capsys.readouterr()
        assert command("encode", tmp_path / name, "--data", npy(tmp_path, GREY), "--out", tmp_path / "z.npy") == 2
        assert "x / 255" in one_line(capsys)
        assert command("encode", tmp_path / name, "--data", npy(tmp_path, GREY / 255), "--out", tmp_path / "z.npy") == 0


def test_fit_says_what_it_divides_by_and_another_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dark = GREY % 17
    common = ("--data", npy(tmp_path, dark), "--hidden", 4, "--epochs", 1, "--batch-size", 10, "--no-figures")
    assert command("fit", "--out", tmp_path / "guess", *common) == 0
    assert "uint8 pixels in 0..16, divided by 255; --scale sets another divisor" in capsys.readouterr().out
    assert command("fit", "--out", tmp_path / "said", *common, "--scale", 16) == 0
    assert "divisor" not in capsys.readouterr().out
    assert json.loads((tmp_path / "said" / SETTINGS).read_text())["data"]["scale"] == 16
    for x in (dark, dark[:1]):
        assert command("encode", tmp_path / "said", "--data", npy(tmp_path, x), "--out", tmp_path / "z.npy") == 0
        expected = Fit.load(tmp_path / "said" / FIT).encode(x.reshape(-1, 12) / np.float32(16))
        np.testing.assert_allclose(np.load(tmp_path / "z.npy"), expected, atol=1e-6)
    capsys.readouterr()
    assert command("fit", "--out", tmp_path / "floats", "--data", npy(tmp_path, SCALED), "--scale", 16) == 2
    assert "x / scale" in one_line(capsys)


def test_a_guess_from_few_levels_is_told() -> None:
    with pytest.warns(DoubtfulScale, match=r"up to 16, are divided by 255.* say scale=16"):
        split = data.from_arrays(GREY % 17)
    assert split.scale == 255
    assert data.from_arrays(GREY % 17, scale=16).train.max() == 1


@pytest.mark.parametrize("white", [1, 4, 15])
def test_parts_of_different_scales_are_told(white: int) -> None:
    """A test part of white 1 or 15 beside a training part of white 255: nearly black, and log p(x) would be of that."""
    test = np.round(GREY / GREY.max() * white).astype(np.uint8)
    with pytest.warns(DoubtfulScale, match=rf"'train' up to {GREY.max()}, 'test' up to {white}: if {white} is white"):
        assert data.from_arrays(GREY, None, test).test.max() == pytest.approx(white / 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.from_arrays(GREY, None, (test * (255 / white)).astype("uint8")).test.max() > 0.99
        assert data.from_arrays(GREY, None, test, scale=255).test.max() == pytest.approx(white / 255)
        data.from_arrays(GREY, None, 0 * test)


def test_methods_of_a_fit_take_no_undivided_integers(tmp_path: Path, backend: backends.Backend) -> None:
    split = data.from_arrays(GREY)
    fit = backend.inference.SVI(epochs=1, batch_size=10).fit(*pair("standard", backend), split)
    for dtype in (np.uint8, np.int64):
        with pytest.raises(ValueError, match="x / 255 of stored levels, and x.astype"):
            fit.encode(GREY[:1].reshape(1, 12).astype(dtype))
    z = fit.encode(GREY.reshape(30, 12) / 255)
    np.testing.assert_allclose(fit.encode(GREY[:1].reshape(1, 12) / 255), z[:1], atol=1e-6)
    np.testing.assert_array_equal(fit.encode(GREY.reshape(30, 12) > 99), fit.encode((GREY.reshape(30, 12) > 99) * 1.0))
    with pytest.raises(ValueError, match=r"data\.stream\(\.\.\., scale=255\)"):
        fit.encode(data.stream(npy(tmp_path, GREY[:1])))
    np.testing.assert_allclose(fit.encode(data.stream(npy(tmp_path, GREY[:1]), scale=255)), z[:1], atol=1e-6)


def test_an_estimator_divides_nothing() -> None:
    rows = GREY.reshape(30, 12)
    vae = VAE(latent_dim=2, hidden=(4,), epochs=1, random_state=0).fit(rows)
    for x in (rows, rows.astype(int), rows.astype(float)):
        np.testing.assert_allclose(vae.transform(x[:1]), vae.transform(rows)[:1], rtol=1e-5)


@pytest.mark.parametrize(
    "x",
    [
        (np.random.default_rng(0).random((40, 8, 8)) * 4000).astype(np.uint16),
        (np.random.default_rng(0).random((40, 8, 8)) * 3000 - 1000).astype(np.int16),
        np.random.default_rng(0).integers(-32768, 32768, (40, 8, 8)).astype(np.int16),
        np.random.default_rng(0).integers(0, 2**32, (40, 8, 8)).astype(np.uint32),
        np.random.default_rng(0).integers(0, 200, (40, 8, 8)),
    ],
    ids=["12 bits", "scanner", "16 bits", "32 bits", "8 bits"],
)
def test_the_advice_for_wide_integers_keeps_the_image(x: np.ndarray) -> None:
    with pytest.raises(TypeError) as refused:
        data.from_arrays(x)
    advised = re.findall(r"\(x\.astype\(float\) \+ \d+\) / \d+|x / \d+|x\.astype\(np\.uint8\)", str(refused.value))
    assert advised
    for advice in advised:
        split = data.from_arrays(eval(advice, {"x": x, "np": np}))
        seen = np.sort(np.concatenate([split.train, split.valid, split.test]).ravel())
        assert seen[0] >= 0 and seen[-1] <= 1
        assert np.corrcoef(seen, np.sort(x.ravel().astype(float)))[0, 1] > 1 - 1e-9
        assert len(np.unique(seen)) > 0.99 * len(np.unique(x))


def test_the_advice_for_a_stream_of_wide_integers_is_read(tmp_path: Path) -> None:
    x = (np.random.default_rng(0).random((40, 8, 8)) * 4000).astype(np.uint16)
    with pytest.raises(TypeError, match=r"\(x / white\)\.astype\(np\.float32\).*4095 of 12 bits"):
        data.stream(npy(tmp_path, x))
    assert np.array_equal(
        np.asarray(data.stream(npy(tmp_path, (x / 4095).astype(np.float32)))).ravel(),
        (x / 4095).astype(np.float32).ravel(),
    )


# Axes

RED_ABOVE_BLUE = np.zeros((30, 3, 16, 16), np.uint8)
RED_ABOVE_BLUE[:, 0, :8] = RED_ABOVE_BLUE[:, 2, 8:] = 255


@pytest.mark.parametrize("x", [RED_ABOVE_BLUE, RED_ABOVE_BLUE[:, :1]], ids=["colours", "greys"])
@pytest.mark.parametrize("channels", [(8,), (8, 8)])
def test_channels_first_are_told_to_come_last(
    backend: backends.Backend, x: np.ndarray, channels: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"channels seem to come first: put them last, np\.moveaxis\(x, 1, -1\)"):
        recipes.vae(data.from_arrays(x), net="conv", channels=channels, backend=backend.name)
    moved = data.from_arrays(np.moveaxis(x, 1, -1))
    made = recipes.vae(moved, net="conv", channels=channels, hidden=(4,), latent_dim=2, backend=backend.name)
    backend.inference.Pair(*made(np.random.default_rng(0))).prepare(moved.test, 0)
    assert np.array_equal(moved.images(moved.train[0])[..., 0], moved.pixels["train"][0, ..., 0] / np.float32(255))


def test_what_was_trained_on_channels_first_is_still_read() -> None:
    """Earlier versions trained nets whose rows were channels: such a fit keeps its numbers."""
    made = recipes.Recipe((3, 16, 16), net="conv", channels=(8,), hidden=(4,), latent_dim=2)
    assert recipes.Recipe.from_dict(made.to_dict()) == made


def test_no_shape_reads_images_in_another_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(npy(tmp_path, RED_ABOVE_BLUE), tmp_path / "run")
    out = ("--out", tmp_path / "grid.png")
    for options in ((), ("--image-shape", 16, 16, 3)):
        assert command("reconstruct", tmp_path / "run", *out, *options) == 2
        assert "np.moveaxis(x, 1, -1)" in one_line(capsys)
    assert command("reconstruct", tmp_path / "run", "--out", tmp_path / "made.npy") == 0
    fit(npy(tmp_path, np.moveaxis(RED_ABOVE_BLUE, 1, -1)), tmp_path / "moved")
    assert command("reconstruct", tmp_path / "moved", *out) == 0
    fit(npy(tmp_path, RED_ABOVE_BLUE[:, :1]), tmp_path / "greys")
    assert command("reconstruct", tmp_path / "greys", *out, "--image-shape", 16, 16) == 0
    capsys.readouterr()
    with pytest.raises(ValueError, match="in another order.*np.moveaxis"):
        recipes.vae(RED_ABOVE_BLUE, image_shape=(16, 16, 3))

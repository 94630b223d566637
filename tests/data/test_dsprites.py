"""Laws of dSprites: its factors, its files, and the pictures that are drawn like it."""

from __future__ import annotations

import hashlib
import math
import os
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

from ppl_vae import data
from ppl_vae.data import Factors, inverted, pixel_noise, render
from ppl_vae.data.files.integrity import digest
from ppl_vae.data.registry import REGISTRY
from ppl_vae.data.rendering.sprite_shapes import ORIGINAL, SHAPES, depth
from ppl_vae.data.sets import dsprites, dsprites_grid, dsprites_subset, sprites

ROOT = os.environ.get("PPL_VAE_DATA")
RNG = np.random.default_rng(0)
AREAS = (
    4 * ORIGINAL.square**2,
    math.pi * math.prod(ORIGINAL.ellipse),
    180 * math.pi * ORIGINAL.heart[0] / 16 * ORIGINAL.heart[1],
    math.pi * math.prod(ORIGINAL.ellipse),
)


def some(count: int, shapes: int = len(SHAPES)) -> tuple[np.ndarray, ...]:
    """Combinations of factors at random: shape, scale, orientation, x, y."""
    others = RNG.uniform(0.5, 1, count), RNG.uniform(-7, 7, count), RNG.random(count), RNG.random(count)
    return RNG.integers(0, shapes, count), *others


# --- the pictures ---


def test_a_shape_moves_with_its_centre() -> None:
    shape, scale, orientation, x, y = some(200)
    shown = render(shape, scale, orientation, x / 2, y / 2)
    np.testing.assert_array_equal(render(shape, scale, orientation, x / 2 + 5 / 32, y / 2), np.roll(shown, 5, axis=-1))
    np.testing.assert_array_equal(render(shape, scale, orientation, x / 2, y / 2 + 7 / 32), np.roll(shown, 7, axis=-2))
    assert (shown.sum((1, 2)) > 0).all() and shown.dtype == np.uint8 and shown.max() == 1


def test_a_shape_turns_anticlockwise() -> None:
    shape, scale, orientation, x, y = some(200)
    shown = render(shape, scale, orientation, x, y)
    turned = render(shape, scale, orientation + math.pi / 2, y, 1 - x)
    np.testing.assert_array_equal(turned, np.rot90(shown, axes=(1, 2)))
    mirrored = render(shape, scale, -orientation, 1 - x, y)
    np.testing.assert_array_equal(mirrored, shown[:, :, ::-1])


@pytest.mark.parametrize(("shape", "turns"), [("square", 4), ("ellipse", 2), ("heart", 1), ("triangle", 3)])
def test_symmetric_shapes_turn_into_themselves(shape: str, turns: int) -> None:
    _, scale, orientation, x, y = some(100)
    shown = render(shape, scale, orientation, x, y)
    np.testing.assert_array_equal(render(shape, scale, orientation + 2 * math.pi / turns, x, y), shown)
    assert (render(shape, scale, orientation + math.pi / turns, x, y) != shown).any()


@pytest.mark.parametrize("shape", range(4))
@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0])
def test_the_area_grows_with_the_square_of_the_scale(shape: int, scale: float) -> None:
    _, _, orientation, x, y = some(600)
    area = render(shape, scale, orientation, x, y).sum((1, 2)).mean() / scale**2
    assert area == pytest.approx(AREAS[shape], rel=0.01)


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.0])
def test_squares_and_ellipses_reach_as_far_as_they_should(scale: float) -> None:
    centres, (a, b) = 32 + np.arange(-32, 32) + 0.5, ORIGINAL.ellipse
    square = render("square", scale, 0.0, 0.5, 0.5)
    along = np.abs(centres - 32) < ORIGINAL.square * scale
    np.testing.assert_array_equal(square, np.outer(along, along))
    ellipse = render("ellipse", scale, 0.3, 0.5, 0.5)
    for axis, (cos, sin) in enumerate(((math.cos(0.3), math.sin(0.3)), (math.sin(0.3), math.cos(0.3)))):
        reach = np.abs(centres[ellipse.any(axis)] - 32).max()
        half = scale * math.hypot(a * cos, b * sin)
        assert half - 1 < reach < half


def test_the_outline_of_the_heart_is_its_curve() -> None:
    half_width, unit, above = ORIGINAL.heart
    t = np.linspace(0.1, 2 * math.pi - 0.1, 500)
    u = half_width * np.sin(t) ** 3
    v = -above - unit * (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    np.testing.assert_allclose(depth(2, u, v), 0, atol=1e-4)
    for size, inside in ((0.99, True), (1.01, False)):
        assert ((depth(2, u * size, (v + above) * size - above) > 0) == inside).all()


def test_fewer_pixels_are_samples_of_the_same_picture() -> None:
    """The centre of every pixel of 64 is that of every third pixel of 192, and so for other sides."""
    factors = some(100)
    for side in (4, 16, 32, 64):
        np.testing.assert_array_equal(render(*factors, side=3 * side)[:, 1::3, 1::3], render(*factors, side=side))


def test_a_window_loses_nothing() -> None:
    """Drawn one by one, and beside a larger one of the same shape, whose window is larger."""
    shape, scale, orientation, x, y = some(40)
    shown = render(shape, scale, orientation, x, y)
    for k in range(40):
        alone = [a[k] for a in (shape, scale, orientation, x, y)]
        np.testing.assert_array_equal(render(*alone), shown[k])
        np.testing.assert_array_equal(render(alone[0], [alone[1], 1.0], *alone[2:])[0], shown[k])


def test_factors_are_broadcast() -> None:
    scales, positions = np.linspace(0.5, 1, 3)[:, None], np.linspace(0, 1, 5)
    shown = render("heart", scales, 0.2, positions, 0.5, side=32)
    assert shown.shape == (3, 5, 32, 32) and render(2, 1, 0, 0, 0, side=8).shape == (8, 8)
    np.testing.assert_array_equal(shown[1, 2], render(2, 0.75, 0.2, 0.5, 0.5, side=32))


@pytest.mark.parametrize("side", [64, 20])
def test_every_library_draws_the_same(side: int) -> None:
    """But for one pixel in 100,000, whose centre is as good as on an outline."""
    factors = tuple(a.reshape(20, 10) for a in some(200))
    expected = render(*factors, side=side)
    of_torch = render(*map(torch.as_tensor, factors), side=side)
    drawing = jax.jit(lambda *given: render(*given, side=side))
    of_jax = drawing(*map(jax.numpy.asarray, factors))
    assert isinstance(of_torch, torch.Tensor) and of_torch.dtype == torch.uint8
    assert isinstance(of_jax, jax.Array) and of_jax.dtype == np.uint8
    for found in (of_torch.numpy(), np.asarray(of_jax)):
        assert found.shape == expected.shape and (found != expected).mean() <= 1e-5
    one = render("triangle", torch.tensor(0.7), 0.1, 0.5, [0.2, 0.4], side=side)
    assert isinstance(one, torch.Tensor)
    assert (one.numpy() != render("triangle", 0.7, 0.1, 0.5, [0.2, 0.4], side=side)).sum() <= 1


@pytest.mark.gpu
def test_a_gpu_draws_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    factors = some(2000)
    found = render(*(torch.as_tensor(a, device="cuda") for a in factors))
    assert found.is_cuda and (found.cpu().numpy() != render(*factors)).mean() <= 1e-5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"shape": "hart"},
            "'shape' should be one of square, ellipse, heart, triangle; got 'hart' .did you mean 'heart'",
        ),
        ({"shape": 4}, "'shape' should be one of 0 to 3 .*; got 4"),
        ({"shape": 0.5}, "'shape' should be one of 0 to 3 .*; got 0.5"),
        ({"scale": 0}, r"'scale' should lie in \(0, 1\]; got 0"),
        ({"scale": [0.5, 1.5]}, r"'scale' should lie in \(0, 1\]; got 1.5"),
        ({"orientation": math.nan}, "'orientation' should be a finite number of radians; got nan"),
        ({"x": -0.25}, r"'x' should lie in \[0, 1\]; got -0.25"),
        ({"y": [0, 31]}, r"'y' should lie in \[0, 1\]; got 31"),
        ({"x": [0, 1], "y": [0, 1, 0]}, r"should be .* broadcast together.*got shapes .*\(2,\), \(3,\)"),
        ({"side": 0}, "'side' should be an integer of at least 1"),
        ({"side": 32.0}, "'side' should be an integer of at least 1"),
    ],
)
def test_what_cannot_be_drawn(given: dict[str, Any], message: str) -> None:
    factors = {"shape": 0, "scale": 1.0, "orientation": 0.0, "x": 0.5, "y": 0.5, **given}
    with pytest.raises(ValueError, match=message):
        render(**factors)
    if not given.keys() & {"side"} and "together" not in message:
        for array in (torch.tensor, jax.numpy.asarray):
            with pytest.raises(ValueError, match=message):
                render(**{key: a if isinstance(a, str) else array(a) for key, a in factors.items()})


def test_colours_are_exchanged_and_back() -> None:
    shown = render(*some(5))
    for x in (shown, torch.as_tensor(shown), jax.numpy.asarray(shown)):
        other = inverted(x)
        assert type(other) is type(x) and other.dtype == x.dtype
        np.testing.assert_array_equal(np.asarray(other) + np.asarray(x), 1)
        np.testing.assert_array_equal(np.asarray(inverted(other)), shown)


def test_pixels_are_flipped_as_often_as_asked() -> None:
    shown = render(*some(100))
    for probability in (0.05, 0.5):
        flipped = pixel_noise(shown, probability, seed=1) != shown
        sd = math.sqrt(probability * (1 - probability) / shown.size)
        assert abs(flipped.mean() - probability) < 5 * sd
        assert abs(np.corrcoef(flipped.ravel(), shown.ravel())[0, 1]) < 5 / math.sqrt(shown.size)
        assert (flipped == (pixel_noise(1 - shown, probability, seed=1) == shown)).all()
    np.testing.assert_array_equal(pixel_noise(shown, 0, seed=1), shown)
    np.testing.assert_array_equal(pixel_noise(shown, 1, seed=1), inverted(shown))
    assert (pixel_noise(shown, 0.1, seed=1) != pixel_noise(shown, 0.1, seed=2)).any()
    for x in (shown.astype(np.float32), shown.astype(bool)):
        noisy = pixel_noise(x, 0.1, seed=1)
        assert noisy.dtype == x.dtype
        np.testing.assert_array_equal(noisy, pixel_noise(shown, 0.1, seed=1))
    for probability in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"'probability' should be a number in \[0, 1\]"):
            pixel_noise(shown, probability, seed=1)
    with pytest.raises(ValueError, match=r"should have values in \[0, 1\]"):
        pixel_noise(shown * 255, 0.1, seed=1)


# --- the factors ---


def test_a_grid_is_counted_off() -> None:
    factors = Factors.grid((3, 2, 4), ("a", "b", "c"))
    np.testing.assert_array_equal(factors.index(factors.classes), np.arange(24))
    assert factors.is_grid and len(factors) == 24 and factors.index([2, 1, 3]) == 23
    order = RNG.permutation(24)
    mixed = factors.subset(order)
    np.testing.assert_array_equal(mixed.index(mixed.classes), order)
    assert mixed.is_grid and not mixed.subset(slice(1, None)).is_grid
    assert not mixed.subset([*range(23), 0]).is_grid and not mixed.subset([*range(24), 0]).is_grid
    assert len(mixed.subset(order < 5)) == 5
    with pytest.raises(ValueError, match="read-only"):
        factors.classes[0] = 1


def test_factors_are_not_those_of_the_caller() -> None:
    classes = np.zeros((2, 1), np.uint8)
    factors = Factors(("a",), (2,), classes)
    classes[:] = 1
    assert not factors.classes.any() and factors.classes.dtype == np.int64


@pytest.mark.parametrize(
    ("names", "sizes", "classes", "error", "message"),
    [
        (("a",), (2, 2), [[0, 0]], ValueError, "'names' should be 2 different words"),
        (("a", "a"), (2, 2), [[0, 0]], ValueError, "'names' should be 2 different words"),
        (("a", "b"), (2, 0), [[0, 0]], ValueError, "'sizes' should be whole numbers of at least 1"),
        (("a", "b"), (2, 1.5), [[0, 0]], ValueError, "'sizes' should be whole numbers of at least 1"),
        (("a", "b"), (2, 3), [[0, 0], [0, 3]], ValueError, r"Classes of 'b' should be 0 to 2; got 3 at \[1, 1\]"),
        (("a", "b"), (2, 3), [[-1, 0]], ValueError, r"Classes of 'a' should be 0 to 1; got -1 at \[0, 0\]"),
        (("a", "b"), (2, 3), [[0, 0, 0]], ValueError, r"a last axis of the 2 factors .*got \(1, 3\)"),
        (("a", "b"), (2, 3), [0, 0], ValueError, r"'classes' should have shape \(N, 2\), .*got \(2,\)"),
        (("a", "b"), (2, 3), np.zeros((0, 2), int), ValueError, r"'classes' should have shape \(N, 2\)"),
        (("a", "b"), (2, 3), [[0.0, 1.0]], TypeError, "'classes' should be whole numbers.*float64"),
    ],
)
def test_what_are_no_factors(names: Any, sizes: Any, classes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Factors(names, sizes, classes)


# --- what is drawn instead of downloaded ---


def test_a_drawn_grid_has_the_values_of_dsprites() -> None:
    scales, orientations, xs, ys = sprites.values(sprites.FULL)
    np.testing.assert_allclose(scales, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    np.testing.assert_allclose(orientations, np.arange(40) * 2 * math.pi / 39)
    np.testing.assert_allclose(xs, np.arange(32) / 31)
    for full, coarse in zip((scales, orientations, xs, ys), sprites.values((3, 2, 5, 3, 4)), strict=True):
        assert (coarse[0], coarse[-1]) == (full[0], full[-1])
    np.testing.assert_allclose(sprites.values((3, 2, 5, 3, 4), closed=False)[1], np.arange(5) * 2 * math.pi / 5)


def test_a_drawn_grid_shows_what_its_factors_say() -> None:
    images, factors = sprites.rendered((3, 2, 5, 3, 2), side=32)
    assert images.shape == (180, 32, 32) and factors.is_grid and factors.sizes == (3, 2, 5, 3, 2)
    row = int(factors.index([2, 1, 3, 2, 0]))
    np.testing.assert_array_equal(images[row], render("heart", 1.0, 1.5 * math.pi, 1.0, 0.0, side=32))
    grid = images.reshape(*factors.sizes, 32, 32)
    np.testing.assert_array_equal(grid[:, :, 0], grid[:, :, -1])  # the angles 0 and 2 pi
    chosen = factors.subset(RNG.permutation(180)[:20])
    np.testing.assert_array_equal(sprites.draw(chosen, side=32), images[chosen.index(chosen.classes)])
    others, of_others = sprites.rendered((1, 2, 5, 3, 2), side=32, shapes=("triangle",))
    assert of_others.sizes[0] == 1 and (others.reshape(2, 5, 3, 2, 32, 32) != grid[0]).any((-1, -2)).all()


@pytest.mark.parametrize(
    ("sizes", "shapes", "message"),
    [
        ((3, 2, 4, 2), SHAPES[:3], "'sizes' should be 5 whole numbers of at least 1"),
        ((3, 2, 4, 0, 2), SHAPES[:3], "'sizes' should be 5 whole numbers of at least 1"),
        ((3, 2, 4, 2.5, 2), SHAPES[:3], "'sizes' should be 5 whole numbers of at least 1"),
        (48, SHAPES[:3], "'sizes' should be 5 whole numbers of at least 1"),
        ((4, 2, 4, 2, 2), SHAPES[:3], "'shapes' should be 4 of square, ellipse, heart, triangle, as sizes say"),
        ((2, 2, 4, 2, 2), ("heart", "star"), "'shapes' should be some of .*got 'star'"),
        ((5, 2, 4, 2, 2), "heart", "'shapes' should be 5 of .*got 'heart'"),
    ],
)
def test_what_is_no_grid(sizes: Any, shapes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sprites.rendered(sizes, shapes=shapes)
    with pytest.raises(ValueError, match=r"'factors' should be .*which can be drawn; got \('a',\)"):
        sprites.draw(Factors(("a",), (2,), [[0]]))


def test_the_drawn_set_by_its_name() -> None:
    split = data.load("sprites")
    whole, factors = dsprites.whole("sprites")
    assert len({image.tobytes() for image in whole}) == len(whole) - 12
    assert factors.is_grid and tuple(split.sizes.values()) == REGISTRY["sprites"].sizes
    assert split.binarisation == "fixed" and split.labels is not None and split.pixels["train"].dtype == np.uint8
    for part in ("train", "valid", "test"):
        of_part = dsprites.factors(split, part)
        assert (of_part.names, of_part.sizes) == (factors.names, factors.sizes)
        np.testing.assert_array_equal(split.pixels[part], whole[factors.index(of_part.classes)])
    few = split.subset(test=10)
    np.testing.assert_array_equal(few.pixels["test"], whole[factors.index(dsprites.factors(few, "test").classes)])
    assert (data.load("sprites", seed=1).pixels["test"] != split.pixels["test"]).any()
    with pytest.raises(ValueError, match="Factors are known of dsprites, .*; got 'digits'"):
        dsprites.factors(data.load("digits"))
    with pytest.raises(ValueError, match="got part 'tset', labels of train"):
        dsprites.factors(split, "tset")
    with pytest.raises(ValueError, match="got 'sprite' .did you mean 'sprites'"):
        dsprites.whole("sprite")


def test_the_page_of_dsprites_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "dsprites.md"
    names: dict[str, Any] = {}
    for program in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(program, names)
    assert names["turning"].shape == (3, 64, 64) and names["images"].shape == (4608, 32, 32)
    assert repr(names["of_test"]) in page.read_text(encoding="utf-8") and len(names["unseen"]) == 1536


# --- the files ---

SMALL = (3, 2, 5, 2, 2)


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a small original file holds; with the pickled metadata that the real one has."""
    monkeypatch.setattr(dsprites, "FULL", SMALL)
    images, factors = sprites.rendered(SMALL)
    classes = np.concatenate([np.zeros((len(images), 1), int), factors.classes], axis=1)
    return {"imgs": images, "latents_classes": classes, "metadata": np.array({"title": "small"}, dtype=object)}


def put(folder: Path, path: str, arrays: dict[str, Any]) -> Path:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / path, **arrays)
    return folder / path


@pytest.mark.parametrize("folder", ["dsprites", "dsprites-dataset", "."])
def test_the_original_file_is_read(
    folder: str, original: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, f"{folder}/{dsprites.FILE}", original)
    split = data.load("dsprites", tmp_path, seed=2)
    assert split.sizes == {"train": 84, "valid": 12, "test": 24} and split.image_shape == (64, 64)
    images, factors = dsprites.whole("dsprites", tmp_path)
    assert factors.is_grid and factors.sizes == SMALL
    np.testing.assert_array_equal(images, original["imgs"])
    test = dsprites.factors(split, "test")
    np.testing.assert_array_equal(split.pixels["test"], images[factors.index(test.classes)])
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    assert data.load("dsprites", seed=2).fingerprint() == split.fingerprint()
    assert data.catalogue(["dsprites"])[0].place == "data folder"


def test_a_file_that_is_not_dsprites(original: dict[str, Any], tmp_path: Path) -> None:
    images, classes = original["imgs"], original["latents_classes"]
    grey, coloured = images * np.uint8(255), classes.copy()
    coloured[:, 0] = 1
    for other, message in (
        ({"imgs": images[:-1]}, r"'imgs' of .*shape \(120, 64, 64\); got uint8 of \(119, 64, 64\)"),
        ({"imgs": images[:, ::2, ::2]}, r"'imgs' of .*got uint8 of \(120, 32, 32\)"),
        ({"imgs": images / 255}, "'imgs' of .*should be whole numbers .*got float64"),
        ({"imgs": images.astype(np.int64)}, "'imgs' of .*should be uint8; got int64"),
        ({"imgs": grey}, r"'imgs' of .*should have values in \{0, 1\} only"),
        ({"imgs": images[::-1]}, "should show what their classes say; got a mean intersection over union of 0"),
        ({"imgs": images[:, ::-1]}, "should show what their classes say"),
        ({"imgs": 1 - images}, "should show what their classes say"),
        ({"latents_classes": classes[:, 1:]}, r"'latents_classes' of .*shape \(120, 6\); got int64 of \(120, 5\)"),
        ({"latents_classes": classes[::-1]}, "every combination .* once, .*another order"),
        ({"latents_classes": coloured}, "should be colour 0"),
        ({"latents_classes": classes / 1}, "should be whole numbers .*got float64"),
    ):
        file = put(tmp_path, f"dsprites/{dsprites.FILE}", {**original, **other})
        with pytest.raises(ValueError, match=message) as caught:
            data.load("dsprites", tmp_path)
        assert re.search("replace the file", str(caught.value)) and str(file) in str(caught.value)
    put(tmp_path, f"dsprites/{dsprites.FILE}", {"images": images})
    with pytest.raises(ValueError, match="'imgs'"):
        data.load("dsprites", tmp_path)
    put(tmp_path, f"dsprites/{dsprites.FILE}", {**original, "imgs": original["metadata"]})
    with pytest.raises(TypeError, match="pickle, which is refused"):
        data.load("dsprites", tmp_path)


def test_a_damaged_file(original: dict[str, Any], tmp_path: Path) -> None:
    file = put(tmp_path, f"dsprites/{dsprites.FILE}", original)
    content = file.read_bytes()
    middle = len(content) // 3
    for broken in (content[:middle], b"", b"<html>", content[:middle] + b"\0" * 50 + content[middle + 50 :]):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match="is truncated or damaged|is no NumPy file"):
            data.load("dsprites", tmp_path)
    np.save(file.with_suffix(".npy"), original["imgs"])
    file.with_suffix(".npy").rename(file)
    with pytest.raises(ValueError, match="should be an .npz file with the keys"):
        data.load("dsprites", tmp_path)


def test_a_download_is_held_to_the_published_checksum(
    original: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (remote,) = dsprites.SOURCE.remotes
    file = put(tmp_path, dsprites.FILE, original)
    assert remote.check is not None and all(url.endswith(f"/{dsprites.FILE}") for url in remote.urls)
    with pytest.raises(ValueError, match="it should have the MD5 7da33b31.*; got "):
        remote.check(file)
    monkeypatch.setattr(dsprites, "MD5", hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest())
    remote.check(file)


@pytest.mark.parametrize("module", [dsprites_grid, dsprites_subset])
def test_the_selections_are_read(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, path = module.__name__.rpartition(".")[2], module.SOURCE.remotes[0].path
    with pytest.raises(FileNotFoundError, match=f"{Path(path).name}.*below root="):
        data.load(name, tmp_path)
    images, factors = sprites.rendered((3, 2, 5, 2, 2))
    arrays = {"imgs": images, "latents_classes": factors.classes, "metadata": np.array({}, dtype=object)}
    file = put(tmp_path, path, arrays)
    with pytest.raises(ValueError, match="'imgs' of .*should hold the published values"):
        data.load(name, tmp_path)
    monkeypatch.setattr(module, "SHA256", (digest(images), digest(factors.classes.astype(np.uint8))))
    split = data.load(name, tmp_path)
    whole, of_whole = dsprites.whole(name, tmp_path)
    of_test = dsprites.factors(split, "test")
    assert of_whole.sizes == of_test.sizes == module.SIZES
    np.testing.assert_array_equal(whole, images)
    np.testing.assert_array_equal(split.pixels["test"], images[factors.index(of_test.classes)])
    for other in (factors.classes[::-1], factors.classes * 9):
        put(tmp_path, path, {**arrays, "latents_classes": other})
        with pytest.raises(ValueError, match="'latents_classes' of .*should hold the published values"):
            data.load(name, tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is truncated or damaged"):
        data.load(name, tmp_path)


# --- the real ones ---


def test_drawn_images_agree_with_the_originals() -> None:
    try:
        sets = [dsprites.whole(f"dsprites_{name}", ROOT or "nowhere") for name in ("grid", "subset")]
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    (grid, coarse), (subset, chosen) = sets
    assert coarse.is_grid and grid.shape == (46_080, 64, 64) and subset.shape == (20_000, 64, 64)
    full = Factors(coarse.names, chosen.sizes, coarse.classes * dsprites_grid.STEPS)
    for images, factors in ((grid, full), (subset, chosen)):
        rows = RNG.permutation(len(images))[:3000]
        found = dsprites.agreement(images[rows], sprites.draw(factors.subset(rows)))
        for shape in range(3):
            for scale in range(6):
                assert found[(factors.classes[rows, :2] == (shape, scale)).all(1)].mean() > 0.99
    both, here, there = np.intersect1d(
        full.index(full.classes), chosen.index(chosen.classes), assume_unique=True, return_indices=True
    )
    assert len(both) == 1246
    np.testing.assert_array_equal(grid[here], subset[there])

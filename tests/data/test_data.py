"""Laws of `ppl_vae.data`: what a split is, what a rule of binarisation does, and that nothing wrong passes silently."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl_vae import data
from ppl_vae.data.files.download import Remote
from ppl_vae.data.files.sources import Source
from ppl_vae.data.sets import static_mnist

PARTS = ("train", "valid", "test")
GREY = np.random.default_rng(0).integers(0, 256, (40, 4, 3), dtype=np.uint8)


def numbered(count: int, *shape: int) -> np.ndarray:
    """Images that are all equal to their own number, so that rows can be told apart."""
    return np.broadcast_to(np.arange(count, dtype=np.float32).reshape(-1, *[1] * len(shape)), (count, *shape)).copy()


# --- the split ---


@given(
    count=st.integers(20, 200),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    seed=st.integers(0, 2**40),
    valid=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
)
@settings(deadline=None, max_examples=50)
def test_parts_are_disjoint_and_complete(count: int, shape: list[int], seed: int, valid: float, test: float) -> None:
    x = numbered(count, *shape)
    split = data.from_arrays(x, labels={"train": np.arange(count)}, seed=seed, valid_fraction=valid, test_fraction=test)
    assert split.image_shape == tuple(shape) and split.P == split.dim == np.prod(shape)
    rows = np.concatenate([getattr(split, part)[:, 0] for part in PARTS])
    assert sorted(rows) == list(range(count))
    assert split.labels is not None
    for part in PARTS:
        array = getattr(split, part)
        assert array.dtype == np.float32 and array.flags.c_contiguous and array.shape == (split.sizes[part], split.P)
        assert (array == split.labels[part][:, None]).all()
        assert split.images(array).shape == (len(array), *shape)
    assert abs(split.sizes["valid"] - valid * count) <= 0.5 and abs(split.sizes["test"] - test * count) <= 0.5


def test_the_seed_decides_the_split_and_the_binarisation() -> None:
    first, again, other = (data.load("digits", seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    for part in PARTS:
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
        assert (getattr(first, part) != getattr(other, part)).any()


def test_a_missing_part_is_drawn_from_train() -> None:
    x = numbered(50, 2)
    split = data.from_arrays(x[:40], test=x[40:], labels={"train": np.arange(40), "test": np.arange(40, 50)})
    assert split.sizes == {"train": 36, "valid": 4, "test": 10}
    np.testing.assert_array_equal(split.test, x[40:])
    assert sorted([*split.train[:, 0], *split.valid[:, 0]]) == list(range(40))
    assert split.labels is not None
    np.testing.assert_array_equal(split.labels["valid"], split.valid[:, 0])


def test_arrays_are_read_only_and_our_own() -> None:
    x = numbered(20, 3)
    split = data.from_arrays(x, x, x)
    x[:] = -1
    for array in (split.train, split.valid, split.test, split.pixels["train"]):
        assert (array[:, 0] == np.arange(20)).all()
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert split.train is split.train
    assert x.flags.writeable


@pytest.mark.parametrize(
    ("x", "scale"),
    [
        (GREY, 255),
        (GREY.astype(np.float32), 1),
        (GREY.astype(">f8") - 100, 1),
        (np.asfortranarray(GREY.astype(np.float16)), 1),
        (GREY > 100, 1),
        ((GREY > 100).astype(np.int64), 1),
        ((GREY > 100).astype(np.uint8), 1),
        ((GREY > 100).astype(np.uint8) * 255, 255),
    ],
)
def test_intensities_are_pixels_over_scale(x: np.ndarray, scale: float) -> None:
    split = data.from_arrays(x, x, x)
    assert split.scale == scale
    np.testing.assert_allclose(split.train, x.reshape(40, 12).astype(float) / scale, rtol=1e-6)
    np.testing.assert_array_equal(split.images(split.train), split.train.reshape(x.shape))


@pytest.mark.parametrize(("x", "rule"), [(GREY, "none"), (GREY > 9, "fixed"), ((GREY > 9).astype(float), "fixed")])
def test_default_rule_of_arrays(x: np.ndarray, rule: str) -> None:
    assert data.from_arrays(x).binarisation == rule


def test_a_scale_or_an_image_shape_may_be_given() -> None:
    split = data.from_arrays(GREY.reshape(40, 12) // 16, image_shape=(4, 3), scale=15)
    assert split.images(split.train).shape[1:] == (4, 3) and split.scale == 15 and split.train.max() == 1


# --- binarisation ---


def test_dynamic_keeps_train_and_draws_the_rest_once_with_the_right_mean() -> None:
    p = np.tile(np.linspace(0, 1, 11, dtype=np.float32), (20_000, 1))
    split = data.from_arrays(p[:100], p, p, binarisation="dynamic", seed=3)
    np.testing.assert_array_equal(split.train, p[:100])
    for x in (split.valid, split.test):
        assert set(np.unique(x)) == {0, 1}
        error = np.sqrt(p[0] * (1 - p[0]) / len(p))
        assert (np.abs(x.mean(0) - p[0]) <= 4.5 * error).all()  # exact at 0 and 1
        columns = x[:, 1:-1]
        assert np.abs(np.corrcoef(columns.T) - np.eye(9)).max() < 5 / np.sqrt(len(p))
    assert (split.valid != split.test).any()
    again = data.from_arrays(p[:100], p, p, binarisation="dynamic", seed=3)
    np.testing.assert_array_equal(split.test, again.test)
    assert (data.from_arrays(p[:100], p, p, binarisation="dynamic", seed=4).test != split.test).any()


def test_threshold_is_above_one_half() -> None:
    x = np.array([[0.0, 0.5, 0.51, 1.0]])
    split = data.from_arrays(x, x, x, binarisation="threshold")
    for part in PARTS:
        np.testing.assert_array_equal(getattr(split, part), [[0, 0, 1, 1]])
    grey = np.array([[127, 128]], np.uint8)
    np.testing.assert_array_equal(data.from_arrays(grey, grey, grey, binarisation="threshold").train, [[0, 1]])


@pytest.mark.parametrize("rule", data.BINARISATIONS)
def test_binary_data_are_the_same_under_every_rule(rule: Any) -> None:
    split = data.from_arrays(GREY > 100).with_binarisation(rule)
    assert split.binarisation == rule
    for part in PARTS:
        np.testing.assert_array_equal(getattr(split, part), getattr(data.from_arrays(GREY > 100), part))


def test_with_binarisation_leaves_the_original() -> None:
    digits = data.load("digits")
    threshold = digits.with_binarisation("threshold")
    assert digits.binarisation == "dynamic" and set(np.unique(threshold.train)) == {0, 1}
    np.testing.assert_array_equal(threshold.train, digits.train > 0.5)
    assert len({digits.with_binarisation(rule).fingerprint() for rule in ("none", "threshold", "dynamic")}) == 3


# --- the object ---


def test_digits() -> None:
    digits = data.load("digits")
    assert digits.sizes == {"train": 1258, "valid": 180, "test": 359} and digits.scale == 16
    assert digits.labels is not None and set(digits.labels["test"]) == set(range(10))
    assert digits.train.min() == 0 and digits.train.max() == 1
    assert len(np.unique(np.concatenate([digits.pixels[part].reshape(-1, 64) for part in PARTS]), axis=0)) == 1797
    assert repr(digits) == (
        "Split('digits', train=1258, valid=180, test=359, image_shape=(8, 8), binarisation='dynamic')"
    )


def test_to_dict_is_json_and_tells_sets_apart() -> None:
    record = data.load("digits").to_dict()
    assert json.loads(json.dumps(record)) == record
    assert len(record["fingerprint"]) == 64 and record["sizes"]["valid"] == 180 and record["seed"] == 0
    x = GREY.reshape(40, 12) / 255
    assert data.from_arrays(x).fingerprint() != data.from_arrays(x[::-1]).fingerprint()
    flat, square = data.from_arrays(GREY.reshape(40, 12)), data.from_arrays(GREY)
    assert flat.fingerprint() == square.fingerprint() and flat.to_dict() != square.to_dict()


def test_subset_shuffles_and_carries_labels() -> None:
    x = numbered(100, 2)
    split = data.from_arrays(x, x, x, labels={part: np.arange(100) for part in PARTS})
    small = split.subset(train=10, test=20, seed=1)
    assert small.sizes == {"train": 10, "valid": 100, "test": 20}
    assert small.labels is not None
    for part in PARTS:
        rows = getattr(small, part)[:, 0]
        assert len(set(rows)) == len(rows)
        np.testing.assert_array_equal(rows, small.labels[part])
    assert max(small.test[:, 0]) > 50
    np.testing.assert_array_equal(small.test, split.subset(test=20, seed=1).test)
    assert (split.subset(test=20, seed=2).test != small.test).any()
    assert split.subset(train=100).sizes == split.sizes
    for wrong in (0, 101, -1):
        with pytest.raises(ValueError, match="'valid' should be a number from 1 to 100"):
            split.subset(valid=wrong)


def test_images_takes_leading_axes_and_no_other_size() -> None:
    digits = data.load("digits")
    assert digits.images(np.zeros((3, 5, 64))).shape == (3, 5, 8, 8)
    with pytest.raises(ValueError, match=r"\(\.\.\., 64\); got \(2, 63\)"):
        digits.images(np.zeros((2, 63)))


def test_names_are_loaded_without_a_framework() -> None:
    assert "digits" in data.names() and "static_mnist" in data.names()
    heavy = {"torch", "jax", "sklearn", "pooch", "requests", "scipy", "PIL"}
    code = f"import sys; from ppl_vae import data; print({heavy} & {{*sys.modules}})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


# --- files ---


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    dtype=st.sampled_from(["u1", "?", "f2", "<f4", ">f8"]),
    keys=st.sampled_from([PARTS, ("train", "val", "test"), ("x_train", "x_validation", "x_test")]),
)
@settings(deadline=None, max_examples=20)
def test_npz_round_trip(tmp_path_factory: pytest.TempPathFactory, shape: list[int], dtype: str, keys: Any) -> None:
    rng = np.random.default_rng(0)
    arrays = {key: rng.integers(0, 256, (5, *shape), dtype=np.uint8).astype(dtype) for key in keys}
    path = tmp_path_factory.mktemp("data") / "mine.npz"
    np.savez(path, **arrays)
    split = data.load(path)
    assert split.name == "mine" and split.image_shape == tuple(shape)
    for part, key in zip(PARTS, keys, strict=True):
        np.testing.assert_array_equal(split.pixels[part], arrays[key])
    assert split.fingerprint() == data.from_arrays(*arrays.values()).fingerprint()


@pytest.mark.parametrize("key", ["images", "imgs", "data", "x", "X", "anything", None])
def test_a_single_array_is_split(tmp_path: Path, key: str | None) -> None:
    path = tmp_path / ("one.npy" if key is None else "one.npz")
    if key is None:
        np.save(path, GREY)
    elif key == "anything":
        np.savez(path, **{key: GREY})
    else:
        np.savez(path, **{key: GREY, "labels": np.arange(40), "metadata": np.array({"an": "object"}, dtype=object)})
    split = data.load(str(path), binarisation="dynamic", valid_fraction=0.25, test_fraction=0.25)
    assert split.sizes == {"train": 20, "valid": 10, "test": 10} and split.binarisation == "dynamic"
    assert data.load(path.name, tmp_path).sizes["train"] == 28
    if key not in (None, "anything"):
        assert split.labels is not None
        np.testing.assert_array_equal(split.pixels["test"], GREY[split.labels["test"]])


def test_labels_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labelled.npz"
    np.savez(path, train_images=GREY, train_labels=np.arange(40), test_images=GREY, y_test=np.arange(40) % 2)
    split = data.load(path)
    assert split.labels is not None
    np.testing.assert_array_equal(split.pixels["valid"], GREY[split.labels["valid"]])
    np.testing.assert_array_equal(split.labels["test"], np.arange(40) % 2)


def damaged(path: Path, kind: str) -> Path:
    np.save(path.with_suffix(".npy"), GREY)
    np.savez(path.with_suffix(".npz"), train=GREY)
    suffix = ".npy" if kind.startswith("npy") else ".npz"
    file = path.with_suffix(suffix)
    whole = bytearray(file.read_bytes())
    if kind.endswith("cut"):
        whole = whole[: len(whole) // 2]
    elif kind.endswith("cut short"):
        whole = whole[:8]
    elif kind.endswith("empty"):
        whole = bytearray()
    elif kind.endswith("text"):
        whole = bytearray(b"0 1 0 1\n")
    elif kind.endswith("flipped"):
        whole[len(whole) // 2] ^= 1
    file.write_bytes(whole)
    return file


@pytest.mark.parametrize("format_", ["npy", "npz"])
@pytest.mark.parametrize("harm", ["cut", "cut short", "empty", "text"])
def test_damaged_files(tmp_path: Path, format_: str, harm: str) -> None:
    path = damaged(tmp_path / "mine", f"{format_} {harm}")
    with pytest.raises(ValueError, match=f"{path.name}.*(damaged|no NumPy file)") as caught:
        data.load(path)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(where=st.integers(0, 10_000), byte=st.integers(0, 255), format_=st.sampled_from([".npy", ".npz"]))
@settings(deadline=None, max_examples=60)
def test_any_changed_byte_is_harmless_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, where: int, byte: int, format_: str
) -> None:
    path = damaged(tmp_path_factory.mktemp("data") / "mine", f"{format_[1:]} intact")
    content = bytearray(path.read_bytes())
    content[where % len(content)] = byte
    path.write_bytes(content)
    try:
        assert data.load(path).P == 12
    except (ValueError, TypeError) as error:
        assert "mine" in str(error)


def test_a_second_array_in_an_npy_is_not_dropped(tmp_path: Path) -> None:
    with (tmp_path / "two.npy").open("wb") as stream:
        np.save(stream, GREY)
        np.save(stream, GREY)
    with pytest.raises(ValueError, match="more bytes behind the array"):
        data.load(tmp_path / "two.npy")


def test_a_flipped_bit_in_an_npz_is_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'train' of .*damaged.*CRC"):
        data.load(damaged(tmp_path / "mine", "npz flipped"))


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    objects = np.array([np.zeros(3), np.zeros(4)], dtype=object)
    np.save(tmp_path / "a.npy", objects)
    np.savez(tmp_path / "b.npz", train=objects)
    (tmp_path / "c.npy").write_bytes(b"\x80\x04N.")
    for name in ("a.npy", "b.npz"):
        with pytest.raises(TypeError, match=r"pickle, which is refused.*np\.save"):
            data.load(tmp_path / name)
    with pytest.raises(ValueError, match="pickles are refused"):
        data.load(tmp_path / "c.npy")


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    for name in ("missing.npy", "missing.npz"):
        with pytest.raises(FileNotFoundError, match=f"{name}.*does not exist"):
            data.load(tmp_path / name)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ValueError, match="folder.npz' holds no .npy file"):
        data.load(tmp_path / "folder.npz")
    for name in ("faces.csv", "faces.npy.gz", "faces"):
        with pytest.raises(ValueError, match=r"should be \.npy or \.npz; got .*faces"):
            data.load(tmp_path / name)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ((), "no array at all"),
        (("a", "b"), r"should hold the keys train.*\['a', 'b'\]"),
        (("test", "valid"), "no 'train'"),
        (("train", "valid", "val"), r"only one of the keys \['valid', 'val'\]"),
        (("x", "images"), "only one of the keys"),
    ],
)
def test_keys_that_do_not_say_what_is_what(tmp_path: Path, keys: tuple[str, ...], message: str) -> None:
    np.savez(tmp_path / "keys.npz", **dict.fromkeys(keys, GREY))
    with pytest.raises(ValueError, match=message):
        data.load(tmp_path / "keys.npz")


# --- arrays that are wrong ---

NAN = np.full((30, 4), 0.5)
NAN[7, 2], NAN[9, 0], NAN[9, 1] = np.nan, np.inf, -np.inf


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.float32(3), ValueError, r"should have shape \(N, P\).*got shape \(\)"),
        (np.zeros(784), ValueError, r"got shape \(784,\): a single image needs x\[None\]"),
        (np.zeros((0, 4)), ValueError, r"at least one image.*got shape \(0, 4\)"),
        (np.zeros((5, 0)), ValueError, "at least one pixel"),
        (np.zeros((5, 4), complex), TypeError, "uint8.* or floating; got dtype complex128"),
        (np.full((5, 4), "a"), TypeError, "uint8.* or floating; got dtype <U1"),
        (np.full((5, 4), None), TypeError, r"dtype object: .*np\.stack"),
        (np.full((5, 4), 200), TypeError, r"dtype int64 with values 200 to 200: use x\.astype\(np\.uint8\)"),
        (np.full((5, 4), -1, np.int8), TypeError, "int8"),
        (NAN, ValueError, r"3 of 120 are NaN or infinite, the first at \[7, 2\]"),
        (np.full((5, 4), 1e300), ValueError, "float32"),
    ],
)
def test_wrong_pixels(x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"faces: 'train' .*{message}"):
        data.from_arrays(x, name="faces")
    good = np.zeros((5, 4))
    with pytest.raises(error, match=f"faces: 'test' .*{message}"):
        data.from_arrays(good, good, x, name="faces")


def test_parts_that_do_not_fit_together() -> None:
    with pytest.raises(ValueError, match=r"'test' should have shape \(N, 4, 3\) or \(N, 12\).*got \(5, 3, 4\)"):
        data.from_arrays(GREY, test=np.zeros((5, 3, 4), np.uint8))
    with pytest.raises(TypeError, match="uint8 or all floating.*train uint8, test float64"):
        data.from_arrays(GREY, test=GREY / 255)
    data.from_arrays(GREY, test=GREY.reshape(40, 12))
    with pytest.raises(ValueError, match=r"image_shape=\(5, 5\)"):
        data.from_arrays(GREY, image_shape=(5, 5))


def test_labels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"Labels of .*'train' should have shape \(40, \.\.\.\).*got \(39,\)"):
        data.from_arrays(GREY, labels={"train": np.arange(39)})
    with pytest.raises(ValueError, match="labels should be of the parts given"):
        data.from_arrays(GREY, labels={"test": np.arange(4)})
    with pytest.raises(TypeError, match="Labels of .* object"):
        data.from_arrays(GREY, labels={"train": np.full(40, None)})


@pytest.mark.parametrize("rule", ["threshold", "dynamic"])
def test_rules_that_need_intensities(rule: Any) -> None:
    for x in (GREY.astype(float), np.where(GREY.max() == GREY, 1.5, 0.5), GREY / -255):
        with pytest.raises(ValueError, match=rf"should have values in \[0, 1\].*lie outside.*{rule}.*rescale"):
            data.from_arrays(x, binarisation=rule)


def test_fixed_needs_binary_data() -> None:
    with pytest.raises(ValueError, match=r"values in \{0, 255\} only; .*'fixed'.*choose another rule"):
        data.from_arrays(GREY, binarisation="fixed")
    with pytest.raises(ValueError, match=r"3 of 120 are others \(the first is 0\.5 at \[0, 0\]\)"):
        x = np.zeros((30, 4))
        x[0, :3] = 0.5
        data.from_arrays(x, x, x, binarisation="fixed")


@pytest.mark.parametrize(
    ("settings_", "error", "message"),
    [
        ({"valid_fraction": 0.0}, ValueError, "'valid_fraction' should lie between 0 and 1; got 0.0"),
        ({"test_fraction": float("nan")}, ValueError, "test_fraction"),
        ({"valid_fraction": 0.001}, ValueError, "40 data with .* leave 'valid' without any"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, ValueError, "leave 'train' without any"),
        ({"valid_fraction": 0.9, "test_fraction": 0.9}, ValueError, "leave 'train' without any"),
        ({"seed": -1}, ValueError, "'seed' should be an integer of at least 0; got -1"),
        ({"seed": 1.5}, TypeError, "'seed' should be an integer"),
        ({"scale": 0}, ValueError, "'scale' should be a positive number"),
        ({"binarisation": "dynamical"}, ValueError, "none, threshold, fixed, dynamic; got 'dynamical'.*'dynamic'"),
    ],
)
def test_wrong_settings(settings_: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        data.from_arrays(GREY, **settings_)


def test_unknown_names() -> None:
    with pytest.raises(
        ValueError, match=r"no data set 'digit' \(did you mean 'digits'\?\): .*digits, static_mnist, mnist"
    ):
        data.load("digit")
    with pytest.raises(ValueError, match="did you mean 'static_mnist'"):
        data.load("statik_mnist")
    for typo, name in {"minst": "mnist", "fashion-mnist": "fashion_mnist", "frey_faces": "freyfaces"}.items():
        with pytest.raises(ValueError, match=f"did you mean '{name}'"):
            data.load(typo)
    with pytest.raises(ValueError, match="did you mean 'caltech101_silhouettes'"):
        data.load("caltech101")
    with pytest.raises(ValueError, match="no data set ''"):
        data.load("")
    with pytest.raises(TypeError, match="got ndarray: for arrays use from_arrays"):
        data.load(GREY)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'binarisation' should be one of"):
        data.load("digits", binarisation="static")  # type: ignore[arg-type]


def test_split_made_by_hand_is_checked() -> None:
    x = np.zeros((3, 4), np.uint8)
    with pytest.raises(ValueError, match="keys .*'valid'.*got"):
        data.Split("mine", {"train": x, "test": x}, (4,))
    with pytest.raises(ValueError, match="labels should have keys among"):
        data.Split("mine", dict.fromkeys(PARTS, x), (4,), labels={"validation": x})


@given(st.lists(st.floats(-2, 3, width=32), min_size=1, max_size=20))
@settings(deadline=None, max_examples=50)
def test_check_unit_interval_accepts_exactly_the_unit_interval(values: list[float]) -> None:
    if all(0 <= value <= 1 for value in values):
        data.check_unit_interval(values)
    else:
        outside = sum(not 0 <= value <= 1 for value in values)
        with pytest.raises(ValueError, match=f"'x' should have values.* {outside} of {len(values)} lie outside"):
            data.check_unit_interval(values, "'x'")


def test_check_unit_interval_refuses_nan() -> None:
    with pytest.raises(ValueError, match=r"1 of 2 lie outside.*first at \[1\]"):
        data.check_unit_interval([0.5, np.nan])
    data.check_unit_interval(np.zeros((0, 3)))


# --- static MNIST: found, downloaded, or neither ---


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Empty the cache and name no folder of data; return the cache."""
    monkeypatch.delenv("PPL_VAE_DATA", raising=False)
    monkeypatch.setenv("PPL_VAE_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"


class Server:
    """In the place of pooch's HTTP downloader: serves texts, or fails where it has none."""

    texts: dict[str, bytes] = {}
    asked: list[str] = []

    def __init__(self, **settings: Any) -> None:
        pass

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        self.asked.append(url)
        if url not in self.texts:
            raise requests.exceptions.ConnectionError("no route to host")
        Path(output_file).write_bytes(self.texts[url])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, no_data: Path) -> type[Server]:
    """Serve three small text files, whose digests are made the published ones."""
    Server.texts, Server.asked, remotes = {}, [], []
    rng = np.random.default_rng(0)
    for count, part in zip((5, 3, 2), PARTS, strict=True):
        bits = rng.integers(0, 2, (count, 784), dtype=np.uint8)
        text = "".join(" ".join(map(str, row)) + "\n" for row in bits).encode()
        Server.texts[static_mnist.URL.format(part)] = text
        url, name = static_mnist.URL.format(part), Path(static_mnist.URL).name.format(part)
        remotes.append(Remote(name, (url,), len(text), hashlib.sha256(text).hexdigest()))
        monkeypatch.setitem(static_mnist.PIXELS_SHA256, part, hashlib.sha256(bits.tobytes()).hexdigest())
    monkeypatch.setattr(static_mnist, "SOURCE", Source(tuple(remotes), static_mnist.SOURCE.forms))
    monkeypatch.setattr("pooch.HTTPDownloader", Server)
    return Server


def test_static_mnist_is_downloaded_once(server: type[Server], no_data: Path) -> None:
    split = data.load("static_mnist")
    assert split.sizes == {"train": 5, "valid": 3, "test": 2}
    assert split.image_shape == (28, 28) and split.binarisation == "fixed"
    first = server.texts[static_mnist.URL.format("train")].split(b"\n")[0]
    np.testing.assert_array_equal(split.train[0], [int(bit) for bit in first.split()])
    assert [path.name for path in no_data.rglob("*") if path.is_file()] == ["binarized_mnist.npz"]
    assert data.load("static_mnist").fingerprint() == split.fingerprint() and len(server.asked) == 3
    assert data.load("static_mnist", no_data).fingerprint() == split.fingerprint()


def test_static_mnist_from_the_folder_of_the_environment(
    server: type[Server], no_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data.load("static_mnist")
    no_data.rename(tmp_path / "mine")
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path / "mine"))
    assert data.load("static_mnist").sizes["train"] == 5 and len(server.asked) == 3


def test_a_download_with_another_checksum_is_refused(server: type[Server], no_data: Path) -> None:
    server.texts[static_mnist.URL.format("valid")] += b"\n"
    with pytest.raises(ValueError, match=r"Could not download .*_valid\.amat \(it should have .* of SHA-256 .*; got"):
        data.load("static_mnist")
    assert not [path for path in no_data.rglob("*") if path.is_file()]


def test_pixels_with_another_checksum_are_refused(server: type[Server], no_data: Path) -> None:
    data.load("static_mnist")
    file = no_data / static_mnist.FILE
    with np.load(file) as loaded:
        arrays = dict(loaded)
    np.savez(file, **(arrays | {"test": arrays["test"][::-1]}))
    with pytest.raises(ValueError, match="'test' of .*should hold the published values, uint8 of SHA-256"):
        data.load("static_mnist")
    np.savez(file, **(arrays | {"test": arrays["test"] * 2}))
    with pytest.raises(ValueError, match="not the static binarisation"):
        data.load("static_mnist")
    np.savez(file, train=arrays["train"])
    with pytest.raises(ValueError, match="'valid'"):
        data.load("static_mnist")
    assert data.load(file, valid_fraction=0.2).sizes["train"] == 3


def test_no_network_names_both_remedies(server: type[Server], no_data: Path) -> None:
    server.texts.clear()
    message = "Could not download http.*binarized_mnist_train.amat.*connect to the network.*root=.*PPL_VAE_DATA"
    with pytest.raises(ConnectionError, match=message) as caught:
        data.load("static_mnist")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert not [path for path in no_data.rglob("*") if path.is_file()]


def test_a_root_without_the_file_is_not_passed_over(server: type[Server], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no 'mnist_binarized/binarized_mnist.npz' below root=.*PPL_VAE_DATA"):
        data.load("static_mnist", tmp_path)
    assert not server.asked


@pytest.mark.skipif(not os.environ.get("PPL_VAE_DATA"), reason="PPL_VAE_DATA names no folder of data")
def test_the_published_static_mnist() -> None:
    if not (Path(os.environ["PPL_VAE_DATA"]) / static_mnist.FILE).is_file():
        pytest.skip(f"{static_mnist.FILE} is not below PPL_VAE_DATA")
    split = data.load("static_mnist")
    assert split.sizes == {"train": 50_000, "valid": 10_000, "test": 10_000} and split.P == 784
    assert set(np.unique(split.test)) == {0, 1}
    text = bytearray(b" " * (2 * split.pixels["test"].size))
    text[::2] = (split.pixels["test"] + np.uint8(ord("0"))).tobytes()
    text[2 * 784 - 1 :: 2 * 784] = b"\n" * 10_000
    assert len(text) == static_mnist.TEXTS["test"][0]
    assert hashlib.sha256(text).hexdigest() == static_mnist.TEXTS["test"][1]  # the served file, rebuilt

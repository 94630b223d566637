"""What a refusal of data advises, followed: the images are then read, and are the right ones."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import io
import os
import struct
import sys
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import follow, refused
from PIL import Image
from scipy.io import savemat

from ppl_vae import VAE, data, inference, recipes
from ppl_vae.data.files import idx, integrity, mat
from ppl_vae.data.files.download import Remote
from ppl_vae.data.files.sources import Source
from ppl_vae.data.sets import dsprites, omniglot, static_mnist
from ppl_vae.results import Fit
from ppl_vae.runtime import compile_cache

GREY = np.arange(10 * 6, dtype=np.uint8).reshape(10, 2, 3)
WIDE = 4 * GREY
BITS = (GREY % 2).astype(np.uint8)
UNIT = GREY.astype(np.float32) / 59


def npy(x: np.ndarray, name: str = "x.npy") -> Callable[[Path], Path]:
    """A maker of a file that holds an array."""

    def save(at: Path) -> Path:
        (at / name).parent.mkdir(exist_ok=True)
        np.save(at / name, x, allow_pickle=True)
        return at / name

    return save


def raw(content: bytes, name: str = "x.npy") -> Callable[[Path], Path]:
    """A maker of a file of bytes."""

    def write(at: Path) -> Path:
        (at / name).parent.mkdir(exist_ok=True)
        (at / name).write_bytes(content)
        return at / name

    return write


def loads(make: Callable[[Path], Path], expected: np.ndarray | None = None, **options: Any) -> Callable[[Path], Any]:
    """Load the file; where all its images are known, they are those expected."""

    def load(at: Path) -> Any:
        split = data.load(make(at), **options)
        if expected is not None:
            got = np.concatenate([np.asarray(x) for x in (split.train, split.valid, split.test)])
            np.testing.assert_allclose(sorted(got.tolist()), sorted(expected.reshape(len(expected), -1).tolist()))
        return split.train[:2]

    return load


def streamed(make: Callable[[Path], Path], expected: np.ndarray | None = None) -> Callable[[Path], Any]:
    """Stream the file."""

    def stream(at: Path) -> np.ndarray:
        x = np.asarray(data.stream(make(at)))
        if expected is not None:
            np.testing.assert_allclose(x, expected.reshape(len(expected), -1), rtol=1e-6)
        return x

    return stream


def content_of(x: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, x)
    return stream.getvalue()


IDX = b"\0\0\x08\x02" + struct.pack(">2i", 2, 3) + bytes(range(6))


def read_idx(content: bytes) -> Callable[[Path], np.ndarray]:
    return lambda at: idx.read_idx(raw(content, "x.gz")(at))


def drawings(content: bytes) -> Callable[[Path], np.ndarray]:
    return lambda at: omniglot.read_drawings([raw(content, "x.zip")(at)])[2]


def zipped(name: str) -> bytes:
    stream, png = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.ones((105, 105), bool)).save(png, "PNG")
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, png.getvalue())
    return stream.getvalue()


def save_mat(at: Path) -> np.ndarray:
    savemat(at / "x.mat", {"ff": GREY})
    return mat.read_mat(at / "x.mat", ["ff"])["ff"]


def split(rule: str, x: np.ndarray = UNIT, **options: Any) -> np.ndarray:
    return data.from_arrays(x, binarisation=rule, **options).train


def of_what_was_seen(x: np.ndarray) -> Fit:
    model_guide = recipes.vae(x.shape[1:], latent_dim=2, hidden=(4,))(np.random.default_rng(0))
    return inference.SVI(epochs=1, batch_size=5).fit(*model_guide, x, mask=np.isfinite(x))


def held(images: list[np.ndarray]) -> np.ndarray:
    """Images as objects of one array."""
    objects = np.empty((len(images), 1), object)
    objects[:, 0] = images
    return objects


HOLED = UNIT.copy()
HOLED[3, 0, 0] = np.nan
LARGE = np.where(np.arange(10)[:, None, None] == 3, 1e300, UNIT.astype(float))

REMEDIES: dict[str, tuple[Callable[[Path], Any], ...]] = {
    "under binarisation='fixed' the data are binary already; choose another rule": (
        lambda _: split("fixed"),
        *(lambda _, rule=rule: split(rule) for rule in ("none", "threshold", "dynamic")),
    ),
    "needs intensities; rescale the pixels or use binarisation='none'": (
        lambda _: split("dynamic", 59 * UNIT),
        lambda _: split("dynamic", 59 * UNIT, scale=59),
        lambda _: split("dynamic", 59 * UNIT / 59),
        lambda _: split("none", 59 * UNIT),
    ),
    "rescale them": (
        lambda _: data.check_unit_interval(GREY),
        lambda _: data.check_unit_interval(GREY / GREY.max()),
    ),
    "binarise them": (
        lambda _: data.check_binary(GREY),
        lambda _: data.check_binary(GREY > 128),
        lambda _: data.check_binary(data.from_arrays(GREY, binarisation="threshold").train),
    ),
    "or train in Python on what was seen, SVI.fit(..., mask=np.isfinite(x)) or, for NaN, ppl_vae.VAE": (
        loads(npy(HOLED)),
        loads(npy(np.delete(HOLED, 3, 0)), np.delete(HOLED, 3, 0)),
        loads(npy(np.nan_to_num(HOLED)), np.nan_to_num(HOLED)),
        lambda _: of_what_was_seen(HOLED.reshape(10, 6)),
        lambda _: of_what_was_seen(np.where(np.isnan(HOLED), np.inf, HOLED).reshape(10, 6)),
        lambda _: VAE(latent_dim=2, hidden=(4,), epochs=1, random_state=0).fit_transform(HOLED.reshape(10, 6)),
    ),
    "{}use x.astype(np.uint8), or divide them by the value of white, x / 255{}": (
        loads(npy(WIDE.astype(int))),
        loads(npy(WIDE.astype(int).astype(np.uint8)), WIDE / 255),
        loads(npy(WIDE.astype(int) / 255), WIDE / 255),
    ),
    "{}divide them by the value of white, x / {}{}{}": (
        loads(npy(16 * WIDE.astype(np.uint16))),
        loads(npy(16 * WIDE.astype(np.uint16) / 4095), 16.0 * WIDE / 4095),
    ),
    "{}make them floats in [0, 1], (x.astype(float) + {}) / {}{}": (
        loads(npy(WIDE.astype(np.int16) - 100)),
        loads(npy(((WIDE.astype(np.int16) - 100).astype(float) + 100) / 236), WIDE / 236),
    ),
    "if {} is white, say scale={}, and if they are that dark, scale=255": (
        loads(npy(GREY[:2] % 17)),
        lambda _: data.from_arrays(GREY % 17, scale=16).train,
        lambda _: data.from_arrays(GREY % 17, scale=255).train,
    ),
    "if {} is white in {}, give ({} * {}).astype('uint8') for it, and if it is that dark, scale=255": (
        lambda _: data.from_arrays(WIDE, None, BITS).test,
        lambda _: data.from_arrays(WIDE, None, (BITS * 255).astype("uint8")).test,
        lambda _: data.from_arrays(WIDE, None, BITS, scale=255).test,
    ),
    "save floats, (x / white).astype(np.float32), where white is the largest value that a pixel can have": (
        streamed(npy(16 * WIDE.astype(np.uint16))),
        streamed(npy((16 * WIDE.astype(np.uint16) / 4095).astype(np.float32)), 16.0 * WIDE / 4095),
    ),
    "stack the images into one array, np.stack(images), all of one shape and a numeric dtype": (
        lambda _: data.from_arrays(held(list(WIDE))),
        lambda _: data.from_arrays(np.stack(list(held(list(WIDE))[:, 0]))).train,
    ),
    ": a single image needs x[None].": (
        lambda _: data.from_arrays(UNIT[0].ravel(), UNIT.reshape(10, 6), UNIT.reshape(10, 6)),
        lambda _: data.from_arrays(UNIT[0].ravel()[None], UNIT.reshape(10, 6), UNIT.reshape(10, 6)).train,
    ),
    "is no NumPy file: it begins with": (
        loads(raw(b"P5 3 2 255")),
        loads(npy(UNIT), UNIT),
        lambda at: (np.savez(at / "x.npz", UNIT), loads(lambda at: at / "x.npz", UNIT)(at))[1],
    ),
    "is truncated or damaged ({}): copy or save it again": (
        loads(raw(content_of(UNIT)[:-8])),
        loads(raw(content_of(UNIT)), UNIT),
    ),
    "A data file should be .npy or .npz; got {}: save it with np.save or np.savez": (
        loads(raw(b"", "x.csv")),
        loads(npy(UNIT), UNIT),
        lambda at: (np.savez(at / "x.npz", UNIT), loads(lambda at: at / "x.npz", UNIT)(at))[1],
    ),
    "{} data with {} leave {} without any: give more data, other fractions, or the parts themselves": (
        lambda _: data.from_arrays(UNIT, valid_fraction=0.01),
        lambda _: data.from_arrays(np.repeat(UNIT, 10, 0), valid_fraction=0.01).valid,
        lambda _: data.from_arrays(UNIT, valid_fraction=0.2).valid,
        lambda _: data.from_arrays(UNIT[:8], UNIT[8:], valid_fraction=0.01).valid,
    ),
    "There is no data set {}{}: give some of": (
        lambda _: data.catalogue(["digit"]),
        lambda _: data.catalogue(["digits"])[0].sizes["train"],
    ),
    "There is no data set {}{}: give one of": (
        lambda _: data.load("digit"),
        lambda _: data.load("digits").train,
        loads(npy(UNIT), UNIT),
        loads(lambda at: npy(UNIT, "shards/0.npy")(at).parent),
    ),
    "'load' takes a name or a path; got {}: for arrays use from_arrays": (
        lambda _: data.load(UNIT),
        lambda _: data.from_arrays(UNIT).train,
    ),
    "truncated, damaged or no MATLAB file ({}): get it again": (
        lambda at: mat.read_mat(raw(b"MATLAB 5.0", "x.mat")(at), ["ff"]),
        save_mat,
    ),
    "should hold values of shape {}; got {}: copy or download it again": (
        read_idx(gzip.compress(IDX[:-1])),
        read_idx(gzip.compress(IDX)),
    ),
    "should be an IDX file of bytes; it begins with": (read_idx(gzip.compress(b"P5")), read_idx(gzip.compress(IDX))),
    "should hold drawings; got none: download again": (
        drawings(zipped("readme.txt")),
        drawings(zipped("images/Greek/character01/0001_01.png")),
    ),
    "should hold 784 pixels a line; got {} in all: download it again": (
        lambda at: static_mnist.parse(raw(b"0 1 " * 300, "x.amat")(at)),
        lambda at: static_mnist.parse(raw(b"0 1 " * 392, "x.amat")(at)),
    ),
    "Only a .npy file or a folder of them is streamed; got {}: save it with np.save": (
        streamed(raw(b"", "x.npz")),
        streamed(npy(UNIT), UNIT),
    ),
    "holds no .npy file: save the shards there, np.save('000.npy', x)": (
        streamed(lambda at: at),
        streamed(lambda at: npy(UNIT, "000.npy")(at).parent, UNIT),
    ),
    "is stored by columns: save it by rows, np.save(file, np.ascontiguousarray(x))": (
        streamed(npy(np.asfortranarray(UNIT))),
        streamed(lambda at: npy(np.ascontiguousarray(np.asfortranarray(UNIT)))(at), UNIT),
    ),
    "bytes, the file has {}: copy or save it again": (
        streamed(raw(content_of(UNIT)[:-8])),
        streamed(raw(content_of(UNIT)), UNIT),
    ),
    "{} has {} of {}, {} has {} of {}: save them alike": (
        streamed(lambda at: (npy(UNIT, "s/0.npy")(at), npy(UNIT.astype(float), "s/1.npy")(at))[0].parent),
        streamed(lambda at: (npy(UNIT, "s/0.npy")(at), npy(UNIT, "s/1.npy")(at))[0].parent, np.r_[UNIT, UNIT]),
    ),
    "is no NumPy file, or a damaged one ({}): save it with np.save": (streamed(raw(b"P5")), streamed(npy(UNIT), UNIT)),
    "repair that row, or leave it out": (
        streamed(npy(HOLED)),
        streamed(npy(np.nan_to_num(HOLED))),
        streamed(npy(np.delete(HOLED, 3, 0)), np.delete(HOLED, 3, 0)),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str, tmp_path: Path) -> None:
    follow(says, tmp_path, *REMEDIES[says])


def test_a_file_that_disappears_or_changes(tmp_path: Path) -> None:
    path = npy(UNIT)(tmp_path)
    x, kept, expected = data.stream(path), path.read_bytes(), UNIT.reshape(10, 6)
    path.rename(tmp_path / "away")
    refused("has disappeared since it was opened: put it back", lambda: x[0])
    (tmp_path / "away").rename(path)
    np.testing.assert_array_equal(x[:], expected)
    npy(1 - UNIT)(tmp_path)
    refused("has changed since it was opened: restore it, or open it again", lambda: x[0])
    np.testing.assert_allclose(data.stream(path)[:], 1 - expected)
    path.write_bytes(kept)
    os.utime(path, ns=(0, x.stored.shards[0].modified))
    np.testing.assert_array_equal(x[:], expected)


@pytest.mark.parametrize("images", [GREY, UNIT, BITS], ids=["bytes", "numbers", "bits"])
def test_images_that_were_pickled_are_saved_as_they_are(images: np.ndarray, tmp_path: Path) -> None:
    held = np.empty(len(images), object)
    held[:] = list(images)
    for use in (loads, streamed):
        refused(
            "is refused because it can run code: save one array of numbers, np.save(file, np.array(images.tolist()))",
            lambda use=use: use(npy(held))(tmp_path),
        )
        use(npy(np.array(held.tolist())), images / (255 if images.max() > 1 else 1))(tmp_path)


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A source of one file, which is nowhere yet; nobody serves it."""
    monkeypatch.delenv("PPL_VAE_DATA", raising=False)
    monkeypatch.setenv("PPL_VAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return Source((Remote("set/x.npy", ("http://127.0.0.1:9/x.npy",), 8),))


def test_a_named_set_without_its_files(named: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused("give the folder that holds it as root= or in", lambda: named.obtain(tmp_path))
    refused("Either connect to the network and try again, or give the folder", named.obtain)
    (path := npy(UNIT, "set/x.npy")(tmp_path)).rename(tmp_path / "served.npy")
    with contextlib.ExitStack() as stack:  # a network, and root left out
        handler = functools.partial(Quiet, directory=str(tmp_path))
        server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        stack.callback(server.shutdown)
        remote = replace(named.remotes[0], urls=(f"http://127.0.0.1:{server.server_port}/served.npy",))
        (found,) = Source((remote,)).obtain()
    np.testing.assert_array_equal(np.load(found), UNIT)
    found.unlink()
    (tmp_path / "served.npy").rename(path)
    assert named.obtain(tmp_path) == (path,)
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    assert named.obtain() == (path,)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_cache_that_cannot_be_written(named: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    refused(
        "make room or permit writing, name another folder in the environment variable {}, or one that holds the data",
        named.obtain,
    )
    path = npy(UNIT, "set/x.npy")(tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("PPL_VAE_DATA", str(tmp_path))
        assert named.obtain() == (path,)
    with monkeypatch.context() as patch:
        patch.setenv("PPL_VAE_CACHE", str(tmp_path / "other"))
        refused("Could not download", named.obtain)  # there is a cache, and no network
    (tmp_path / "cache").unlink()
    refused("Could not download", named.obtain)


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn.datasets", None)
        refused("which is missing: pip install scikit-learn", lambda: data.load("digits"))
    assert metadata.version("scikit-learn")  # the name that pip knows
    assert data.load("digits").sizes["train"] == 1258


def test_a_damaged_file_of_a_named_set(tmp_path: Path) -> None:
    whole = zipped("images/Greek/character01/0001_01.png")
    refused("is truncated or damaged ({}): copy or download it again", lambda: drawings(whole[:-30])(tmp_path))
    assert drawings(whole)(tmp_path).shape == (1, 105, 105)
    refused(
        "is truncated or damaged ({}): copy or download it again", lambda: read_idx(gzip.compress(IDX)[:-4])(tmp_path)
    )
    assert read_idx(gzip.compress(IDX))(tmp_path).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_other_values_than_the_published_ones(named: Source, tmp_path: Path) -> None:
    """The file is replaced, or deleted, or is data of one's own."""
    path = npy(1 - BITS, "set/x.npy")(tmp_path)
    known = integrity.digest(BITS)
    refused(
        "Replace the file, or delete it to have the published one downloaded; data of your own load by their path",
        lambda: integrity.verified(np.load(path), known, str(path)),
    )
    assert np.concatenate(list(data.load(path).pixels.values())).mean() == 0.5
    np.save(path, BITS)
    np.testing.assert_array_equal(integrity.verified(np.load(path), known, str(path)), BITS)
    path.unlink()
    refused("Could not download", named.obtain)  # it is downloaded where there is a network


def test_another_file_in_the_place_of_dsprites(tmp_path: Path) -> None:
    images, factors = dsprites.whole("sprites")
    large = np.kron(images[:2], np.ones((1, 2, 2), np.uint8))
    few = factors.subset(np.arange(2))
    refused(
        "replace the file, or delete it to have the published one downloaded",
        lambda: dsprites._check_images(2 * large, few, "'imgs'"),
    )
    refused(
        "replace the file, or delete it to have the published one downloaded",
        lambda: dsprites._check_images(large.astype(int), few, "'imgs'"),
    )
    dsprites._check_images(dsprites.draw(few), few, "'imgs'")


def test_a_file_as_the_folder_of_compiled_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PPL_VAE_COMPILE_CACHE", str(tmp_path / "file"))
    refused("should name a folder; {} is a file: name another", lambda: compile_cache.cache_folder("jax"))
    monkeypatch.setenv("PPL_VAE_COMPILE_CACHE", str(tmp_path / "folder"))
    assert compile_cache.cache_folder("jax") == tmp_path / "folder" / "jax"

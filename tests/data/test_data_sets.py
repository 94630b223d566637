"""Laws of the published data sets: found, downloaded whole or not at all, never others than the published values."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ppl_vae import data
from ppl_vae.data.files import download, idx
from ppl_vae.data.files.integrity import digest
from ppl_vae.data.files.sources import Source
from ppl_vae.data.registry import REGISTRY
from ppl_vae.data.sets import caltech101_silhouettes as caltech
from ppl_vae.data.sets import fashion_mnist, freyfaces, jsb_chorales, mnist, omniglot

PARTS = ("train", "valid", "test")
MODULES: dict[str, Any] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "freyfaces": freyfaces,
    "jsb_chorales": jsb_chorales,
    "caltech101_silhouettes": caltech,
    "omniglot": omniglot,
}
SETS = tuple(MODULES)
RNG = np.random.default_rng(0)


# --- small sets in the published formats ---


@dataclass
class Made:
    """What a module would publish: the files of a download, the arrays that they hold, and what to patch."""

    files: dict[str, bytes]
    pixels: dict[str, np.ndarray]
    labels: dict[str, np.ndarray] | None
    patches: dict[str, Any]


def made_idx(module: Any) -> Made:
    x, y = RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8), RNG.integers(0, 10, 30, dtype=np.uint8)
    x[0, 0, :2] = 0, 255
    files, sha256 = {}, {}
    for name, array in zip(idx.FILES, (x[:20], y[:20], x[20:], y[20:]), strict=True):
        header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
        files[f"{module.SOURCE.remotes[0].path.split('/')[0]}/{name}"] = gzip.compress(header + array.tobytes())
        sha256[name] = digest(array)
    pixels, labels = ({"train": a[:15], "valid": a[15:20], "test": a[20:]} for a in (x, y))
    return Made(files, pixels, labels, {"SHA256": sha256})


def made_freyfaces(_: Any) -> Made:
    x = RNG.integers(8, 239, (20, 28, 20), dtype=np.uint8)
    stream = io.BytesIO()
    savemat(stream, {"ff": x.reshape(20, 560).T}, do_compression=True)
    x = x[sorted(range(20), key=lambda i: hashlib.sha256(x[i].tobytes()).digest())]
    files = {"freyfaces/frey_rawface.mat": stream.getvalue()}
    patches = {"SHA256": digest(x), "SIZES": (12, 5, 3)}
    return Made(files, {"train": x[:12], "valid": x[12:17], "test": x[17:]}, None, patches)


def made_jsb(_: Any) -> Made:
    music: dict[str, list[Any]] = {}
    pixels, labels = {}, {}
    for part, counts in {"train": (5, 160, 7), "valid": (3,), "test": (9, 4)}.items():
        rolls = np.zeros((len(counts), 160, 88), np.uint8)
        for roll, count in zip(rolls, counts, strict=True):
            roll[:count] = RNG.random((count, 88)) < 0.05
            roll[count - 1, 87] = 1
        steps = [[tuple(np.flatnonzero(keys) + 21) for keys in roll[:n]] for roll, n in zip(rolls, counts, strict=True)]
        music[part], pixels[part], labels[part] = steps, rolls, np.array(counts)
    rolls = np.concatenate([pixels[part] for part in PARTS])
    return Made({"jsb_chorales/jsb_chorales.pickle": pickle.dumps(music)}, pixels, labels, {"SHA256": digest(rolls)})


def made_caltech(_: Any) -> Made:
    content, pixels, sha256, labels = {}, {}, {}, {}
    for count, (part, key) in zip((6, 4, 3), caltech.KEYS.items(), strict=True):
        x, y = RNG.integers(0, 2, (count, 28, 28), dtype=np.uint8), RNG.integers(1, 102, count, dtype=np.uint8)
        content[f"{key}_data"], content[f"{key}_labels"] = x.transpose(0, 2, 1).reshape(count, 784), y[:, None]
        pixels[part], sha256[part], labels[part] = 1 - x, digest(x), y
    stream = io.BytesIO()
    savemat(stream, {**content, "classnames": np.array([["anchor", "ant"]], dtype=object)})
    files = {caltech.SOURCE.remotes[0].path: stream.getvalue()}
    labels_sha256 = {part: digest(y) for part, y in labels.items()}
    return Made(files, pixels, labels, {"IMAGES_SHA256": sha256, "LABELS_SHA256": labels_sha256})


def made_omniglot(_: Any) -> Made:
    characters = ("Greek/character01", "Latin/character01", "Latin/character02")
    ink = RNG.integers(0, 2, (3, 20, 105, 105), dtype=np.uint8)
    files = {}
    for remote, inside in zip(omniglot.SOURCE.remotes, ((0, 1), (1, 2)), strict=True):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("images/readme.txt", "drawings")
            for c in reversed(inside):
                for drawer in range(20):
                    png = io.BytesIO()
                    Image.fromarray(ink[c, drawer] == 0).save(png, "PNG")
                    archive.writestr(f"images/{characters[c]}/{c:04d}_{drawer + 1:02d}.png", png.getvalue())
        files[remote.path] = stream.getvalue()
    x = omniglot.reduce(ink.reshape(-1, 105, 105)).reshape(3, 20, 28, 28)
    cut = {"train": x[:, :13], "valid": x[:, 13:15], "test": x[:, 15:]}
    pixels = {part: images.reshape(-1, 28, 28) for part, images in cut.items()}
    labels = {part: np.repeat(range(3), images.shape[1]) for part, images in cut.items()}
    return Made(files, pixels, labels, {"SHA256": digest(1 - ink)})


MAKERS: dict[str, Callable[[Any], Made]] = {
    "mnist": made_idx,
    "fashion_mnist": made_idx,
    "freyfaces": made_freyfaces,
    "jsb_chorales": made_jsb,
    "caltech101_silhouettes": made_caltech,
    "omniglot": made_omniglot,
}


# --- a server on this machine ---


class Web:
    """Serves files at `url`; `answers` says what happens to a path instead of its being served whole."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler, bytes], None]] = {}
        self.asked: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.lstrip("/")
                web.asked.append(path)
                if path in web.answers:
                    web.answers[path](self, web.files.get(path, b""))
                elif path in web.files:
                    whole(self, web.files[path])
                else:
                    self.send_error(404)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()


def whole(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    with contextlib.suppress(ConnectionError):
        handler.wfile.write(content)


def cut(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """Announce everything and hang up in the middle."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])


def cut_in_silence(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """Hang up in the middle of a content whose length was not announced."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])


def another(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """A page of a proxy in the place of the file."""
    whole(handler, b"<html>please log in</html>")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, no folder of data, no proxy to this machine."""
    monkeypatch.delenv("PPL_VAE_DATA", raising=False)
    monkeypatch.setenv("PPL_VAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def web(cache: Path) -> Iterator[Web]:
    served = Web()
    yield served
    served.close()


@pytest.fixture
def publish(web: Web, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Made]:
    """Publish a small set in the place of the real one, on the local server."""

    def published(name: str) -> Made:
        module = MODULES[name]
        made = MAKERS[name](module)
        monkeypatch.setattr(idx, "VALID", 5)
        for attribute, value in made.patches.items():
            monkeypatch.setattr(module, attribute, value)
        remotes = []
        for remote in module.SOURCE.remotes:
            content = made.files[remote.path]
            web.files[remote.path] = content
            sha256 = None if remote.sha256 is None else hashlib.sha256(content).hexdigest()
            remotes.append(replace(remote, urls=(web.url + remote.path,), size=len(content), sha256=sha256))
        monkeypatch.setattr(module, "SOURCE", Source(tuple(remotes), module.SOURCE.forms))
        return made

    return published


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder.exists() else set()


def kept(folder: Path) -> set[str]:
    """The files below a folder, and the folders whose name tells of something left behind."""
    return {path for path in files(folder) if (folder / path).is_file() or Path(path).name.startswith(".")}


def put(made: Made, folder: Path) -> None:
    for path, content in made.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def check(split: data.Split, made: Made) -> None:
    assert split.name in MODULES
    for part in PARTS:
        np.testing.assert_array_equal(split.pixels[part].reshape(made.pixels[part].shape), made.pixels[part])
    assert (split.labels is None) == (made.labels is None)
    for part, labels in (made.labels or {}).items():
        np.testing.assert_array_equal((split.labels or {})[part], labels)


# --- found and downloaded ---


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_downloaded_once(name: str, publish: Callable[[str], Made], web: Web, cache: Path) -> None:
    made = publish(name)
    split = data.load(name)
    check(split, made)
    assert split.binarisation == REGISTRY[name].binarisation and split.image_shape == REGISTRY[name].image_shape
    assert kept(cache) == set(made.files) == set(web.asked)
    umask = os.umask(0o022)
    os.umask(umask)
    assert {(cache / path).stat().st_mode & 0o777 for path in made.files} == {0o666 & ~umask}
    assert data.load(name).fingerprint() == data.load(name, cache).fingerprint() == split.fingerprint()
    assert len(web.asked) == len(made.files)


@pytest.mark.parametrize("name", SETS)
def test_the_folder_of_the_environment_comes_first(
    name: str, publish: Callable[[str], Made], web: Web, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = publish(name)
    put(made, tmp_path / "mine")
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path / "mine"))
    check(data.load(name), made)
    assert not web.asked and not files(cache)


def test_frey_faces_as_an_npz_in_any_order(publish: Callable[[str], Made], tmp_path: Path) -> None:
    made = publish("freyfaces")
    frames = np.concatenate(list(made.pixels.values()))
    (tmp_path / "freyfaces").mkdir()
    np.savez(tmp_path / "freyfaces" / "freyfaces.npz", images=RNG.permutation(frames))
    check(data.load("freyfaces", tmp_path), made)


def test_caltech_as_an_npz(publish: Callable[[str], Made], tmp_path: Path) -> None:
    made = publish("caltech101_silhouettes")
    put(made, tmp_path / "mat")
    original = data.load("caltech101_silhouettes", tmp_path / "mat")
    assert original.labels is not None
    arrays = {}
    for part, key in caltech.KEYS.items():
        arrays |= {f"{key}_images": 1 - original.pixels[part], f"{key}_labels": original.labels[part]}
    (tmp_path / "npz" / caltech.FOLDER).mkdir(parents=True)
    np.savez(tmp_path / "npz" / caltech.FOLDER / f"{caltech.FILE}.npz", **arrays)
    other = data.load("caltech101_silhouettes", tmp_path / "npz")
    check(other, made)
    assert other.labels is not None
    for part in PARTS:
        np.testing.assert_array_equal(other.labels[part], original.labels[part])


def test_only_what_the_cache_lacks_is_downloaded(publish: Callable[[str], Made], web: Web, cache: Path) -> None:
    made = publish("mnist")
    data.load("mnist")
    (cache / "mnist" / idx.FILES[2]).unlink()
    del web.asked[:]
    check(data.load("mnist"), made)
    assert web.asked == [f"mnist/{idx.FILES[2]}"]


@pytest.mark.parametrize("name", SETS)
def test_a_root_without_the_files_names_them(
    name: str, publish: Callable[[str], Made], web: Web, tmp_path: Path
) -> None:
    made = publish(name)
    with pytest.raises(FileNotFoundError, match=r"There is no '.*below root=.*PPL_VAE_DATA.*leave root out"):
        data.load(name, tmp_path)
    put(made, tmp_path)
    first, *others = made.files
    (tmp_path / first).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        data.load(name, tmp_path)
    assert (Path(first).stem in str(caught.value) or name == "freyfaces") and not web.asked
    assert all(other not in str(caught.value) for other in others)


def test_the_default_rules() -> None:
    assert {name: REGISTRY[name].binarisation for name in SETS} == {
        "mnist": "dynamic",
        "fashion_mnist": "dynamic",
        "freyfaces": "none",
        "jsb_chorales": "fixed",
        "caltech101_silhouettes": "fixed",
        "omniglot": "dynamic",
    }


def test_the_rules_of_binarisation(publish: Callable[[str], Made]) -> None:
    for name in SETS:
        made = publish(name)
        scale = REGISTRY[name].scale or 1
        grey = data.load(name, binarisation="none")
        for part in PARTS:
            expected = made.pixels[part].reshape(len(made.pixels[part]), -1) / scale
            np.testing.assert_allclose(getattr(grey, part), expected, rtol=1e-6)
            threshold = getattr(data.load(name, binarisation="threshold"), part)
            np.testing.assert_array_equal(threshold, expected > 0.5)
        drawn = data.load(name, binarisation="dynamic", seed=1)
        np.testing.assert_array_equal(drawn.train, grey.train)
        assert set(np.unique(drawn.test)) <= {0, 1}
        for part in PARTS:  # no seed moves an image from one part to another
            np.testing.assert_array_equal(drawn.pixels[part], grey.pixels[part])
    for name in ("mnist", "fashion_mnist", "freyfaces", "omniglot"):
        with pytest.raises(ValueError, match="'fixed'"):
            data.load(name, binarisation="fixed")


def test_reduction_is_the_mean_over_areas() -> None:
    x = RNG.integers(0, 2, (4, 105, 105), dtype=np.uint8)
    fine = x.repeat(4, axis=1).repeat(4, axis=2).reshape(4, 28, 15, 28, 15)
    np.testing.assert_array_equal(omniglot.reduce(x), fine.sum((2, 4)))
    assert (omniglot.reduce(np.ones_like(x)) == omniglot.SCALE).all()


def test_a_file_appears_in_the_cache_when_it_is_whole(
    publish: Callable[[str], Made], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real, moved = publish("mnist"), os.replace, []

    def replaced(part: Path, target: Path) -> None:
        name = str(target.relative_to(cache))
        assert part.read_bytes() == made.files[name] and not target.exists()
        assert part.stat().st_dev == target.parent.stat().st_dev
        moved.append(name)
        real(part, target)

    monkeypatch.setattr(download.os, "replace", replaced)
    data.load("mnist")
    assert moved == list(made.files)


# --- what goes wrong ---


@pytest.mark.parametrize("name", SETS)
def test_no_network(name: str, publish: Callable[[str], Made], web: Web, cache: Path) -> None:
    publish(name)
    web.close()
    message = r"Could not download http://.* \(no connection\)\. Nothing was kept.*connect to the network.*PPL_VAE_DATA"
    with pytest.raises(ConnectionError, match=message):
        data.load(name)
    assert not kept(cache)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (another, ValueError, r"Could not download .*\.(gz|mat|zip|pickle) \("),
        (cut, ConnectionError, r"\(the download was cut in the middle\)"),
        (cut_in_silence, ValueError, r"Could not download .*\.(gz|mat|zip|pickle) \("),
        (
            lambda handler, _: handler.send_error(503),
            ConnectionError,
            r"\(the server answered 503 Service Unavailable\)",
        ),
    ],
    ids=["another checksum", "cut", "cut in silence", "503"],
)
def test_a_wrong_download_leaves_nothing(
    name: str, answer: Any, error: Any, message: str, publish: Callable[[str], Made], web: Web, cache: Path
) -> None:
    made = publish(name)
    last = list(made.files)[-1]
    web.answers[last] = answer
    with pytest.raises(error, match=message) as caught:
        data.load(name)
    assert "Nothing was kept" in str(caught.value)
    assert kept(cache) == set(made.files) - {last}
    if error is ValueError and name not in ("freyfaces", "jsb_chorales"):
        assert f"it should have {len(made.files[last])} bytes of SHA-256 " in str(caught.value)
    web.answers.clear()
    check(data.load(name), made)


def test_frey_faces_of_another_kind_are_not_kept(publish: Callable[[str], Made], web: Web, cache: Path) -> None:
    """The original has no published checksum, so its frames are judged before they get into the cache."""
    made = publish("freyfaces")
    stream = io.BytesIO()
    savemat(stream, {"ff": RNG.integers(0, 256, (560, 20), dtype=np.uint8)})
    web.files["freyfaces/frey_rawface.mat"] = stream.getvalue()
    with pytest.raises(ValueError, match="should hold the published values, uint8 of SHA-256"):
        data.load("freyfaces")
    assert not kept(cache)
    web.files |= made.files
    check(data.load("freyfaces"), made)


def test_a_server_that_keeps_silent_is_given_up(
    publish: Callable[[str], Made], web: Web, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("caltech101_silhouettes")
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    web.answers[caltech.SOURCE.remotes[0].path] = lambda *_: time.sleep(1)
    with pytest.raises(ConnectionError, match=r"\(no answer within 0\.2 seconds\)"):
        data.load("caltech101_silhouettes")
    assert not kept(cache)


@pytest.mark.parametrize("answer", [None, another, cut], ids=["404", "another", "cut"])
def test_a_mirror_helps_out(
    answer: Any, publish: Callable[[str], Made], web: Web, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = publish("caltech101_silhouettes")
    (remote,) = caltech.SOURCE.remotes
    mirrored = replace(remote, urls=(web.url + "gone", *remote.urls))
    monkeypatch.setattr(caltech, "SOURCE", Source((mirrored,), caltech.SOURCE.forms))
    if answer is not None:
        web.files["gone"], web.answers["gone"] = made.files[remote.path], answer
    check(data.load("caltech101_silhouettes"), made)
    assert web.asked == ["gone", remote.path] and kept(cache) == {remote.path}
    (cache / remote.path).unlink()
    del web.files[remote.path]
    with pytest.raises((ConnectionError, ValueError), match=r"/gone \(.*\); http.*answered 404 Not Found"):
        data.load("caltech101_silhouettes")


def test_a_progress_bar_on_a_terminal(
    publish: Callable[[str], Made], cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    made, terminal = publish("mnist"), Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        data.load("mnist")
    shown = terminal.getvalue()
    assert all(f"{Path(path).name}: 100%" in shown for path in made.files)
    (cache / "mnist" / idx.FILES[0]).unlink()
    data.load("mnist")
    assert capsys.readouterr() == ("", "")


def test_a_cache_that_cannot_be_made(
    publish: Callable[[str], Made], web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "afile").write_text("mine")
    monkeypatch.setenv("PPL_VAE_CACHE", str(tmp_path / "afile" / "cache"))
    for name in SETS:
        publish(name)
        with pytest.raises(OSError, match=r"cache '.*afile/cache' cannot be written.*PPL_VAE_CACHE.*PPL_VAE_DATA"):
            data.load(name)
    assert not web.asked and (tmp_path / "afile").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_without_permission(publish: Callable[[str], Made], web: Web, cache: Path) -> None:
    publish("mnist")
    cache.mkdir()
    cache.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot be written"):
        data.load("mnist")
    cache.chmod(0o700)
    assert not web.asked and not kept(cache)


CHILD = """
import dataclasses, json, sys
from ppl_vae import data
from ppl_vae.data.files import idx
from ppl_vae.data.files.sources import Source
from ppl_vae.data.sets import mnist
settings = json.loads(sys.argv[1])
idx.VALID, mnist.SHA256 = 5, settings["sha256"]
changes = zip(mnist.SOURCE.remotes, settings["remotes"], strict=True)
mnist.SOURCE = Source(tuple(dataclasses.replace(remote, **fields) for remote, fields in changes))
try:
    print(data.load("mnist").fingerprint())
except OSError as error:
    print(type(error).__name__, error)
"""


def child(before: str = "") -> subprocess.Popen[str]:
    """Another process that loads the published MNIST, after some code of the caller's (a fork here would upset JAX)."""
    remotes = [{"urls": r.urls, "size": r.size, "sha256": r.sha256} for r in mnist.SOURCE.remotes]
    arguments = [sys.executable, "-c", before + CHILD, json.dumps({"sha256": mnist.SHA256, "remotes": remotes})]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # a limit on files would cut the bytecode too
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_processes_on_one_cache(publish: Callable[[str], Made], web: Web, cache: Path) -> None:
    """Both are made to download the same file at the same time."""
    made, together = publish("mnist"), threading.Barrier(2)
    path = f"mnist/{idx.FILES[0]}"

    def at_once(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        together.wait(60)
        whole(handler, content)

    web.answers[path] = at_once
    processes = [child(), child()]
    fingerprints = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert web.asked.count(path) == 2
    assert kept(cache) == set(made.files)  # nothing else: no lock, no part
    assert fingerprints == {data.load("mnist").fingerprint()}


def test_a_process_killed_while_it_downloads(publish: Callable[[str], Made], web: Web, cache: Path) -> None:
    made, begun, over = publish("mnist"), threading.Event(), threading.Event()
    path = f"mnist/{idx.FILES[2]}"

    def halfway(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        cut(handler, content)
        handler.wfile.flush()
        begun.set()
        over.wait(60)

    web.answers[path] = halfway
    process = child()
    assert begun.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    over.set()
    web.answers.clear()
    assert not (cache / path).exists()
    check(data.load("mnist"), made)


def test_a_full_disk(publish: Callable[[str], Made], cache: Path) -> None:
    """No file of that process may grow beyond 4 KiB."""
    made = publish("mnist")
    process = child("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n")
    said = process.communicate(timeout=120)[0]
    assert "cannot be written (File too large" in said and "PPL_VAE_CACHE" in said
    assert not kept(cache)
    check(data.load("mnist"), made)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("harm", ["cut", "empty", "text", "flipped"])
def test_damaged_files_of_ones_own(name: str, harm: str, publish: Callable[[str], Made], tmp_path: Path) -> None:
    made = publish(name)
    put(made, tmp_path)
    for path, content in made.files.items():
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        broken = {"cut": content[:middle], "empty": b"", "text": b"0 1 0 1\n", "flipped": flipped}[harm]
        (tmp_path / path).write_bytes(broken)
        with pytest.raises(ValueError, match=Path(path).name):
            data.load(name, tmp_path)
        (tmp_path / path).write_bytes(content)
    check(data.load(name, tmp_path), made)


def test_other_images_are_refused(publish: Callable[[str], Made], tmp_path: Path) -> None:
    made = publish("freyfaces")
    (tmp_path / "freyfaces").mkdir()
    file, frames = tmp_path / "freyfaces" / "freyfaces.npz", np.concatenate(list(made.pixels.values()))
    for other, message in (
        (frames[:-1], r"should hold the published values, .*got shape \(19, 28, 20\)"),
        (frames / 255, "got shape .* and dtype float64"),
        (frames.transpose(0, 2, 1), "SHA-256"),
        (frames[:, :14], "frames of .* pixels; got an array of shape"),
    ):
        np.savez(file, images=other)
        with pytest.raises(ValueError, match=f"freyfaces.npz.*{message}"):
            data.load("freyfaces", tmp_path)
    np.savez(file, faces=frames)
    with pytest.raises(ValueError, match="'images'"):
        data.load("freyfaces", tmp_path)


def test_a_mat_file_of_something_else(publish: Callable[[str], Made], tmp_path: Path) -> None:
    publish("freyfaces")
    (tmp_path / "freyfaces").mkdir()
    for content in ({"ff": np.array([["a"]], dtype=object)}, {"ff": "faces"}, {"gg": np.zeros((560, 20))}):
        savemat(tmp_path / "freyfaces" / "frey_rawface.mat", content)
        with pytest.raises(ValueError, match="frey_rawface.mat' should hold numbers under 'ff'"):
            data.load("freyfaces", tmp_path)


class Bomb:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_no_file_runs_code(publish: Callable[[str], Made], tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "it ran")
    for name in SETS:
        made = publish(name)
        for form in MODULES[name].SOURCE.forms:
            root = tmp_path / f"{name} {Path(form[0]).suffix}"
            put(made, root)
            for path in form:
                (root / path).unlink(missing_ok=True)
            for other in MODULES[name].SOURCE.forms:
                if other != form:
                    for path in other:
                        (root / path).unlink(missing_ok=True)
            for path in form:
                (root / path).write_bytes(pickle.dumps(bomb))
            with pytest.raises(ValueError, match=Path(form[0]).name):
                data.load(name, root)
            if form[0].endswith(".npz"):
                keys = (
                    *("images", *PARTS, *(f"{part}_len" for part in PARTS)),
                    *(f"{key}_{kind}" for key in caltech.KEYS.values() for kind in ("images", "labels")),
                )
                np.savez(root / form[0], **{key: np.array([bomb], dtype=object) for key in keys})
                with pytest.raises(TypeError, match="pickle, which is refused"):
                    data.load(name, root)
    assert not (tmp_path / "it ran").exists()


# --- the catalogue ---


def test_the_catalogue_says_where_each_set_is(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, publish: Callable[[str], Made]
) -> None:
    places = {listing.name: listing.place for listing in data.catalogue()}
    installed = ("digits", "sprites", "canvases", "japanese_vowels", "sonnets")
    assert places == {name: "installed" if name in installed else "download" for name in data.names()}
    made = {name: publish(name) for name in SETS}
    put(made["mnist"], tmp_path / "mine")
    put(made["omniglot"], tmp_path / "mine")
    put(made["omniglot"], cache)
    put(made["freyfaces"], cache)
    (cache / omniglot.FOLDER / "images_background_small1.zip").unlink()
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path / "mine"))
    found = {listing.name: listing for listing in data.catalogue()}
    assert found["mnist"].place == found["omniglot"].place == "data folder" and found["freyfaces"].place == "cache"
    assert found["mnist"].files == tuple(tmp_path / "mine" / "mnist" / name for name in idx.FILES)
    assert found["freyfaces"].download_bytes == 0 and not found["freyfaces"].urls
    assert found["fashion_mnist"].download_bytes == 30_878_645 and len(found["fashion_mnist"].urls) == 4
    assert found["static_mnist"].download_bytes == 109_760_000
    monkeypatch.delenv("PPL_VAE_DATA")
    (partly,) = data.catalogue(["omniglot"])
    assert partly.place == "download" and partly.download_bytes == 1_319_022 and len(partly.urls) == 1
    record = partly.to_dict()
    assert json.loads(json.dumps(record)) == record
    with pytest.raises(ValueError, match="did you mean 'omniglot'"):
        data.catalogue(["omniglott"])


def test_every_set_has_its_terms_and_addresses() -> None:
    for name, module in MODULES.items():
        entry = REGISTRY[name]
        assert entry.licence != "not stated" and entry.files is module.SOURCE and entry.sizes is not None
        assert "binarisation" in module.__doc__ or "default rule" in module.__doc__
        assert "References:" in module.__doc__
        for remote in module.SOURCE.remotes:
            assert all(url.startswith("http") and url.endswith(Path(remote.path).name) for url in remote.urls)
            assert remote.size > 0 and (remote.sha256 or remote.check)


# --- the real ones ---

ROOT = os.environ.get("PPL_VAE_DATA")
# (least, greatest and mean stored training pixel; images of a part that are also in 'train', in 'valid')
FACTS = {
    "mnist": (0, 255, 33.39, {"valid": 0, "test": 0}, 0),
    "fashion_mnist": (0, 255, 72.81, {"valid": 0, "test": 0}, 0),
    "freyfaces": (8, 238, 154.48, {"valid": 0, "test": 0}, 0),
    "caltech101_silhouettes": (0, 1, 0.449, {"valid": 9, "test": 11}, 9),
    "omniglot": (0, 225, 18.14, {"valid": 0, "test": 0}, 0),
    "jsb_chorales": (0, 1, 0.01669, {"valid": 0, "test": 0}, 0),  # of 160 steps, those after the end are zeros
}


@pytest.mark.skipif(not ROOT, reason="PPL_VAE_DATA names no folder of data")
@pytest.mark.parametrize("name", SETS)
def test_the_published_set(name: str) -> None:
    source, entry = MODULES[name].SOURCE, REGISTRY[name]
    try:
        split = data.load(name, ROOT)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    assert tuple(split.sizes.values()) == entry.sizes and split.image_shape == entry.image_shape
    assert split.binarisation == entry.binarisation and split.scale == (entry.scale or 1)
    least, greatest, mean, in_train, in_valid = FACTS[name]
    stored = split.pixels["train"]
    assert (stored.min(), stored.max()) == (least, greatest) and stored.mean() == pytest.approx(mean, rel=2e-3)
    assert split.train.min() == pytest.approx(least / split.scale) and split.train.max() <= 1
    rows = {part: [image.tobytes() for image in split.pixels[part]] for part in PARTS}
    seen = {part: set(rows[part]) for part in PARTS}
    for part, count in in_train.items():
        assert sum(row in seen["train"] for row in rows[part]) == count
    assert sum(row in seen["valid"] for row in rows["test"]) == in_valid
    assert data.load(name, ROOT, seed=3).pixels["test"].tobytes() == split.pixels["test"].tobytes()
    for remote in source.remotes:  # the containers are the published ones
        file = Path(str(ROOT)) / remote.path
        if remote.sha256 and file.is_file():
            assert hashlib.sha256(file.read_bytes()).hexdigest() == remote.sha256
            assert file.stat().st_size == remote.size


@pytest.mark.skipif(not ROOT, reason="PPL_VAE_DATA names no folder of data")
def test_every_form_of_the_published_sets_is_the_same(tmp_path: Path) -> None:
    for name, module in MODULES.items():
        whole, alone = data.load(name, ROOT), tmp_path / name
        for form in module.SOURCE.forms:
            if all((Path(str(ROOT)) / path).is_file() for path in form):
                for path in form:
                    (alone / path).parent.mkdir(parents=True, exist_ok=True)
                    (alone / path).symlink_to((Path(str(ROOT)) / path).resolve())
                assert data.load(name, alone).fingerprint() == whole.fingerprint()
                for path in form:
                    (alone / path).unlink()


@pytest.mark.skipif(not ROOT, reason="PPL_VAE_DATA names no folder of data")
def test_nobodys_hand_is_in_two_parts_of_omniglot() -> None:
    paths = omniglot.SOURCE.find(ROOT)
    assert paths is not None
    characters, drawers, drawings = omniglot.read_drawings(paths)
    assert drawings.shape == (4840, 105, 105) and len({*characters}) == 242
    assert all((drawers[characters == c] == np.arange(1, 21)).all() for c in {*characters})
    split = data.load("omniglot", ROOT)
    assert split.labels is not None
    assert {part: np.bincount(labels).tolist() for part, labels in split.labels.items()} == {
        "train": [13] * 242,
        "valid": [2] * 242,
        "test": [5] * 242,
    }
    np.testing.assert_array_equal(split.pixels["test"][:5], omniglot.reduce(1 - drawings[15:20]))
    assert split.images(split.train)[:, 13, 13].mean() > split.images(split.train)[:, 0, 0].mean()  # ink is 1


@pytest.mark.skipif(not ROOT, reason="PPL_VAE_DATA names no folder of data")
def test_silhouettes_have_one_for_the_object() -> None:
    images = data.load("caltech101_silhouettes", ROOT).pixels["train"]
    assert images[:, 12:16, 12:16].mean() > 0.8 > 0.35 > images[:, :3, :3].mean()

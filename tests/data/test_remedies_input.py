"""Data as people have them: folders of images, HDF5 files, items; and what is wrong, with the advice followed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL.Image
import pytest
import scipy.sparse
import torch
from pairs import TINY, command, refused
from PIL import Image, ImageOps
from torch.utils.data import TensorDataset

from ppl_vae import data, inference, recipes
from ppl_vae.data.files.images import read_images
from ppl_vae.data.files.readers import read_file

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 6, 5)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (30, 6, 5, 3)).astype(np.uint8)


def write(folder: Path, images: np.ndarray, ending: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03}.{ending}")
    return folder


# What is read


def test_a_folder_of_images_is_their_pixels(tmp_path: Path) -> None:
    split = data.load(write(tmp_path / "grey", GREY), valid_fraction=0.1, test_fraction=0.1)
    parts = np.concatenate([split.pixels[part] for part in ("train", "valid", "test")])
    assert split.image_shape == (6, 5) and split.sizes == {"train": 24, "valid": 3, "test": 3} and split.scale == 255
    assert sorted(map(bytes, parts)) == sorted(map(bytes, GREY))
    np.testing.assert_array_equal(read_images(write(tmp_path / "colour", COLOUR)).pixels["train"], COLOUR)
    near = np.asarray(read_images(write(tmp_path / "jpeg", GREY[:3], "JPG")).pixels["train"], float)
    assert near.shape == (3, 6, 5) and np.abs(near - GREY[:3]).mean() < 20


def test_sub_folders_are_parts_and_classes(tmp_path: Path) -> None:
    for name, rows in (("cat", GREY[:10]), ("ape", GREY[10:])):
        write(tmp_path / "classes" / name, rows)
    found = read_images(tmp_path / "classes")
    np.testing.assert_array_equal(found.pixels["train"], np.concatenate([GREY[10:], GREY[:10]]))
    np.testing.assert_array_equal(found.labels["train"], [0] * 20 + [1] * 10)
    for part, rows in (("train", GREY[:20]), ("valid", GREY[20:25]), ("test", GREY[25:])):
        write(tmp_path / "parts" / part / "cat", rows)
    split = data.load(tmp_path / "parts")
    np.testing.assert_array_equal(split.pixels["test"], GREY[25:])
    assert split.labels is not None and set(split.labels) == {"train", "valid", "test"}


def test_grey_among_colours_and_other_modes(tmp_path: Path) -> None:
    write(tmp_path, COLOUR[:2])
    Image.fromarray(GREY[0]).save(tmp_path / "grey.png")
    Image.fromarray(GREY[1] > 127).save(tmp_path / "one.png")
    Image.fromarray(COLOUR[2]).convert("RGBA").save(tmp_path / "see-through.png")
    pixels = np.asarray(read_images(tmp_path).pixels["train"])
    np.testing.assert_array_equal(pixels[2], np.repeat(GREY[0][..., None], 3, -1))
    np.testing.assert_array_equal(pixels[3][..., 0], 255 * (GREY[1] > 127))
    np.testing.assert_array_equal(pixels[4], COLOUR[2])


def test_a_mask_in_a_file_is_not_left_out_in_silence(tmp_path: Path) -> None:
    seen = GREY > 20
    for keys in ({"images": GREY, "mask": seen}, {"train": GREY, "test": GREY, "train_mask": seen}):
        np.savez(tmp_path / "x.npz", **keys)
        refused("or give the key another name", lambda: data.load(tmp_path / "x.npz"))
    np.savez(tmp_path / "x.npz", images=GREY, seen_by_me=seen)
    assert data.load(tmp_path / "x.npz").P == 30
    np.savez(tmp_path / "x.npz", mask=GREY)  # images of masks
    assert data.load(tmp_path / "x.npz").P == 30
    x, mask = GREY.reshape(30, -1) / 255, seen.reshape(30, -1)
    pair = recipes.vae(x, latent_dim=1, hidden=(4,))(RNG)
    assert np.isfinite(inference.SVI(epochs=1, batch_size=10).fit(*pair, x, mask=mask).history["loss"]).all()


def test_images_are_as_they_are_shown(tmp_path: Path) -> None:
    """A camera held upright says so in EXIF; what shines through a pixel is not in the file."""
    image = Image.fromarray(COLOUR[0])
    turned = image.getexif()
    turned[0x0112] = 6  # a quarter to the right
    image.save(tmp_path / "turned.png", exif=turned)
    for pixels in (
        read_images(tmp_path).pixels["train"][0],
        data.from_items([Image.open(tmp_path / "turned.png")] * 9).pixels["train"][0],
    ):
        np.testing.assert_array_equal(pixels, np.rot90(COLOUR[0], -1))
    for name, see_through in (("colour", COLOUR[1]), ("grey", GREY[1])):
        pixels = np.dstack([see_through, np.where(np.arange(30).reshape(6, 5) < 3, 0, 255)]).astype(np.uint8)
        write(tmp_path / name, pixels[None])
        told = refused("put it on a background, {}.convert('RGB')", lambda name=name: read_images(tmp_path / name))  # type: ignore[misc]
        code = told.partition("on a background, ")[2].rstrip(".")
        laid = eval(code, {"PIL": PIL, "image": Image.open(tmp_path / name / "000.png")})
        laid.save(tmp_path / name / "000.png")
        seen = read_images(tmp_path / name).pixels["train"][0]
        assert (seen[0, :3] == 255).all()
        np.testing.assert_array_equal(
            seen[1:], (see_through if see_through.ndim == 3 else np.dstack([see_through] * 3))[1:]
        )


def test_no_image_of_a_folder_is_left_out_in_silence(tmp_path: Path) -> None:
    for part, rows in (("train", GREY[:20]), ("val", GREY[20:25]), ("test", GREY[25:])):
        write(tmp_path / "parts" / part, rows)
    split = data.load(tmp_path / "parts")
    assert split.sizes == {"train": 20, "valid": 5, "test": 5}
    np.testing.assert_array_equal(split.pixels["valid"], GREY[20:25])
    write(tmp_path / "parts" / "validation", GREY[:1])
    refused("which mean the same part: put the images of both into one", lambda: data.load(tmp_path / "parts"))
    (tmp_path / "parts" / "validation" / "000.png").rename(tmp_path / "parts" / "val" / "005.png")
    (tmp_path / "parts" / "validation").rmdir()
    assert data.load(tmp_path / "parts").sizes["valid"] == 6
    for place in ("parts/more", "parts/train/cat/young", "classes/cat/young"):
        base = tmp_path / place.partition("/")[0]
        write(base / "train" if base.name == "parts" else base / "cat", GREY)
        write(tmp_path / place, GREY[:1])
        told = refused("put images into folders of classes, or of parts", lambda base=base: data.load(base))  # type: ignore[misc]
        assert place.rpartition("/")[2] in told
        (tmp_path / place / "000.png").rename(tmp_path / "elsewhere.png")
        assert data.load(base).P == 30
    Image.fromarray(GREY[0]).save(tmp_path / "classes" / "cat" / "next.bmp")
    refused("save it as one of them, PIL.Image.open(path).save('name.png')", lambda: data.load(tmp_path / "classes"))
    Image.open(tmp_path / "classes" / "cat" / "next.bmp").save(tmp_path / "classes" / "cat" / "next.png")
    (tmp_path / "classes" / "cat" / "next.bmp").unlink()
    assert sum(data.load(tmp_path / "classes").sizes.values()) == 31


def test_the_command_line_reads_them_too(tmp_path: Path) -> None:
    words = ("--binarisation", "threshold", "--out", tmp_path / "run", "--epochs", 1, "--quiet", "--no-figures", *TINY)
    assert command("fit", "--data", write(tmp_path / "grey", GREY), *words) == 0
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = GREY
    assert command("encode", tmp_path / "run", "--data", tmp_path / "x.h5", "--out", tmp_path / "z.npy", "--quiet") == 0
    assert np.load(tmp_path / "z.npy").shape == (30, 2)


def test_hdf5_has_the_keys_of_an_npz(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["train_images"], file["test_images"] = GREY[:20], GREY[20:]
        file["train_labels"] = np.arange(20)
        file.create_group("other")["x"] = np.zeros(3)
    split = data.load(tmp_path / "x.h5")
    np.testing.assert_array_equal(split.pixels["test"], GREY[20:])
    assert split.labels is not None and len(split.labels["train"]) == 18


class Rows:
    """What Hugging Face's data sets look like: a mapping for each position."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"image": Image.fromarray(GREY[number]), "label": number % 3}


def test_items_of_torch_and_of_hugging_face() -> None:
    first = torch.from_numpy(np.moveaxis(COLOUR, -1, 1).astype(np.float32) / 255)
    items = TensorDataset(first, torch.arange(30))
    split = data.from_items(items, items, items)
    np.testing.assert_allclose(split.pixels["train"], COLOUR / 255.0, atol=1e-6)
    assert split.labels is not None and split.source.endswith("channels moved from first to last")
    np.testing.assert_array_equal(split.labels["test"], np.arange(30))
    rows = data.from_items(Rows(), Rows(), Rows())
    np.testing.assert_array_equal(rows.pixels["valid"], GREY)
    assert rows.labels is not None and rows.labels["train"].tolist() == [n % 3 for n in range(30)]
    assert rows.source == "items in memory"
    kept = data.from_items(TensorDataset(first), channels="last", image=0)
    assert kept.image_shape == (3, 6, 5) and kept.labels is None


# What is wrong


@pytest.mark.parametrize("form", ["csr", "bsr", "coo"])
def test_a_sparse_matrix_in_a_file_is_its_rows(form: str, tmp_path: Path) -> None:
    """Blocks of a matrix are no images; whole numbers are counts."""
    counts = RNG.poisson(0.5, (30, 6))
    scipy.sparse.save_npz(tmp_path / "counts.npz", scipy.sparse.csr_matrix(counts).asformat(form))
    split = data.load(tmp_path / "counts.npz")
    assert (
        (read_file(tmp_path / "counts.npz").pixels["train"] == counts).all() and split.P == 6 and split.train.max() > 1
    )


def test_palettes_among_items_are_colours(tmp_path: Path) -> None:
    """Their numbers are places in a palette; items are read as the same files are."""
    rng = np.random.default_rng(0)
    colours = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).quantize(8) for _ in range(9)]
    for number, image in enumerate(colours):
        image.save(tmp_path / f"{number}.png")
    split = data.from_items([(image, 0) for image in colours], seed=0)
    assert split.image_shape == (6, 6, 3)
    read = np.stack([np.asarray(image.convert("RGB")) for image in colours]).reshape(9, -1) / 255
    rows = np.concatenate([split.train, split.valid, split.test])
    assert all(np.abs(read - row).max(1).min() < 1e-6 for row in rows)


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "sizes", GREY)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "odd.png")
    said = refused("resize them, as PIL.ImageOps.fit", lambda: data.load(folder))
    assert "'000.png' of 6 x 5 and 'odd.png' of 4 x 4" in said and "fit(image, (5, 6))" in said
    ImageOps.fit(Image.open(folder / "odd.png"), (5, 6)).save(folder / "odd.png")
    assert data.load(folder).P == 30
    (folder / "broken.png").write_bytes((folder / "000.png").read_bytes()[:40])
    assert "broken.png" in refused("is no image that can be read ({}): repair or remove it", lambda: data.load(folder))
    (folder / "broken.png").unlink()
    assert data.load(folder).P == 30
    Image.fromarray(np.full((6, 5), 1000, np.uint16)).save(folder / "deep.png")
    refused("save the intensities as a .npy file of floating numbers", lambda: data.load(folder))
    (folder / "deep.png").unlink()
    write(folder / "class", GREY[:2])
    refused("put all images into sub-folders, one for each class, or none", lambda: data.load(folder))
    parts = write(tmp_path / "parts" / "test" / "new", GREY[:5]).parents[1]
    refused("and no 'train': make a folder of that name", lambda: data.load(parts))
    write(parts / "train" / "old", GREY)
    refused("has the class {}, and 'train' has not: put some of it there", lambda: data.load(parts))
    write(parts / "train" / "new", GREY)
    assert data.load(parts).sizes["test"] == 5


def test_libraries_that_are_missing_and_files_that_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "grey", GREY)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "PIL", None)
        refused("pip install pillow", lambda: data.load(folder))
        patch.setitem(sys.modules, "h5py", None)
        (tmp_path / "x.h5").write_bytes(b"no file of that kind")
        refused("pip install h5py", lambda: data.load(tmp_path / "x.h5"))
        patch.setitem(sys.modules, "zarr", None)
        (tmp_path / "x.zarr").mkdir()
        refused("pip install zarr", lambda: data.load(tmp_path / "x.zarr"))
    assert data.load(folder).P == 30
    refused("cannot be read by {} ({}): copy or save it again", lambda: data.load(tmp_path / "x.h5"))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = GREY
    assert data.load(tmp_path / "x.h5").P == 30


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (lambda: data.from_items(iter(GREY)), lambda: data.from_items(list(GREY))),
        (lambda: data.from_items(list(GREY), []), lambda: data.from_items(list(GREY))),
        (lambda: data.from_items([*GREY, GREY[0].T]), lambda: data.from_items(list(GREY))),
        (lambda: data.from_items([{"face": x} for x in GREY]), lambda: data.from_items([{"x": x} for x in GREY])),
        (lambda: data.from_items(list(GREY), channels="first"), lambda: data.from_items(list(GREY))),
    ],
)
def test_items_that_are_none(wrong: Callable[[], Any], right: Callable[[], Any]) -> None:
    with pytest.raises(ValueError):
        wrong()
    assert right().P == 30


def test_the_advice_on_items() -> None:
    refused("pass list({})", lambda: data.from_items(iter(GREY)))
    refused("pass some, or leave the part out", lambda: data.from_items(list(GREY), []))
    assert "item 30" in refused("make them one size first", lambda: data.from_items([*GREY, GREY[0].T]))
    named = [{"face": x} for x in GREY]
    refused("say which is the image, image=", lambda: data.from_items(named))
    assert data.from_items(named, image="face").P == 30
    refused("channels='first' is for images (C, H, W)", lambda: data.from_items(list(GREY), channels="first"))
    refused("has keys, and no items 0, 1, 2, ...: pass a list of its items", lambda: data.from_items({"x": GREY}))
    mixed = [x / 255 if i else x for i, x in enumerate(GREY)]
    refused("for 0 to 1 in uint8 alone: make them one dtype first", lambda: data.from_items(mixed))
    assert data.from_items([x / 255 if x.dtype == np.uint8 else x for x in mixed]).P == 30
    boxes = [{"x": x, "y": np.zeros(i % 3), "age": i} for i, x in enumerate(GREY)]
    refused("have the shapes {} and {}: say which is the label, label=", lambda: data.from_items(boxes))
    assert data.from_items(boxes, label="age").labels is not None

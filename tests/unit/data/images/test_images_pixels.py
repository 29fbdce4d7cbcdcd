"""What becomes of pixels, and the cache that keeps them."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.image_files import CLASSES, COUNT, SIDE, contents, make_folder, make_shards, pictures, png, some_labels
from shortcut_models.config import from_dict, to_dict
from shortcut_models.data.images import ImageSet, ImageSource, cache, decode, loading
from shortcut_models.errors import UserError
from shortcut_models.tasks import TASKS, Images

# Pixels.


def one(path: Path, image: Image.Image, kind: str = "png", size: int | None = None, **options: object) -> np.ndarray:
    """The pixels [H, W, C] that an image has after it went through a folder."""
    for name in "ab":
        image.save(path / f"{name}.{kind}", **options)
    data = Images(data=str(path), image_size=size).resolve().dataset("train").data
    return data[0].permute(1, 2, 0).numpy()


def test_modes_of_images(tmp_path: Path) -> None:
    def through(name: str, image: Image.Image, kind: str = "png", **options: object) -> list[int]:
        folder = tmp_path / name
        folder.mkdir()
        pixels = one(folder, image, kind, **options)
        assert (pixels == pixels[0, 0]).all()
        return pixels[0, 0].tolist()

    side = (4, 4)
    assert through("grey", Image.new("L", side, 77)) == [77]
    assert through("bits", Image.new("1", side, 1)) == [255]
    assert through("deep", Image.fromarray(np.full(side, 0x8080, np.uint16))) == [0x80]
    assert through("deep tiff", Image.fromarray(np.full(side, 0x4040, np.uint16)), "tiff") == [0x40]
    assert through("float", Image.fromarray(np.full(side, 0.2, np.float32)), "tiff") == [51]
    assert through("grey and alpha", Image.new("LA", side, (100, 0))) == [255]
    assert through("clear", Image.new("RGBA", side, (10, 20, 30, 0))) == [255, 255, 255]
    assert through("opaque", Image.new("RGBA", side, (10, 20, 30, 255))) == [10, 20, 30]
    half = through("half", Image.new("RGBA", side, (10, 20, 30, 51)))
    assert np.abs(np.array(half) - (0.2 * np.array([10, 20, 30]) + 0.8 * 255)).max() <= 1
    palette = Image.new("P", side, 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    assert through("palette", palette) == [200, 100, 50]
    assert through("palette with clear", palette, transparency=1) == [255, 255, 255]
    assert through("gif", palette, "gif") == [200, 100, 50]
    cmyk = through("cmyk", Image.new("CMYK", side, (0, 255, 255, 0)), "tiff")
    assert cmyk == [255, 0, 0]
    assert through("webp", Image.new("RGB", side, (9, 90, 200)), "webp", lossless=True) == [9, 90, 200]
    assert through("bmp", Image.new("RGB", side, (9, 90, 200)), "bmp") == [9, 90, 200]


def test_exif_orientation_is_respected(tmp_path: Path) -> None:
    image = Image.new("L", (8, 8), 0)
    image.paste(255, (0, 0, 8, 4))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise: white on the right
    pixels = one(tmp_path, image, "png", exif=exif)[..., 0]
    assert (pixels[:, 4:] == 255).all()
    assert (pixels[:, :4] == 0).all()


def test_the_shorter_side_is_resized_and_the_centre_kept(tmp_path: Path) -> None:
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = [0, 200, 0]
    pixels = one(tmp_path, Image.fromarray(wide), size=8)
    assert pixels.shape == (8, 8, 3)
    assert np.abs(pixels[:, 1:-1].astype(int) - [0, 200, 0]).max() <= 12  # ringing at the edge of the band
    assert pixels[..., 1].min() > 150


@pytest.mark.parametrize(("kind", "side"), [("png", 64), ("png", 500), ("jpg", 512)])
def test_resizing_is_antialiased_and_keeps_straight_lines_straight(kind: str, side: int, tmp_path: Path) -> None:
    y, x = np.mgrid[:side, :side]
    ramp = 20 + 200 * (x + 0.5) / side
    stripes = 30.0 * (-1) ** (x + y)  # a grid of single pixels: all of it must vanish
    image = Image.fromarray(np.rint(ramp + stripes).astype(np.uint8))
    pixels = one(tmp_path, image, kind, size=16, **({"quality": 100} if kind == "jpg" else {}))
    expected = 20 + 200 * (np.arange(16) + 0.5) / 16
    assert np.abs(pixels[2:-2, 2:-2, 0] - expected[2:-2]).max() <= 2


def test_encode_and_decode_keep_every_value() -> None:
    task = Images(image_size=16, channels=1)
    raw = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    x = task.encode(raw)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (-1, 1)
    assert task.decode(x).shape == (1, 16, 16, 1)
    assert (task.decode(x)[..., 0] == raw[:, 0].numpy()).all()
    assert (task.decode(x.to(torch.bfloat16).float()) == task.decode(x.to(torch.bfloat16))).all()
    assert task.decode(torch.tensor([-9.0, 9.0]).reshape(1, 1, 1, 2)).flatten().tolist() == [0, 255]


def test_half_of_the_images_are_mirrored() -> None:
    x = torch.arange(2000.0).reshape(1000, 1, 1, 2)
    mirrored = Images().augment(x)
    turned = (mirrored != x).flatten(1).any(1)
    assert 400 < int(turned.sum()) < 600
    assert torch.equal(mirrored, torch.where(turned[:, None, None, None], x.flip(-1), x))
    torch.manual_seed(0)
    first = Images().augment(x)
    torch.manual_seed(0)
    assert torch.equal(first, Images().augment(x))
    assert Images(flip=False).augment(x) is x


# A resolved task is complete.


def test_a_resolved_task_is_rebuilt_from_json_without_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not say where the data was, as others may get the model file."""
    make_folder(tmp_path / "mine", pictures(), some_labels())
    monkeypatch.chdir(tmp_path)
    task = Images(data="mine").resolve()
    assert task.data == "mine"
    assert task.resolve() == task
    (tmp_path / "mine").rename(tmp_path / "gone")
    assert len(task.dataset("train")) + len(task.dataset("test")) == COUNT  # it keeps what it has read
    again = from_dict(TASKS["images"], json.loads(json.dumps(to_dict(task))))
    assert again == task
    assert again.shape == (1, SIDE, SIDE)
    assert again.conditions["label"].count == CLASSES
    assert again.decode(torch.zeros(2, 1, SIDE, SIDE)).shape == (2, SIDE, SIDE, 1)
    with pytest.raises(UserError, match="does not exist"):
        again.dataset("train")
    with pytest.raises(UserError, match="resolve"):
        _ = Images(data="mine").shape


def test_what_is_read_stays_with_the_task_and_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One listing of the folder for both splits, and one look at the first image of each."""
    data = make_folder(tmp_path, pictures(), some_labels())
    listed, opened, read_folder, decide = [], [], loading.read_folder, loading.decide
    monkeypatch.setitem(loading.READERS, "folder", lambda *args: listed.append(args) or read_folder(*args))
    monkeypatch.setattr(loading, "decide", lambda *args: opened.append(args) or decide(*args))
    task = Images(data=data).resolve()
    assert (len(listed), len(opened)) == (1, 2)
    before = contents(task, "train"), contents(task, "test")
    task.evaluate(pictures(8)[..., None], np.full(8, -1))
    assert task.resolve() is task
    assert (contents(task, "train"), contents(task, "test")) == before
    assert (len(listed), len(opened)) == (1, 2)


@pytest.mark.parametrize("send", [copy.copy, copy.deepcopy, replace, lambda task: pickle.loads(pickle.dumps(task))])
def test_a_copy_reads_for_itself(tmp_path: Path, send: Callable[[Images], Images]) -> None:
    """It is small to send to another process, and never has the data of a task with other options."""
    task = Images(data=make_folder(tmp_path, pictures(), some_labels())).resolve()
    before = contents(task, "train")
    sent = send(task)
    assert sent == task
    assert hash(sent) == hash(task)
    assert vars(sent).keys() < vars(task).keys()
    assert contents(sent, "train") == before
    with pytest.raises(UserError, match="does not exist"):
        replace(task, data=str(tmp_path / "other")).dataset("train")


# The cache.


def refuse_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*args: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(decode, "to_pixels", no)


def test_a_second_start_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_shards(tmp_path, pictures(), some_labels())
    task = Images(data=data).resolve()
    before = contents(task, "train"), contents(task, "test")
    refuse_to_decode(monkeypatch)
    fresh = Images(data=data).resolve()
    assert fresh == task
    assert (contents(fresh, "train"), contents(fresh, "test")) == before


@pytest.mark.parametrize("harm", ["cut", "json", "foreign", "gone"])
def test_a_damaged_cache_is_made_again(harm: str, tmp_path: Path) -> None:
    task = Images(data=make_folder(tmp_path, pictures(), some_labels())).resolve()
    before = contents(task, "train")
    for path in cache.cache_folder().iterdir():
        if harm == "gone" and path.suffix == ".uint8":
            path.unlink()
        elif harm == "cut" and path.suffix == ".uint8":
            path.write_bytes(path.read_bytes()[:-1])
        elif path.suffix == ".json" and harm in ("json", "foreign"):
            path.write_text("{" if harm == "json" else '["another"]')
    assert contents(replace(task), "train") == before


def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    data = make_folder(tmp_path, pictures(), None)
    task = Images(data=data).resolve()
    before = contents(task, "train") + contents(task, "test")
    (tmp_path / "000.png").write_bytes(png(pictures(1, seed=5)[0]))
    again = replace(task)
    after = contents(again, "train") + contents(again, "test")
    assert len(set(before) - set(after)) == 1


def test_a_large_set_is_mapped_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_folder(tmp_path, pictures(), some_labels())
    before = contents(Images(data=data).resolve(), "train")
    monkeypatch.setattr(cache, "IN_MEMORY", 100)
    task = Images(data=data).resolve()
    train = ImageSource(data).train
    assert isinstance(train, ImageSet)
    assert isinstance(train.pixels, np.memmap)
    assert contents(task, "train") == before


def test_without_a_cache_images_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made below a file
    data = make_folder(tmp_path / "data", pictures(), some_labels())
    with pytest.warns(UserWarning, match="cannot write the image cache"):
        task = Images(data=data).resolve()
    assert len(contents(task, "train")) + len(contents(task, "test")) == COUNT
    monkeypatch.setattr(cache, "IN_MEMORY", 100)
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        replace(task).dataset("train")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(UserWarning, match="No space left"):
        task = Images(data=make_folder(tmp_path, pictures(), None)).resolve()
    assert len(task.dataset("train")) == 27
    assert list(cache.cache_folder().iterdir()) == []

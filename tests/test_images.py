"""The user's own images: every format against the arrays it was made of, and every mistake with its message."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image

from shortcut_models.config import from_dict, to_dict
from shortcut_models.errors import UserError
from shortcut_models.metrics import frechet_distance
from shortcut_models.tasks import TASKS, Images
from shortcut_models.tasks.image_sources import cache, decode, encoded, layout, loading
from shortcut_models.tasks.image_sources.examples import Examples

SIDE, COUNT, CLASSES = 8, 30, 3
NAMES = ("ant", "bee", "cow")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(loading, "_LOADED", {})


# What the files are made of: images [n, H, W] or [n, H, W, 3] that all differ, and labels.


def pictures(count: int = COUNT, side: int = SIDE, colour: bool = False, seed: int = 0) -> np.ndarray:
    shape = (count, side, side, 3) if colour else (count, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def some_labels(count: int = COUNT) -> np.ndarray:
    return np.arange(count) % CLASSES


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def pack(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def members(images: np.ndarray, labels: np.ndarray | None = None, start: int = 0) -> dict[str, bytes]:
    found = {}
    for i, image in enumerate(images, start):
        found[f"{i:05d}.png"] = png(image)
        if labels is not None:
            found[f"{i:05d}.cls"] = b"%d\n" % labels[i - start]
    return found


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def make_folder(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    for i, image in enumerate(images):
        path = root / (NAMES[labels[i]] if labels is not None else "") / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    return str(root)


def make_tar(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    return str(pack(root / "all.tar", members(images, labels)))


def make_tar_gz(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    return str(pack(root / "all.tar.gz", members(images, labels), "w:gz"))


def make_shards(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    for k in range(3):
        rows = slice(10 * k, 10 * k + 10)
        pack(root / f"part-{k:03d}.tar", members(images[rows], None if labels is None else labels[rows], 10 * k))
    return str(root)


def make_pattern(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    return make_shards(root, images, labels) + "/part-{000..002}.tar"


def make_glob(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    return make_shards(root, images, labels) + "/part-*.tar"


def make_npz(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "all.npz", images=images, **({} if labels is None else {"labels": labels}))
    return str(root / "all.npz")


def make_float_npz(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    root.mkdir(parents=True, exist_ok=True)
    found = {} if labels is None else {"y": labels.astype(float)[:, None]}
    np.savez_compressed(root / "all.npz", pixels=(images / 255).astype(np.float32), **found)
    return str(root / "all.npz")


def make_idx(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    root.mkdir(parents=True, exist_ok=True)
    (root / "train-images-idx3-ubyte").write_bytes(idx(images))
    if labels is not None:
        (root / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return str(root / "train-images-idx3-ubyte")


def make_idx_gz(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    make_idx(root, images, labels)
    for path in list(root.iterdir()):
        path.with_name(path.name.replace("-idx", ".idx") + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return str(root)


MAKERS = [
    make_folder,
    make_tar,
    make_tar_gz,
    make_shards,
    make_pattern,
    make_glob,
    make_npz,
    make_float_npz,
    make_idx,
    make_idx_gz,
]
Maker = Callable[[Path, np.ndarray, "np.ndarray | None"], str]


def contents(task: Images, split: str) -> list[tuple[bytes, int]]:
    """The images of a split, as (bytes in [H, W, C] order, label)."""
    data = task.dataset(split)
    batch = data.__getitems__(list(range(len(data))))
    assert batch.data.dtype == torch.uint8
    labels = batch.cond["label"].tolist() if "label" in batch.cond else [-1] * len(batch)
    pixels = batch.data.permute(0, 2, 3, 1).numpy()
    return [(image.tobytes(), label) for image, label in zip(pixels, labels, strict=True)]


@pytest.mark.parametrize("labelled", [True, False], ids=["labelled", "unlabelled"])
@pytest.mark.parametrize("maker", MAKERS)
def test_every_format_gives_the_images_it_was_made_of(maker: Maker, labelled: bool, tmp_path: Path) -> None:
    images, labels = pictures(), some_labels() if labelled else None
    task = Images(data=maker(tmp_path, images, labels)).resolve()
    assert (task.shape, task.classes) == ((1, SIDE, SIDE), CLASSES if labelled else 0)
    assert task.class_names == (NAMES if labelled and maker is make_folder else ())
    train, test = contents(task, "train"), contents(task, "test")
    assert len(test) == COUNT // 10
    expected = [(image.tobytes(), int(labels[i]) if labelled else -1) for i, image in enumerate(images)]
    assert sorted(train + test) == sorted(expected)


@pytest.mark.parametrize("maker", [make_folder, make_tar, make_npz, make_float_npz, make_idx_gz])
def test_colour_and_channels(maker: Maker, tmp_path: Path) -> None:
    images = pictures(colour=True)
    data = maker(tmp_path, images, None)
    colour = Images(data=data).resolve()
    assert colour.shape == (3, SIDE, SIDE)
    assert sorted(c for c, _ in contents(colour, "train") + contents(colour, "test")) == sorted(
        map(np.ndarray.tobytes, images)
    )
    assert Images(data=data, channels=1).resolve().shape == (1, SIDE, SIDE)


def test_grey_and_colour_mixed_become_colour(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", pictures(), None)
    make_folder(tmp_path / "test", pictures(4), None)
    (tmp_path / "train" / "zebra.png").write_bytes(png(pictures(1, colour=True)[0]))
    task = Images(data=str(tmp_path)).resolve()
    assert task.channels == 3
    train = task.dataset("train").data
    assert len(train) == COUNT + 1
    assert (train[:-1] == train[:-1, :1]).all()
    assert task.dataset("test").data.shape == (4, 3, SIDE, SIDE)


# Which part is trained on.


def test_the_held_out_tenth_stays_the_same_where_images_move_or_are_added(tmp_path: Path) -> None:
    images = pictures(100)
    here, there = (Images(data=make_folder(tmp_path / name, images, None)).resolve() for name in "ab")
    assert contents(here, "test") == contents(there, "test")
    held_out = {content for content, _ in contents(here, "test")}
    assert len(held_out) == 10
    for i, image in enumerate(pictures(20, seed=1)):
        (tmp_path / "a" / f"new{i}.png").write_bytes(png(image))
    loading._LOADED.clear()
    assert len(held_out & {content for content, _ in contents(here, "test")}) >= 8


def test_at_most_5000_are_held_out() -> None:
    many = Examples(Path(), [f"{i}.png" for i in range(60_000)], lambda i: Image.new("L", (1, 1)))
    train, test = (many.split(split, hold_out=True).names for split in ("train", "test"))
    assert len(test) == 5_000
    assert sorted([*train, *test]) == sorted(many.names)
    thirds = np.histogram([int(name[:-4]) for name in test], bins=3)[0]  # a fair sample of all
    assert thirds.min() > 1_500
    assert list(many.split("train", hold_out=False).names) == list(many.names)
    assert sorted(many.split("test", hold_out=False).names) == sorted(many.names)


def two_folders(root: Path, train: np.ndarray, test: np.ndarray, labels: np.ndarray, held: np.ndarray) -> None:
    make_folder(root / "train", train, labels)
    make_folder(root / "val", test, held)


def two_tars(root: Path, train: np.ndarray, test: np.ndarray, labels: np.ndarray, held: np.ndarray) -> None:
    pack(root / "train.tar", members(train, labels))
    pack(root / "test.tar", members(test, held))


def two_sets_of_shards(root: Path, train: np.ndarray, test: np.ndarray, labels: np.ndarray, held: np.ndarray) -> None:
    pack(root / "my-train-0.tar", members(train[:9], labels[:9]))
    pack(root / "my-train-1.tar", members(train[9:], labels[9:]))
    pack(root / "my-test-0.tar", members(test, held))


def shards_in_two_folders(
    root: Path, train: np.ndarray, test: np.ndarray, labels: np.ndarray, held: np.ndarray
) -> None:
    pack(root / "train" / "0.tar", members(train, labels))
    pack(root / "test" / "test-0.tar", members(test, held))


def mnist_files(root: Path, train: np.ndarray, test: np.ndarray, labels: np.ndarray, held: np.ndarray) -> None:
    for split, images, numbers in (("train", train, labels), ("t10k", test, held)):
        (root / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
        (root / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))  # some tools leave both
        (root / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(numbers)))


def two_npz(root: Path, train: np.ndarray, test: np.ndarray, labels: np.ndarray, held: np.ndarray) -> None:
    np.savez(root / "train.npz", images=train, labels=labels)
    np.savez(root / "test.npz", images=test, labels=held)


def one_npz(root: Path, train: np.ndarray, test: np.ndarray, labels: np.ndarray, held: np.ndarray) -> None:
    np.savez(root / "mnist.npz", x_train=train, y_train=labels, x_test=test, y_test=held)


@pytest.mark.parametrize(
    "maker",
    [two_folders, two_tars, two_sets_of_shards, shards_in_two_folders, mnist_files, two_npz, one_npz],
)
def test_a_test_part_is_used_where_there_is_one(maker: Callable[..., None], tmp_path: Path) -> None:
    train, test, labels, held = pictures(30), pictures(6, seed=1), some_labels(30), some_labels(6)
    maker(tmp_path, train, test, labels, held)
    task = Images(data=str(tmp_path)).resolve()
    pairs = lambda images, numbers: sorted((i.tobytes(), int(n)) for i, n in zip(images, numbers, strict=True))
    assert sorted(contents(task, "train")) == pairs(train, labels)
    assert sorted(contents(task, "test")) == pairs(test, held)


def test_train_is_a_class_among_other_vehicles(tmp_path: Path) -> None:
    for name in ("boat", "car", "train"):
        make_folder(tmp_path / name, pictures(5), None)
    assert Images(data=str(tmp_path)).resolve().class_names == ("boat", "car", "train")


def test_labels_can_be_left_out(tmp_path: Path) -> None:
    task = Images(data=make_folder(tmp_path, pictures(), some_labels()), classes=0).resolve()
    assert task.conditions == {}
    assert task.class_names == ()
    assert task.dataset("train").cond == {}


def test_hidden_files_and_files_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    make_folder(tmp_path, pictures(), some_labels())
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "ant" / "._000.png").write_bytes(b"x")
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / ".thumbnails" / "a.png").write_bytes(b"x")
    (tmp_path / "ant" / "up").symlink_to(tmp_path, target_is_directory=True)  # a loop
    task = Images(data=str(tmp_path)).resolve()
    assert len(task.dataset("train")) + len(task.dataset("test")) == COUNT
    assert task.class_names == NAMES


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
    make_folder(tmp_path / "mine", pictures(), some_labels())
    monkeypatch.chdir(tmp_path)
    task = Images(data="mine").resolve()
    assert task.data == str(tmp_path / "mine")
    assert task.resolve() == task
    (tmp_path / "mine").rename(tmp_path / "gone")
    loading._LOADED.clear()
    again = from_dict(TASKS["images"], json.loads(json.dumps(to_dict(task))))
    assert again == task
    assert again.shape == (1, SIDE, SIDE)
    assert again.conditions["label"].count == CLASSES
    assert again.decode(torch.zeros(2, 1, SIDE, SIDE)).shape == (2, SIDE, SIDE, 1)
    with pytest.raises(UserError, match="does not exist"):
        again.dataset("train")
    with pytest.raises(UserError, match="resolve"):
        _ = Images(data="mine").shape


# The cache.


def refuse_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*args: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(decode, "to_pixels", no)
    loading._LOADED.clear()


def test_a_second_start_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_shards(tmp_path, pictures(), some_labels())
    task = Images(data=data).resolve()
    before = contents(task, "train"), contents(task, "test")
    refuse_to_decode(monkeypatch)
    assert Images(data=data).resolve() == task
    loading._LOADED.clear()
    assert (contents(task, "train"), contents(task, "test")) == before


@pytest.mark.parametrize("harm", ["cut", "json", "foreign", "gone"])
def test_a_damaged_cache_is_made_anew(harm: str, tmp_path: Path) -> None:
    task = Images(data=make_folder(tmp_path, pictures(), some_labels())).resolve()
    before = contents(task, "train")
    for path in cache.cache_folder().iterdir():
        if harm == "gone" and path.suffix == ".uint8":
            path.unlink()
        elif harm == "cut" and path.suffix == ".uint8":
            path.write_bytes(path.read_bytes()[:-1])
        elif path.suffix == ".json" and harm in ("json", "foreign"):
            path.write_text("{" if harm == "json" else '["another"]')
    loading._LOADED.clear()
    assert contents(task, "train") == before


def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    data = make_folder(tmp_path, pictures(), None)
    task = Images(data=data).resolve()
    before = contents(task, "train") + contents(task, "test")
    (tmp_path / "000.png").write_bytes(png(pictures(1, seed=5)[0]))
    loading._LOADED.clear()
    after = contents(task, "train") + contents(task, "test")
    assert len(set(before) - set(after)) == 1


def test_a_large_set_is_mapped_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_folder(tmp_path, pictures(), some_labels())
    before = contents(Images(data=data).resolve(), "train")
    loading._LOADED.clear()
    monkeypatch.setattr(cache, "IN_MEMORY", 100)
    task = Images(data=data).resolve()
    assert isinstance(task._load("train").pixels, np.memmap)
    assert contents(task, "train") == before


def test_without_a_cache_images_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made below a file
    data = make_folder(tmp_path / "data", pictures(), some_labels())
    with pytest.warns(UserWarning, match="cannot write the image cache"):
        task = Images(data=data).resolve()
    assert len(contents(task, "train")) + len(contents(task, "test")) == COUNT
    loading._LOADED.clear()
    monkeypatch.setattr(cache, "IN_MEMORY", 100)
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        task.dataset("train")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left"):
        task = Images(data=make_folder(tmp_path, pictures(), None)).resolve()
    assert len(task.dataset("train")) == 27
    assert list(cache.cache_folder().iterdir()) == []


# Mistakes.


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def truncated_in_folder(root: Path) -> str:
    data = make_folder(root, pictures(), some_labels())
    spoil(root / "bee" / "016.png")
    return data


def truncated_in_tar(root: Path) -> str:
    found = members(pictures(), some_labels())
    found["00016.png"] = found["00016.png"][:-30]
    return str(pack(root / "all.tar", found))


@pytest.mark.parametrize(
    ("maker", "name"), [(truncated_in_folder, "bee/016.png"), (truncated_in_tar, "all.tar:00016.png")]
)
def test_a_damaged_image_is_named_or_skipped(maker: Callable[[Path], str], name: str, tmp_path: Path) -> None:
    data = maker(tmp_path)
    with pytest.raises(UserError, match=name) as caught:
        Images(data=data).resolve()
    assert "remove it, or pass --task.skip-damaged" in str(caught.value)
    with pytest.warns(UserWarning, match="1 damaged images? in .* left out") as warned:
        task = Images(data=data, skip_damaged=True).resolve()
    assert len(warned) == 1
    images, labels = pictures(), some_labels()
    expected = [(images[i].tobytes(), int(labels[i])) for i in range(COUNT) if i != 16]
    assert sorted(contents(task, "train") + contents(task, "test")) == sorted(expected)


@pytest.mark.parametrize(
    "junk", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"\xff\xd8\xff\xe0" + b"\0" * 9]
)
def test_junk_with_the_name_of_an_image(junk: bytes, tmp_path: Path) -> None:
    data = make_folder(tmp_path, pictures(), None)
    (tmp_path / "000.png").write_bytes(junk)  # the first one, from which size and channels are taken
    with pytest.raises(UserError, match=r"000\.png cannot be read as an image"):
        Images(data=data).resolve()
    with pytest.warns(UserWarning, match="left out"):
        assert Images(data=data, skip_damaged=True).resolve().shape == (1, SIDE, SIDE)


def saved(**arrays: object) -> Callable[[Path], str]:
    def make(root: Path) -> str:
        np.savez(root / "a.npz", **arrays)
        return str(root / "a.npz")

    return make


def written(name: str, content: bytes, given: str | None = None) -> Callable[[Path], str]:
    def make(root: Path) -> str:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        return str(root / (name if given is None else given))

    return make


def packed(found: dict[str, bytes], cut: int | None = None, mode: str = "w") -> Callable[[Path], str]:
    def make(root: Path) -> str:
        path = pack(root / "a.tar", found, mode)
        if cut is not None:
            path.write_bytes(path.read_bytes()[:cut])
        return str(path)

    return make


def both(*makers: Callable[[Path], object]) -> Callable[[Path], str]:
    def make(root: Path) -> str:
        for maker in makers:
            maker(root)
        return str(root)

    return make


def folder_of(name: str, *args: np.ndarray | None) -> Callable[[Path], str]:
    return lambda root: make_folder(root / name, *args)


def tar_of(name: str, *args: np.ndarray | None) -> Callable[[Path], str]:
    return lambda root: str(pack(root / name, members(*args)))


def broken_in_the_middle(root: Path) -> str:
    path = pack(root / "a.tar", members(pictures()))
    content = bytearray(path.read_bytes())
    content[5120:5632] = b"x" * 512
    path.write_bytes(content)
    return str(path)


def gone_wrong_with_a_pair(root: Path) -> str:
    make_idx(root, pictures(), some_labels(29))
    return str(root)


NAN = pictures() / 255
NAN[3, 2, 1] = np.nan
CUT = len(members(pictures(1))["00000.png"])
MISTAKES: dict[str, tuple[Callable[[Path], str | None], str]] = {
    "no data": (lambda root: None, "pass --data"),
    "missing path": (lambda root: str(root / "nowhere"), "nowhere does not exist"),
    "empty folder": (lambda root: str(root), "no images in"),
    "folder without images": (written("notes.txt", b"hello", ""), r"no images in .*\.txt files"),
    "empty class folders": (written("ant/notes.heic", b"hello", ""), "no images in"),
    "one image": (folder_of("", pictures(1), None), "holds 1 images"),
    "the image itself": (written("a.png", png(pictures()[0])), "single image"),
    "zip": (written("a.zip", b"PK"), "unpack it"),
    "text": (written("a.txt", b"hello"), "type that is not read"),
    "labels' file": (written("train-labels-idx1-ubyte", b"hello"), "type that is not read"),
    "images beside classes": (
        both(folder_of("", pictures(), some_labels()), written("x.png", png(pictures()[0]))),
        r"class folders, but also images such as x\.png",
    ),
    "images beside shards": (
        both(folder_of("", pictures(), None), tar_of("a.tar", pictures())),
        "images and tar shards",
    ),
    "images beside train": (
        both(
            folder_of("train", pictures(), None), folder_of("test", pictures(), None), folder_of("x", pictures(), None)
        ),
        "but also x",
    ),
    "test folder alone": (both(folder_of("test", pictures(), None)), "no train part"),
    "test shard alone": (both(tar_of("test.tar", pictures())), "no train part"),
    "neither train nor test": (both(tar_of("train.tar", pictures()), tar_of("x.tar", pictures())), "named neither"),
    "several npz": (
        both(lambda root: np.savez(root / "a.npz", x=NAN), lambda root: np.savez(root / "b.npz", x=NAN)),
        r"a\.npz and b\.npz",
    ),
    "mixed sizes": (
        both(folder_of("ant", pictures(), None), folder_of("bee", pictures(side=10), None)),
        r"mixed size .*10x10.*--task\.image-size",
    ),
    "not square": (saved(images=np.zeros((9, 8, 6), np.uint8)), r"6x8: pass --task\.image-size"),
    "odd side": (saved(images=np.zeros((9, 7, 7), np.uint8)), r"7x7: pass --task\.image-size"),
    "classes differ": (
        both(folder_of("train", pictures(), some_labels()), folder_of("test", pictures(4), np.array([0, 1, 0, 1]))),
        "classes of train and test .* differ",
    ),
    "test label too large": (
        both(tar_of("train.tar", pictures(), some_labels()), tar_of("test.tar", pictures(2), np.array([0, 3]))),
        "test labels .* go up to 3",
    ),
    "test without labels": (
        both(tar_of("train.tar", pictures(), some_labels()), tar_of("test.tar", pictures(2))),
        "test part has none",
    ),
    "labels for some": (
        packed(members(pictures(5), some_labels(5)) | members(pictures(2), None, 5)),
        r"a\.tar:00005\.png has no label",
    ),
    "label is a word": (packed({"a.png": png(pictures()[0]), "a.cls": b"cat"}), r"a\.cls must hold .* not 'cat'"),
    "label is negative": (packed({"a.png": png(pictures()[0]), "a.cls": b"-1"}), "whole number from 0, not '-1'"),
    "label is a fraction": (packed({"a.png": png(pictures()[0]), "a.cls": b"1.5"}), "whole number from 0"),
    "label is enormous": (packed(members(pictures(3), np.array([0, 1, 10**6]))), "number the classes from 0"),
    "two of a key": (packed({"a.png": png(pictures()[0]), "a.jpg": b"x"}), "two images of the key a"),
    "empty tar": (packed({}), "no images in"),
    "tar without images": (packed({"a.txt": b"hello", "a.1.png": b"x"}), "without a dot in KEY"),
    "not a tar": (written("a.tar", b"hello" * 999), "damaged or no tar"),
    "empty file as tar": (written("a.tar", b""), "damaged or no tar"),
    "tar cut in an image": (packed(members(pictures()), 5 * 512 + 100), "damaged or no tar"),
    "tar cut in a header": (packed(members(pictures()), 1024 * (1 + CUT // 1024) + 100), "damaged or no tar"),
    "tar broken in the middle": (broken_in_the_middle, "damaged or no tar"),
    "gzip cut": (packed(members(pictures()), 999, "w:gz"), "damaged or no tar"),
    "pattern without files": (lambda root: str(root / "a-{000..002}.tar"), r"no file matches .*a-000\.tar"),
    "pattern of images": (both(folder_of("", pictures(), None)), "no tar file"),
    "npz with NaN": (saved(images=NAN), "NaN"),
    "npz beyond 1": (saved(images=pictures() / 100), "from 0 to 1"),
    "npz of whole numbers": (saved(images=pictures().astype(np.int64)), "uint8, or floats"),
    "npz of channels first": (saved(images=np.zeros((9, 3, 8, 8), np.uint8)), "transpose"),
    "npz of five channels": (saved(images=np.zeros((9, 8, 8, 5), np.uint8)), "C 1, 3 or 4"),
    "npz with nothing in it": (saved(images=np.zeros((0, 8, 8), np.uint8)), "must be"),
    "npz of two arrays": (saved(a=NAN, b=NAN), "it holds a, b"),
    "npz of objects": (saved(images=np.array([{}], object)), "damaged"),
    "npz with few labels": (saved(images=pictures(), labels=np.arange(5)), "one whole number an image"),
    "npz with one-hot labels": (saved(images=pictures(), labels=np.eye(30)), "one whole number an image"),
    "npz with fractions": (saved(images=pictures(), y=np.full(30, 0.5)), "whole numbers from 0"),
    "npz with words": (saved(images=pictures(), y=np.array(["a"] * 30)), "whole numbers from 0"),
    "npz with negative labels": (saved(images=pictures(), y=np.full(30, -1)), "whole numbers from 0"),
    "not an npz": (written("a.npz", b"hello"), "no .npz"),
    "npz cut": (both(saved(x=pictures()), lambda root: spoil(root / "a.npz")), "no .npz|damaged"),
    "not an idx": (written("train-images-idx3-ubyte", b"hello"), "no idx file"),
    "idx cut": (written("train-images-idx3-ubyte", idx(pictures())[:-1]), "copy it again"),
    "idx of floats": (written("train-images-idx3-ubyte", b"\0\0\x0d" + idx(pictures())[3:]), "no idx file"),
    "idx gz cut": (written("train-images-idx3-ubyte.gz", gzip.compress(idx(pictures()))[:-9]), "gzip stream"),
    "not a gz": (written("train-images-idx3-ubyte.gz", idx(pictures())), "gzip stream"),
    "idx with few labels": (gone_wrong_with_a_pair, "one whole number an image"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_have_one_line_that_says_what_to_do(name: str, tmp_path: Path) -> None:
    make, message = MISTAKES[name]
    data = make(tmp_path)
    data = data + "/*.png" if name == "pattern of images" else data
    with pytest.raises(UserError, match=message) as caught:
        Images(data=data).resolve()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("classes", [2, 5])
def test_a_number_of_classes_that_the_data_has_not(classes: int, tmp_path: Path) -> None:
    labelled = make_folder(tmp_path / "a", pictures(), some_labels())
    if classes == 5:
        assert Images(data=labelled, classes=5).resolve().classes == 5
    labels = None if classes == 5 else some_labels()
    with pytest.raises(UserError, match=rf"not {classes}: leave --task\.classes out"):
        Images(data=make_folder(tmp_path / "b", pictures(), labels), classes=classes).resolve()


@pytest.mark.parametrize("field", [{"image_size": 0}, {"classes": -1}])
def test_fields_out_of_range(field: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(field)).replace("_", "-")):
        Images(**field)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, tar = make_folder(tmp_path, pictures(), some_labels()), make_tar(tmp_path / "tar", pictures(), None)

    def refuse(path: object, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(layout.os, "scandir", refuse)
        with pytest.raises(UserError, match=f"cannot read {tmp_path}: Permission denied"):
            Images(data=data).resolve()
    (tmp_path / "tar").rename(tmp_path.parent / f"{tmp_path.name}-tar")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(UserError, match=r"cannot read .*\.png: Permission denied"):
            Images(data=data, skip_damaged=True).resolve()
    tar = tar.replace(str(tmp_path), f"{tmp_path}-tar").replace("-tar/tar/", "-tar/")
    with monkeypatch.context() as patch:
        patch.setattr(encoded, "open", refuse, raising=False)
        with pytest.raises(UserError, match=r"cannot read .*all\.tar: Permission denied"):
            Images(data=tar).resolve()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_for_real(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data", pictures(), None)
    (tmp_path / "data" / "003.png").chmod(0)
    with pytest.raises(UserError, match=r"cannot read .*003\.png"):
        Images(data=data).resolve()


# Evaluation.


def test_frechet_distance_against_closed_form_and_matrix_root() -> None:
    rng = np.random.default_rng(0)
    k, eye = 6, np.eye(6)
    gap = rng.normal(size=k)
    closed = gap @ gap + k * (np.sqrt(2.0) - np.sqrt(0.3)) ** 2
    assert frechet_distance(gap, 2.0 * eye, np.zeros(k), 0.3 * eye) == pytest.approx(closed, rel=1e-12)
    a, b = (np.cov(rng.normal(size=(50, k)) @ rng.normal(size=(k, k)), rowvar=False) for _ in range(2))
    root = scipy.linalg.sqrtm(a @ b)
    by_root = gap @ gap + np.trace(a + b - 2 * root.real)
    assert frechet_distance(gap, a, np.zeros(k), b) == pytest.approx(by_root, rel=1e-9)
    assert frechet_distance(gap, a, gap, a) == pytest.approx(0, abs=1e-9)
    flat = np.diag([3.0, 1.0, 0, 0, 0, 0])  # singular, where the matrix root breaks down
    other = np.diag([0.0, 1.0, 2.0, 0, 0, 0])
    assert frechet_distance(gap, flat, gap, other) == pytest.approx(3 + 2, rel=1e-12)


def blobs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bright spots at one of three places, the class, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    y, x = np.mgrid[:12, :12]
    centre = 2 + 4 * labels[:, None, None] + rng.normal(0, 0.5, (count, 1, 1))
    bright = 220 * np.exp(-((x - centre) ** 2 + (y - 6) ** 2) / 6) + rng.normal(0, 8, (count, 12, 12))
    return bright.clip(0, 255).astype(np.uint8), labels


def test_evaluation_tells_good_samples_from_bad(tmp_path: Path) -> None:
    images, labels = blobs(600, 0)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    task = Images(data=str(tmp_path / "a.npz")).resolve()
    fresh, asked = blobs(300, 1)
    good = task.evaluate(fresh[..., None], asked)
    assert list(good) == ["pixel_frechet", "precision", "recall", "density", "coverage", "accuracy", "accuracy_real"]
    assert good["accuracy"] > 0.98
    assert good["accuracy_real"] > 0.98
    assert min(good["precision"], good["coverage"]) > 0.8
    noise = np.random.default_rng(2).integers(0, 256, fresh.shape, dtype=np.uint8)
    bad = task.evaluate(noise[..., None], asked)
    assert bad["pixel_frechet"] > 10 * good["pixel_frechet"]
    assert max(bad["precision"], bad["coverage"]) < 0.1
    wrong = task.evaluate(fresh[..., None], (asked + 1) % CLASSES)
    assert wrong["accuracy"] < 0.02
    assert good == task.evaluate(fresh[..., None], asked)
    assert "accuracy" not in task.evaluate(fresh[..., None], np.full(300, -1))


@pytest.mark.parametrize("count", [2, 12])
@pytest.mark.parametrize("labelled", [True, False])
def test_evaluation_of_very_little(count: int, labelled: bool, tmp_path: Path) -> None:
    labels = np.zeros(count, int) if labelled else None  # of one class only
    task = Images(data=make_tar(tmp_path, pictures(count, 48, colour=True), labels)).resolve()
    measures = task.evaluate(pictures(1, 48, colour=True), np.zeros(1, int))
    assert list(measures) == ["pixel_frechet"]
    assert np.isfinite(measures["pixel_frechet"])

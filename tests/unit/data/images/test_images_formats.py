"""Every format gives the images it was made of; which part is held out."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.image_files import (
    CLASSES,
    COUNT,
    MAKERS,
    NAMES,
    SIDE,
    Maker,
    contents,
    idx,
    make_float_npz,
    make_folder,
    make_idx_gz,
    make_npz,
    make_shards,
    make_tar,
    members,
    pack,
    pictures,
    png,
    some_labels,
)
from shortcut_models.data.images.examples import Examples
from shortcut_models.tasks import Images

RECORDED = {
    "make_folder": ("d23f4951d52aa1ef", "464f5130bdf95bfc"),
    "make_tar": ("c2ebdcd6b5c26c01", "966cd49628e5a27a"),
    "make_tar_gz": ("79ce4caf70e37d95", "9a133972c69a96f0"),
    "make_shards": ("2266b5f37c8818a7", "ac71ba70fe408533"),
    "make_pattern": ("2266b5f37c8818a7", "ac71ba70fe408533"),
    "make_glob": ("2266b5f37c8818a7", "ac71ba70fe408533"),
    "make_npz": ("71939e6e4dac5803", "4d2f911422ef8565"),
    "make_float_npz": ("71939e6e4dac5803", "4d2f911422ef8565"),
    "make_idx": ("d429344f83c9bd5d", "29e492dd7c8d81cb"),
    "make_idx_gz": ("f282f74f26c7c42f", "5eb11a25d3d11c7a"),
}
"""the first half of images_sha256, of pixels, labels and splits, labelled and not, as version 0.2 gave it"""


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
    assert task.images_sha256.startswith(RECORDED[maker.__name__][0 if labelled else 1])


@pytest.mark.parametrize(
    "pattern",
    [
        "{000..002}.tar",
        "{002..000}.tar",
        "00{0,1,2}.tar",
        "{00{0,1},002}.tar",
        "*.tar",
        "00[0-2].tar",
        "{000,00[12]}.tar",
    ],
)
def test_patterns_of_shards(pattern: str, tmp_path: Path) -> None:
    task = Images(data=f"{make_shards(tmp_path, pictures(), some_labels())}/part-{pattern}").resolve()
    assert task.images_sha256.startswith(RECORDED["make_pattern"][0])


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
    assert len(held_out & {content for content, _ in contents(replace(here), "test")}) >= 8


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
    ("maker", "recorded"),
    [
        (two_folders, "482e30eb612c1273"),
        (two_tars, "b4abeed583f404aa"),
        (two_sets_of_shards, "36673a9f4e5af797"),
        (shards_in_two_folders, "1326a42aa6217630"),
        (mnist_files, "71fc20b96f8f0a93"),
        (two_npz, "04c31c834d1bf569"),
        (one_npz, "4cb46e6f88725f8a"),
    ],
)
def test_a_test_part_is_used_where_there_is_one(maker: Callable[..., None], recorded: str, tmp_path: Path) -> None:
    train, test, labels, held = pictures(30), pictures(6, seed=1), some_labels(30), some_labels(6)
    maker(tmp_path, train, test, labels, held)
    task = Images(data=str(tmp_path)).resolve()
    pairs = lambda images, numbers: sorted((i.tobytes(), int(n)) for i, n in zip(images, numbers, strict=True))
    assert sorted(contents(task, "train")) == pairs(train, labels)
    assert sorted(contents(task, "test")) == pairs(test, held)
    assert task.images_sha256.startswith(recorded)


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
    with pytest.warns(UserWarning, match="left out: 1 hidden .png file, 1 hidden folder$"):
        task = Images(data=str(tmp_path)).resolve()
    assert len(task.dataset("train")) + len(task.dataset("test")) == COUNT
    assert task.class_names == NAMES

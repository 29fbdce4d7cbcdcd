"""Data with something wrong has one line that says what to do."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.image_files import (
    COUNT,
    SIDE,
    contents,
    idx,
    make_folder,
    make_idx,
    make_tar,
    members,
    pack,
    pictures,
    png,
    some_labels,
)
from helpers.runs import refusal
from shortcut_models.data.images import layout, shards
from shortcut_models.errors import UserError
from shortcut_models.tasks import Images

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
    with pytest.warns(UserWarning, match="left out: 1 damaged image$") as warned:
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
    "tar without images": (packed({"a.txt": b"hello", "a.1": b"x"}), "no images in .* members must be named KEY.png"),
    "not a tar": (written("a.tar", b"hello" * 999), "damaged or not a tar"),
    "empty file as tar": (written("a.tar", b""), "damaged or not a tar"),
    "tar cut in an image": (packed(members(pictures()), 5 * 512 + 100), "damaged or not a tar"),
    "tar cut in a header": (packed(members(pictures()), 1024 * (1 + CUT // 1024) + 100), "damaged or not a tar"),
    "tar broken in the middle": (broken_in_the_middle, "damaged or not a tar"),
    "gzip cut": (packed(members(pictures()), 999, "w:gz"), "damaged or not a tar"),
    "pattern without files": (lambda root: str(root / "a-{000..002}.tar"), r"no file matches .*a-000\.tar"),
    "pattern without the other brace": (lambda root: str(root / "a-{000.tar"), r"no file matches .*a-\{000\.tar"),
    "pattern of images": (both(folder_of("", pictures(), None)), "not a tar file"),
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
    "not an npz": (written("a.npz", b"hello"), "not an .npz"),
    "npz cut": (both(saved(x=pictures()), lambda root: spoil(root / "a.npz")), "not an .npz|damaged"),
    "not an idx": (written("train-images-idx3-ubyte", b"hello"), "not an idx file"),
    "idx cut": (written("train-images-idx3-ubyte", idx(pictures())[:-1]), "copy it again"),
    "idx of floats": (written("train-images-idx3-ubyte", b"\0\0\x0d" + idx(pictures())[3:]), "not an idx file"),
    "idx gz cut": (written("train-images-idx3-ubyte.gz", gzip.compress(idx(pictures()))[:-9]), "gzip stream"),
    "not a gz": (written("train-images-idx3-ubyte.gz", idx(pictures())), "gzip stream"),
    "idx with few labels": (gone_wrong_with_a_pair, "one whole number an image"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_refusals_of_images(name: str, tmp_path: Path) -> None:
    make, message = MISTAKES[name]
    data = make(tmp_path)
    data = data + "/*.png" if name == "pattern of images" else data
    with refusal(message):
        Images(data=data).resolve()


@pytest.mark.parametrize("classes", [2, 5])
def test_a_number_of_classes_that_the_data_does_not_have(classes: int, tmp_path: Path) -> None:
    """Nor more, as nothing would train those."""
    for make in (make_folder, make_tar):
        data = make(tmp_path / make.__name__, pictures(), some_labels())
        with pytest.raises(UserError, match=rf"has 3 classes, not {classes}: pass --task\.classes 3, or 0 to leave"):
            Images(data=data, classes=classes).resolve()
        assert Images(data=data, classes=3).resolve().classes == 3
    with pytest.raises(UserError, match=rf"no labels, not {classes} classes: leave --task\.classes out"):
        Images(data=make_folder(tmp_path / "bare", pictures(), None), classes=classes).resolve()


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
        patch.setattr(shards, "open", refuse, raising=False)
        with pytest.raises(UserError, match=r"cannot read .*all\.tar: Permission denied"):
            Images(data=tar).resolve()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_for_real(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data", pictures(), None)
    (tmp_path / "data" / "003.png").chmod(0)
    with pytest.raises(UserError, match=r"cannot read .*003\.png"):
        Images(data=data).resolve()

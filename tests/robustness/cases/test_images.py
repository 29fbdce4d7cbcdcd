"""Image data as strangers bring it: it is used in full, or what is left out is said in one line."""

from __future__ import annotations

import io
import json
import os
import tarfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.image_files import contents, make_folder, make_npz, make_tar, pack, pictures, png, some_labels
from helpers.runs import refusal, shortcut, train
from shortcut_models.data.images import hugging_face
from shortcut_models.tasks import Images

COUNT = 24
PIXELS = pictures(COUNT)
NUMBERS = (np.arange(COUNT) % 2).tolist()
TEXTS = ["cat" if number else "ant" for number in NUMBERS]


def read(data: Path | str, **fields: Any) -> tuple[Images, str]:
    """The resolved task, and what was said in warnings; the same when it comes from the cache."""
    found = []
    for _ in range(2):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            task = Images(str(data), **fields).resolve()
        found.append(" | ".join(str(each.message) for each in said if each.category is UserWarning))
    assert found[0] == found[1]
    assert all(text in task.describe_data() for text in found[0].partition(": ")[2].split("; "))
    return task, found[0]


def images_and_labels(task: Images) -> list[tuple[bytes, int]]:
    return sorted(contents(task, "train") + contents(task, "test"))


def expected(labels: Sequence[int]) -> list[tuple[bytes, int]]:
    return sorted((image.tobytes(), label) for image, label in zip(PIXELS, labels, strict=True))


def encoded(image: np.ndarray, kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind)
    return content.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def table(names: Sequence[str], labels: Sequence[object], head: str = "file_name,label") -> bytes:
    between = "\t" if "\t" in head else ";" if ";" in head else ","
    return "\n".join([head, *(f"{name}{between}{label}" for name, label in zip(names, labels, strict=True))]).encode()


# Files and members that are images.


@pytest.mark.parametrize(
    "name", ["img{}.v2.png", "Dr. X {}.png", "{}.tar.png", "a/b.c/{}.0.png", "v1.0-{}.PNG", "{}..png"]
)
def test_members_of_a_shard_with_a_dot_in_their_key_are_used(name: str, tmp_path: Path) -> None:
    packed = {(f"{i}.png" if i % 2 else name.format(i)): png(image) for i, image in enumerate(PIXELS)}
    labelled = packed | {f"{key.rpartition('.')[0]}.cls": b"%d" % NUMBERS[i] for i, key in enumerate(packed)}
    for number, members in enumerate((packed, labelled)):
        task, said = read(pack(tmp_path / f"{number}.tar", members))
        assert images_and_labels(task) == expected(NUMBERS if number else [-1] * COUNT)
        assert said == "" or (number == 0 and "folders in the shards (a) are not used as classes" in said)


@pytest.mark.parametrize("plain", [True, False])
def test_parts_of_an_example_in_a_shard_are_counted(plain: bool, tmp_path: Path) -> None:
    packed = {f"{i}{'' if plain else '.input'}.png": png(image) for i, image in enumerate(PIXELS)}
    packed |= {f"{i}.mask.png": png(255 - image) for i, image in enumerate(PIXELS)}
    data = pack(tmp_path / "a.tar", packed)
    if plain:
        task, said = read(data)
        assert images_and_labels(task) == expected([-1] * COUNT)
        assert said.endswith("a.tar: left out: 24 .mask.png members")
    else:
        with refusal("no images in .*a.tar"):
            Images(str(data)).resolve()


def test_what_a_shard_holds_beside_images_is_counted(tmp_path: Path) -> None:
    packed = {f"{i}.png": png(image) for i, image in enumerate(PIXELS)}
    packed |= {f"{i}.json": b'{"caption": "a cat"}' for i in range(COUNT)}
    packed |= {"0.heic": b"x", "1.HEIC": b"x", "0.txt": b"a cat", "._0.png": b"x", "n": b"x"}
    _, said = read(pack(tmp_path / "a.tar", packed))
    assert said.endswith(
        "left out: 2 .heic members, 24 .json members without a label, 1 .txt member, 1 hidden .png file, "
        "1 member without a suffix"
    )


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".jfif", "JPEG"), (".jpe", "JPEG"), (".JPG", "JPEG"), ("", "PNG"), ("", "JPEG"), (".dib", "DIB"), (".tga", "TGA"),
     (".jp2", "JPEG2000"), (".apng", "PNG"), (".PnG", "PNG"), (".pcx", "PCX")],
)  # fmt: skip
def test_images_of_any_suffix_that_pillow_reads(suffix: str, kind: str, tmp_path: Path) -> None:
    files = {f"{i}.png": png(image) for i, image in enumerate(PIXELS[:12])}
    files |= {f"more {i}{suffix}": encoded(image, kind) for i, image in enumerate(PIXELS[12:])}
    task, said = read(write(tmp_path, files))
    assert (len(images_and_labels(task)), said) == (COUNT, "")


def test_files_that_are_no_images_are_counted(tmp_path: Path) -> None:
    make_folder(tmp_path, pictures(), some_labels())
    more = ["ant/1.heic", "ant/2.HEIC", "bee/notes", "1.txt", "Thumbs.db", "desktop.ini", "ant/._1.png", ".DS_Store",
            "README.md", "@eaDir/1.png", "ant/@eaDir/1.png", ".ipynb_checkpoints/1.png", "lost+found/1.png",
            "__MACOSX/1.png", ".git/1.png"]  # fmt: skip
    write(tmp_path, dict.fromkeys(more, png(pictures(1)[0])) | {"bee/notes": b"hello"})
    os.mkfifo(tmp_path / "ant" / "pipe.png")
    task, said = read(tmp_path)
    assert task.class_names == ("ant", "bee", "cow")
    assert len(images_and_labels(task)) == 30
    assert said == (
        f"{tmp_path}: left out: 1 .db file, 2 .heic files, 1 .ini file, 1 .txt file, 2 @eaDir folders, "
        "1 __MACOSX folder, 1 file without a suffix, 1 hidden .png file, 1 hidden folder, 1 lost+found folder, "
        "1 special file"
    )


def test_a_folder_of_a_system_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, scan = make_folder(tmp_path, pictures(), None), os.scandir
    (tmp_path / "lost+found").mkdir()

    def refuse(path: Any) -> Any:
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    _, said = read(data)
    assert said.endswith("left out: 1 lost+found folder")


@pytest.mark.parametrize("target", ["/nowhere.png", "dead.png"])
def test_a_dead_link_is_left_out_where_damaged_images_are(target: str, tmp_path: Path) -> None:
    data = make_folder(tmp_path, pictures(), None)
    (tmp_path / "dead.png").symlink_to(target)
    task, said = read(data, skip_damaged=True)
    assert (len(images_and_labels(task)), said) == (30, f"{data}: left out: 1 damaged image")
    with refusal("cannot read .*dead.png: .*: remove it, or pass --task.skip-damaged"):
        Images(data).resolve()


# Labels.


def as_metadata(name: str, head: str, labels: Sequence[object], end: str = ".png") -> Callable[[Path], Path]:
    files = {f"{i}.png": png(image) for i, image in enumerate(PIXELS)}
    return lambda root: write(root, files | {name: table([f"{i}{end}" for i in range(COUNT)], labels, head)})


def as_jsonl(root: Path) -> Path:
    lines = [json.dumps({"file_name": f"./{i}.png", "label": text}) for i, text in enumerate(TEXTS)]
    files = {f"{i}.png": png(image) for i, image in enumerate(PIXELS)}
    return write(root, files | {"metadata.jsonl": "\n".join(lines).encode()})


def as_edm(labels: Sequence[object] | None, of: str = "list") -> Callable[[Path], Path]:
    names = [f"{i // 6:05d}/img{i:08d}.png" for i in range(COUNT)]
    pairs = None if labels is None else [[name, label] for name, label in zip(names, labels, strict=True)]
    held = {"labels": dict(pairs) if of == "dict" and pairs else pairs}
    files = {name: png(image) for name, image in zip(names, PIXELS, strict=True)}
    return lambda root: write(root, files | {"dataset.json": json.dumps(held).encode()})


def as_json(key: str, labels: Sequence[object], more: dict[str, Any] | None = None) -> Callable[[Path], Path]:
    entry = lambda label: json.dumps({"caption": "x", key: label} | (more or {})).encode()
    packed = {f"{i}.png": png(image) for i, image in enumerate(PIXELS)}
    packed |= {f"{i}.json": entry(label) for i, label in enumerate(labels)}
    return lambda root: pack(root / "a.tar", packed)


def as_npz(images: str, labels: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        np.savez(root / "a.npz", **{images: PIXELS, labels: NUMBERS})
        return root / "a.npz"

    return make


def as_npz_without_names(root: Path) -> Path:
    np.savez(root / "a.npz", PIXELS, NUMBERS)
    return root / "a.npz"


FORMS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "metadata.csv": (as_metadata("metadata.csv", "file_name,label", NUMBERS), ()),
    "metadata.csv of texts": (as_metadata("metadata.csv", "file_name,label", TEXTS), ("ant", "cat")),
    "metadata.csv of floats": (as_metadata("metadata.csv", "file_name,label", [float(n) for n in NUMBERS]), ()),
    "metadata.csv of Excel": (as_metadata("metadata.csv", "\ufefffile_name;label", NUMBERS), ()),
    "labels.tsv": (as_metadata("labels.tsv", "Filename\tClass", TEXTS), ("ant", "cat")),
    "metadata.jsonl": (as_jsonl, ("ant", "cat")),
    "dataset.json": (as_edm(NUMBERS), ()),
    "dataset.json of names": (as_edm(NUMBERS, "dict"), ()),
    "KEY.json": (as_json("label", NUMBERS), ()),
    "KEY.json of digits": (as_json("label", [str(number) for number in NUMBERS]), ()),
    "KEY.json of texts": (as_json("class_name", TEXTS), ("ant", "cat")),
    "KEY.json in capitals": (as_json("Label", NUMBERS, {"y": 7}), ()),
    "arr_0, arr_1": (as_npz_without_names, ()),
    "X, Y": (as_npz("X", "Y"), ()),
    "image, label": (as_npz("image", "label"), ()),
    "X_train, y_train": (as_npz("X_train", "y_train"), ()),
    "data, targets": (as_npz("data", "targets"), ()),
    "Images, Labels": (as_npz("Images", "Labels"), ()),
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_in_the_forms_that_others_write_are_used(form: str, tmp_path: Path) -> None:
    make, names = FORMS[form]
    task, said = read(make(tmp_path))
    assert (task.classes, task.class_names, said) == (2, names, "")
    assert images_and_labels(task) == expected(NUMBERS)
    assert "2 classes" in task.describe_data()
    assert "labels from " in task.describe_data()
    assert Images(task.data, classes=0).resolve().describe_data().endswith("no labels; labels are not used")


@pytest.mark.needs_extra
@pytest.mark.parametrize(
    ("column", "labels", "names"),
    [("label", TEXTS, ("ant", "cat")), ("class", NUMBERS, ()), ("Category", TEXTS, ("ant", "cat")), ("y", NUMBERS, ())],
)
def test_a_column_of_labels_of_a_table(column: str, labels: Any, names: tuple[str, ...], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    held = {"image": [Image.fromarray(image) for image in PIXELS], column: labels}
    datasets.Dataset.from_dict(held).save_to_disk(tmp_path / "t")
    task, said = read(tmp_path / "t")
    assert (task.class_names, images_and_labels(task), said) == (names, expected(NUMBERS), "")


@pytest.mark.needs_extra
def test_columns_that_hold_no_labels_are_named(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    held = {"image": [Image.fromarray(image) for image in PIXELS], "caption": [f"a {i}" for i in range(COUNT)]}
    datasets.Dataset.from_dict(held).save_to_disk(tmp_path / "t")
    assert read(tmp_path / "t")[1].endswith("no labels: the columns caption are not read")


def test_labels_beside_parts_for_training_and_testing(tmp_path: Path) -> None:
    files = {f"{'test' if i < 4 else 'train'}/{i}.png": png(image) for i, image in enumerate(PIXELS)}
    shared = write(tmp_path / "a", files | {"metadata.csv": table(list(files), TEXTS)})
    own = {f"{split}/metadata.csv": table([f"{i}.png" for i in rows], [TEXTS[i] for i in rows])
           for split, rows in (("test", range(4)), ("train", range(4, COUNT)))}  # fmt: skip
    for data in (shared, write(tmp_path / "b", files | own)):
        task, said = read(data)
        assert said == "" or "names" in said
        assert images_and_labels(task) == expected(NUMBERS)
        assert len(contents(task, "test")) == 4


ODD = {
    "no column": (as_metadata("metadata.csv", "file_name,text", TEXTS),
                  "metadata.csv has no column of labels, such as label (its columns are file_name, text)"),
    "no file": (as_metadata("metadata.csv", "id,label", TEXTS), "metadata.csv has no column of images"),
    "captions": (as_metadata("metadata.csv", "file_name,label", [f"a {i}" for i in range(COUNT)]),
                 "the 24 different labels in metadata.csv are not used as classes"),
    "other names": (as_metadata("metadata.csv", "file_name,label", NUMBERS, ".jpg"),
                    "metadata.csv names 24 images not found here"),
    "nothing": (as_metadata("metadata.csv", "file_name,label", [""] * COUNT),
                "the column label of metadata.csv is empty"),
    "empty texts": (as_json("label", [""] * COUNT), "24 .json members without a label"),
    "vectors": (as_edm([[0.5, 1.0]] * COUNT), "labels in dataset.json are vectors"),
    "none": (as_edm(None), "the folders 00000, 00001, ... number the images in turn, so they are not used as classes"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_labels_that_are_not_used_are_said(name: str, tmp_path: Path) -> None:
    make, message = ODD[name]
    task, said = read(make(tmp_path))
    assert message in said
    assert task.classes == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("metadata.csv", table(["0.png"], ["cat"]), "has no label in metadata.csv, but other images have"),
     ("metadata.csv", b"\xff\xfe\x00", r"metadata\.csv is damaged"),
     ("metadata.jsonl", b"{", r"metadata\.jsonl is damaged"),
     ("metadata.jsonl", b"3", r"metadata\.jsonl is damaged"),
     ("dataset.json", b"not json", r"dataset\.json is damaged"),
     ("dataset.json", b'{"labels": 3}', r"dataset\.json is damaged"),
     ("metadata.csv", table([f"{i}.png" for i in range(COUNT)], [-1] * COUNT), "whole numbers from 0")],
)  # fmt: skip
def test_refusals_of_files_of_labels(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with refusal(message):
        Images(str(write(tmp_path, {f"{i}.png": png(x) for i, x in enumerate(PIXELS)} | {name: content}))).resolve()


def test_changed_labels_are_read_again(tmp_path: Path) -> None:
    data = as_metadata("metadata.csv", "file_name,label", NUMBERS)(tmp_path)
    assert images_and_labels(read(data)[0]) == expected(NUMBERS)
    (tmp_path / "metadata.csv").write_bytes(table([f"{i}.png" for i in range(COUNT)], [1 - n for n in NUMBERS]))
    assert images_and_labels(read(data)[0]) == expected([1 - n for n in NUMBERS])


# Folders inside shards.


def in_folders(folder: Callable[[int], str], name: Callable[[int], str] = "{:03d}".format) -> dict[str, bytes]:
    return {f"{folder(i)}/{name(i)}.png": png(image) for i, image in enumerate(PIXELS)}


def in_parts(*held_out: str) -> Callable[[int], str]:
    return lambda i: f"{(*held_out, 'train', 'train')[i % (len(held_out) + 2)]}/{KINDS[i // 4 % 3]}"


def one_tar(root: Path, tree: dict[str, bytes], top: str = "", name: str = "a.tar") -> str:
    packed = {f"{top}{path}": content for path, content in tree.items()}
    return str(pack(root / name, packed, "w:gz" if name.endswith("gz") else "w"))


def several_tars(root: Path, tree: dict[str, bytes], top: str = "") -> str:
    for number in range(3):
        one_tar(root / "shards", dict(list(tree.items())[number::3]), top, f"{number}.tar")
    return str(root / "shards")


def tar_of_each_folder(root: Path, tree: dict[str, bytes]) -> str:
    packed: dict[str, dict[str, bytes]] = {}
    for path, content in tree.items():
        top = path.partition("/")[0]
        packed.setdefault("rose" if top == "@eaDir" else top, {})[path] = content
    for top, part in packed.items():
        one_tar(root, part, name=f"{top}.tar")
    return f"{root}/*.tar"


def packed_with_folders(root: Path, tree: dict[str, bytes]) -> str:
    write(root / "flowers", tree)
    with tarfile.open(root / "a.tar", "w") as archive:
        archive.add(root / "flowers", "flowers")
    return str(root / "a.tar")


KINDS = ("rose", "daisy", "tulip")
PACKED: dict[str, Callable[[Path, dict[str, bytes]], str]] = {
    "as it is": one_tar,
    "from .": lambda root, tree: one_tar(root, tree, "./"),
    "with its folder": packed_with_folders,
    "deep": lambda root, tree: one_tar(root, tree, "home/me/flowers/"),
    "compressed": lambda root, tree: one_tar(root, tree, "flowers/", "a.tar.gz"),
    "several": several_tars,
    "several, with their folder": lambda root, tree: several_tars(root, tree, "flowers/"),
    "a tar of each folder": tar_of_each_folder,
}
LEFT = (
    "@eaDir/0.png",
    "rose/@eaDir/1.png",
    "rose/.thumbs/1.png",
    "rose/.thumbs/2.png",
    "daisy/._1.png",
    "tulip/1.heic",
)
TREES: dict[str, dict[str, bytes]] = {
    "classes": in_folders(lambda i: KINDS[i % 3]),
    "classes with folders of their own": in_folders(lambda i: f"{KINDS[i % 3]}/{'ab'[i % 2]}.{i % 5}"),
    "two images each": in_folders(lambda i: f"kind {i // 2}"),
    "numbers": in_folders(lambda i: str(i // 2)),
    "padded numbers": in_folders(lambda i: f"{i // 6:05d}", lambda i: f"{i % 6:05d}"),
    "buckets": in_folders(lambda i: f"{i // 6:05d}", lambda i: f"img{i:08d}"),
    "left over": in_folders(lambda i: KINDS[i % 3]) | dict.fromkeys(LEFT, png(PIXELS[0])),
    "train and test": in_folders(in_parts("test")),
    "train and val": in_folders(in_parts("Validation")),
    "three parts": in_folders(in_parts("test", "val")),
    "parts without classes": in_folders(lambda i: "test" if i < 4 else "train"),
    "train is a vehicle": in_folders(lambda i: ("train", "bus", "tram")[i % 3]),
}


IN_PARTS = ("train and test", "train and val", "three parts", "parts without classes")


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("how", PACKED)
def test_a_folder_and_a_tar_of_it_hold_the_same(tree: str, how: str, tmp_path: Path) -> None:
    folder, said_of_folder = read(write(tmp_path / "folder", TREES[tree]))
    task, said = read(PACKED[how](tmp_path / "packed", TREES[tree]))
    assert (task.classes, task.class_names) == (folder.classes, folder.class_names)
    assert images_and_labels(task) == images_and_labels(folder)
    if tree in IN_PARTS:
        assert sorted(contents(task, "test")) == sorted(contents(folder, "test"))
    assert said.partition(": ")[2].replace("member", "file") == said_of_folder.partition(": ")[2]
    assert ("labels from the folders of the members" in task.describe_data()) == bool(folder.classes)


NO_CLASSES = {
    "each in its own": (in_folders(str), "the 24 folders of the 24 images are not used as classes"),
    "many": (in_folders(lambda i: f"{i // 2}" if i % 6 else f"own {i}"),
             "the 16 folders of the 24 images are not used as classes"),
    "one": (in_folders(lambda i: "photos"), "the only folder in the shards, photos, is not used as a class"),
    "deep": (in_folders(lambda i: "my/photos"), "the only folder in the shards, my/photos, is not used as a class"),
    "beside": (in_folders(lambda i: KINDS[i % 3]) | {"x.png": png(PIXELS[0])},
               "folders in the shards (daisy, rose, ...) are not used as classes, as x.png is in none of them"),
    "train beside": (in_folders(lambda i: "train") | {"x.png": png(PIXELS[0])},
                     "folders in the shards (train) are not used as classes, as x.png is in none of them"),
    "labels": (in_folders(lambda i: KINDS[i % 3]) | {"labels.csv": table(["0.png"], ["rose"])},
               "labels.csv in the shards is not read: unpack them to use its labels"),
    "none": ({f"./{i}.png": png(image) for i, image in enumerate(PIXELS)}, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_CLASSES)
@pytest.mark.parametrize("make", [one_tar, several_tars])
def test_folders_in_shards_that_are_no_classes_are_said(name: str, make: Any, tmp_path: Path) -> None:
    tree, message = NO_CLASSES[name]
    task, said = read(make(tmp_path, tree))
    assert (task.classes, len(images_and_labels(task))) == (0, sum(path.endswith(".png") for path in tree))
    assert said.endswith(message)
    assert bool(said) == bool(message)


@pytest.mark.parametrize("label", ["cls", "json"])
def test_labels_in_shards_are_preferred_to_folders(label: str, tmp_path: Path) -> None:
    form = "%d" if label == "cls" else '{"label": %d}'
    labels = {f"{KINDS[i % 3]}/{i:03d}.{label}": (form % NUMBERS[i]).encode() for i in range(COUNT)}
    task, said = read(one_tar(tmp_path, TREES["classes"] | labels))
    assert (images_and_labels(task), task.class_names, said) == (expected(NUMBERS), (), "")
    assert task.describe_data().endswith("labels from KEY.cls or KEY.json")


def test_folders_in_shards_for_training_and_for_testing(tmp_path: Path) -> None:
    for name, rows in (("train", range(4, COUNT)), ("test", range(4))):
        one_tar(tmp_path, {f"{name}/{TEXTS[i]}/{i}.png": png(PIXELS[i]) for i in rows}, name=f"{name}.tar")
    task, said = read(tmp_path)
    assert (task.class_names, len(contents(task, "test")), said) == (("ant", "cat"), 4, "")
    assert images_and_labels(task) == expected(NUMBERS)


@pytest.mark.parametrize(
    ("folders", "message"),
    [(("train", "test", "more"), "holds .*, but also more: pack it without that"),
     (("test", "val"), "holds .*, but no train part"),
     ((".hidden", "@eaDir"), "no images in .*a.tar: .* in folders that are not hidden")],
)  # fmt: skip
def test_refusals_of_folders_in_shards(folders: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with refusal(message):
        Images(one_tar(tmp_path, in_folders(lambda i: folders[i % len(folders)]))).resolve()


@pytest.mark.parametrize("reading", ["memory", "in-place"])
@pytest.mark.parametrize("tree", ["classes", "train and test"])
def test_folders_in_shards_are_the_classes_also_of_images_read_in_place(
    tree: str, reading: Any, tmp_path: Path
) -> None:
    task, _ = read(several_tars(tmp_path, TREES[tree]), reading=reading)
    folder, _ = read(write(tmp_path / "folder", TREES[tree]))
    assert (images_and_labels(task), task.class_names) == (images_and_labels(folder), ("daisy", "rose", "tulip"))


# Classes and their numbers.


@pytest.mark.parametrize("form", ["npz", "tar", "metadata"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [([1, 2], "class 0 has no image to train on"), ([0, 3], "classes 1, 2 have no image to train on")],
)
def test_classes_without_an_image_are_said(form: str, labels: list[int], message: str, tmp_path: Path) -> None:
    numbers = np.array(labels * (COUNT // 2))
    make = {"npz": make_npz, "tar": make_tar}.get(form)
    data = make(tmp_path, PIXELS, numbers) if make else as_metadata("labels.csv", "file,label", numbers)(tmp_path)
    task, said = read(data)
    assert said == f"{data}: {message}"
    assert task.classes == max(labels) + 1


def numbered_folders(names: Callable[[int], str], images: Callable[[int], str], per: int = 6) -> Callable[[Path], Path]:
    return lambda root: write(root, {f"{names(i // per)}/{images(i)}.png": png(x) for i, x in enumerate(PIXELS)})


@pytest.mark.parametrize(
    "make",
    [numbered_folders(lambda b: f"{6 * b:05d}", lambda i: f"{i:05d}"),
     numbered_folders(lambda b: f"{b:05d}", lambda i: f"img{i:08d}"),
     numbered_folders(lambda b: f"{b:04d}", lambda i: f"{i}")],
)  # fmt: skip
def test_folders_that_only_number_the_images_are_not_classes(make: Callable[[Path], Path], tmp_path: Path) -> None:
    task, said = read(make(tmp_path))
    assert task.classes == 0
    assert "not used as classes" in said


def test_folders_of_numbers_that_are_classes(tmp_path: Path) -> None:
    signs = numbered_folders(lambda b: f"{b:05d}", lambda i: f"{i % 6:05d}_00000")(tmp_path / "signs")
    task, said = read(signs)
    assert (task.classes, said) == (
        4, f"{signs}: the classes are the folders 00000, 00001, ...: pass --task.classes 0 if they are not classes"
    )  # fmt: skip
    task, said = read(numbered_folders(str, str)(tmp_path / "digits"))
    assert (task.class_names, said) == (("0", "1", "2", "3"), "")
    task, said = read(numbered_folders(str, str, 2)(tmp_path / "twelve"))
    assert task.class_names[:4] == ("0", "1", "10", "11"), "as in runs that are there"
    assert "class folders are sorted as text, so class 2 is the folder 10" in said
    assert "12 classes (0 0, 1 1, 2 10, 3 11, 4 2," in task.describe_data()


# Pixels.


TIFFS: dict[str, tuple[np.ndarray, str]] = {
    "floats to 255": (PIXELS[0].astype(np.float32), "floats must be from 0 to 1, not from .*: rescale it"),
    "floats below 0": (PIXELS[0].astype(np.float32) / 255 - 1, "floats must be from 0 to 1, not from .*: rescale it"),
    "int32 to 255": (PIXELS[0].astype(np.int32), "values of 16 or 32 bits are at most .*: save it with 8 bits"),
    "uint16 to 255": (PIXELS[0].astype(np.uint16), "values of 16 or 32 bits are at most .*: save it with 8 bits"),
    "int32 beyond": (PIXELS[0].astype(np.int32) * 1000, "values must be from 0 to 65535, not from .*: rescale it"),
}


@pytest.mark.parametrize("name", TIFFS)
def test_images_of_an_unknown_range_are_refused(name: str, tmp_path: Path) -> None:
    pixels, message = TIFFS[name]
    data = make_folder(tmp_path, pictures(), None)
    Image.fromarray(pixels).save(tmp_path / "x.tiff")
    with refusal(f"x.tiff cannot be read as an image .*{message}, or pass --task.skip-damaged"):
        Images(data).resolve()
    assert read(data, skip_damaged=True)[1].endswith("left out: 1 damaged image")


def test_an_image_that_is_too_large_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_folder(tmp_path, pictures(), None)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with refusal("it has more than 0 million pixels.*: make it smaller, or pass --task.skip-damaged"):
        Images(data).resolve()


# Data that was replaced.


def packed_bmp(root: Path, pixels: np.ndarray) -> Path:
    return pack(root / "a.tar", {f"{i}.bmp": encoded(image, "BMP") for i, image in enumerate(pixels)})


def folder_of_bmp(root: Path, pixels: np.ndarray) -> Path:
    return write(root / "folder", {f"{i}.bmp": encoded(image, "BMP") for i, image in enumerate(pixels)})


@pytest.mark.parametrize("reading", ["memory", "in-place"])
@pytest.mark.parametrize("make", [make_npz, packed_bmp, folder_of_bmp])
def test_data_replaced_by_files_of_the_same_size_and_time_is_read_again(
    make: Any, reading: str, tmp_path: Path
) -> None:
    if make is make_npz and reading == "in-place":
        return
    for value in (0, 200):
        data = Path(make(tmp_path, *[np.full((COUNT, 8, 8), value, np.uint8), None][: 2 if make is make_npz else 1]))
        for path in (data, *data.glob("*")):
            os.utime(path, (1, 1))
        batch = Images(str(data), reading=reading).resolve().dataset("train").__getitems__([0])
        assert batch.data.float().mean() == value


@pytest.mark.needs_extra
def test_parquet_replaced_by_a_file_of_the_same_time_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    for value in (0, 200):
        pixels = np.full((COUNT, 8, 8), value, np.uint8)
        datasets.Dataset.from_dict({"image": [Image.fromarray(each) for each in pixels]}).to_parquet(tmp_path / "a.new")
        os.replace(tmp_path / "a.new", tmp_path / "a.parquet")
        os.utime(tmp_path / "a.parquet", (1, 1))
        hugging_face.open_tables.cache_clear()  # as in another process
        batch = Images(str(tmp_path / "a.parquet")).resolve().dataset("train").__getitems__([0])
        assert batch.data.float().mean() == value


# What is said.


def test_a_folder_of_shards_with_tables_beside_names_the_pattern(tmp_path: Path) -> None:
    make_tar(tmp_path, pictures(), None)
    write(tmp_path, {"all.parquet": b"x", "all_stats.json": b"{}"})
    with refusal(f"tar shards and Parquet files: move one kind away, or pass --data '{tmp_path}/\\*.tar'"):
        Images(str(tmp_path)).resolve()
    assert read(f"{tmp_path}/*.tar")[1] == ""


def test_arrays_and_parts_that_are_not_read_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=PIXELS, ages=np.arange(COUNT))
    assert read(tmp_path / "a.npz")[1].endswith("the array ages [24] is not read")
    splits = {f"x_{split}": PIXELS for split in ("train", "test", "val")}
    np.savez(tmp_path / "b.npz", **splits)
    assert read(tmp_path / "b.npz")[1].endswith("the val part is not used")
    for split in ("train", "test", "val"):
        make_folder(tmp_path / "c" / split, PIXELS, None)
    assert read(tmp_path / "c")[1].endswith("the val part is not used")


def test_training_and_its_report_say_what_the_data_holds(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "photos", pictures(), some_labels())
    (tmp_path / "photos" / "1.heic").write_bytes(b"x")
    done = train(tmp_path / "run", options=("train", "images", "--data", data, "--device", "cpu", "--train-steps", 2,
                                            "--network", "dit-s", "--network.width", 32, "--network.depth", 1,
                                            "--network.heads", 2, "--batch-size", 4))  # fmt: skip
    line = f"{data}: 27 to train on, 3 held out, 8x8, grey, 3 classes (0 ant, 1 bee, 2 cow); left out: 1 .heic file"
    assert line in done.err.splitlines()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"] == line
    assert shortcut("report", tmp_path / "run").code == 0
    assert f"Data: {line}." in (tmp_path / "run" / "report.html").read_text()


def test_inspect_says_the_same_and_draws_each_class(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "photos", pictures(), some_labels())
    done = shortcut("inspect", data, "--out", tmp_path / "examples.png")
    assert done.out == f"{data}: 27 to train on, 3 held out, 8x8, grey, 3 classes (0 ant, 1 bee, 2 cow)\n"
    with Image.open(tmp_path / "examples.png") as sheet:
        drawn = np.asarray(sheet.convert("L"))
    for image in drawn, np.asarray(Image.open(tmp_path / "photos/bee/001.png")):
        assert image.ndim == 2
    rows = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "photos" / "bee").glob("*.png"))]
    assert sum(_holds(drawn, image.repeat(8, 0).repeat(8, 1)) for image in rows) == 8


def _holds(sheet: np.ndarray, image: np.ndarray) -> bool:
    """Whether a picture is somewhere on a sheet."""
    height, width = image.shape
    tops, lefts = np.nonzero(sheet[: 1 - height, : 1 - width] == image[0, 0])
    return any((sheet[t : t + height, left : left + width] == image).all() for t, left in zip(tops, lefts, strict=True))


def test_inspect_of_images_of_several_sizes_and_of_nothing(tmp_path: Path) -> None:
    make_folder(tmp_path / "a", pictures(), None)
    (tmp_path / "a" / "x.png").write_bytes(png(pictures(1, 10)[0]))
    done = shortcut("inspect", tmp_path / "a")
    mixed, line = done.out.splitlines()
    assert "images are of mixed size (8x8, but " in mixed
    assert line == f"{tmp_path / 'a'}: 28 to train on, 3 held out, 64x64, grey, no labels"
    assert shortcut("inspect", tmp_path / "nothing").code == 2

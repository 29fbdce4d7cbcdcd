"""Tables of Hugging Face `datasets`: saved to disk, as Parquet files, and by name, made here and read back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.image_files import CLASSES, COUNT, NAMES, SIDE, contents, pictures, png, some_labels
from helpers.runs import DIGITS, assert_refused
from shortcut_models.data.images import InPlaceSet, hugging_face
from shortcut_models.errors import UserError
from shortcut_models.tasks import Images

pytestmark = pytest.mark.needs_extra

datasets = pytest.importorskip("datasets", reason="the extra `datasets` is not installed")


@pytest.fixture(autouse=True)
def _quiet(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))
    hugging_face.open_tables.cache_clear()


def table(images: np.ndarray, labels: np.ndarray | None = None, **columns: Any) -> Any:
    """A table with a column img and, where there are labels, a column label of three named classes."""
    held: dict[str, Any] = {"img": [Image.fromarray(image) for image in images]}
    features = {"img": datasets.Image()}
    if labels is not None:
        held["label"], features["label"] = labels.tolist(), datasets.ClassLabel(names=list(NAMES))
    for name, (values, kind) in columns.items():
        held[name], features[name] = values, kind
    return datasets.Dataset.from_dict(held, features=datasets.Features(features))


def saved(root: Path, labels: np.ndarray | None) -> str:
    datasets.DatasetDict({"train": table(pictures(), labels)}).save_to_disk(root / "data")
    return str(root / "data")


def saved_alone(root: Path, labels: np.ndarray | None) -> str:
    table(pictures(), labels).save_to_disk(root / "data")
    return str(root / "data")


def parquet(root: Path, labels: np.ndarray | None) -> str:
    whole = table(pictures(), labels)
    (root / "data").mkdir()
    for i in range(3):
        whole.shard(3, i).to_parquet(root / "data" / f"train-{i:05d}-of-00003.parquet")
    return str(root / "data")


def parquet_of_the_hub(root: Path, labels: np.ndarray | None) -> str:
    parquet(root, labels)
    return str(root)


RECORDED = {
    "saved": {"memory": "da3f6c4b865444bd", "in-place": "0bd1df0effec6b5c"},
    "saved_alone": {"memory": "5a27c64d43b7f45f", "in-place": "ced1cdd913d0d16e"},
    "parquet": {"memory": "da3f6c4b865444bd", "in-place": "0bd1df0effec6b5c"},
    "parquet_of_the_hub": {"memory": "da3f6c4b865444bd", "in-place": "0bd1df0effec6b5c"},
}
"""the first half of images_sha256 as version 0.2 gave it"""


@pytest.mark.parametrize("reading", ["memory", "in-place"])
@pytest.mark.parametrize("maker", [saved, saved_alone, parquet, parquet_of_the_hub])
def test_every_form_gives_the_images_it_was_made_of(maker: Any, reading: Any, tmp_path: Path) -> None:
    task = Images(data=maker(tmp_path, some_labels()), reading=reading).resolve()
    assert (task.shape, task.classes, task.class_names) == ((1, SIDE, SIDE), CLASSES, NAMES)
    assert isinstance(task.dataset("train"), InPlaceSet) == (reading == "in-place")
    found = contents(task, "train") + contents(task, "test")
    assert len(contents(task, "test")) == COUNT // 10
    assert sorted(found) == sorted((pictures()[i].tobytes(), int(some_labels()[i])) for i in range(COUNT))
    assert task.images_sha256.startswith(RECORDED[maker.__name__][reading])


def test_without_labels(tmp_path: Path) -> None:
    task = Images(data=saved(tmp_path, None)).resolve()
    assert (task.conditions, task.class_names) == ({}, ())


def splits_of(root: Path, **splits: Any) -> str:
    datasets.DatasetDict(splits).save_to_disk(root)
    return str(root)


def test_the_test_part_gives_way_where_its_labels_are_kept_secret(tmp_path: Path) -> None:
    train, held = table(pictures(), some_labels()), table(pictures(6, seed=1), some_labels(6))
    open_test, secret = table(pictures(4, seed=2), some_labels(4)), table(pictures(4, seed=2), np.full(4, -1))
    validation = sorted(image.tobytes() for image in pictures(6, seed=1))
    test = sorted(image.tobytes() for image in pictures(4, seed=2))
    for name, last, expected in (("a", open_test, test), ("b", secret, validation)):
        data = splits_of(tmp_path / name, train=train, validation=held, test=last)
        found = contents(Images(data=data).resolve(), "test")
        assert sorted(content for content, _ in found) == expected


@pytest.mark.parametrize("name", ["data/{}-00000-of-00001.parquet", "{}.parquet", "{}/all.parquet"])
def test_it_gives_way_in_parquet_too(tmp_path: Path, name: str) -> None:
    held, secret = (pictures(6, seed=1), some_labels(6)), (pictures(4, seed=2), np.full(4, -1))
    for split, (images, labels) in {"train": (pictures(), some_labels()), "validation": held, "test": secret}.items():
        path = tmp_path / name.format(split)
        path.parent.mkdir(exist_ok=True)
        table(images, labels).to_parquet(path)
    task = Images(data=str(tmp_path)).resolve()
    assert task.classes == CLASSES
    assert sorted(content for content, _ in contents(task, "test")) == sorted(image.tobytes() for image in held[0])


def test_which_column_is_the_label() -> None:
    classes = lambda count: ([0] * 6, datasets.ClassLabel(num_classes=count))
    number = ([0] * 6, datasets.Value("int32"))
    for columns, expected in (
        ({"coarse": classes(2), "fine": classes(5)}, "fine"),
        ({"label": classes(2), "fine": classes(5)}, "label"),
        ({"label": number}, "label"),
        ({"label": number, "kind": classes(3)}, "kind"),
        ({"width": number}, None),
        ({"label": (["a"] * 6, datasets.Value("string"))}, "label"),
        ({"label": (["a"] * 6, datasets.Value("string")), "kind": classes(3)}, "kind"),
        ({"Category": number, "width": number}, "Category"),
    ):
        assert hugging_face._label_column(table(pictures(6), **columns)) == expected


def test_by_name_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, config: str | None) -> Any:
        asked.append((name, config))
        return datasets.DatasetDict({"train": table(pictures(), some_labels())})

    monkeypatch.setattr(datasets, "load_dataset", load)
    for data in ("hf:someone/pets", "hf:someone/pets:small"):
        assert Images(data=data, reading="in-place").resolve().class_names == NAMES
    assert asked == [("someone/pets", None), ("someone/pets", "small")]


def refuse(*args: object) -> None:
    raise ConnectionError("Couldn't reach 'no-one/none' on the Hub\nand more lines")


def damaged_parquet(root: Path) -> str:
    parquet(root, some_labels())
    path = root / "data" / "train-00001-of-00003.parquet"
    path.write_bytes(path.read_bytes()[:-60])
    return str(root)


def damaged_image(root: Path) -> str:
    cells = [{"bytes": png(image), "path": None} for image in pictures()]
    cells[3] = {"bytes": cells[3]["bytes"][:-30], "path": None}
    column = datasets.Features({"img": datasets.Image()})
    datasets.Dataset.from_dict({"img": cells}, features=column).save_to_disk(root)
    return str(root)


MISTAKES: dict[str, tuple[Any, str]] = {
    "not on the Hub": (
        lambda root: "hf:no-one/none",
        "cannot load hf:no-one/none (Couldn't reach 'no-one/none' on the Hub): check the name",
    ),
    "no images": (
        lambda root: splits_of(root, train=datasets.Dataset.from_dict({"text": ["a", "b"]})),
        "must have one column of images, not 0; its columns are text: keep one",
    ),
    "two columns of images": (
        lambda root: splits_of(root, train=table(pictures(), mask=([None] * COUNT, datasets.Image()))),
        "must have one column of images, not 2",
    ),
    "no train part": (
        lambda root: splits_of(root, test=table(pictures()), validation=table(pictures())),
        "no train part",
    ),
    "some labels missing": (
        lambda root: splits_of(root, train=table(pictures(), np.arange(COUNT) % 4 - 1)),
        "labels must be whole numbers from 0",
    ),
    "an image cut": (damaged_image, "all[3] cannot be read as an image"),
    "Parquet cut": (damaged_parquet, "is damaged"),
    "saved table without its files": (
        lambda root: (saved(root, None), (root / "data" / "train" / "state.json").unlink(), str(root / "data"))[2],
        "cannot load",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_refusals_of_hugging_face(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, message = MISTAKES[name]
    data = make(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    words = ("train", "images", *DIGITS[2:], "--data", data, "--run", tmp_path / "run")
    assert_refused(words, message, unchanged=tmp_path)


def test_without_the_library_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"needs an extra: pip install 'shortcut-models\[datasets\]'"):
        Images(data="hf:someone/pets").resolve()

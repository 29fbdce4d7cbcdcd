"""Images read where they are: the same pixels as from memory, an index made once, and damage found late."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.image_files import (
    COUNT,
    SIDE,
    Maker,
    contents,
    make_folder,
    make_glob,
    make_pattern,
    make_shards,
    make_tar,
    members,
    pack,
    pictures,
    png,
    some_labels,
)
from shortcut_models.data.images import InPlaceSet, cache, loading, shards
from shortcut_models.errors import UserError
from shortcut_models.tasks import Images


def in_place(data: str, **options: object) -> Images:
    return Images(data=data, reading="in-place", **options).resolve()  # type: ignore[arg-type]


RECORDED = {
    "make_folder": ("5813aa954941407a", "4ab7ce445482fb7c"),
    "make_tar": ("6ba343608300f9bc", "eb8ee13c2adbac5b"),
    "make_shards": ("6512de9a2e2d7678", "560c3515a2ab6537"),
    "make_pattern": ("6512de9a2e2d7678", "560c3515a2ab6537"),
    "make_glob": ("6512de9a2e2d7678", "560c3515a2ab6537"),
}
"""the first half of images_sha256, of names, labels and splits, labelled and not, as version 0.2 gave it"""


@pytest.mark.parametrize("labelled", [True, False], ids=["labelled", "unlabelled"])
@pytest.mark.parametrize("maker", [make_folder, make_tar, make_shards, make_pattern, make_glob])
def test_the_same_images_as_from_memory(maker: Maker, labelled: bool, tmp_path: Path) -> None:
    data = maker(tmp_path, pictures(), some_labels() if labelled else None)
    there, memory = in_place(data), Images(data=data, reading="memory").resolve()
    assert isinstance(there.dataset("train"), InPlaceSet)
    assert (there.shape, there.conditions, there.class_names) == (memory.shape, memory.conditions, memory.class_names)
    for split in ("train", "test"):
        assert contents(there, split) == contents(memory, split)
    assert there.images_sha256.startswith(RECORDED[maker.__name__][0 if labelled else 1])


def test_large_photos_are_shrunk_to_the_same_pixels(tmp_path: Path) -> None:
    y, x = np.mgrid[:700, :900]
    for i in range(6):
        waves = np.stack([np.sin(x / (7 + i)), np.cos(y / 11), np.sin((x + i * y) / 23)], 2)
        Image.fromarray(np.rint(127 + 120 * waves).astype(np.uint8)).save(tmp_path / f"{i}.jpg", quality=90)
    found = [contents(Images(data=str(tmp_path), image_size=64, reading=how).resolve(), "train")
             for how in ("memory", "in-place")]  # fmt: skip
    assert found[0] == found[1]
    assert len(found[0]) == 5


def test_a_set_is_left_in_place_where_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_shards(tmp_path, pictures(), some_labels())
    train = (COUNT - COUNT // 10) * SIDE**2
    for bytes_large, large in ((train + 1, False), (train, True)):
        monkeypatch.setattr(loading, "LARGE", bytes_large)
        task = Images(data=data).resolve()
        assert isinstance(task.dataset("train"), InPlaceSet) == large
        assert not isinstance(task.dataset("test"), InPlaceSet)


def test_a_dataset_can_be_sent_to_another_process(tmp_path: Path) -> None:
    for data in (make_shards(tmp_path / "a", pictures(), some_labels()), make_folder(tmp_path / "b", pictures(), None)):
        dataset = in_place(data).dataset("train")
        copy = pickle.loads(pickle.dumps(dataset))
        assert torch.equal(copy.__getitems__([3, 1]).data, dataset.__getitems__([3, 1]).data)


def test_what_is_judged_is_the_same(tmp_path: Path) -> None:
    labels = np.arange(60) % 2
    data = make_tar(tmp_path, pictures(60), labels)
    there, memory = in_place(data), Images(data=data, reading="memory").resolve()
    samples = pictures(8, seed=3)[..., None]
    assert there.evaluate(samples, labels[:8]) == memory.evaluate(samples, labels[:8])


# The index.


def test_shards_are_indexed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_shards(tmp_path, pictures(), some_labels())
    before = contents(in_place(data), "train")
    with monkeypatch.context() as patch:
        patch.setattr(shards, "scan", lambda *args: pytest.fail("indexed again"))
        assert contents(in_place(data), "train") == before
    pack(tmp_path / "part-000.tar", members(pictures(10, seed=7), np.zeros(10, int)))
    after = contents(in_place(data), "train")
    assert len(after) == len(before)
    assert 0 < len(set(before) - set(after)) <= 10


@pytest.mark.parametrize("harm", ["cut", "foreign", "short column"])
def test_a_damaged_index_is_made_again(harm: str, tmp_path: Path) -> None:
    data = make_shards(tmp_path, pictures(), some_labels())
    before = contents(in_place(data), "train")
    (path,) = cache.cache_folder().glob("*.index.npz")
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif harm == "foreign":
        np.savez(path, x=np.zeros(3))
    else:
        with np.load(path) as file:
            np.savez(path, **dict(file) | {"places": file["places"][:, :-1]})
    assert contents(in_place(data), "train") == before


def test_without_a_cache_shards_are_indexed_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    data = make_shards(tmp_path / "data", pictures(), None)
    with pytest.warns(UserWarning, match="cannot write the image cache .* shards are indexed at every start"):
        task = in_place(data)
    assert len(contents(task, "train")) == COUNT - COUNT // 10


def test_a_long_name_and_a_folder_within_a_shard(tmp_path: Path) -> None:
    names = [f"{'deep/' * 30}{'x' * 90}{i}é" for i in range(4)]
    packed = {f"{name}.{kind}": content for i, name in enumerate(names)
              for kind, content in (("png", png(pictures()[i])), ("cls", b"%d" % i))}  # fmt: skip
    for _ in range(2):  # scanned, then from the index
        task = in_place(str(pack(tmp_path / "a.tar", packed)))
        assert sorted(contents(task, "train") + contents(task, "test")) == sorted(
            (pictures()[i].tobytes(), i) for i in range(4)
        )


# What goes wrong while images are read.


def test_a_shard_that_changes_under_a_running_training(tmp_path: Path) -> None:
    dataset = in_place(make_shards(tmp_path, pictures(), some_labels())).dataset("train")
    shards._opened.cache_clear()  # as in a process that reads from it for the first time
    pack(tmp_path / "part-001.tar", members(pictures(10, seed=7), np.zeros(10, int)))
    with pytest.raises(UserError, match=r"part-001\.tar has changed since its index was made: start the command again"):
        dataset.__getitems__(list(range(len(dataset))))


def damaged(root: Path, *numbers: int) -> str:
    found = members(pictures(), np.arange(COUNT))
    for number in numbers:
        found[f"{number:05d}.png"] = found[f"{number:05d}.png"][:-30]
    pack(root / "train.tar", found)
    pack(root / "test.tar", members(pictures(2, seed=1), np.zeros(2, int)))
    return str(root)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    dataset = in_place(damaged(tmp_path, 16)).dataset("train")
    assert len(dataset.__getitems__([15, 17])) == 2
    with pytest.raises(UserError, match=r"train\.tar:00016\.png cannot be read .*remove it, or pass --task\.skip-dam"):
        dataset.__getitems__([15, 16])


def test_the_next_image_takes_the_place_of_a_damaged_one(tmp_path: Path) -> None:
    dataset = in_place(damaged(tmp_path, 8, 16, 17, 29), skip_damaged=True).dataset("train")
    with pytest.warns(UserWarning, match=r"00029\.png cannot be read: the next image takes its place") as warned:
        found = dataset.__getitems__([29, 15, 16, 17, 18])
    assert found.cond["label"].tolist() == [0, 15, 18, 18, 18]
    assert (found.data[:, 0].numpy() == pictures()[[0, 15, 18, 18, 18]]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset.__getitems__([8, 16])
    assert len(warned) == 1
    assert len(dataset.damaged) == 4


def test_the_search_continues_at_the_start_and_ends_somewhere(tmp_path: Path) -> None:
    dataset = in_place(damaged(tmp_path / "a", *range(1, COUNT)), skip_damaged=True).dataset("train")
    with pytest.warns(UserWarning, match="cannot be read"):
        assert dataset.__getitems__([1]).cond["label"].tolist() == [0]
    packed = members(pictures(3), None) | {f"x{i}.png": b"x" for i in range(130)}
    pack(tmp_path / "b" / "train.tar", packed)
    pack(tmp_path / "b" / "test.tar", members(pictures(2), None))
    many = in_place(str(tmp_path / "b"), skip_damaged=True).dataset("train")
    message = r"100 images in a row, from .*, cannot be read: check the files"
    with pytest.warns(UserWarning, match="cannot be read"), pytest.raises(UserError, match=message):
        many.__getitems__([5])


def test_a_colour_or_a_size_found_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, image in enumerate([*pictures(4), *pictures(1, colour=True), *pictures(1, side=10)]):
        (tmp_path / f"{i}.png").write_bytes(png(image))
    with pytest.raises(UserError, match=r"mixed size .*10x10.*--task\.image-size"):
        in_place(str(tmp_path))
    (tmp_path / "5.png").unlink()
    assert in_place(str(tmp_path)).channels == 3
    (tmp_path / "5.png").write_bytes(png(pictures(1, side=10)[0]))
    monkeypatch.setattr("shortcut_models.data.images.decode.PROBES", 1)
    dataset = in_place(str(tmp_path)).dataset("train")
    with pytest.raises(UserError, match=r"4\.png is in colour, .* pass --task\.channels 3, or 1|mixed size"):
        dataset.__getitems__(list(range(len(dataset))))

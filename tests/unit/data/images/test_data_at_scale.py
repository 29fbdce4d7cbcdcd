"""Shards read in place by a training: nothing repeated or dropped, in any process, and each mistake in one line."""

from __future__ import annotations

import itertools
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.image_files import contents, make_folder, make_npz, make_tar_gz, members, pack, pictures, png, some_labels
from helpers.runs import DIGITS, Outcome, assert_refused, same, shortcut, tensors
from shortcut_models.data.images import in_place, shards
from shortcut_models.tasks import Images
from shortcut_models.training.batches import batches

COUNT, BATCH = 60, 8


def numbered_shards(root: Path, count: int = COUNT) -> str:
    """Images of which each has its number as its class, in shards of 5; and two to test with."""
    for first in range(0, count, 5):
        rows = slice(first, first + 5)
        pack(root / f"train-{first:03d}.tar", members(pictures(count)[rows], np.arange(count)[rows], first))
    pack(root / "test.tar", members(pictures(2, seed=1), np.zeros(2, int)))
    return str(root)


@pytest.fixture
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_place, "WINDOW_SHARDS", 2)
    monkeypatch.setattr(in_place, "WINDOW_IMAGES", 10)


@pytest.mark.usefixtures("_small_windows")
@pytest.mark.parametrize("world", [1, 2])
def test_stopped_in_the_middle_of_a_pass_no_image_is_repeated_or_dropped(world: int, tmp_path: Path) -> None:
    """Two processes that read for each rank; stopped after 4 of 15 steps, which make two passes."""
    data = numbered_shards(tmp_path)
    dataset = Images(data=data, reading="in-place").resolve().dataset("train")

    def ids(start: int, stop: int, workers: int) -> list[int]:
        """The classes of the images, which are their numbers, step for step and rank for rank."""
        ranks = [batches(dataset, BATCH, 3, start, stop, workers, rank, world) for rank in range(world)]
        steps = [[batch.cond["label"].tolist() for batch in rank] for rank in ranks]
        return list(itertools.chain(*(itertools.chain(*parts) for parts in zip(*steps, strict=True))))

    seen = ids(0, 4, 2) + ids(4, 15, 2)
    assert sorted(seen[:COUNT]) == sorted(seen[COUNT:]) == list(range(COUNT))
    assert seen[:COUNT] != seen[COUNT:]
    assert seen == ids(0, 15, 0)


def test_pixels_come_with_their_labels_from_other_processes(tmp_path: Path) -> None:
    dataset = Images(data=numbered_shards(tmp_path), reading="in-place").resolve().dataset("train")
    for batch in batches(dataset, BATCH, 0, 0, 4, 2):
        assert (batch.data[:, 0].numpy() == pictures(COUNT)[batch.cond["label"].numpy()]).all()


# The command line.


def train(data: str, run: Path, *words: object) -> Outcome:
    options = ("train", "images", *DIGITS[2:], "--batch-size", BATCH, "--data", data, "--run", run, "--log-every", 2)
    return shortcut(*options, "--task.reading", "in-place", *words)


def test_a_training_resumes_mid_pass_with_any_number_of_workers(tmp_path: Path) -> None:
    data = numbered_shards(tmp_path / "data")
    steps = ("--schedule", "constant", "--train-steps")
    assert train(data, tmp_path / "whole", *steps, 12).code == 0
    assert train(data, tmp_path / "cut", *steps, 5, "--workers", 2).code == 0
    assert train(data, tmp_path / "cut", *steps, 12, "--workers", 1).code == 0
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "cut"))
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < line["waiting_per_second"] < 1 for line in lines)
    assert not any("damaged" in line for line in lines)


@pytest.mark.parametrize("reading", ["memory", "in-place"])
@pytest.mark.parametrize("come", [True, False])
def test_a_run_whose_images_came_or_went_does_not_resume(come: bool, reading: str, tmp_path: Path) -> None:
    """Another image is held out then, maybe one that was trained on, and the order is another."""
    data = Path(make_folder(tmp_path / "data", pictures(), some_labels()))
    words = ("--schedule", "constant", "--task.reading", reading, "--train-steps")
    assert train(str(data), tmp_path / "run", *words, 2).code == 0
    before = tensors(tmp_path / "run")
    if come:
        (data / "ant" / "new.png").write_bytes(png(pictures(1, seed=1)[0]))
    else:
        (data / "ant" / "000.png").unlink()
    message = "was started with other data or options, as its task.images-sha256 was another"
    assert_refused((str(data), tmp_path / "run", *words, 4), message, run=train)
    assert same(tensors(tmp_path / "run"), before)


def test_who_is_held_out_follows_from_the_names(tmp_path: Path) -> None:
    tasks = [Images(data=make_folder(tmp_path / name, pictures(), some_labels())).resolve() for name in "ab"]
    assert tasks[0].images_sha256 == tasks[1].images_sha256
    assert contents(tasks[0], "test") == contents(tasks[1], "test")


def damage(root: Path, numbers: range) -> str:
    data = numbered_shards(root)
    for shard in {5 * (number // 5) for number in numbers}:
        found = members(pictures(COUNT)[shard : shard + 5], np.arange(shard, shard + 5), shard)
        harmed = {f"{n:05d}.png": found[f"{n:05d}.png"][:-30] for n in numbers if f"{n:05d}.png" in found}
        pack(root / f"train-{shard:03d}.tar", found | harmed)
    return data


def test_damage_stops_a_run_that_can_resume_without_it(tmp_path: Path) -> None:
    """In one line, though another process found it; then it is passed over, said once, and counted."""
    data, run = damage(tmp_path / "data", range(1, 7)), tmp_path / "run"
    stopped = train(data, run, "--workers", 2)
    assert stopped.code == 2
    assert "cannot be read as an image" in stopped.complaint
    assert "Traceback" not in stopped.err
    outcome = train(data, run, "--workers", 2, "--task.skip-damaged")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("the next image takes its place") == 1
    counted = [json.loads(line)["damaged"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert counted == sorted(counted)
    assert counted[-1] == 6


def first_shard(change: Callable[[bytes], bytes]) -> Callable[[Path], str]:
    def make(root: Path) -> str:
        data = numbered_shards(root)
        path = root / "train-000.tar"
        path.write_bytes(change(path.read_bytes()))
        return data

    return make


def with_member(name: str, content: bytes, shard: str = "train-000.tar") -> Callable[[Path], str]:
    def make(root: Path) -> str:
        data = numbered_shards(root)
        pack(root / shard, members(pictures(5), np.arange(5)) | {name: content})
        return data

    return make


def empty_shard(root: Path) -> str:
    data = numbered_shards(root)
    pack(root / "train-999.tar", {})
    return data


MISTAKES: dict[str, tuple[Callable[[Path], str], str]] = {
    "shard cut in an image": (first_shard(lambda c: c[:700]), "train-000.tar is damaged or not a tar file"),
    "shard cut in a header": (first_shard(lambda c: c[:1200]), "train-000.tar is damaged or not a tar file"),
    "shard with a bad header": (
        first_shard(lambda c: c[:1024] + b"x" * 512 + c[1536:]),
        "train-000.tar is damaged or not a tar file",
    ),
    "shard of no bytes": (first_shard(lambda c: b""), "train-000.tar is damaged or not a tar file"),
    "shard without images": (empty_shard, "no images in", ),
    "image cut": (lambda root: damage(root, range(60)), "cannot be read as an image"),
    "label that is a word": (with_member("x.cls", b"tench"), "x.cls must hold a whole number from 0, not 'tench'"),
    "label that is enormous": (with_member("00001.cls", b"9" * 30), "must hold a whole number from 0"),
    "label beyond the images": (with_member("00001.cls", b"9999"), "number the classes from 0"),
    "image without a label": (with_member("x.png", png(pictures(1)[0])), "x.png has no label (KEY.cls or KEY.json)"),
    "test label too large": (with_member("00001.cls", b"77", "test.tar"), "test labels"),
    "mixed sizes": (with_member("00001.png", png(pictures(1, 10)[0])), "images are of mixed size (8x8, but "),
    "pattern without files": (lambda root: str(root / "{000..003}.tar"), "no file matches"),
    "compressed shards": (lambda root: make_tar_gz(root, pictures(), None), "compressed shards: unpack them"),
    "arrays": (lambda root: make_npz(root, pictures(), None), "holds arrays: leave --task.reading out"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_refusals_of_shards(name: str, tmp_path: Path) -> None:
    make, message = MISTAKES[name]
    data = make(tmp_path / "data")
    assert_refused((data, tmp_path / "run"), message, run=train)


def test_classes_asked_for_and_no_labels(tmp_path: Path) -> None:
    for data in (make_folder(tmp_path / "a", pictures(), None), str(pack(tmp_path / "b.tar", members(pictures())))):
        message = "has no labels, not 10 classes: leave --task.classes out, or add labels"
        assert_refused((data, tmp_path / "run", "--task.classes", 10), message, run=train)


def test_a_shard_that_changes_while_a_training_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, resolve = numbered_shards(tmp_path / "data"), Images.resolve

    def resolve_and_change(task: Images) -> Images:
        found = resolve(task)
        found.dataset("train"), found.dataset("test")
        for path in (tmp_path / "data").glob("train-*.tar"):
            path.touch()
        shards._opened.cache_clear()  # as where none of them has been read from yet
        return found

    monkeypatch.setattr(Images, "resolve", resolve_and_change)
    outcome = train(data, tmp_path / "run", "--workers", 2)
    assert outcome.code == 2
    assert "has changed since its index was made: start the command again" in outcome.complaint
    assert not multiprocessing.active_children()  # Python would wait for them at exit
